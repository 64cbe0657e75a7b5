//! Everything in the kernel that could be ours, read in whole.
//!
//! In: sockets and programs. Out: an [`Observed`]. One of these belongs to whoever changes the kernel;
//! another one may read beside it in a thread of its own. Never: a change.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use proxier::apply::{Cause, KernelReading, RulesReading};
use proxier::diff::Observed;
use proxier::model::{Family, PerFamily};

use super::cause::cause;
use super::iptables::{Iptables, LegacyRules};
use super::link::Links;
use super::nftables;
use super::probe::{Unusable, usable_iptables};
use super::servers::Servers;
use super::sets::Sets;

/// The iptables programs of a family that is programmed, which may not have worked yet. All readers of one kernel
/// share what is known of them.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    family: Family,
    found: Arc<OnceLock<Iptables>>,
}

impl Programs {
    pub(super) fn found(iptables: Iptables) -> Self {
        Self { family: iptables.family(), found: Arc::new(OnceLock::from(iptables)) }
    }

    pub(super) fn failing(family: Family) -> Self {
        Self { family, found: Arc::default() }
    }

    /// The programs, tried again if they have never worked.
    ///
    /// # Errors
    /// Why they do not work.
    pub(super) fn get(&self) -> Result<&Iptables, Cause> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let usable = usable_iptables(self.family).map_err(Unusable::cause)?;
        tracing::info!("{}: iptables programs work", self.family);
        Ok(self.found.get_or_init(|| usable))
    }
}

/// The service tables of this node.
pub struct KernelReader {
    pub(super) links: Links,
    pub(super) sets: Sets,
    pub(super) servers: Servers,
    /// The programs of the families that are programmed.
    pub(super) iptables: PerFamily<Option<Programs>>,
    /// The index of the dummy device, as it was found last.
    pub(super) device: Option<u32>,
    /// Families in which the table of nftables mode may still be there: until a reading has not
    /// found it, or its removal has been tried. All readers of one kernel know it.
    pub(super) nftables: PerFamily<Arc<AtomicBool>>,
}

impl KernelReader {
    pub(super) fn new(
        links: Links,
        sets: Sets,
        servers: Servers,
        iptables: PerFamily<Option<Programs>>,
    ) -> Self {
        let nftables = PerFamily::from_fn(|_| Arc::new(AtomicBool::new(true)));
        Self { links, sets, servers, iptables, device: None, nftables }
    }

    /// The same once more, with sockets of its own.
    pub(super) fn open_another(&self) -> Result<Self, Cause> {
        let links = Links::open().map_err(cause)?;
        let sets = Sets::open().map_err(cause)?;
        let servers = Servers::open().map_err(cause)?;
        let iptables = self.iptables.clone();
        let nftables = self.nftables.clone();
        Ok(Self { links, sets, servers, iptables, device: None, nftables })
    }

    pub(super) fn may_have_nftables(&self, family: Family) -> bool {
        self.nftables.of(family).load(Ordering::Relaxed)
    }

    /// Reads everything that could be ours.
    ///
    /// # Errors
    /// If any part but the rules of one family cannot be read in whole.
    pub fn observe(&mut self) -> Result<KernelReading, Cause> {
        self.device = self.links.index().map_err(cause)?;
        let addresses = match self.device {
            Some(index) => self.links.addresses(index).map_err(cause)?,
            None => BTreeSet::new(),
        };
        let mut observed = Observed {
            link: self.device.is_some(),
            addresses,
            servers: self.servers.observe()?,
            ..Observed::default()
        };
        let mut unread = PerFamily::default();
        for family in Family::BOTH {
            if self.iptables.of(family).is_some() {
                match self.read_rules(family) {
                    Ok(RulesReading { rules, has_legacy_rules }) => {
                        *observed.rules.of_mut(family) = rules;
                        *observed.legacy_rules.of_mut(family) = has_legacy_rules;
                    }
                    Err(cause) => *unread.of_mut(family) = Some(cause),
                }
                self.sets.observe(family, &mut observed)?;
            }
        }
        Ok(KernelReading { observed, unread })
    }

    /// Reads the rules of one family.
    ///
    /// # Errors
    /// If they cannot be listed, or the programs do not work yet.
    pub(super) fn read_rules(&self, family: Family) -> Result<RulesReading, Cause> {
        let Some(programs) = self.iptables.of(family) else { return Ok(RulesReading::default()) };
        let (rules, remains) = programs.get()?.observe().map_err(cause)?;
        let has_table = self.may_have_nftables(family) && nftables::has_table(family);
        if !has_table {
            self.nftables.of(family).store(false, Ordering::Relaxed);
        }
        Ok(RulesReading { rules, has_legacy_rules: has_table || remains == LegacyRules::Something })
    }
}
