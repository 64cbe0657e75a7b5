//! The settings of files and flags before they are checked.
//!
//! Takes flags and the files they name. Returns a [`RawConfig`], from which the checked [`Config`] and the settings in
//! force are made. Does not check values itself.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::documents::{self, DecodeFailure, Documents};
use super::extension::ExtensionConfig;
use super::file::Raw;
use super::{
    Config, DEFAULT_MANIFESTS, Environment, Error, Flags, Problem, Source, check, difference,
    effective,
};
use crate::yaml;

/// The settings of files, overridden by flags, and warnings about them.
#[derive(Clone, Debug, PartialEq)]
pub struct RawConfig {
    raw: Raw,
    files: Vec<PathBuf>,
    /// True if the process goes on to follow a source: neither `--write-config-to` nor `--init-only` ends it before.
    follows: bool,
    /// Messages about settings that were accepted but have no effect or should be written in another way.
    pub warnings: Vec<String>,
}

impl RawConfig {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// If a file cannot be read or is not a configuration. If a field is of a wrong type, every problem of the settings
    /// is reported at once.
    pub fn read(flags: &Flags) -> Result<Self, Error> {
        let process = &flags.process;
        let mut given = Self {
            raw: Raw::default(),
            files: Vec::new(),
            follows: process.write_config_to.is_none() && process.init_only != Some(true),
            warnings: flags.warnings(),
        };
        let mut mistakes = Vec::new();
        match &flags.process.config {
            Some(path) => {
                let found = given.open(path, documents::parse)?;
                mistakes.extend(found.mistakes);
                given.raw = found.raw;
                flags.over_file(&mut given.raw);
            }
            None => given.raw = flags.settings(),
        }
        if let Some(path) = &flags.process.extra_config {
            if given.raw.own != ExtensionConfig::default() {
                let (path, source) = (path.clone(), DecodeFailure::Twice);
                return Err(Error::Decode { path, source });
            }
            let found = given.open(path, documents::parse_own)?;
            mistakes.extend(found.mistakes);
            given.raw.own = found.raw.own;
        }
        flags.over_own(&mut given.raw);
        given.warnings.extend(idle_gates(&given.raw));
        if mistakes.is_empty() {
            return Ok(given);
        }
        let others = check::check(&given.raw, None, &Environment::look());
        Err(given.invalid(mistakes, others.err().unwrap_or_default()))
    }

    fn open(
        &mut self,
        path: &Path,
        parse: fn(&str) -> Result<Documents, DecodeFailure>,
    ) -> Result<Documents, Error> {
        let refuse = |source| Error::Decode { path: path.to_owned(), source };
        let mut found = parse(&text(path)?).map_err(refuse)?;
        self.files.push(path.to_owned());
        self.warnings.extend(of_file(path, std::mem::take(&mut found.warnings)));
        Ok(found)
    }

    /// Checks the settings. A folder of manifests wins over an API server.
    ///
    /// # Errors
    /// If values are invalid; all are reported at once.
    pub fn check(&mut self, manifests: Option<&Path>, here: &Environment) -> Result<Config, Error> {
        let (config, warnings) = check::check(&self.raw, manifests, here)
            .map_err(|problems| self.invalid(Vec::new(), problems))?;
        self.warnings.extend(warnings);
        if self.follows && manifests.is_none() && matches!(config.source, Source::Manifests(_)) {
            self.warnings.push(format!(
                "no kubeconfig, no master and not in a pod: following the manifests in {DEFAULT_MANIFESTS}"
            ));
        }
        Ok(config)
    }

    /// Checks the settings of a process that only cleans up, which kube-proxy does in each of its modes.
    ///
    /// # Errors
    /// If values are invalid; all are reported at once.
    pub(super) fn check_in_any_mode(mut self, here: &Environment) -> Result<Self, Error> {
        let is_known = |mode: &String| ["iptables", "nftables"].contains(&mode.as_str());
        self.raw.mode = self.raw.mode.filter(|mode| !is_known(mode));
        match check::check(&self.raw, None, here) {
            Ok(_) => Ok(self),
            Err(problems) => Err(self.invalid(Vec::new(), problems)),
        }
    }

    pub(super) fn invalid(&self, mistakes: Vec<yaml::Error>, problems: Vec<Problem>) -> Error {
        Error::Invalid { files: self.files.clone(), mistakes, problems }
    }

    /// The path of the kubeconfig and the value of `--master`, where they are given and not empty.
    pub fn api_server(&self) -> (Option<&Path>, Option<&str>) {
        let kubeconfig = self.raw.client_connection.kubeconfig.as_deref();
        let master = self.raw.master.as_deref();
        let is_given = |text: &&str| !text.is_empty();
        (kubeconfig.filter(is_given).map(Path::new), master.filter(is_given))
    }

    /// The text of `ipvs.excludeCIDRs`.
    pub(super) fn exclude_cidrs(&self) -> &[String] {
        self.raw.ipvs.exclude_cidrs.as_deref().unwrap_or_default()
    }

    /// The fields of the proxy's own document.
    pub(super) fn own(&self) -> &ExtensionConfig {
        &self.raw.own
    }

    /// Returns the names of the fields that would change the proxy's behaviour after a restart with the other
    /// configuration. Each [`Config`] belongs to the raw settings beside it.
    pub fn differs_in(&self, config: &Config, other: (&Self, &Config)) -> Vec<String> {
        difference::fields((self, config), other)
    }

    /// Returns the settings in force as `kubeproxy.config.k8s.io/v1alpha1`, with every default filled in.
    pub fn effective(&self) -> Value {
        effective::effective(&self.raw)
    }

    /// Returns the settings in force as YAML, followed by the proxy's own document if any of its fields is set.
    ///
    /// # Errors
    /// If the proxy's own document cannot be written as YAML.
    pub fn yaml(&self) -> Result<String, Error> {
        effective::yaml(&self.raw)
    }
}

/// A warning that names the gates that are set but have no effect in this proxy.
fn idle_gates(raw: &Raw) -> Option<String> {
    let gates = raw.feature_gates.iter().flatten().map(|(name, _)| name.as_str());
    let idle: Vec<_> = gates.filter(|name| !check::gates::GATES.contains(name)).collect();
    (!idle.is_empty()).then(|| format!("feature gates without effect here: {}", idle.join(", ")))
}

fn of_file(path: &Path, warnings: Vec<String>) -> impl Iterator<Item = String> {
    let path = path.display().to_string();
    warnings.into_iter().map(move |text| format!("{path}: {text}"))
}

fn text(path: &Path) -> Result<String, Error> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| Error::Read {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()),
    })
}
