//! Answers `/configz` with the settings in force.
//!
//! Takes a `KubeProxyConfiguration` in which every default is filled in. Returns it as JSON, with fields in
//! kube-proxy's order. Shows no secrets: the configuration only names the files that hold them.
//!
//! Source: spec 10.3.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The order of the fields of the object at this path; empty if it has none.
fn order(path: &str) -> &'static [&'static str] {
    match path {
        "" => &[
            "kind",
            "apiVersion",
            "featureGates",
            "clientConnection",
            "logging",
            "hostnameOverride",
            "bindAddress",
            "healthzBindAddress",
            "metricsBindAddress",
            "bindAddressHardFail",
            "enableProfiling",
            "showHiddenMetricsForVersion",
            "mode",
            "iptables",
            "ipvs",
            "nftables",
            "winkernel",
            "detectLocalMode",
            "detectLocal",
            "clusterCIDR",
            "nodePortAddresses",
            "oomScoreAdj",
            "conntrack",
            "configSyncPeriod",
            "portRange",
        ],
        _ => order_below(path),
    }
}

fn order_below(path: &str) -> &'static [&'static str] {
    match path {
        ".clientConnection" => &["kubeconfig", "acceptContentTypes", "contentType", "qps", "burst"],
        ".logging" => &["format", "flushFrequency", "verbosity", "vmodule", "options"],
        ".logging.options" => &["text", "json"],
        ".logging.options.text" | ".logging.options.json" => &["splitStream", "infoBufferSize"],
        ".iptables" | ".nftables" => {
            &["masqueradeBit", "masqueradeAll", "localhostNodePorts", "syncPeriod", "minSyncPeriod"]
        }
        ".ipvs" => &[
            "syncPeriod",
            "minSyncPeriod",
            "scheduler",
            "excludeCIDRs",
            "strictARP",
            "tcpTimeout",
            "tcpFinTimeout",
            "udpTimeout",
        ],
        ".winkernel" => &[
            "networkName",
            "sourceVip",
            "enableDSR",
            "rootHnsEndpointName",
            "forwardHealthCheckVip",
        ],
        ".conntrack" => &[
            "maxPerCore",
            "min",
            "tcpEstablishedTimeout",
            "tcpCloseWaitTimeout",
            "tcpBeLiberal",
            "udpTimeout",
            "udpStreamTimeout",
        ],
        _ => &[],
    }
}

/// Returns the body of the answer.
pub(super) fn body(settings: &Value) -> String {
    let mut text = String::from("{\"kubeproxy.config.k8s.io\":");
    write(settings, "", &mut text);
    text.push('}');
    text
}

fn write(value: &Value, path: &str, text: &mut String) {
    let Value::Object(object) = value else {
        // Writing to a String cannot fail.
        let _ = write!(text, "{value}");
        return;
    };
    text.push('{');
    for (at, (key, value)) in in_order(object, path).into_iter().enumerate() {
        let separator = if at == 0 { "" } else { "," };
        let _ = write!(text, "{separator}{}:", Value::from(key));
        write(value, &format!("{path}.{key}"), text);
    }
    text.push('}');
}

/// Returns the fields in kube-proxy's order. Unknown fields come last.
fn in_order<'a>(object: &'a Map<String, Value>, path: &str) -> Vec<(&'a str, &'a Value)> {
    let place = |key: &str| order(path).iter().position(|known| *known == key);
    let mut fields: Vec<_> = object.iter().map(|(key, value)| (key.as_str(), value)).collect();
    fields.sort_by_key(|(key, _)| place(key).unwrap_or(usize::MAX));
    fields
}
