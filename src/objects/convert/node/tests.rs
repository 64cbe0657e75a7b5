//! Tests Nodes as manifests and API servers write them.

use proxier::model::Node;

fn convert(text: &str) -> (Option<Node>, Vec<String>) {
    let object = serde_saphyr::from_str(text).unwrap();
    let mut problems = Vec::new();
    let node = super::node(&object, &mut problems);
    (node, problems.iter().map(ToString::to_string).collect())
}

#[test]
fn internal_addresses_come_first() {
    let (node, problems) = convert(
        "{metadata: {name: node1, labels: {topology.kubernetes.io/zone: z1}}, status: {addresses: [\
         {type: ExternalIP, address: 198.51.100.1}, {type: Hostname, address: node1}, \
         {type: InternalIP, address: 192.0.2.11}, {type: InternalIP, address: '2001:db8::11'}, \
         {type: InternalIP, address: bad}]}, \
         spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:1::/64']}}",
    );
    let node = node.unwrap();
    let text = |list: &[std::net::IpAddr]| -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    };
    assert_eq!((&*node.name, node.zone.as_deref()), ("node1", Some("z1")));
    assert_eq!(text(&node.addresses), ["192.0.2.11", "2001:db8::11", "198.51.100.1"]);
    assert_eq!(node.pod_nets.len(), 2);
    assert_eq!(
        problems,
        [r#"Node node1: status.addresses[4].address: "bad" is not an IP address"#]
    );
}

#[test]
fn a_bare_node_is_one() {
    let (node, problems) = convert("{metadata: {name: node1}, spec: {podCIDR: 10.244.1.0/24}}");
    let node = node.unwrap();
    assert_eq!((node.zone, node.addresses.len(), node.pod_nets.len()), (None, 0, 1));
    assert_eq!(problems, [""; 0]);
    assert!(convert("{metadata: {name: node1}, spec: null, status: null}").0.is_some());
    assert_eq!(convert("{metadata: null}").0, None);
}

#[test]
fn a_node_is_leaving_once_its_deletion_is_asked_for_or_the_autoscaler_means_to_take_it() {
    for (text, is_leaving) in [
        ("{metadata: {name: node1}}", false),
        ("{metadata: {name: node1, deletionTimestamp: null}}", false),
        ("{metadata: {name: node1, deletionTimestamp: '2026-11-25T10:00:00Z'}}", true),
        ("{metadata: {name: node1}, spec: {taints: [{key: other}]}}", false),
        (
            "{metadata: {name: node1}, spec: {taints: [{key: other}, \
             {key: ToBeDeletedByClusterAutoscaler, value: '1', effect: NoSchedule}]}}",
            true,
        ),
        ("{metadata: {name: node1}, spec: {taints: nonsense}}", false),
    ] {
        assert_eq!(convert(text).0.unwrap().is_leaving, is_leaving, "{text}");
    }
}
