//! Writes the settings in force as a `KubeProxyConfiguration`.
//!
//! Takes raw settings that have passed the check. Returns every field with defaults filled in, as kube-proxy writes it:
//! the periods of other modes are zero, and optional fields are omitted. Does not check values.
//!
//! Source: spec 12.2 and 12.5, and files that kube-proxy has written.

use serde_json::{Value, json};

use super::documents::KUBE_PROXY;
use super::duration::GoDuration;
use super::extension::{self, ExtensionConfig};
use super::file::{LoggingOptions, Raw, StreamOptions};
use super::{Error, check, defaults, go_yaml};
use crate::sloppy;

/// Returns the settings as JSON.
pub(super) fn effective(raw: &Raw) -> Value {
    let (any, loopback) = check::listeners(raw);
    let mut settings = json!({
        "apiVersion": KUBE_PROXY.0,
        "kind": KUBE_PROXY.1,
        "bindAddress": text(&raw.bind_address, defaults::BIND_ADDRESS),
        "bindAddressHardFail": raw.bind_address_hard_fail.unwrap_or_default(),
        "clientConnection": client_connection(raw),
        "clusterCIDR": text(&raw.cluster_cidr, ""),
        "configSyncPeriod": time(raw.config_sync_period, defaults::CONFIG_SYNC_PERIOD),
        "conntrack": conntrack(raw),
        "detectLocal": {
            "bridgeInterface": text(&raw.detect_local.bridge_interface, ""),
            "interfaceNamePrefix": text(&raw.detect_local.interface_name_prefix, ""),
        },
        "detectLocalMode": non_empty(&raw.detect_local_mode, "ClusterCIDR"),
        "enableProfiling": raw.enable_profiling.unwrap_or_default(),
        "healthzBindAddress": listener(&raw.healthz_bind_address, any, defaults::HEALTHZ_PORT),
        "hostnameOverride": text(&raw.hostname_override, ""),
        "logging": logging(raw),
        "metricsBindAddress": listener(&raw.metrics_bind_address, loopback, defaults::METRICS_PORT),
        "mode": "ipvs",
        "nodePortAddresses": list(&raw.node_port_addresses),
        "oomScoreAdj": raw.oom_score_adj.unwrap_or(defaults::OOM_SCORE_ADJ),
        "portRange": text(&raw.port_range, ""),
        "showHiddenMetricsForVersion": text(&raw.show_hidden_metrics_for_version, ""),
    });
    put(&mut settings, "ipvs", ipvs(raw));
    put(&mut settings, "iptables", iptables(raw));
    put(&mut settings, "nftables", nftables(raw));
    put(&mut settings, "winkernel", winkernel(raw));
    if let Some(gates) = raw.feature_gates.as_ref().filter(|gates| !gates.is_empty()) {
        put(&mut settings, "featureGates", json!(gates));
    }
    if raw.windows_run_as_service == Some(true) {
        put(&mut settings, "windowsRunAsService", true.into());
    }
    settings
}

/// Returns the settings as YAML with sorted keys, followed by the proxy's own document if it has any field.
pub(super) fn yaml(raw: &Raw) -> Result<String, Error> {
    let mut text = go_yaml::document(&effective(raw));
    if raw.own != ExtensionConfig::default() {
        let mut own = serde_json::to_value(&raw.own).map_err(|e| Error::Write(e.to_string()))?;
        if let Some(fields) = own.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        put(&mut own, "apiVersion", extension::API_VERSION.into());
        put(&mut own, "kind", extension::KIND.into());
        text = format!("{text}---\n{}", go_yaml::document(&own));
    }
    Ok(text)
}

fn client_connection(raw: &Raw) -> Value {
    let client = &raw.client_connection;
    json!({
        "acceptContentTypes": text(&client.accept_content_types, ""),
        "burst": client.burst.unwrap_or(defaults::BURST),
        "contentType": non_empty(&client.content_type, "application/vnd.kubernetes.protobuf"),
        "kubeconfig": text(&client.kubeconfig, ""),
        "qps": number(client.qps.unwrap_or(defaults::QPS)),
    })
}

fn conntrack(raw: &Raw) -> Value {
    let conntrack = &raw.conntrack;
    json!({
        "maxPerCore": conntrack.max_per_core.unwrap_or(defaults::CONNTRACK_MAX_PER_CORE),
        "min": conntrack.min.unwrap_or(defaults::CONNTRACK_MIN),
        "tcpBeLiberal": conntrack.tcp_be_liberal.unwrap_or_default(),
        "tcpCloseWaitTimeout": time(conntrack.tcp_close_wait_timeout, defaults::TCP_CLOSE_WAIT),
        "tcpEstablishedTimeout": time(conntrack.tcp_established_timeout, defaults::TCP_ESTABLISHED),
        "udpStreamTimeout": time(conntrack.udp_stream_timeout, 0),
        "udpTimeout": time(conntrack.udp_timeout, 0),
    })
}

