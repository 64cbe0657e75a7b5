//! Tests EndpointSlices as manifests and API servers write them, and the conversion of each field.

use proxier::model::{Family, Protocol, Slice};

use crate::objects::Problem;

const META: &str =
    "metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}";

fn convert(text: &str) -> (Option<Slice>, Vec<String>) {
    let object = serde_saphyr::from_str(text).unwrap();
    let mut problems = Vec::new();
    let slice = super::slice(&object, &mut problems);
    (slice, problems.iter().map(ToString::to_string).collect())
}

fn of_web(rest: &str) -> (Option<Slice>, Vec<String>) {
    convert(&format!("{{{META}, {rest}}}"))
}

#[test]
fn a_plain_slice_is_converted() {
    let (slice, problems) = of_web(
        "addressType: IPv4, ports: [{name: http, port: 8080, protocol: TCP}, {name: '', port: 53, \
         protocol: UDP}], endpoints: [{addresses: [10.244.1.5, 10.244.1.6], nodeName: node1, \
         conditions: {ready: false, serving: true, terminating: true}, \
         hints: {forZones: [{name: z1}], forNodes: [{name: node1}]}}, {addresses: [10.244.1.7]}]",
    );
    let slice = slice.unwrap();
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        (slice.name.to_string(), slice.service.to_string()),
        ("shop/web-a".into(), "shop/web".into())
    );
    assert_eq!((slice.family, slice.ports.len()), (Family::V4, 2));
    assert_eq!((&*slice.ports[1].name, slice.ports[1].protocol), ("", Protocol::Udp));
    let [first, second] = &slice.endpoints[..] else { panic!("two endpoints") };
    assert_eq!(first.address.to_string(), "10.244.1.5");
    assert_eq!(first.node.as_deref(), Some("node1"));
    assert_eq!((first.ready, first.serving, first.terminating), (false, true, true));
    assert_eq!((&*first.zone_hints()[0], &*first.node_hints()[0]), ("z1", "node1"));
    assert_eq!((second.ready, second.serving, second.terminating), (true, true, false));
    assert_eq!((second.node.as_deref(), second.zone_hints().len()), (None, 0));
}

#[test]
fn null_lists_are_empty() {
    let (slice, problems) = of_web("addressType: IPv6, ports: null, endpoints: null");
    let slice = slice.unwrap();
    assert_eq!((slice.ports.len(), slice.endpoints.len(), problems.len()), (0, 0, 0));
    let rest = "addressType: IPv6, endpoints: [{addresses: null}, {addresses: []}, \
                {addresses: ['fd00::1'], conditions: null, hints: {forZones: null}, nodeName: null}]";
    let (slice, problems) = of_web(rest);
    assert_eq!((slice.unwrap().endpoints.len(), problems.len()), (1, 0));
}

#[test]
fn slices_of_others_are_passed_over_without_a_word() {
    assert_eq!(
        of_web("addressType: FQDN, endpoints: [{addresses: [a.example.com]}]"),
        (None, vec![])
    );
    let headless =
        "{metadata: {name: a, labels: {service.kubernetes.io/headless: ''}}, addressType: IPv4}";
    assert_eq!(convert(headless), (None, vec![]));
}

#[test]
fn a_slice_of_no_service_is_reported() {
    for (labels, problem) in [
        ("null", "a slice without this label belongs to no Service"),
        ("{}", "a slice without this label belongs to no Service"),
        ("{kubernetes.io/service-name: 5}", "5 is not a string"),
    ] {
        let (slice, problems) =
            convert(&format!("{{metadata: {{name: a, labels: {labels}}}, addressType: IPv4}}"));
        assert_eq!(slice, None);
        let field = "metadata.labels[kubernetes.io/service-name]";
        assert_eq!(problems, [format!("EndpointSlice default/a: {field}: {problem}")]);
    }
}

