//! Follows the configuration files while the proxy runs.
//!
//! Takes the flags that name the files, and the settings in force. When the files hold other settings, writes a log
//! line, metrics and a line of `/statusz`: the change takes effect at the next start. With `exitOnConfigChange` in
//! force, ends the process instead, so that its supervisor starts it again. Does not end the process before a check of
//! the start has succeeded. Ignores fields without effect. Only reports a file that is unreadable or invalid.
//!
//! Source: spec 12.5 and Q-51. `Departs:` from upstream in what counts as a change, see `docs/compatibility.md`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::rehearsal::{self, Refusal};
use crate::cli::RunArgs;
use crate::config::{Config, Environment, FileWatcher, OnConfigChange, RawConfig};
use crate::metrics::{ConfigFiles, Metrics};
use crate::serve::ConfigurationNote;
use crate::watch::random;

/// The range of the random delay before the process ends, so that not every node of a cluster restarts at once.
const SPREAD: Duration = Duration::from_secs(60);

/// The pause before a failed check of a start is repeated, if the process is to end.
const AGAIN: Duration = Duration::from_secs(60);

/// The settings in force.
pub(super) struct InForce {
    given: RawConfig,
    config: Config,
    spread: Duration,
}

/// The result of reading the files.
#[derive(Debug, PartialEq)]
enum Look {
    Same,
    /// These fields make a difference. The configuration is the whole of the new settings.
    Other(Vec<String>, Box<Config>),
    /// The files hold no valid configuration.
    Invalid(String),
}

/// The conclusion from reading the files.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The files hold the settings in force.
    InForce,
    /// A start would succeed, and change these fields.
    Pending(String),
    /// A start would fail.
    Unusable(String),
    /// A start would fail now, but may succeed later without a change of the files.
    NotYet(String),
}

impl InForce {
    pub(super) fn new(given: &RawConfig, config: &Config) -> Self {
        Self { given: given.clone(), config: config.clone(), spread: SPREAD }
    }

    /// Follows the files until the process is to end because of a change. Returns the reason.
    pub(super) async fn ends(
        self,
        arguments: &RunArgs,
        here: &Environment,
        mut told: Notification,
    ) -> anyhow::Error {
        let rehearse = async |config: &Config| rehearsal::rehearse(config, &self.config).await;
        self.ends_by(arguments, here, &mut told, rehearse).await
    }

    async fn ends_by(
        &self,
        arguments: &RunArgs,
        here: &Environment,
        told: &mut Notification,
        rehearse: impl AsyncFn(&Config) -> Result<(), Refusal>,
    ) -> anyhow::Error {
        let process = &arguments.flags.process;
        let paths = process.config.iter().chain(&process.extra_config).cloned().collect();
        let mut files = match FileWatcher::new(paths) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!("the configuration is not followed: {error}");
                return std::future::pending().await;
            }
        };
        loop {
            let mut changed = pin!(files.changed());
            // The files are read once before the first change, which may have come before the watch.
            loop {
                let mut verdict = self.judge(self.look(arguments, here), &rehearse).await;
                if let (Verdict::Pending(fields), OnConfigChange::Exit) =
                    (&verdict, self.config.on_config_change)
                {
                    let wait = self.spread.mul_f64(random());
                    told.tell_end(fields, wait);
                    tokio::time::sleep(wait).await;
                    // The files may have changed again during the wait.
                    verdict = self.judge(self.look(arguments, here), &rehearse).await;
                    if let Verdict::Pending(fields) = &verdict {
                        return anyhow::anyhow!(
                            "the configuration was changed ({fields}): this process ends, and is to be \
                             started again"
                        );
                    }
                }
                told.tell(&verdict);
                let is_tried_again = matches!(verdict, Verdict::NotYet(_));
                tokio::select! {
                    () = &mut changed => break,
                    () = tokio::time::sleep(AGAIN), if is_tried_again => {}
                }
            }
        }
    }

    fn look(&self, arguments: &RunArgs, here: &Environment) -> Look {
        let read = RawConfig::read(&arguments.flags).and_then(|mut given| {
            let config = given.check(arguments.manifests.as_deref(), here)?;
            Ok((given, config))
        });
        let (given, config) = match read {
            Ok(read) => read,
            Err(error) => return Look::Invalid(error.to_string()),
        };
        let fields = self.given.differs_in(&self.config, (&given, &config));
        if fields.is_empty() { Look::Same } else { Look::Other(fields, Box::new(config)) }
    }

    async fn judge(
        &self,
        look: Look,
        rehearse: impl AsyncFn(&Config) -> Result<(), Refusal>,
    ) -> Verdict {
        let (fields, config) = match look {
            Look::Same => return Verdict::InForce,
            Look::Invalid(reason) => return Verdict::Unusable(reason),
            Look::Other(fields, config) => (fields.join(", "), config),
        };
        let refusal = match rehearse(&config).await {
            Ok(()) => return Verdict::Pending(fields),
            Err(refusal) => refusal,
        };
        let text = format!("the configuration was changed ({fields}): {refusal}");
        match (refusal, self.config.on_config_change) {
            (Refusal::Fails(_), OnConfigChange::Exit) => Verdict::NotYet(text),
            (Refusal::Fails(_) | Refusal::Hangs, _) => Verdict::Unusable(text),
        }
    }
}

/// Reports conclusions about the configuration files to the log, metrics and `/statusz`.
pub(super) struct Notification {
    metrics: Arc<Metrics>,
    note: ConfigurationNote,
    last: Verdict,
}

impl Notification {
    /// Reports to the log, to `metrics`, and to the note that `/statusz` shows.
    pub(super) fn new(metrics: Arc<Metrics>, note: ConfigurationNote) -> Self {
        Self { metrics, note, last: Verdict::InForce }
    }

    /// Reports a conclusion, unless it is the same as the last one.
    fn tell(&mut self, verdict: &Verdict) {
        if *verdict == self.last {
            return;
        }
        self.last.clone_from(verdict);
        let (state, note) = match verdict {
            Verdict::InForce => {
                tracing::info!("the configuration is again what is in force");
                (ConfigFiles::InForce, None)
            }
            Verdict::Pending(fields) => {
                let note = format!(
                    "the configuration was changed ({fields}): this takes effect at the next start, and \
                     the settings in force stay until then"
                );
                tracing::warn!("{note}");
                (ConfigFiles::Pending, Some(note))
            }
            Verdict::Unusable(reason) | Verdict::NotYet(reason) => {
                let note = format!("{reason}; the settings in force stay, but a start would fail");
                tracing::error!("{note}");
                (ConfigFiles::Unusable, Some(note))
            }
        };
        self.metrics.configuration.show(state);
        self.note.set(note);
    }

    /// Reports that the process ends after this time, to be started again with the new settings of these fields.
    fn tell_end(&mut self, fields: &str, wait: Duration) {
        self.last = Verdict::Pending(fields.to_owned());
        let seconds = wait.as_secs();
        let note = format!(
            "the configuration was changed ({fields}): this process ends in {seconds} s, to be started again \
             with it (exitOnConfigChange)"
        );
        tracing::info!("{note}");
        self.metrics.configuration.show(ConfigFiles::Pending);
        self.note.set(Some(note));
    }
}

#[cfg(test)]
mod tests;
