//! `KubeProxyConfiguration` v1alpha1 as settings that are set or unset.
//!
//! Takes a document by way of serde. Returns a [`Raw`] with the fields that it sets; flags fill the same structure.
//! Does not apply defaults or check values, which `check` does. Does not parse text, which `documents` does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::duration::GoDuration;
use super::extension::ExtensionConfig;

/// The fields of `kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration`; `None` means unset.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct Raw {
    pub api_version: Option<String>,
    pub kind: Option<String>,
    #[serde(deserialize_with = "null_is_false")]
    pub feature_gates: Option<BTreeMap<String, bool>>,
    #[serde(deserialize_with = "null_is_default")]
    pub client_connection: ClientConnection,
    #[serde(deserialize_with = "null_is_default")]
    pub logging: Logging,
    pub hostname_override: Option<String>,
    pub bind_address: Option<String>,
    pub healthz_bind_address: Option<String>,
    pub metrics_bind_address: Option<String>,
    pub bind_address_hard_fail: Option<bool>,
    pub enable_profiling: Option<bool>,
    pub show_hidden_metrics_for_version: Option<String>,
    pub mode: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub iptables: Iptables,
    #[serde(deserialize_with = "null_is_default")]
    pub ipvs: Ipvs,
    #[serde(deserialize_with = "null_is_default")]
    pub nftables: Nftables,
    #[serde(deserialize_with = "null_is_default")]
    pub winkernel: Winkernel,
    pub detect_local_mode: Option<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub detect_local: DetectLocal,
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: Option<String>,
    pub node_port_addresses: Option<Vec<String>>,
    pub oom_score_adj: Option<i32>,
    #[serde(deserialize_with = "null_is_default")]
    pub conntrack: Conntrack,
    pub config_sync_period: Option<GoDuration>,
    pub port_range: Option<String>,
    pub windows_run_as_service: Option<bool>,
    /// The flag `--master`; not a field of the file.
    #[serde(skip)]
    pub master: Option<String>,
    /// The proxy's own document, of the same file or another; not a field of this document.
    #[serde(skip)]
    pub own: ExtensionConfig,
}

/// `clientConnection`: the connection to the API server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct ClientConnection {
    pub kubeconfig: Option<String>,
    pub accept_content_types: Option<String>,
    pub content_type: Option<String>,
    pub qps: Option<f32>,
    pub burst: Option<i32>,
}

/// `logging`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct Logging {
    pub format: Option<String>,
    #[serde(deserialize_with = "duration_or_nanoseconds")]
    pub flush_frequency: Option<GoDuration>,
    pub verbosity: Option<u32>,
    pub vmodule: Option<Vec<VModule>>,
    #[serde(deserialize_with = "null_is_default")]
    pub options: LoggingOptions,
}

/// An element of `logging.vmodule`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct VModule {
    pub file_pattern: String,
    pub verbosity: u32,
}

/// `logging.options`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct LoggingOptions {
    #[serde(deserialize_with = "null_is_default")]
    pub text: StreamOptions,
    #[serde(deserialize_with = "null_is_default")]
    pub json: StreamOptions,
}

/// `logging.options.text` and `logging.options.json`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct StreamOptions {
    pub split_stream: Option<bool>,
    pub info_buffer_size: Option<String>,
}

/// `nftables`: no effect in IPVS mode.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct Nftables {
    pub masquerade_bit: Option<i32>,
    pub masquerade_all: Option<bool>,
    pub sync_period: Option<GoDuration>,
    pub min_sync_period: Option<GoDuration>,
}

/// `winkernel`: no effect on Linux.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct Winkernel {
    pub network_name: Option<String>,
    pub source_vip: Option<String>,
    #[serde(rename = "enableDSR")]
    pub enable_dsr: Option<bool>,
    pub root_hns_endpoint_name: Option<String>,
    pub forward_health_check_vip: Option<bool>,
}

/// `iptables`: two of its fields are used in IPVS mode too.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct Iptables {
    pub masquerade_bit: Option<i32>,
    pub masquerade_all: Option<bool>,
    pub localhost_node_ports: Option<bool>,
    pub sync_period: Option<GoDuration>,
    pub min_sync_period: Option<GoDuration>,
}

/// `ipvs`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct Ipvs {
    pub sync_period: Option<GoDuration>,
    pub min_sync_period: Option<GoDuration>,
    pub scheduler: Option<String>,
    #[serde(rename = "excludeCIDRs")]
    pub exclude_cidrs: Option<Vec<String>>,
    #[serde(rename = "strictARP")]
    pub strict_arp: Option<bool>,
    pub tcp_timeout: Option<GoDuration>,
    pub tcp_fin_timeout: Option<GoDuration>,
    pub udp_timeout: Option<GoDuration>,
}

/// `detectLocal`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct DetectLocal {
    pub bridge_interface: Option<String>,
    pub interface_name_prefix: Option<String>,
}

/// `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct Conntrack {
    pub max_per_core: Option<i32>,
    pub min: Option<i32>,
    pub tcp_established_timeout: Option<GoDuration>,
    pub tcp_close_wait_timeout: Option<GoDuration>,
    pub tcp_be_liberal: Option<bool>,
    pub udp_timeout: Option<GoDuration>,
    pub udp_stream_timeout: Option<GoDuration>,
}

/// Unsets zeros and empty strings of fields in which kube-proxy cannot tell them from unset ones. Its defaults apply
/// "if zero".
pub(super) fn forget_zeros(raw: &mut Raw) {
    fn unset<T: PartialEq>(value: &mut Option<T>, zero: &T) {
        if value.as_ref() == Some(zero) {
            *value = None;
        }
    }
    for text in [
        &mut raw.bind_address,
        &mut raw.healthz_bind_address,
        &mut raw.metrics_bind_address,
        &mut raw.client_connection.content_type,
        &mut raw.logging.format,
    ] {
        unset(text, &String::new());
    }
    for duration in
        [&mut raw.config_sync_period, &mut raw.ipvs.sync_period, &mut raw.logging.flush_frequency]
    {
        unset(duration, &GoDuration::ZERO);
    }
    unset(&mut raw.client_connection.qps, &0.0);
    unset(&mut raw.client_connection.burst, &0);
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a map in which null means false: in a Go map null is the zero value.
fn null_is_false<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, bool>>, D::Error> {
    let gates: Option<BTreeMap<String, Option<bool>>> = Option::deserialize(deserializer)?;
    let set = |(name, on): (String, Option<bool>)| (name, on.unwrap_or_default());
    Ok(gates.map(|gates| gates.into_iter().map(set).collect()))
}

/// Reads `logging.flushFrequency`, the only duration that may also be a number of nanoseconds.
fn duration_or_nanoseconds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<GoDuration>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| match text.parse() {
        Ok(nanos) => Ok(GoDuration::from_nanos(nanos)),
        Err(_) => text.parse().map_err(serde::de::Error::custom),
    })
    .transpose()
}
