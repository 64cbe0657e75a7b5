//! What files and flags set, before it is judged.
//!
//! In: flags and the files they name. Out: [`RawConfig`], from which the checked [`Config`] and the
//! settings in kube-proxy's own words are made. Never: a judgement; that is the check's.

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

/// Everything that is set, the flags over the files, and what is to be said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RawConfig {
    raw: Raw,
    files: Vec<PathBuf>,
    /// Neither `--write-config-to` nor `--init-only` ends the process before anything is followed.
    follows: bool,
    /// What was accepted but has no effect.
    pub warnings: Vec<String>,
}

impl RawConfig {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// A file that cannot be read or is no configuration. Of one in which a field is of a wrong type,
    /// every problem at once.
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

    /// Judges it. A folder of manifests wins over an API server.
    ///
    /// # Errors
    /// Every problem at once.
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

    /// Judges it for who only cleans up, which kube-proxy does in every mode it has.
    ///
    /// # Errors
    /// Every problem at once.
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

    /// `ipvs.excludeCIDRs`, as it is written.
    pub(super) fn exclude_cidrs(&self) -> &[String] {
        self.raw.ipvs.exclude_cidrs.as_deref().unwrap_or_default()
    }

    /// The fields of the proxy's own document.
    pub(super) fn own(&self) -> &ExtensionConfig {
        &self.raw.own
    }

    /// The names of the fields in which a start with the other configuration would make a difference; none if it
    /// would make none. Each stands beside the settings that were made of it.
    pub fn differs_in(&self, config: &Config, other: (&Self, &Config)) -> Vec<String> {
        difference::fields((self, config), other)
    }

    /// The settings in force as `kubeproxy.config.k8s.io/v1alpha1`, every default filled in.
    pub fn effective(&self) -> Value {
        effective::effective(&self.raw)
    }

    /// The same as YAML, with the proxy's own document after it if anything is set there.
    ///
    /// # Errors
    /// What the writer of YAML says.
    pub fn yaml(&self) -> Result<String, Error> {
        effective::yaml(&self.raw)
    }
}

/// Only one gate says what is programmed; the others are kube-proxy's own affairs.
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
