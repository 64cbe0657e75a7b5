//! Checks that an answer has the type that was requested.
//!
//! Takes the `apiVersion` and `kind` of a list, or of an object in a watch. Returns a failure that
//! names the other type if they differ. Does not look at other fields: a list of another kind has
//! `items` too, and would remove every fact.
//!
//! Source: client-go's reflector checks the type of each event in the same way (`handleAnyWatch`).

use super::failure::Failure;
use crate::objects::Field;

/// The type that an answer itself names (`metav1.TypeMeta`).
#[derive(Clone, Copy, Debug)]
pub(super) struct SaidType<'a> {
    pub(super) api_version: &'a Field<String>,
    pub(super) kind: &'a Field<String>,
}

impl SaidType<'_> {
    /// True if the answer names this type.
    pub(super) fn is(self, api_version: &str, kind: &str) -> bool {
        let found = |field: &Field<String>, wanted| field.given().is_some_and(|it| it == wanted);
        found(self.api_version, api_version) && found(self.kind, kind)
    }

    /// Checks the type. `told` is the message in the answer, if there is one.
    ///
    /// # Errors
    /// A failure if the answer has another type or none.
    pub(super) fn expect(
        self,
        api_version: &str,
        kind: &str,
        told: Option<&str>,
    ) -> Result<(), Failure> {
        if self.is(api_version, kind) {
            return Ok(());
        }
        let told = told.filter(|told| !told.is_empty());
        let told = told.map(|told| format!(": {told}")).unwrap_or_default();
        Err(Failure::Garbled(format!("{self} instead of a {kind} of {api_version}{told}")))
    }
}

impl std::fmt::Display for SaidType<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Field::Given(kind) => write!(f, "kind {kind:?}")?,
            Field::Wrong(found) => write!(f, "kind {found}")?,
            Field::Absent => write!(f, "no kind")?,
        }
        match self.api_version {
            Field::Given(version) => write!(f, " of apiVersion {version:?}"),
            Field::Wrong(found) => write!(f, " of apiVersion {found}"),
            Field::Absent => write!(f, " and no apiVersion"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Field<String> {
        Field::Given(text.to_owned())
    }

    fn said(api_version: &Field<String>, kind: &Field<String>, told: Option<&str>) -> String {
        let said = SaidType { api_version, kind }.expect("v1", "ServiceList", told);
        said.map_or_else(|failure| failure.to_string(), |()| "right".to_owned())
    }

    #[test]
    fn only_the_type_that_was_asked_for_is_right() {
        assert_eq!(said(&text("v1"), &text("ServiceList"), None), "right");
        let wrong = "answer not understood: kind \"Status\" of apiVersion \"v1\" instead of a \
                     ServiceList of v1: no";
        assert_eq!(said(&text("v1"), &text("Status"), Some("no")), wrong);
        for (api_version, kind) in [
            (text("v1"), text("Service")),
            (text("v1"), text("servicelist")),
            (text("v1"), Field::Absent),
            (text("v2"), text("ServiceList")),
            (Field::Absent, text("ServiceList")),
            (Field::Wrong("1".to_owned()), text("ServiceList")),
            (Field::Absent, Field::Absent),
        ] {
            let said = said(&api_version, &kind, Some(""));
            assert!(said.ends_with(" instead of a ServiceList of v1"), "{said}");
        }
    }
}
