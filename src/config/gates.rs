//! Feature gates: the known ones, and which of them are on.
//!
//! Takes the gates that are set. Returns every gate of kube-proxy with its stage, and whether it is on. `AllAlpha` and
//! `AllBeta` decide for the gates of their stage that are not set themselves. Ignores unknown gates.
//!
//! Source: spec 11.2, 12.7.

use std::collections::BTreeMap;

use self::known::KNOWN;

mod known;

/// The gate of `/flagz`.
pub const FLAGZ: &str = "ComponentFlagz";
/// The gate of `/statusz`.
pub const STATUSZ: &str = "ComponentStatusz";
/// The gate of external IPs of Services, the only one that changes what is programmed.
pub const EXTERNAL_IPS: &str = "AllowServiceExternalIPs";
/// The gate of the alpha logging options.
pub const LOGGING_ALPHA: &str = "LoggingAlphaOptions";
/// The gate of the log's JSON format.
pub const LOGGING_BETA: &str = "LoggingBetaOptions";

/// The maturity of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The feature is experimental.
    Alpha,
    /// The feature is nearly complete.
    Beta,
    /// The feature is generally available.
    General,
    /// The feature will be removed.
    Deprecated,
}

impl Stage {
    /// Returns the stage's name in metrics; empty for general availability.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::General => "",
            Self::Deprecated => "DEPRECATED",
        }
    }

    /// The name of the gate that switches all gates of the stage.
    fn all(self) -> Option<&'static str> {
        match self {
            Self::Alpha => Some("AllAlpha"),
            Self::Beta => Some("AllBeta"),
            Self::General | Self::Deprecated => None,
        }
    }
}

/// All known feature gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gates(BTreeMap<&'static str, (Stage, bool)>);

impl Gates {
    /// Returns the defaults, overridden by the gates that are set. Unknown names are ignored.
    pub(super) fn of(set: &BTreeMap<String, bool>) -> Self {
        let set = |name: &str| set.get(name).copied();
        let gates = KNOWN.iter().flat_map(|(stage, default, names)| {
            let of_stage = stage.all().and_then(set).unwrap_or(*default);
            names.iter().map(move |name| (*name, (*stage, set(name).unwrap_or(of_stage))))
        });
        Self(gates.collect())
    }

    /// True if this gate is on; false for an unknown name.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|(_, is_on)| *is_on)
    }

    /// Lists all gates by name, each with its stage and true if it is on.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Stage, bool)> {
        self.0.iter().map(|(name, (stage, is_on))| (*name, *stage, *is_on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(set: &[(&str, bool)]) -> Gates {
        let set = set.iter().map(|(name, is_on)| ((*name).to_owned(), *is_on)).collect();
        Gates::of(&set)
    }

    #[test]
    fn one_that_is_set_itself_is_not_spoken_for() {
        let gates = gates(&[("AllBeta", false), (STATUSZ, true), ("AllAlpha", true), ("No", true)]);
        for (name, wanted) in [
            (FLAGZ, false),
            (STATUSZ, true),
            (EXTERNAL_IPS, true),
            (LOGGING_ALPHA, true),
            (LOGGING_BETA, false),
            ("AllAlpha", true),
            ("AllBeta", false),
            ("No", false),
        ] {
            assert_eq!(gates.is_on(name), wanted, "{name}");
        }
    }
}
