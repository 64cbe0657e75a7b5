//! Replaces every value of an object by values that do not belong there.
//!
//! Takes one valid object of each kind. Checks that no change of a single value makes reading or
//! conversion fail, and that each problem names a place near the change.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{EndpointSlice, Node, Problem, Service, convert};

fn service() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7",
            "creationTimestamp": "2024-01-01T00:00:00Z", "labels": {"app": "web"}},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"],
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080},
                {"name": "dns", "protocol": "UDP", "port": 53}],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}},
            "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local",
            "externalIPs": ["192.0.2.1"], "healthCheckNodePort": 30081,
            "loadBalancerSourceRanges": ["10.0.0.0/8"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1", "ipMode": "VIP"}]}},
    })
}

fn slice() -> Value {
    json!({
        "metadata": {"name": "web-a", "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": ["10.244.1.5"], "nodeName": "node1",
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "node1"}]}}],
    })
}

fn node() -> Value {
    json!({
        "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": "z1"}},
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    })
}

/// Adds the JSON pointers of everything inside a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (key, value) in inside {
        let place = format!("{at}/{key}");
        places(value, &place, found);
        found.push(place);
    }
}

fn survives<T: DeserializeOwned, F: Debug>(
    whole: &Value,
    convert: fn(&T, &mut Vec<Problem>) -> Option<F>,
) {
    let mut problems = Vec::new();
    assert!(convert(&serde_json::from_value(whole.clone()).unwrap(), &mut problems).is_some());
    assert_eq!(problems, []);
    let mut found = Vec::new();
    places(whole, "", &mut found);
    let absurd = json!([
        null, true, 0, -1, 70_000, 1.5, 1e300, "", " ", "x", "1.2.3.4/0", [], [null], [[]], {}, {"a": 1}
    ]);
    for place in &found {
        for value in absurd.as_array().unwrap() {
            let mut changed = whole.clone();
            *changed.pointer_mut(place).unwrap() = value.clone();
            let object: T = serde_json::from_str(&changed.to_string()).unwrap();
            let mut problems = Vec::new();
            convert(&object, &mut problems);
            let top = place.split('/').nth(1).unwrap();
            for problem in problems {
                assert!(problem.field.starts_with(top), "{place} = {value}: {problem}");
            }
        }
    }
}

#[test]
fn no_single_value_can_fail_an_object() {
    survives::<Service, _>(&service(), convert::service);
    survives::<EndpointSlice, _>(&slice(), convert::slice);
    survives::<Node, _>(&node(), convert::node);
}
