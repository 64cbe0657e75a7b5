//! `KubeProxyConfiguration` v1alpha1 as settings that are set or not.
//!
//! In: the text of a configuration file, YAML or JSON. Out: a [`Raw`] with every field that the
//! text sets, and warnings. Unknown and duplicate keys are warnings, as upstream; wrong types,
//! another kind and broken YAML are errors with line and field. Never: defaults or judgement of
//! values, which are the check's. The flags fill the same structure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::duration::GoDuration;
use crate::yaml::{self, Document, Duplicates};

/// The fields of `kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration`; `None` means unset.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the published configuration API")]
pub struct Raw {
    pub api_version: Option<String>,
    pub kind: Option<String>,
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
    pub nftables: Option<Value>,
    pub winkernel: Option<Value>,
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
    /// Not a field of the file: `--master`.
    #[serde(skip)]
    pub master: Option<String>,
}

/// `clientConnection`: how the API server is reached.
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
    pub vmodule: Option<Value>,
    pub options: Option<Value>,
}

/// `iptables`: two of its settings are used in IPVS mode too.
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

/// Why the text is no configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Broken YAML, or a value of the wrong type.
    #[error(transparent)]
    Decode(#[from] yaml::Error),
    /// A document of another kind.
    #[error(
        "expected apiVersion kubeproxy.config.k8s.io/v1alpha1 and kind KubeProxyConfiguration, \
         found apiVersion {api_version:?} and kind {kind:?}"
    )]
    Kind {
        /// The document's `apiVersion`; empty if it has none.
        api_version: String,
        /// The document's `kind`; empty if it has none.
        kind: String,
    },
}

/// Decodes the first document of a file. Zeros and empty strings that mean "the default" are
/// unset in the result. The second value lists what was accepted but has no effect.
pub fn parse(text: &str) -> Result<(Raw, Vec<String>), Unreadable> {
    let mut documents = yaml::documents(text).into_iter().filter(|document| !is_blank(document));
    let first = documents.next().unwrap_or(Document { lines_before: 0, text: "{}" });
    let mut warnings = Vec::new();

    let tree: Value = match yaml::decode(first, Duplicates::Refused) {
        Ok(tree) => tree,
        Err(error) if error.duplicate => {
            warnings.push(format!("{error}: the last one counts"));
            yaml::decode(first, Duplicates::LastWins)?
        }
        Err(error) => return Err(error.into()),
    };
    let word = |key| tree.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (word("apiVersion"), word("kind"));
    if (api_version.as_str(), kind.as_str())
        != ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration")
    {
        return Err(Unreadable::Kind { api_version, kind });
    }

    let policy = if warnings.is_empty() { Duplicates::Refused } else { Duplicates::LastWins };
    let mut raw: Raw = yaml::decode(first, policy)?;
    forget_zeros(&mut raw);
    let known = serde_json::to_value(Raw::default()).unwrap_or_default();
    unknown_fields(&tree, &known, "", &mut warnings);
    let others = documents.count();
    if others > 0 {
        warnings.push(format!("{others} further documents in the file are ignored"));
    }
    Ok((raw, warnings))
}

fn is_blank(document: &Document<'_>) -> bool {
    document.text.lines().all(|line| {
        let line = line.trim_start_matches("---").trim();
        line.is_empty() || line.starts_with('#')
    })
}

/// Upstream cannot tell these from unset ones (its defaults apply "if zero").
fn forget_zeros(raw: &mut Raw) {
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

/// Names every key of `tree` that `known`, all fields in their place, does not have.
fn unknown_fields(tree: &Value, known: &Value, path: &str, warnings: &mut Vec<String>) {
    let (Value::Object(tree), Value::Object(known)) = (tree, known) else { return };
    for (key, value) in tree {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match known.get(key) {
            Some(known) => unknown_fields(value, known, &path, warnings),
            None => warnings.push(format!("{path}: unknown field, ignored")),
        }
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `logging.flushFrequency` alone may also be a number.
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