#[test]
fn the_address_type_has_to_be_known() {
    let problem = |rest: &str| of_web(rest).1.concat();
    assert!(problem("addressType: IPv5").ends_with(r#"addressType: "IPv5" is not IPv4 or IPv6"#));
    assert!(problem("addressType: 4").ends_with("addressType: 4 is not a string"));
    assert!(problem("ports: []").ends_with("addressType: IPv4 or IPv6 is required"));
}

#[test]
fn a_bad_port_spoils_only_itself() {
    let (slice, problems) = of_web(
        "addressType: IPv4, ports: [{name: a, port: 1}, {name: null, port: 2}, {port: 3}, {name: d}, \
         {name: e, port: 0}, {name: f, port: 5, protocol: ICMP}, {name: g, port: 65536}]",
    );
    let names: Vec<_> = slice.unwrap().ports.iter().map(|port| port.name.to_string()).collect();
    assert_eq!(names, ["a", ""], "an absent name is an empty one, as the API server would say");
    assert_eq!(
        problems,
        [
            "ports[1].name: a port without a name serves no port of a Service",
            "ports[3].port: a port number is required",
            "ports[4].port: 0 is not a port (1–65535)",
            r#"ports[5].protocol: "ICMP" is not TCP, UDP or SCTP"#,
            "ports[6].port: 65536 is not a port (1–65535)",
        ]
        .map(|problem| format!("EndpointSlice shop/web-a: {problem}"))
    );
}

#[test]
fn a_bad_endpoint_spoils_only_itself() {
    let (slice, problems) = of_web(
        "addressType: IPv6, endpoints: [{addresses: ['fd00::1']}, {addresses: [10.0.0.1]}, \
         {addresses: ['::ffff:10.0.0.1']}, {addresses: ['fe80::1%eth0']}, {addresses: [6]}, 7, \
         {addresses: ['fd00::2'], conditions: {ready: maybe}}]",
    );
    let slice = slice.unwrap();
    let addresses: Vec<_> =
        slice.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    assert_eq!(addresses, ["fd00::1", "fd00::2"]);
    assert!(slice.endpoints[1].ready);
    assert_eq!(
        problems,
        [
            "endpoints[5]: 7 is not an object",
            r#"endpoints[1].addresses[0]: "10.0.0.1" is not an IPv6 address"#,
            "endpoints: addresses with leading zeros or in IPv4-mapped form are read as plain ones, as kube-proxy \
             does; other programs may read them otherwise",
            r#"endpoints[2].addresses[0]: "::ffff:10.0.0.1" is not an IPv6 address"#,
            r#"endpoints[3].addresses[0]: "fe80::1%eth0" is not an IP address"#,
            "endpoints[4].addresses[0]: 6 is not an IP address",
            r#"endpoints[6].conditions.ready: "maybe" is not true or false"#,
        ]
        .map(|problem| format!("EndpointSlice shop/web-a: {problem}"))
    );
}

/// Compares with the recorded result of kube-proxy 1.36.2 for the same spellings.
#[test]
fn endpoints_are_read_in_every_spelling_that_kube_proxy_reads_and_told_once() {
    let (slice, problems) = of_web(
        "addressType: IPv4, endpoints: [{addresses: ['10.244.002.001']}, {addresses: ['10.244.2.2']}, \
         {addresses: ['::ffff:10.244.2.5']}, {addresses: ['::ffff:127.0.0.1']}]",
    );
    let slice = slice.unwrap();
    let addresses: Vec<_> =
        slice.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    assert_eq!(addresses, ["10.244.2.1", "10.244.2.2", "10.244.2.5"]);
    let [spelling, loopback] = &problems[..] else { panic!("{problems:?}") };
    assert!(
        spelling.starts_with("EndpointSlice shop/web-a: endpoints: addresses with leading zeros")
    );
    assert!(loopback.ends_with("is not the address of a host"), "{loopback}");
}

#[test]
fn when_something_changed_is_taken_from_the_annotation_if_it_is_a_time() {
    for (annotation, wanted) in [
        ("'2026-11-25T10:00:00.5Z'", Some(1_795_600_800_500_000_000)),
        ("yesterday", None),
        ("7", None),
        ("null", None),
    ] {
        let (slice, problems) = convert(&format!(
            "{{metadata: {{name: a, labels: {{kubernetes.io/service-name: web}}, annotations: \
             {{a: b, endpoints.kubernetes.io/last-change-trigger-time: {annotation}}}}}, \
             addressType: IPv4}}"
        ));
        assert_eq!((slice.unwrap().last_change.0, problems.len()), (wanted, 0), "{annotation}");
    }
}

#[test]
fn a_slice_whose_name_or_services_name_cannot_be_is_left_out() {
    for (name, service, said) in [
        ("a.b-1", "web", ""),
        ("A", "web", "metadata.name: \"A\" is not a DNS subdomain"),
        (r"a\e[2J", "web", r#"metadata.name: "a\u{1b}[2J" is not a DNS subdomain"#),
        ("a", r"web\n", "kubernetes.io/service-name]: \"web\\n\" is not the name of a Service"),
    ] {
        let metadata = format!(
            r#"metadata: {{name: "{name}", namespace: shop, labels: {{kubernetes.io/service-name: "{service}"}}}}"#
        );
        let (slice, problems) = convert(&format!("{{{metadata}, addressType: IPv4}}"));
        assert_eq!(
            (slice.is_some(), problems.len()),
            (said.is_empty(), usize::from(!said.is_empty()))
        );
        assert!(problems.iter().all(|problem| problem.contains(said)), "{problems:?}");
        assert!(!problems.concat().contains('\x1b'), "{problems:?}");
    }
}

#[test]
fn a_slice_whose_labels_or_family_cannot_be_read_is_unreadable() {
    let text = |metadata: &str, family: &str| {
        format!(
            "{{metadata: {{name: web-a, namespace: shop, {metadata}}}, addressType: {family}, \
             endpoints: [{{addresses: [10.244.1.5]}}]}}"
        )
    };
    let service = "labels: {kubernetes.io/service-name: web}";
    for (text, is_unreadable) in [
        (text("labels: [a]", "IPv4"), true),
        (text("labels: x", "IPv4"), true),
        (text("labels: {kubernetes.io/service-name: [web]}", "IPv4"), true),
        (text(service, "''"), true),
        (text(service, "IPv5"), true),
        (text("labels: {}", "IPv4"), false),
        (text(service, "FQDN"), false),
    ] {
        let mut problems = Vec::new();
        let object = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(super::slice(&object, &mut problems), None, "{text}");
        assert_eq!(Problem::is_unreadable(&problems), is_unreadable, "{text}: {problems:?}");
    }
}
