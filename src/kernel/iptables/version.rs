//! The version of the iptables programs and what it supports.
//!
//! Takes the output of `iptables --version`. Gives the options that the version has. Does not fail: a version
//! that cannot be read counts as having none of them.
//!
//! Source: spec 1.3.

/// The major, minor and patch number, zeros if unknown, and the flavour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    number: [u16; 3],
    is_nft: bool,
}

impl Version {
    /// Reads the first dotted number that follows a `v`.
    pub fn parse(text: &str) -> Self {
        let numbers = text.split_whitespace().find_map(|word| {
            let dotted = word.strip_prefix('v')?;
            let mut parts = dotted.split('.').map(|part| part.parse::<u16>().ok());
            let mut next = || parts.next().flatten();
            Some([next()?, next()?, next().unwrap_or(0)])
        });
        Self { number: numbers.unwrap_or_default(), is_nft: text.contains("nf_tables") }
    }

    /// True if the programs write to nftables, where matches and targets need `nft_compat`.
    pub fn is_nft(self) -> bool {
        self.is_nft
    }

    /// True if MASQUERADE has the option `--random-fully`, since 1.6.2.
    pub fn has_random_fully(self) -> bool {
        self.number >= [1, 6, 2]
    }

    /// The options that make `iptables-restore` wait for the lock, since 1.6.2.
    pub(super) fn restore_wait(self) -> &'static [&'static str] {
        if self.number >= [1, 6, 2] { &["-w", "5"] } else { &[] }
    }
}
