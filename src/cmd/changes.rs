//! The configuration files, followed while the proxy runs.
//!
//! In: the flags that name the files, and the settings in force. Out: an end, once the files say
//! something else that could be in force, so that whoever supervises the process starts it again with
//! it. Never: an end because of a file that is unreadable or invalid, or asks for a setting of the kernel
//! that this process may not make, which would not come up again: that is told, and the settings in
//! force stay.
//!
//! Source: spec 12.5. `Departs:` from upstream in what counts as a change, see `docs/compatibility.md`.

use serde_json::Value;

use super::settings;
use crate::cli::RunArgs;
use crate::config::{Config, Followed, Given, Surroundings};
use crate::kernel::sysctl;

/// What is in force.
pub(super) struct InForce {
    config: Config,
    effective: Value,
}

impl InForce {
    pub(super) fn new(given: &Given, config: &Config) -> Self {
        Self { config: config.clone(), effective: given.effective() }
    }

    /// Waits until the files say something else, and says so.
    pub(super) async fn ends(self, arguments: &RunArgs, here: &Surroundings) -> anyhow::Error {
        let process = &arguments.flags.process;
        let paths = process.config.iter().chain(&process.extra_config).cloned().collect();
        let mut files = match Followed::new(paths) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!("the configuration is not followed: {error}");
                return std::future::pending().await;
            }
        };
        let mut told = None;
        loop {
            // Once at first: a change between the reading and the watch must not be missed.
            match self.look(arguments, here, startable) {
                Look::Same if told.take().is_some() => {
                    tracing::info!("the configuration is again what is in force");
                }
                Look::Same => {}
                Look::Other => {
                    return anyhow::anyhow!(
                        "the configuration was changed: this process ends, and is to be started again"
                    );
                }
                Look::Unusable(reason) if told.as_ref() != Some(&reason) => {
                    tracing::error!("{reason}; the settings in force stay, but a start would fail");
                    told = Some(reason);
                }
                Look::Unusable(_) => {}
            }
            files.changed().await;
        }
    }

    fn look(
        &self,
        arguments: &RunArgs,
        here: &Surroundings,
        startable: impl FnOnce(&Config) -> Result<(), String>,
    ) -> Look {
        let read = Given::read(&arguments.flags).and_then(|mut given| {
            let config = given.check(arguments.manifests.as_deref(), here)?;
            Ok((given.effective(), config))
        });
        match read {
            Ok((effective, config)) if effective == self.effective && config == self.config => {
                Look::Same
            }
            Ok((_, config)) => match startable(&config) {
                Ok(()) => Look::Other,
                Err(reason) => Look::Unusable(reason),
            },
            Err(error) => Look::Unusable(error.to_string()),
        }
    }
}

/// Whether a start with this would come as far as rounds: in a pod whose `/proc/sys` is read-only, only the
/// init container may change it, and that does not run when the proxy is started again.
fn startable(config: &Config) -> Result<(), String> {
    sysctl::check(&settings::ground(config).sysctls).map_err(|error| error.to_string())
}

/// What the files say now.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Same,
    Other,
    Unusable(String),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::{Command, parse};

    #[test]
    fn what_a_start_could_not_set_is_unusable_until_it_is_taken_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |ipvs: &str| {
            let head =
                "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
            fs::write(file.path(), format!("{head}mode: ipvs\nipvs: {{{ipvs}}}\n")).unwrap();
        };
        write("");
        let config = format!("--config={}", file.path().display());
        let Ok(Command::Run(run)) = parse(["ipvs-proxy", "--manifests=/", &config]) else {
            panic!("it runs")
        };
        let here = Surroundings::look();
        let mut given = Given::read(&run.flags).unwrap();
        let config = given.check(run.manifests.as_deref(), &here).unwrap();
        let in_force = InForce::new(&given, &config);
        let look = || {
            in_force.look(&run, &here, |config| match config.ipvs.strict_arp {
                true => Err("ipvs.strictARP: no".to_owned()),
                false => Ok(()),
            })
        };
        assert_eq!(look(), Look::Same);
        write("strictARP: true");
        assert_eq!(look(), Look::Unusable("ipvs.strictARP: no".to_owned()));
        write("scheduler: lc");
        assert_eq!(look(), Look::Other);
        write("");
        assert_eq!(look(), Look::Same);
    }
}
