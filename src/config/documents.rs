//! Configuration files → what their documents set.
//!
//! In: the text of a file, YAML or JSON. Out: [`Documents`]. Unknown and duplicate keys are warnings, as
//! upstream; every field of a wrong type is a mistake with line and path, and does not count. Never: a
//! judgement of values; a field that is taken for another kind's, or passed over because our own
//! document has a version that we do not know.

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

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Documents {
    /// kube-proxy's document, with the proxy's own one of the same file. Zeros and empty strings that
    /// mean "the default" are unset.
    pub(super) raw: Raw,
    /// What was accepted but has no effect.
    pub(super) warnings: Vec<String>,
    /// Every field of a wrong type; it is unset in `raw`.
    pub(super) mistakes: Vec<yaml::Error>,
}

/// Why the text is no configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFailure {
    /// Broken YAML.
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
    #[error("there is more than one {}", extension::KIND)]
    Twice,
    /// A document that is to be the proxy's own one and is not of its version, or not of its kind.
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
    /// A file for the proxy's own document alone has none, or more documents.
    #[error(
        "expected one document, of apiVersion {} and kind {}, found {count}",
        extension::API_VERSION,
        extension::KIND
    )]
    NotAlone {
        /// How many there are.
        count: usize,
    },
}

/// Reads a file that has the proxy's own document and no other.
///
/// # Errors
/// Another document, more of them, broken YAML.
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

/// Reads the first document of a file, and the proxy's own one, wherever it stands.
///
/// # Errors
/// A file without kube-proxy's document, an own one of another version, broken YAML.
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

/// There is no document of kube-proxy's, and our own one at most.
fn alone(is_ours: bool) -> DecodeFailure {
    let (api_version, kind) =
        if is_ours { (extension::API_VERSION, extension::KIND) } else { ("", "") };
    DecodeFailure::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() }
}

/// The documents in which there is anything.
fn filled(text: &str) -> impl Iterator<Item = Document<'_>> {
    yaml::documents(text).into_iter().filter(|document| !is_blank(document))
}

fn is_blank(document: &Document<'_>) -> bool {
    document.text.lines().all(|line| {
        let line = line.trim_start_matches("---").trim();
        line.is_empty() || line.starts_with('#')
    })
}

/// Whether a look at the text rules out that the document is ours; a further one of somebody else's
/// may be anything, even broken.
fn may_be_own(text: &str) -> bool {
    text.contains(extension::KIND) || text.contains(extension::GROUP)
}

/// Whether the document is the proxy's own one.
///
/// # Errors
/// If it has our group or kind, and is not of the version that we know: it must not be passed over.
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
    /// Of a key that occurs twice the last one counts, with a warning for each.
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

    /// The fields of a document of this kind.
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

/// Names every key of `tree` that `known`, all fields in their place, does not have.
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
