//! What is almost an object: told, and no harm to what stands beside it.

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
