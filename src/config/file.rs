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
use super::own::{self, Own};
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
    /// Not a field of the document: the proxy's own one, of the same file or another.
    #[serde(skip)]
    pub own: Own,
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
    /// The proxy's own document is there more than once.
    #[error("there is more than one {}", own::KIND)]
    Twice,
    /// A file for the proxy's own document has none.
    #[error("expected apiVersion {} and kind {}", own::API_VERSION, own::KIND)]
    NotOwn,
}

/// Decodes a file that has the proxy's own document and no other.
pub fn parse_own(text: &str) -> Result<(Own, Vec<String>), Unreadable> {
    let mut documents = yaml::documents(text).into_iter().filter(|document| !is_blank(document));
    let (Some(document), None) = (documents.next(), documents.next()) else {
        return Err(Unreadable::NotOwn);
    };
    let mut warnings = Vec::new();
    let (tree, duplicates) = decode_tree(document, &mut warnings)?;
    if !is_own(&tree) {
        return Err(Unreadable::NotOwn);
    }
    let own = decode_own(document, &tree, duplicates, &mut warnings)?;
    Ok((own, warnings))
}

fn is_own(tree: &Value) -> bool {
    named(tree) == (own::API_VERSION.to_owned(), own::KIND.to_owned())
}

/// The document's `apiVersion` and `kind`.
fn named(tree: &Value) -> (String, String) {
    let word = |key| tree.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    (word("apiVersion"), word("kind"))
}

/// Of a key that occurs twice the last one counts, with a warning.
fn decode_tree(
    document: Document<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Value, Duplicates), yaml::Error> {
    match yaml::decode(document, Duplicates::Refused) {
        Ok(tree) => Ok((tree, Duplicates::Refused)),
        Err(error) if error.duplicate => {
            warnings.push(format!("{error}: the last one counts"));
            Ok((yaml::decode(document, Duplicates::LastWins)?, Duplicates::LastWins))
        }
        Err(error) => Err(error),
    }
}

fn decode_own(
    document: Document<'_>,
    tree: &Value,
    duplicates: Duplicates,
    warnings: &mut Vec<String>,
) -> Result<Own, yaml::Error> {
    let own: Own = yaml::decode(document, duplicates)?;
    let known = serde_json::to_value(Own::default()).unwrap_or_default();
    unknown_fields(tree, &known, "", warnings);
    Ok(own)
}

/// Decodes the first document of a file, and the proxy's own one, wherever it stands. Zeros and
/// empty strings that mean "the default" are unset in the result. The second value lists what was
/// accepted but has no effect.
pub fn parse(text: &str) -> Result<(Raw, Vec<String>), Unreadable> {
    let mut warnings = Vec::new();
    let (mut raw, mut own): (Option<Raw>, Option<Own>) = (None, None);
    let mut ignored = 0;
    for document in yaml::documents(text).into_iter().filter(|document| !is_blank(document)) {
        let is_read = raw.is_none() || document.text.contains(own::KIND);
        if !is_read {
            ignored += 1;
            continue;
        }
        let (tree, duplicates) = decode_tree(document, &mut warnings)?;
        if is_own(&tree) {
            let found = decode_own(document, &tree, duplicates, &mut warnings)?;
            if own.replace(found).is_some() {
                return Err(Unreadable::Twice);
            }
        } else if raw.is_none() {
            raw = Some(decode_raw(document, &tree, duplicates, &mut warnings)?);
        } else {
            ignored += 1;
        }
    }
    if ignored > 0 {
        warnings.push(format!("{ignored} further documents in the file are ignored"));
    }
    let Some(mut raw) = raw else {
        let (api_version, kind) = (String::new(), String::new());
        return Err(Unreadable::Kind { api_version, kind });
    };
    raw.own = own.unwrap_or_default();
    Ok((raw, warnings))
}

fn decode_raw(
    document: Document<'_>,
    tree: &Value,
    duplicates: Duplicates,
    warnings: &mut Vec<String>,
) -> Result<Raw, Unreadable> {
    let (api_version, kind) = named(tree);
    if (api_version.as_str(), kind.as_str())
        != ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration")
    {
        return Err(Unreadable::Kind { api_version, kind });
    }
    let mut raw: Raw = yaml::decode(document, duplicates)?;
    forget_zeros(&mut raw);
    let known = serde_json::to_value(Raw::default()).unwrap_or_default();
    unknown_fields(tree, &known, "", warnings);
    Ok(raw)
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
