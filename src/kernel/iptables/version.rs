//! What a version of iptables can do.
//!
//! In: the output of `iptables --version`. Out: options by version. Never: a failure; of a version
//! that cannot be read nothing is expected.
//!
//! Source: spec 1.3.

/// Major, minor and patch number; zeros when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u16; 3]);

impl Version {
    /// The first dotted number that follows a `v`.
    pub fn parse(text: &str) -> Self {
        let numbers = text.split_whitespace().find_map(|word| {
            let dotted = word.strip_prefix('v')?;
            let mut parts = dotted.split('.').map(|part| part.parse::<u16>().ok());
            let mut next = || parts.next().flatten();
            Some([next()?, next()?, next().unwrap_or(0)])
        });
        Self(numbers.unwrap_or_default())
    }

    /// Whether MASQUERADE knows `--random-fully`: since 1.6.2.
    pub fn has_random_fully(self) -> bool {
        self >= Self([1, 6, 2])
    }

    /// How `iptables-restore` is told to wait for the lock: since 1.6.2.
    pub(super) fn restore_wait(self) -> &'static [&'static str] {
        if self >= Self([1, 6, 2]) { &["-w", "5"] } else { &[] }
    }
}
