//! What a version of iptables can do.
//!
//! In: the output of `iptables --version`. Out: options by version. Never: a failure; of a version
//! that cannot be read nothing is expected.
//!
//! Source: spec 1.3.

/// Major, minor and patch number, zeros when unknown; and which flavour it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    number: [u16; 3],
    is_nft: bool,
}

impl Version {
    /// The first dotted number that follows a `v`.
    pub fn parse(text: &str) -> Self {
        let numbers = text.split_whitespace().find_map(|word| {
            let dotted = word.strip_prefix('v')?;
            let mut parts = dotted.split('.').map(|part| part.parse::<u16>().ok());
            let mut next = || parts.next().flatten();
            Some([next()?, next()?, next().unwrap_or(0)])
        });
        Self { number: numbers.unwrap_or_default(), is_nft: text.contains("nf_tables") }
    }

    /// Whether it writes to nftables, where matches and targets need `nft_compat`.
    pub fn is_nft(self) -> bool {
        self.is_nft
    }

    /// Whether MASQUERADE knows `--random-fully`: since 1.6.2.
    pub fn has_random_fully(self) -> bool {
        self.number >= [1, 6, 2]
    }

    /// How `iptables-restore` is told to wait for the lock: since 1.6.2.
    pub(super) fn restore_wait(self) -> &'static [&'static str] {
        if self.number >= [1, 6, 2] { &["-w", "5"] } else { &[] }
    }
}
