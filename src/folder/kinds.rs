//! Recognizes kinds that are almost one of those that are read.
//!
//! Takes the `apiVersion` and `kind` of an object. Returns a message if they seem to mean a kind
//! that is read. Does not report kinds of other API groups.

/// Group and version, and kind, of every type that is read.
const READ: [(&str, &str); 7] = [
    ("v1", "Service"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("v1", "Node"),
    ("v1", "List"),
    ("v1", "ServiceList"),
    ("discovery.k8s.io/v1", "EndpointSliceList"),
    ("v1", "NodeList"),
];

/// The kinds that a cluster converts to EndpointSlices, which does not happen in a folder.
const ENDPOINTS: [&str; 2] = ["Endpoints", "EndpointsList"];

/// Returns a message about an object that is skipped but looks as if it should be read.
pub(super) fn mistake(api_version: Option<&str>, kind: Option<&str>) -> Option<String> {
    let Some(kind) = kind else { return Some("an object without a kind is not read".to_owned()) };
    let has_group = |version: &str| version.contains('/');
    if ENDPOINTS.contains(&kind) && !api_version.is_some_and(has_group) {
        return Some(format!(
            "{kind} is not read: a cluster makes an EndpointSlice of it, and here no program does; write an EndpointSlice of \
             discovery.k8s.io/v1 with the label kubernetes.io/service-name"
        ));
    }
    let (wanted, name) = READ.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(kind))?;
    let message = |found: &str| format!("{found} is not read, {name} of {wanted} is");
    let Some(version) = api_version else {
        return Some(message(&format!("{kind} without an apiVersion")));
    };
    let is_exact = version == wanted && kind == name;
    (!is_exact && !is_foreign(version, wanted)).then(|| message(&format!("{kind} of {version:?}")))
}

/// True for a list type that is read, if it is written exactly.
pub(super) fn is_list(api_version: Option<&str>, kind: &str) -> bool {
    kind.ends_with("List") && READ.iter().any(|read| Some(read.0) == api_version && read.1 == kind)
}

/// True if the version names another API group. A version without a group may be a mistake.
fn is_foreign(version: &str, wanted: &str) -> bool {
    let group = |version: &'_ str| version.split_once('/').map(|(group, _)| group.to_owned());
    group(version).is_some_and(|found| Some(found) != group(wanted))
}

#[cfg(test)]
mod tests {
    use super::mistake;

    #[test]
    fn only_what_means_a_kind_of_ours_is_a_mistake() {
        for (version, expected) in
            [(Some("v1"), true), (None, true), (Some("networking.example.org/v1"), false)]
        {
            let told = mistake(version, Some("Endpoints"));
            assert_eq!(told.is_some_and(|told| told.contains("write an EndpointSlice")), expected);
        }
        assert_eq!(
            mistake(Some("v1"), None).as_deref(),
            Some("an object without a kind is not read")
        );
        for (version, kind, expected) in [
            (Some("v1"), "Service", None),
            (Some("serving.knative.dev/v1"), "Service", None),
            (Some("v1"), "Pod", None),
            (None, "Pod", None),
            (None, "Service", Some("Service without an apiVersion is not read, Service of v1 is")),
            (Some("v2"), "Service", Some("Service of \"v2\" is not read, Service of v1 is")),
            (Some("v1"), "service", Some("service of \"v1\" is not read, Service of v1 is")),
        ] {
            assert_eq!(mistake(version, Some(kind)).as_deref(), expected, "{version:?} {kind}");
        }
        for version in ["discovery.k8s.io/v1beta1", "v1"] {
            assert!(mistake(Some(version), Some("EndpointSlice")).is_some(), "{version}");
        }
    }
}
