//! Tests documents that are almost an object: they are reported, and do not affect others.

use super::{folder, load, service, slice};

const GOOD: &str = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":1}]}}"#;

fn list(items: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"List","items":{items}}}"#)
}

fn problems(file: &str, text: &str, services: &str) -> Vec<String> {
    let dir = folder(&[(file, text)]);
    let (events, problems) = load(dir.path());
    assert_eq!(events[2], format!("services {services}"), "{text}");
    let start = format!("{}: ", dir.path().join(file).display());
    problems.iter().map(|problem| problem.replace(&start, "")).collect()
}

#[test]
fn an_item_that_is_no_object_spoils_only_itself() {
    for text in [
        list(&format!("[{GOOD},5]")),
        list(&format!("[{GOOD},5]")).replace(r#""List""#, r#""ServiceList""#),
    ] {
        assert_eq!(
            problems("a.json", &text, "default/web"),
            ["line 1, column 1: items[1]: 5 is not an object"]
        );
    }
}

#[test]
fn items_that_are_no_list_are_called_so() {
    assert_eq!(
        problems("a.json", &list("{}"), ""),
        ["line 1, column 1: items: an object is not a list"]
    );
}

#[test]
fn what_seems_to_be_meant_is_not_passed_over_in_silence() {
    let text = list(&format!(
        r#"[{{"apiVersion":"v1","kind":"Pod"}},{},{GOOD},{}]"#,
        list(&format!("[{GOOD}]")),
        GOOD.replace("Service", "service"),
    ));
    assert_eq!(
        problems("a.json", &text, "default/web"),
        [
            "line 1, column 1: items[1]: a list within a list is not read",
            "line 1, column 1: items[3]: service of \"v1\" is not read, Service of v1 is",
        ]
    );
    let text = format!(
        "{}---\n{}---\n{}",
        service("web", 1),
        service("api", 2).replace("apiVersion: v1\n", ""),
        slice("web", "10.0.0.1").replace("k8s.io/v1", "k8s.io/v1beta1"),
    );
    let [first, second] = &problems("a.yaml", &text, "default/web")[..] else { panic!() };
    assert!(
        first.contains("line 8, column 1") && first.contains("Service without an apiVersion"),
        "{first}"
    );
    assert!(second.contains("EndpointSlice of \"discovery.k8s.io/v1beta1\""), "{second}");
}

#[test]
fn an_object_that_does_not_say_what_it_is_is_told() {
    let bare = service("web", 1).replace("kind: Service\n", "");
    let text = format!("{bare}---\n# nothing\n---\n{}", service("api", 2));
    assert_eq!(
        problems("a.yaml", &text, "default/api"),
        ["line 1, column 1: an object without a kind is not read"]
    );
    let text = list(&format!("[{},{GOOD}]", GOOD.replace(r#""kind":"Service","#, "")));
    assert_eq!(
        problems("a.json", &text, "default/web"),
        ["line 1, column 1: items[0]: an object without a kind is not read"]
    );
    let text = service("web", 1).replace("kind: Service", "kind: [Service]");
    assert_eq!(problems("a.yaml", &text, ""), ["line 1, column 1: a list is not a kind"]);
}

#[test]
fn endpoints_that_no_controller_turns_into_slices_are_told() {
    let endpoints =
        r#"{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"db"},"subsets":[]}"#;
    for (file, text, place) in [
        ("a.json", endpoints.to_owned(), ""),
        ("a.yaml", format!("---\n{endpoints}"), ""),
        ("b.json", list(&format!("[{endpoints}]")), "items[0]: "),
        ("c.json", endpoints.replace("Endpoints", "EndpointsList"), ""),
    ] {
        let [problem] = &problems(file, &text, "")[..] else { panic!("{text}") };
        let wanted = format!("line 1, column 1: {place}Endpoints");
        assert!(
            problem.starts_with(&wanted) && problem.contains("write an EndpointSlice"),
            "{problem}"
        );
    }
    // A kind of this name in another API group is a different one.
    let foreign = endpoints.replace("\"v1\"", "\"example.org/v1\"");
    assert_eq!(problems("a.json", &foreign, ""), [""; 0]);
}

/// Returns the problems of one object, without the file and the object's name.
fn of_object(file: &str, text: &str) -> Vec<String> {
    let dir = folder(&[(file, text)]);
    let (_, problems) = load(dir.path());
    let told = problems.iter().map(|problem| problem.splitn(3, ": ").nth(2).unwrap().to_owned());
    told.collect()
}

#[test]
fn fields_that_the_api_does_not_have_are_told_with_what_is_meant() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web, lables: {a: b}}\nspec:\n  clusterIP: 10.96.0.1\n  \
                externalIps: [192.0.2.1]\n  loadBalancerSourceRange: [10.0.0.0/8]\n  nonsense: {ports: 1}\n  ports:\n  \
                - {port: 80, targtPort: 8080, name: a}\n  - {port: 81, name: b, nodeport: 30000}\nsesionAffinity: ClientIP\n\
                externalTrafficPolicy: Local\nstatus: {loadbalancer: {}}\n";
    let expected = [
        "metadata.lables: unknown field; did you mean labels?",
        "spec.externalIps: unknown field; did you mean externalIPs?",
        "spec.loadBalancerSourceRange: unknown field; did you mean loadBalancerSourceRanges?",
        "spec.nonsense: unknown field; it has no effect",
        "spec.ports[0].targtPort: unknown field; did you mean targetPort?",
        "spec.ports[1].nodeport: unknown field; did you mean nodePort?",
        "sesionAffinity: unknown field; it has no effect",
        "externalTrafficPolicy: unknown field; did you mean spec.externalTrafficPolicy?",
        "status.loadbalancer: unknown field; did you mean loadBalancer?",
    ];
    assert_eq!(of_object("a.yaml", text), expected);
    let object: serde_json::Value = serde_saphyr::from_str(text).unwrap();
    let mut of_json = of_object("a.json", &object.to_string());
    let mut expected = expected.map(str::to_owned);
    of_json.sort();
    expected.sort();
    assert_eq!(of_json, expected);
    let text = slice("web", "10.0.0.1").replace("addresses", "addreses");
    assert_eq!(
        of_object("a.yaml", &text),
        ["endpoints[0].addreses: unknown field; did you mean addresses?"]
    );
}

#[test]
fn fields_of_items_are_told_of_the_item() {
    let bad = GOOD.replace(r#""ports""#, r#""prots""#).replace("web", "bad");
    for text in [
        list(&format!(r#"[{GOOD},{{"apiVersion":"v1","kind":"Pod","spec":{{"x":1}}}},{bad}]"#)),
        list(&format!("[{GOOD},{bad}]")).replace(r#""List""#, r#""ServiceList""#),
    ] {
        for (file, text) in [("a.json", text.clone()), ("a.yaml", format!("---\n{text}"))] {
            let dir = folder(&[(file, &text)]);
            let (_, problems) = load(dir.path());
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            let wanted = "Service default/bad: spec.prots: unknown field; did you mean ports?";
            assert!(problem.ends_with(wanted), "{problem}");
        }
    }
}

/// The output of `kubectl get --output yaml`, with the fields that a server fills in.
#[test]
fn fields_that_a_server_fills_in_are_known() {
    let text = include_str!("server-populated.yaml");
    let dir = folder(&[("a.yaml", text)]);
    assert_eq!(load(dir.path()).1, [""; 0]);
}
