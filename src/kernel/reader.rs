//! Reads everything in the kernel that may be this proxy's.
//!
//! Uses sockets and programs, and returns an [`Observed`]. One reader belongs to the thread that changes the
//! kernel; another may work beside it in its own thread. Does not change anything.

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

/// The iptables programs of a family, which may not have worked yet. All readers of a kernel share what is
/// known about them.
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

    /// Returns the programs. Tries them again if they have never worked.
    ///
    /// # Errors
    /// The reason why they do not work.
    pub(super) fn get(&self) -> Result<&Iptables, Cause> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let usable = usable_iptables(self.family).map_err(Unusable::cause)?;
        tracing::info!("{}: iptables programs work", self.family);
        Ok(self.found.get_or_init(|| usable))
    }
}

/// A reader of the service tables of this node.
pub struct KernelReader {
    pub(super) links: Links,
    pub(super) sets: Sets,
    pub(super) servers: Servers,
    /// The programs of the families that are programmed.
    pub(super) iptables: PerFamily<Option<Programs>>,
    /// The index of the dummy device at the last reading.
    pub(super) device: Option<u32>,
    /// True for a family that may still have the table of nftables mode. It becomes false when a reading has
    /// not found the table, or its removal was tried. All readers of a kernel share it.
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

    /// Opens another reader with its own sockets.
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

    /// Reads everything that may be this proxy's.
    ///
    /// # Errors
    /// Fails if any part but the rules of one family cannot be read in whole.
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
    /// Fails if they cannot be listed, or the programs do not work yet.
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
