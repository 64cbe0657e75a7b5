//! The settings of files and flags before they are checked.
//!
//! Takes flags and the files they name. Returns a [`RawConfig`], from which the checked [`Config`] and the settings in
//! force are made. Does not check values itself.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::decode::{Part, Value as _};
use super::document::{Beside, CONTENT_TYPE, ExtensionConfig, KubeProxyConfiguration};
use super::documents::{self, DecodeFailure, Documents};
use super::{
    Config, DEFAULT_MANIFESTS, Environment, Error, Flags, GoDuration, HEALTHZ_PORT, METRICS_PORT,
    Problem, Source, check, difference, go_yaml,
};
use crate::{sloppy, yaml};

/// The settings of files with defaults filled in, overridden by flags, and warnings about them.
#[derive(Clone, Debug, PartialEq)]
pub struct RawConfig {
    pub(super) settings: KubeProxyConfiguration,
    pub(super) own: ExtensionConfig,
    /// The flag `--master`; empty if it was not given.
    pub(super) master: String,
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
            settings: flags.settings(),
            own: ExtensionConfig::default(),
            master: flags.api.master.clone().unwrap_or_default(),
            files: Vec::new(),
            follows: process.write_config_to.is_none() && process.init_only != Some(true),
            warnings: flags.warnings(),
        };
        let (mut mistakes, mut own) = (Vec::new(), None);
        if let Some(path) = &process.config {
            let found = given.open(path, documents::parse)?;
            mistakes.extend(found.mistakes);
            own = found.own;
            given.settings = found.settings;
            let name = given.settings.hostname_override.clone();
            given.settings.lay_over(flags, Beside::File);
            if given.settings.hostname_override.is_empty() {
                given.settings.hostname_override = name;
            }
        }
        if let Some(path) = &process.extra_config {
            if own.is_some() {
                let (path, source) = (path.clone(), DecodeFailure::Twice);
                return Err(Error::Decode { path, source });
            }
            let found = given.open(path, documents::parse_own)?;
            mistakes.extend(found.mistakes);
            own = found.own;
        }
        given.own = own.unwrap_or_default();
        given.own.lay_over(flags, Beside::File);
        given.settings.complete();
        given.warnings.extend(idle_gates(&given.settings));
        if mistakes.is_empty() {
            return Ok(given);
        }
        let others = check::check(&given, None, &Environment::look());
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
        let (config, warnings) = check::check(self, manifests, here)
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
        if ["iptables", "nftables"].contains(&self.settings.mode.as_str()) {
            IPVS.clone_into(&mut self.settings.mode);
        }
        match check::check(&self, None, here) {
            Ok(_) => Ok(self),
            Err(problems) => Err(self.invalid(Vec::new(), problems)),
        }
    }

    pub(super) fn invalid(&self, mistakes: Vec<yaml::Error>, problems: Vec<Problem>) -> Error {
        Error::Invalid { files: self.files.clone(), mistakes, problems }
    }

    /// The path of the kubeconfig and the value of `--master`, where they are given and not empty.
    pub fn api_server(&self) -> (Option<&Path>, Option<&str>) {
        let kubeconfig = Some(self.settings.client_connection.kubeconfig.as_str());
        let master = Some(self.master.as_str());
        let is_given = |text: &&str| !text.is_empty();
        (kubeconfig.filter(is_given).map(Path::new), master.filter(is_given))
    }

    /// The text of `ipvs.excludeCIDRs`.
    pub(super) fn exclude_cidrs(&self) -> &[String] {
        self.settings.ipvs.exclude_cidrs.as_deref().unwrap_or_default()
    }

    /// Returns the names of the fields that would change the proxy's behaviour after a restart with the other
    /// configuration. Each [`Config`] belongs to the raw settings beside it.
    pub fn differs_in(&self, config: &Config, other: (&Self, &Config)) -> Vec<String> {
        difference::fields((self, config), other)
    }

    /// Returns the settings in force as `kubeproxy.config.k8s.io/v1alpha1`, with every default filled in.
    pub fn effective(&self) -> Value {
        self.settings.json()
    }

    /// Returns the settings in force as YAML. The settings of the proxy's own that are not the default follow in a
    /// document of their own.
    pub fn yaml(&self) -> String {
        let mut text = go_yaml::document(&self.effective());
        let default = ExtensionConfig::default();
        if let (true, Value::Object(mut own), Value::Object(default)) =
            (self.own != default, self.own.json(), default.json())
        {
            let names = ["apiVersion", "kind"];
            own.retain(|key, value| names.contains(&&**key) || default.get(key) != Some(value));
            text = format!("{text}---\n{}", go_yaml::document(&Value::Object(own)));
        }
        text
    }
}

/// Returns the JSON of a `KubeProxyConfiguration` with its fields in kube-proxy's order.
pub fn ordered(settings: &Value) -> String {
    fn written(part: &dyn Part, json: &Value) -> String {
        let settings = part.settings().into_iter();
        let fields = settings.filter_map(|(setting, value)| {
            let json = json.get(setting.name)?;
            let text = value.part().map_or_else(|| json.to_string(), |below| written(below, json));
            Some(format!("\"{}\":{text}", setting.name))
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }
    written(&KubeProxyConfiguration::default(), settings)
}

/// The mode of this proxy.
const IPVS: &str = "ipvs";

impl KubeProxyConfiguration {
    /// Fills in what empty text means, and sets what another mode uses to zero, as kube-proxy does.
    fn complete(&mut self) {
        for (text, default) in [
            (&mut self.mode, IPVS),
            (&mut self.detect_local_mode, "ClusterCIDR"),
            (&mut self.bind_address, "0.0.0.0"),
            (&mut self.client_connection.content_type, CONTENT_TYPE),
            (&mut self.logging.options.text.info_buffer_size, "0"),
            (&mut self.logging.options.json.info_buffer_size, "0"),
        ] {
            if text.is_empty() {
                default.clone_into(text);
            }
        }
        for (address, port) in [
            (&mut self.healthz_bind_address, HEALTHZ_PORT),
            (&mut self.metrics_bind_address, METRICS_PORT),
        ] {
            if sloppy::address(address).is_some() {
                *address = sloppy::with_port(address, port.into());
            }
        }
        self.nftables.masquerade_all = false;
        for period in [
            &mut self.iptables.sync_period,
            &mut self.iptables.min_sync_period,
            &mut self.nftables.sync_period,
            &mut self.nftables.min_sync_period,
        ] {
            *period = GoDuration::ZERO;
        }
    }
}

/// A warning that names the gates that are set but have no effect in this proxy.
fn idle_gates(settings: &KubeProxyConfiguration) -> Option<String> {
    let gates = settings.feature_gates.keys().map(String::as_str);
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
