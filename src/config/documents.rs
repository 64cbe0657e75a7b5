//! Reads configuration files.
//!
//! Takes the text of a file, YAML or JSON. Returns [`Documents`]. Unknown and duplicate keys are warnings, as upstream.
//! Every field of a wrong type is a mistake with line and path, and stays unset. Does not check values. Refuses a
//! document of the proxy's own kind with an unknown version instead of skipping it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decode::{below, decode};
use super::extension::{self, ExtensionConfig};
use super::file::{Raw, forget_zeros};
use super::spans::Places;
use crate::yaml::{self, Document, Duplicates};

/// The `apiVersion` and `kind` of kube-proxy's document.
pub(super) const KUBE_PROXY: (&str, &str) =
    ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration");

/// The contents of a configuration file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Documents {
    /// kube-proxy's document, with the proxy's own document of the same file. Zeros and empty strings that mean "the
    /// default" are unset.
    pub(super) raw: Raw,
    /// Messages about keys and documents that were accepted but have no effect.
    pub(super) warnings: Vec<String>,
    /// Every field of a wrong type; it is unset in `raw`.
    pub(super) mistakes: Vec<yaml::Error>,
}

/// The reason why a text is not a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFailure {
    /// The YAML is broken.
    #[error(transparent)]
    Decode(#[from] yaml::Error),
    /// The document has another kind.
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
    /// There is more than one document of the proxy's own kind.
    #[error("there is more than one {}", extension::KIND)]
    Twice,
    /// A document has the proxy's own kind or group, but not the known version or kind.
    #[error(
        "expected apiVersion {} and kind {}, found apiVersion {api_version:?} and kind {kind:?}",
        extension::API_VERSION,
        extension::KIND
    )]
    NotOwn {
        /// The document's `apiVersion`; empty if it has none.
        api_version: String,
        /// The document's `kind`; empty if it has none.
        kind: String,
    },
    /// A file for the proxy's own document holds no document, or several.
    #[error(
        "expected one document, of apiVersion {} and kind {}, found {count}",
        extension::API_VERSION,
        extension::KIND
    )]
    NotAlone {
        /// The number of documents.
        count: usize,
    },
}

/// Reads a file that holds the proxy's own document and no other.
///
/// # Errors
/// If the file holds another document or several, or its YAML is broken.
pub(super) fn parse_own(text: &str) -> Result<Documents, DecodeFailure> {
    let documents: Vec<_> = filled(text).collect();
    let [document] = documents[..] else {
        return Err(DecodeFailure::NotAlone { count: documents.len() });
    };
    let mut found = Documents::default();
    let (tree, duplicates) = found.tree(document)?;
    let (api_version, kind) = named(&tree);
    if !is_own(&api_version, &kind)? {
        return Err(DecodeFailure::NotOwn { api_version, kind });
    }
    found.raw.own = found.fields(document, &tree, duplicates, extension::KIND);
    Ok(found)
}

/// Reads kube-proxy's document, which is the first one, and the proxy's own document, wherever it stands in the file.
///
/// # Errors
/// If kube-proxy's document is missing, the proxy's own has another version, or the YAML is broken.
pub(super) fn parse(text: &str) -> Result<Documents, DecodeFailure> {
    let mut found = Documents::default();
    let (mut raw, mut own): (Option<Raw>, Option<ExtensionConfig>) = (None, None);
    let mut ignored = 0;
    for document in filled(text) {
        if raw.is_some() && !may_be_own(document.text) {
            ignored += 1;
            continue;
        }
        let (tree, duplicates) = found.tree(document)?;
        let (api_version, kind) = named(&tree);
        if is_own(&api_version, &kind)? {
            if own.replace(found.fields(document, &tree, duplicates, extension::KIND)).is_some() {
                return Err(DecodeFailure::Twice);
            }
        } else if raw.is_some() {
            ignored += 1;
        } else if (api_version.as_str(), kind.as_str()) == KUBE_PROXY {
            let mut fields = found.fields(document, &tree, duplicates, KUBE_PROXY.1);
            forget_zeros(&mut fields);
            raw = Some(fields);
        } else {
            return Err(DecodeFailure::Kind { api_version, kind });
        }
    }
    if ignored > 0 {
        found.warnings.push(format!("{ignored} further documents in the file are ignored"));
    }
    found.raw = raw.ok_or_else(|| alone(own.is_some()))?;
    found.raw.own = own.unwrap_or_default();
    Ok(found)
}

