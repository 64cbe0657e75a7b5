//! Tests Services as manifests and API servers write them, and the conversion of each field.

use std::net::IpAddr;

use proxier::model::{Affinity, Completeness, Protocol, Service, SourceRanges, TrafficPolicy};

const HEAD: &str = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, ";

/// Converts a Service whose YAML ends with `rest`, such as `spec: {…}`. `IP4` in it stands for the
/// fields of an IPv4 cluster IP. Also returns the problems.
fn convert(rest: &str) -> (Option<Service>, Vec<String>) {
    let rest =
        rest.replace("IP4", "clusterIP: 10.96.0.1, ipFamilies: [IPv4], clusterIPs: [10.96.0.1]");
    let object = serde_saphyr::from_str(&format!("{HEAD}{rest}}}")).unwrap();
    let mut problems = Vec::new();
    let service = super::service(&object, &mut problems);
    (service, problems.iter().map(ToString::to_string).collect())
}

fn valid(rest: &str) -> Service {
    let (service, problems) = convert(rest);
    assert_eq!(problems, [""; 0]);
    service.unwrap()
}

fn addresses(list: &[IpAddr]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn a_plain_service_is_converted() {
    let service = valid("spec: {IP4, ports: [{port: 80}, {name: dns, port: 53, protocol: UDP}]}");
    assert_eq!(service.name.to_string(), "shop/web");
    assert_eq!(service.cluster_ips.v4, Some([10, 96, 0, 1].into()));
    assert_eq!(service.cluster_ips.v6, None);
    assert_eq!(service.ports.len(), 2);
    assert_eq!((&*service.ports[0].name, service.ports[0].port), ("", 80));
    assert_eq!(service.ports[0].protocol, Protocol::Tcp);
    assert_eq!((&*service.ports[1].name, service.ports[1].protocol), ("dns", Protocol::Udp));
    assert_eq!((service.affinity, service.created), (Affinity::None, 0));
    assert_eq!(
        (service.internal_policy, service.external_policy),
        (TrafficPolicy::Cluster, TrafficPolicy::Cluster)
    );
}

#[test]
fn services_of_others_are_passed_over_without_a_word() {
    for rest in [
        "spec: {clusterIP: None}",
        "spec: {clusterIP: None, clusterIPs: [None]}",
        "spec: null",
        "status: {}",
        "spec: {type: ExternalName, IP4}",
    ] {
        assert_eq!(convert(rest), (None, vec![]), "{rest}");
    }
    for value in ["other", "''", "null"] {
        let text = format!(
            "{{metadata: {{name: web, labels: {{service.kubernetes.io/service-proxy-name: {value}}}}}, \
             spec: {{clusterIP: 10.96.0.1}}}}"
        );
        let object = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(super::service(&object, &mut Vec::new()), None, "{text}");
    }
}

#[test]
fn cluster_ips_follow_the_order_of_the_families() {
    let ips = "clusterIP: fd00::1, clusterIPs: ['fd00::1', 10.96.0.1]";
    let service = valid(&format!("spec: {{{ips}, ipFamilies: [IPv6, IPv4]}}"));
    assert_eq!(service.cluster_ips.v4, Some("10.96.0.1".parse().unwrap()));
    assert_eq!(service.cluster_ips.v6, Some("fd00::1".parse().unwrap()));
    let service = valid(&format!("spec: {{{ips}, ipFamilies: []}}"));
    assert_eq!(service.cluster_ips.v4, None, "without families clusterIP alone counts");
    assert_eq!(service.cluster_ips.v6, Some("fd00::1".parse().unwrap()));
}

#[test]
fn a_cluster_ip_of_the_wrong_family_is_left_out() {
    let ips = "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 10.96.0.2], ipFamilies: [IPv4, IPv6]";
    let (service, problems) = convert(&format!("spec: {{{ips}}}"));
    let service = service.unwrap();
    assert_eq!((service.cluster_ips.v4.is_some(), service.cluster_ips.v6), (true, None));
    assert_eq!(
        problems,
        [r#"Service shop/web: spec.clusterIPs[1]: "10.96.0.2" is not an IPv6 address"#]
    );
}

#[test]
fn what_is_no_address_is_refused() {
    for text in ["10.96.0", "::ffff:10.96.0", "fe80::1%eth0", "10.96.0.1/32", "x"] {
        let (service, problems) = convert(&format!("spec: {{clusterIP: '{text}'}}"));
        assert_eq!(service, None);
        let expected = format!("Service shop/web: spec.clusterIP: {text:?} is not an IP address");
        assert_eq!(problems, [expected]);
    }
}

/// Compares with the recorded result of kube-proxy 1.36.2 for the same spellings.
#[test]
fn addresses_are_read_in_every_spelling_that_kube_proxy_reads_and_told_once_each() {
    let (service, problems) = convert(
        "spec: {clusterIP: 010.096.050.001, externalIPs: ['192.000.002.100', '::ffff:192.0.2.101'], \
         ports: [{port: 80}]}, status: {loadBalancer: {ingress: [{ip: 203.0.113.070}]}}",
    );
    let service = service.unwrap();
    assert_eq!(service.cluster_ips.v4, Some([10, 96, 50, 1].into()));
    assert_eq!(service.cluster_ips.v6, None);
    assert_eq!(addresses(&service.external_ips), ["192.0.2.100", "192.0.2.101"]);
    assert_eq!(addresses(&service.load_balancer_ips), ["203.0.113.70"]);
    let fields: Vec<_> = problems.iter().map(|text| text.split(": ").nth(1).unwrap()).collect();
    assert_eq!(
        fields,
        [
            "spec.clusterIP",
            "spec.externalIPs[0]",
            "spec.externalIPs[1]",
            "status.loadBalancer.ingress[0].ip"
        ],
    );
    let wanted = r#"Service shop/web: spec.clusterIP: "010.096.050.001" is read as 10.96.50.1, as kube-proxy does"#;
    assert!(problems[0].starts_with(wanted), "{problems:?}");
    // The API server lists one address for each family: a mapped address is an IPv4 one.
    let (service, problems) = convert(
        "spec: {clusterIP: '::ffff:10.96.0.9', clusterIPs: ['::ffff:10.96.0.9', 'fd00::9'], \
         ipFamilies: [IPv4, IPv6]}",
    );
    let service = service.unwrap();
    assert_eq!(service.cluster_ips.v4, Some([10, 96, 0, 9].into()));
    assert_eq!(service.cluster_ips.v6, Some("fd00::9".parse().unwrap()));
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn a_bad_port_spoils_only_itself() {
    let (service, problems) = convert(
        "spec: {IP4, ports: [{name: a, port: 80}, {name: b, port: 0}, {name: c, port: 70000}, \
         {name: d, port: abc}, {name: e}, {name: f, port: 1, protocol: ICMP}, 5, {name: 7, port: 7}, \
         {name: g, port: 2, nodePort: -3}, {name: h, port: 3, protocol: {}}]}",
    );
    let names: Vec<_> = service.unwrap().ports.iter().map(|port| port.name.to_string()).collect();
    assert_eq!(names, ["a", "g"]);
    assert_eq!(
        problems,
        [
            "spec.ports[6]: 5 is not an object",
            "spec.ports[1].port: 0 is not a port (1–65535)",
            "spec.ports[2].port: 70000 is not a port (1–65535)",
            r#"spec.ports[3].port: "abc" is not a port (1–65535)"#,
            "spec.ports[4].port: a port number is required",
            r#"spec.ports[5].protocol: "ICMP" is not TCP, UDP or SCTP"#,
            "spec.ports[7].name: 7 is not a string",
            "spec.ports[8].nodePort: -3 is not a port (1–65535)",
            "spec.ports[9].protocol: an object is not TCP, UDP or SCTP",
        ]
        .map(|problem| format!("Service shop/web: {problem}"))
    );
}

#[test]
fn a_port_that_repeats_another_is_left_out() {
    let (service, problems) = convert(
        "spec: {IP4, ports: [{name: a, port: 80}, {name: a, port: 81}, {name: b, port: 80}, \
         {name: a, port: 80, protocol: UDP}]}",
    );
    assert_eq!(service.unwrap().ports.len(), 2);
    assert_eq!(
        problems,
        [
            r#"Service shop/web: spec.ports[1].name: "a" is the name of an earlier tcp port"#,
            "Service shop/web: spec.ports[2].port: 80 is the number of an earlier tcp port",
        ]
    );
}

#[test]
fn affinity_has_the_default_of_the_api_server() {
    let timeout = |rest: &str| match convert(&format!("spec: {{IP4, {rest}}}")).0.unwrap().affinity
    {
        Affinity::ClientIp { timeout } => timeout,
        Affinity::None => 0,
    };
    let config = |value: &str| {
        format!(
            "sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {value}}}}}"
        )
    };
    assert_eq!(timeout("sessionAffinity: None"), 0);
    assert_eq!(timeout("sessionAffinity: ClientIP"), 10_800);
    assert_eq!(timeout(&config("600")), 600);
    assert_eq!(timeout(&config("86400")), 86_400);
    for bad in ["0", "86401", "-1", "x"] {
        assert_eq!(timeout(&config(bad)), 10_800);
        assert_eq!(convert(&format!("spec: {{IP4, {}}}", config(bad))).1.len(), 1, "{bad}");
    }
    assert_eq!(timeout("sessionAffinity: Cookie"), 0);
}

#[test]
fn local_external_policy_needs_traffic_from_outside() {
    let policy = |rest: &str| {
        valid(&format!("spec: {{IP4, externalTrafficPolicy: Local, {rest}}}")).external_policy
    };
    assert_eq!(policy("type: ClusterIP"), TrafficPolicy::Cluster);
    assert_eq!(policy("externalIPs: [192.0.2.1]"), TrafficPolicy::Local);
    assert_eq!(policy("type: NodePort"), TrafficPolicy::Local);
    assert_eq!(policy("type: LoadBalancer, healthCheckNodePort: 30000"), TrafficPolicy::Local);
    assert_eq!(
        valid("spec: {IP4, internalTrafficPolicy: Local}").internal_policy,
        TrafficPolicy::Local
    );
}

#[test]
fn a_health_check_port_belongs_to_a_local_load_balancer() {
    let port =
        |rest: &str| convert(&format!("spec: {{IP4, {rest}}}")).0.unwrap().health_check_node_port;
    let local = "externalTrafficPolicy: Local, healthCheckNodePort: 30000";
    assert_eq!(port(&format!("type: LoadBalancer, {local}")), Some(30_000));
    assert_eq!(port(&format!("type: NodePort, {local}")), None);
    assert_eq!(port("type: LoadBalancer, healthCheckNodePort: 30000"), None);
    let (_, problems) = convert(
        "spec: {IP4, type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 0}",
    );
    assert_eq!(problems.len(), 1);
}

#[test]
fn outside_addresses_of_both_families_are_kept() {
    let (service, problems) = convert(
        "spec: {IP4, externalIPs: [192.0.2.1, '', 'fd00::5', bad]}, status: {loadBalancer: {ingress: [\
         {ip: 198.51.100.1}, {ip: 'fd00::9', ipMode: VIP}, {ip: 198.51.100.2, ipMode: Proxy}, \
         {hostname: lb.example.com}, {ip: worse}]}}",
    );
    let service = service.unwrap();
    assert_eq!(addresses(&service.external_ips), ["192.0.2.1", "fd00::5"]);
    assert_eq!(addresses(&service.load_balancer_ips), ["198.51.100.1", "fd00::9"]);
    assert_eq!(
        problems,
        [
            r#"Service shop/web: spec.externalIPs[3]: "bad" is not an IP address"#,
            r#"Service shop/web: status.loadBalancer.ingress[4].ip: "worse" is not an IP address"#,
        ]
    );
}

#[test]
fn without_an_api_server_a_cluster_ip_has_to_be_given_in_either_field() {
    for rest in ["spec: {clusterIP: ''}", "spec: {clusterIP: null, clusterIPs: null}", "spec: {}"] {
        let (service, problems) = convert(rest);
        assert!(service.is_none() && problems.len() == 1, "{rest}: {problems:?}");
        assert!(
            problems[0].starts_with("Service shop/web: spec.clusterIP: missing"),
            "{problems:?}"
        );
    }
    for rest in [
        "spec: {clusterIPs: [10.96.0.1]}",
        "spec: {clusterIP: 10.96.0.1, ipFamilies: [IPv4]}",
        "spec: {clusterIPs: [10.96.0.1], ipFamilies: [IPv4]}",
    ] {
        let (service, problems) = convert(rest);
        assert_eq!(problems, [""; 0], "{rest}");
        assert!(service.unwrap().cluster_ips.v4.is_some(), "{rest}");
    }
}

#[test]
fn an_address_that_no_host_can_have_is_refused() {
    for address in
        ["0.0.0.0", "127.0.0.5", "224.0.0.1", "255.255.255.255", "'::'", "fe80::1", "ff02::1"]
    {
        let (service, problems) = convert(&format!("spec: {{clusterIP: {address}}}"));
        assert!(service.is_none(), "{address}");
        assert!(problems[0].contains("is not the address of a host"), "{problems:?}");
    }
}

#[test]
fn an_outside_address_that_no_host_can_have_is_refused() {
    let external = |ip: &str| format!("spec: {{IP4, externalIPs: ['{ip}']}}");
    let ingress = |ip: &str| {
        format!("spec: {{IP4}}, status: {{loadBalancer: {{ingress: [{{ip: '{ip}'}}]}}}}")
    };
    for ip in [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.251",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::9",
        "ff02::1",
    ] {
        for (object, field) in [
            (external(ip), "spec.externalIPs[0]"),
            (ingress(ip), "status.loadBalancer.ingress[0].ip"),
        ] {
            let (service, problems) = convert(&object);
            let service = service.unwrap();
            assert_eq!((service.external_ips, service.load_balancer_ips), (vec![], vec![]));
            let said = format!("Service shop/web: {field}: {ip:?} is not the address of a host");
            assert_eq!(problems, [said]);
        }
    }
    for ip in ["169.254.20.10", "192.0.2.11", "fec0::1"] {
        assert_eq!(addresses(&valid(&external(ip)).external_ips), [ip]);
        assert_eq!(addresses(&valid(&ingress(ip)).load_balancer_ips), [ip]);
    }
    // An address that no host can have is refused in every spelling.
    for ip in ["::ffff:127.0.0.1", "127.000.0.1", "0000::1", "::ffff:0.0.0.0"] {
        let (service, problems) = convert(&external(ip));
        assert_eq!(addresses(&service.unwrap().external_ips), [""; 0]);
        assert!(
            problems.iter().any(|text| text.ends_with("is not the address of a host")),
            "{problems:?}"
        );
    }
}

#[test]
fn source_ranges_are_kept_as_they_are_written() {
    let ranges = |list: &str| -> Vec<String> { listed(list).0 };
    assert_eq!(ranges("[' 10.0.0.0/8 ', 'fd00::/64']"), ["10.0.0.0/8", "fd00::/64"]);
    assert_eq!(
        ranges("[10.0.0.0/8, 10.0.0.0/8, 0.0.0.0/0]"),
        ["10.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0"]
    );
    assert_eq!(ranges("[10.0.0.0/8, '::/0', 10.0.0.0/33]"), ["10.0.0.0/8", "::/0"]);
    assert_eq!(ranges("[10.1.2.3/8]"), ["10.1.2.3/8"]);
    assert_eq!(ranges("['::ffff:10.0.0.0/104', 010.1.0.0/16]"), ["10.0.0.0/8", "10.1.0.0/16"]);
}

/// Returns the source ranges of a Service with this list, and whether all of it could be read.
fn listed(list: &str) -> (Vec<String>, Completeness) {
    let service = convert(&format!("spec: {{IP4, loadBalancerSourceRanges: {list}}}")).0.unwrap();
    match service.source_ranges {
        SourceRanges::Unrestricted => panic!("{list} leaves everyone in"),
        SourceRanges::Listed { nets, completeness } => {
            (nets.iter().map(ToString::to_string).collect(), completeness)
        }
    }
}

#[test]
fn a_list_of_ranges_that_cannot_be_read_is_another_thing_than_none() {
    for list in ["null", "[]"] {
        let service = valid(&format!("spec: {{IP4, loadBalancerSourceRanges: {list}}}"));
        assert_eq!(service.source_ranges, SourceRanges::Unrestricted, "{list}");
    }
    assert_eq!(valid("spec: {IP4}").source_ranges, SourceRanges::Unrestricted);
    for (list, readable) in [
        ("[10.0.0.0]", &[][..]),
        ("[10.0.0.0/33]", &[]),
        ("10.0.0.0/8", &[]),
        ("'10.0.0.0/8,192.168.0.0/16'", &[]),
        ("{a: 10.0.0.0/8}", &[]),
        ("false", &[]),
        ("0", &[]),
        ("''", &[]),
        ("['']", &[]),
        ("[' ']", &[]),
        ("[null]", &[]),
        ("[5, {}, []]", &[]),
        ("[10.0.0.0/8, 192.168.0.0]", &["10.0.0.0/8"]),
        ("[10.0.0.0/8, null]", &["10.0.0.0/8"]),
        ("['fd00::/8', x]", &["fd00::/8"]),
    ] {
        let (nets, completeness) = listed(list);
        assert_eq!(
            (&nets[..], completeness),
            (
                &readable.iter().map(ToString::to_string).collect::<Vec<_>>()[..],
                Completeness::PartlyUnreadable
            ),
            "{list}"
        );
        let problems = convert(&format!("spec: {{IP4, loadBalancerSourceRanges: {list}}}")).1;
        let told = problems.last().unwrap();
        assert!(told.contains("what cannot be read admits no client"), "{list}: {problems:?}");
        assert!(problems.len() > 1, "what cannot be read has its place: {list}: {problems:?}");
    }
    assert_eq!(listed("[10.0.0.0/8]"), (vec!["10.0.0.0/8".to_owned()], Completeness::Complete));
}

#[test]
fn the_age_is_in_seconds() {
    let text = "{metadata: {name: a, creationTimestamp: '2024-01-01T00:00:10Z'}, spec: {clusterIP: 10.0.0.1}}";
    let service = super::service(&serde_saphyr::from_str(text).unwrap(), &mut Vec::new()).unwrap();
    assert_eq!(
        (service.created, service.name.to_string()),
        (1_704_067_210, "default/a".to_owned())
    );
}

#[test]
fn wrong_types_everywhere_are_reported_and_survived() {
    let (service, problems) = convert(
        "spec: {clusterIP: 10.96.0.1, clusterIPs: 5, ipFamilies: {}, ports: x, sessionAffinity: [], \
         externalIPs: 7, internalTrafficPolicy: Sometimes, loadBalancerSourceRanges: true}, status: 4",
    );
    assert!(service.is_some());
    assert_eq!(problems.len(), 9, "{problems:#?}");
    assert_eq!(convert("spec: 5").1, ["Service shop/web: spec: 5 is not an object"]);
    let nameless = serde_saphyr::from_str("{metadata: {namespace: shop}, spec: {}}").unwrap();
    let mut problems = Vec::new();
    assert_eq!(super::service(&nameless, &mut problems), None);
    assert_eq!(
        problems[0].to_string(),
        "Service shop/(without a name): metadata.name: an object needs a name"
    );
}

#[test]
fn a_name_or_namespace_of_another_type_is_reported_as_such() {
    for (metadata, problem) in [
        (
            "{name: 7, namespace: shop}",
            "Service shop/(without a name): metadata.name: 7 is not a string",
        ),
        ("{name: web, namespace: 12}", "Service web: metadata.namespace: 12 is not a string"),
    ] {
        let text = format!("{{metadata: {metadata}, spec: {{clusterIP: 10.96.0.1}}}}");
        let object = serde_saphyr::from_str(&text).unwrap();
        let mut problems = Vec::new();
        assert_eq!(super::service(&object, &mut problems), None);
        assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [problem]);
    }
}

#[test]
fn a_service_whose_name_cannot_be_is_left_out() {
    for (metadata, fields) in [
        ("name: web.a", &["metadata.name"][..]),
        ("name: web, namespace: Shop", &["metadata.namespace"]),
        (r#"name: "a\\eb", namespace: "c\\n""#, &["metadata.namespace", "metadata.name"]),
    ] {
        let text = format!(
            "{{metadata: {{{metadata}}}, spec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}}}"
        );
        let mut problems = Vec::new();
        let service = super::service(&serde_saphyr::from_str(&text).unwrap(), &mut problems);
        assert_eq!(service, None);
        let found: Vec<_> = problems.iter().map(|problem| &*problem.field).collect();
        assert_eq!(found, fields);
        let said = problems[0].to_string();
        assert!(said.contains("is not a DNS label") && !said.contains(char::is_control), "{said}");
    }
}
