//! Sets up logging in the formats of Kubernetes' components.
//!
//! Takes events of the `tracing` crate. Writes one line for each on standard error, as klog does ([`Lines`]). Does not
//! write to standard output, which belongs to commands that print. Buffers no lines. Drops details of other crates
//! below the level `info`, which could show secrets, unless `IPVS_PROXY_LOG` asks for them.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use self::levels::Levels;
pub use self::lines::Lines;
use crate::config::Logging;

/// The target of lines that are logged once per round, from `-v=2` on.
pub const ROUNDS: &str = "ipvs_proxy::rounds";

mod fields;
mod levels;
mod lines;

/// The environment variable that overrides the flags of the log.
const VARIABLE: &str = "IPVS_PROXY_LOG";

/// Starts logging as the configuration says. The environment variable `IPVS_PROXY_LOG` overrides it with directives of
/// `tracing_subscriber` (`debug` shows each change of each round).
pub fn start(logging: &Logging) -> Verbosity {
    let asked = EnvFilter::try_from_env(VARIABLE);
    let refused = asked.as_ref().err().map(ToString::to_string);
    let refused = refused.filter(|_| std::env::var_os(VARIABLE).is_some());
    let (levels, verbosity) = match asked {
        Ok(asked) => (asked.boxed(), Verbosity(None)),
        Err(_) => {
            let levels = Levels::new(logging.verbosity, &logging.vmodule);
            let (levels, handle) = reload::Layer::new(levels);
            (levels.boxed(), Verbosity(Some(handle)))
        }
    };
    let lines = fmt::layer().event_format(Lines::new(logging.format)).with_writer(std::io::stderr);
    // Only a second call can fail, and then the first one's settings stay.
    let _ = tracing_subscriber::registry().with(levels).with(lines).try_init();
    if let Some(why) = refused {
        tracing::warn!("{VARIABLE}: {why}; -v and --vmodule say what is logged");
    }
    verbosity
}

/// The verbosity of the log, which can be changed while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Verbosity(Option<reload::Handle<Levels, Registry>>);

impl Verbosity {
    /// Sets the verbosity as `-v` does. `--vmodule` still counts for its files. Returns false if `IPVS_PROXY_LOG`
    /// overrides the verbosity.
    #[must_use]
    pub fn set(&self, verbosity: u32) -> bool {
        let set =
            |handle: &reload::Handle<Levels, _>| handle.modify(|levels| levels.set(verbosity));
        self.0.as_ref().is_some_and(|handle| set(handle).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn the_verbosity_can_be_changed_where_it_counts() {
        let (levels, handle) = reload::Layer::new(Levels::new(0, &[]));
        let verbosity = Verbosity(Some(handle));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(levels), || {
            let shown = || tracing::enabled!(target: "ipvs_proxy", Level::DEBUG);
            assert!(!shown());
            assert!(verbosity.set(4) && shown());
            assert!(verbosity.set(0) && !shown());
        });
        assert!(!Verbosity::default().set(4));
    }
}
