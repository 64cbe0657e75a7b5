//! Reads configuration files.
//!
//! Takes the text of a file, YAML or JSON. Returns [`Documents`]. Unknown and duplicate keys are warnings, as upstream.
//! Every field of a wrong type is a mistake with line and path, and stays unset. Does not check values. Refuses a
//! document of the proxy's own kind with an unknown version instead of skipping it.

use proxier::model::Family;

use super::decode::{Reader, Value as _};
use super::document::{ExtensionConfig, KubeProxyConfiguration};
use crate::sloppy;
use crate::yaml::{self, Document, Node};

/// The contents of a configuration file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Documents {
    /// kube-proxy's document, with every default filled in.
    pub(super) settings: KubeProxyConfiguration,
    /// The proxy's own document, with every default filled in.
    pub(super) own: Option<ExtensionConfig>,
    /// Messages about keys and documents that were accepted but have no effect.
    pub(super) warnings: Vec<String>,
    /// Every field of a wrong type; it has its default.
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
    #[error("there is more than one {}", ExtensionConfig::KIND)]
    Twice,
    /// A document has the proxy's own kind or group, but not the known version or kind.
    #[error(
        "expected apiVersion {} and kind {}, found apiVersion {api_version:?} and kind {kind:?}",
        ExtensionConfig::API_VERSION,
        ExtensionConfig::KIND
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
        ExtensionConfig::API_VERSION,
        ExtensionConfig::KIND
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
    let tree = found.tree(document)?;
    let (api_version, kind) = named(&tree);
    if !is_own(&api_version, &kind)? {
        return Err(DecodeFailure::NotOwn { api_version, kind });
    }
    found.read_own(&tree)?;
    Ok(found)
}

/// Reads kube-proxy's document, which is the first one, and the proxy's own document, wherever it stands in the file.
///
/// # Errors
/// If kube-proxy's document is missing, the proxy's own has another version, or the YAML is broken.
pub(super) fn parse(text: &str) -> Result<Documents, DecodeFailure> {
    const KUBE_PROXY: (&str, &str) =
        (KubeProxyConfiguration::API_VERSION, KubeProxyConfiguration::KIND);
    let (mut found, mut has_settings, mut ignored) = (Documents::default(), false, 0);
    for document in filled(text) {
        if has_settings && !may_be_own(document.text) {
            ignored += 1;
            continue;
        }
        let tree = found.tree(document)?;
        let (api_version, kind) = named(&tree);
        if is_own(&api_version, &kind)? {
            found.read_own(&tree)?;
        } else if has_settings {
            ignored += 1;
        } else if (api_version.as_str(), kind.as_str()) == KUBE_PROXY {
            let mut reader = Reader::new(KubeProxyConfiguration::KIND);
            found.settings = KubeProxyConfiguration::of_file(&tree, &mut reader);
            found.keep(reader);
            has_settings = true;
        } else {
            return Err(DecodeFailure::Kind { api_version, kind });
        }
    }
    if ignored > 0 {
        found.warnings.push(format!("{ignored} further documents in the file are ignored"));
    }
    if has_settings { Ok(found) } else { Err(alone(found.own.is_some())) }
}

/// The error for a file without kube-proxy's document. `is_ours` is true if the file holds the proxy's own document.
fn alone(is_ours: bool) -> DecodeFailure {
    let (api_version, kind) =
        if is_ours { (ExtensionConfig::API_VERSION, ExtensionConfig::KIND) } else { ("", "") };
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
    text.contains(ExtensionConfig::KIND) || text.contains(ExtensionConfig::GROUP)
}

/// True if the document is the proxy's own.
///
/// # Errors
/// If the document has the proxy's group or kind, but not the known version: it must not be skipped.
fn is_own(api_version: &str, kind: &str) -> Result<bool, DecodeFailure> {
    if (api_version, kind) == (ExtensionConfig::API_VERSION, ExtensionConfig::KIND) {
        return Ok(true);
    }
    let group = api_version.split('/').next();
    if kind == ExtensionConfig::KIND || group == Some(ExtensionConfig::GROUP) {
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        return Err(DecodeFailure::NotOwn { api_version, kind });
    }
    Ok(false)
}

/// The document's `apiVersion` and `kind`.
fn named(tree: &Node) -> (String, String) {
    let word = |key| tree.get(key).and_then(Node::text).unwrap_or_default().to_owned();
    (word("apiVersion"), word("kind"))
}

impl Documents {
    /// Reads the tree of a document. The last of duplicate keys wins, with a warning for each.
    fn tree(&mut self, document: Document<'_>) -> Result<Node, yaml::Error> {
        let (tree, repeated) = Node::read(document)?;
        self.warnings.extend(repeated.iter().map(|key| format!("{key}: the last one counts")));
        Ok(tree)
    }

    fn read_own(&mut self, tree: &Node) -> Result<(), DecodeFailure> {
        let (mut reader, mut own) =
            (Reader::new(ExtensionConfig::KIND), ExtensionConfig::default());
        own.read(tree, "", &mut reader);
        self.keep(reader);
        match self.own.replace(own) {
            Some(_) => Err(DecodeFailure::Twice),
            None => Ok(()),
        }
    }

    fn keep(&mut self, reader: Reader) {
        self.mistakes.extend(reader.mistakes);
        self.warnings.extend(reader.warnings);
    }
}

impl KubeProxyConfiguration {
    /// Reads kube-proxy's document. The default listeners are in the family of the bind address, all addresses for the
    /// health server and loopback for the metrics server.
    fn of_file(tree: &Node, reader: &mut Reader) -> Self {
        let mut settings = Self {
            healthz_bind_address: String::new(),
            metrics_bind_address: String::new(),
            ..Self::default()
        };
        settings.read(tree, "", reader);
        let bind = sloppy::address(&settings.bind_address);
        let (any, loopback) = match bind.map(|bind| Family::of(bind.value)) {
            Some(Family::V6) => ("::", "::1"),
            Some(Family::V4) | None => ("0.0.0.0", "127.0.0.1"),
        };
        for (address, default) in [
            (&mut settings.healthz_bind_address, any),
            (&mut settings.metrics_bind_address, loopback),
        ] {
            if address.is_empty() {
                default.clone_into(address);
            }
        }
        settings
    }
}