fn logging(raw: &Raw) -> Value {
    let logging = &raw.logging;
    let mut value = json!({
        "flushFrequency": time(logging.flush_frequency, defaults::LOG_FLUSH),
        "format": non_empty(&logging.format, defaults::LOG_FORMAT),
        "options": logging_options(&logging.options),
        "verbosity": logging.verbosity.unwrap_or_default(),
    });
    if let Some(modules) = logging.vmodule.as_ref().filter(|modules| !modules.is_empty()) {
        put(&mut value, "vmodule", json!(modules));
    }
    value
}

fn logging_options(options: &LoggingOptions) -> Value {
    let stream = |options: &StreamOptions| {
        let mut value = json!({"infoBufferSize": non_empty(&options.info_buffer_size, "0")});
        if options.split_stream == Some(true) {
            put(&mut value, "splitStream", true.into());
        }
        value
    };
    json!({"json": stream(&options.json), "text": stream(&options.text)})
}

fn ipvs(raw: &Raw) -> Value {
    let ipvs = &raw.ipvs;
    json!({
        "excludeCIDRs": list(&ipvs.exclude_cidrs),
        "minSyncPeriod": time(ipvs.min_sync_period, 0),
        "scheduler": text(&ipvs.scheduler, ""),
        "strictARP": ipvs.strict_arp.unwrap_or_default(),
        "syncPeriod": time(ipvs.sync_period, defaults::SYNC_PERIOD),
        "tcpFinTimeout": time(ipvs.tcp_fin_timeout, 0),
        "tcpTimeout": time(ipvs.tcp_timeout, 0),
        "udpTimeout": time(ipvs.udp_timeout, 0),
    })
}

/// The periods belong to iptables mode, so kube-proxy writes zeros.
fn iptables(raw: &Raw) -> Value {
    let iptables = &raw.iptables;
    json!({
        "localhostNodePorts": iptables.localhost_node_ports.unwrap_or(true),
        "masqueradeAll": iptables.masquerade_all.unwrap_or_default(),
        "masqueradeBit": iptables.masquerade_bit.unwrap_or(defaults::MASQUERADE_BIT),
        "minSyncPeriod": "0s",
        "syncPeriod": "0s",
    })
}

fn nftables(raw: &Raw) -> Value {
    json!({
        "masqueradeAll": false,
        "masqueradeBit": raw.nftables.masquerade_bit.unwrap_or(defaults::MASQUERADE_BIT),
        "minSyncPeriod": "0s",
        "syncPeriod": "0s",
    })
}

fn winkernel(raw: &Raw) -> Value {
    let winkernel = &raw.winkernel;
    json!({
        "enableDSR": winkernel.enable_dsr.unwrap_or_default(),
        "forwardHealthCheckVip": winkernel.forward_health_check_vip.unwrap_or_default(),
        "networkName": text(&winkernel.network_name, ""),
        "rootHnsEndpointName": text(&winkernel.root_hns_endpoint_name, ""),
        "sourceVip": text(&winkernel.source_vip, ""),
    })
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn text<'a>(given: &'a Option<String>, default: &'a str) -> &'a str {
    given.as_deref().unwrap_or(default)
}

fn non_empty<'a>(given: &'a Option<String>, default: &'a str) -> &'a str {
    given.as_deref().filter(|text| !text.is_empty()).unwrap_or(default)
}

/// The address; a bare IP gets the default port.
fn listener(given: &Option<String>, default: &str, port: u16) -> String {
    let address = given.as_deref().unwrap_or(default);
    if sloppy::address(address).is_some() {
        sloppy::with_port(address, port.into())
    } else {
        address.to_owned()
    }
}

/// The list, or null if it is empty, as Go writes a nil slice.
fn list(given: &Option<Vec<String>>) -> Value {
    given.as_ref().filter(|words| !words.is_empty()).map_or(Value::Null, |words| json!(words))
}

fn time(given: Option<GoDuration>, default: i64) -> String {
    given.unwrap_or(GoDuration::from_secs(default)).to_string()
}

/// Writes a whole number without a fraction, and others with as few digits as identify the `f32`.
fn number(value: f32) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return (value as i64).into();
    }
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