/// The error for a file without kube-proxy's document. `is_ours` is true if the file holds the proxy's own document.
fn alone(is_ours: bool) -> DecodeFailure {
    let (api_version, kind) =
        if is_ours { (extension::API_VERSION, extension::KIND) } else { ("", "") };
    DecodeFailure::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() }
}

/// The documents that are not blank.
fn filled(text: &str) -> impl Iterator<Item = Document<'_>> {
    yaml::documents(text).into_iter().filter(|document| !is_blank(document))
}

fn is_blank(document: &Document<'_>) -> bool {
    document.text.lines().all(|line| {
        let line = line.trim_start_matches("---").trim();
        line.is_empty() || line.starts_with('#')
    })
}

/// False if the text rules out the proxy's own document. Other documents after the first may be anything, even broken.
fn may_be_own(text: &str) -> bool {
    text.contains(extension::KIND) || text.contains(extension::GROUP)
}

/// True if the document is the proxy's own.
///
/// # Errors
/// If the document has the proxy's group or kind, but not the known version: it must not be skipped.
fn is_own(api_version: &str, kind: &str) -> Result<bool, DecodeFailure> {
    if (api_version, kind) == (extension::API_VERSION, extension::KIND) {
        return Ok(true);
    }
    let group = api_version.split('/').next();
    if kind == extension::KIND || group == Some(extension::GROUP) {
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        return Err(DecodeFailure::NotOwn { api_version, kind });
    }
    Ok(false)
}

/// The document's `apiVersion` and `kind`.
fn named(tree: &Value) -> (String, String) {
    let word = |key| tree.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    (word("apiVersion"), word("kind"))
}

impl Documents {
    /// Decodes the document. The last of duplicate keys wins, with a warning for each.
    fn tree(&mut self, document: Document<'_>) -> Result<(Value, Duplicates), yaml::Error> {
        let error = match yaml::decode(document, Duplicates::Refused) {
            Ok(tree) => return Ok((tree, Duplicates::Refused)),
            Err(error) if error.duplicate => error,
            Err(error) => return Err(error),
        };
        let mut repeated = Places::of(document).repeated;
        if repeated.is_empty() {
            repeated.push(error);
        }
        let told = repeated.iter().map(|key| format!("{key}: the last one counts"));
        self.warnings.extend(told);
        Ok((yaml::decode(document, Duplicates::LastWins)?, Duplicates::LastWins))
    }

    /// Decodes the fields of a document of this kind, and collects mistakes and unknown fields.
    fn fields<T: DeserializeOwned + Serialize + Default>(
        &mut self,
        document: Document<'_>,
        tree: &Value,
        duplicates: Duplicates,
        kind: &str,
    ) -> T {
        let (fields, mistakes) = decode(document, tree, duplicates, kind);
        self.mistakes.extend(mistakes);
        let known = serde_json::to_value(T::default()).unwrap_or_default();
        unknown_fields(tree, &known, "", &mut self.warnings);
        fields
    }
}

/// Adds a warning for every key of `tree` that is not in `known`, which has every field.
fn unknown_fields(tree: &Value, known: &Value, path: &str, warnings: &mut Vec<String>) {
    let (Value::Object(tree), Value::Object(known)) = (tree, known) else { return };
    for (key, value) in tree {
        let path = below(path, key);
        match known.get(key) {
            Some(known) => unknown_fields(value, known, &path, warnings),
            None => warnings.push(format!("{path}: unknown field, ignored")),
        }
    }
}
