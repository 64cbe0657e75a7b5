//! Reads everything in the kernel that may be this proxy's.
//!
//! Uses sockets and programs, and returns an [`Observed`]. One reader belongs to the thread that changes the
//! kernel; another may work beside it in its own thread. Does not change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use ipset_netlink::Reason;
use proxier::apply::{Cause, CauseKind, KernelReading, RulesReading};
use proxier::diff::{Observed, ObservedServer};
use proxier::model::{Family, PerFamily};
use proxier::plan::VirtualServerKey;

use super::cause::cause;
use super::iptables::{Iptables, LegacyRules};
use super::link::Links;
use super::nftables;
use super::probe::{not_opened, usable_iptables};
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
        let usable = usable_iptables(self.family).map_err(cause)?;
        tracing::info!("{}: iptables programs work", self.family);
        Ok(self.found.get_or_init(|| usable))
    }
}

/// A reader of the service tables of this node. It has a connection to each part that the kernel has. Without IPVS, sets
/// and devices there is no proxy, so that only a cleanup and a snapshot meet a kernel that lacks one.
pub struct KernelReader {
    links: Option<Links>,
    sets: Option<Sets>,
    servers: Option<Servers>,
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
        let (links, sets, servers) = (Some(links), Some(sets), Some(servers));
        Self { links, sets, servers, iptables, device: None, nftables }
    }

    /// Opens another reader with its own sockets.
    pub(super) fn open_another(&self) -> Result<Self, Cause> {
        let links = Links::open().map_err(cause)?;
        let sets = Sets::open().map_err(cause)?;
        let servers = Servers::open().map_err(cause)?;
        let nftables = self.nftables.clone();
        Ok(Self { nftables, ..Self::new(links, sets, servers, self.iptables.clone()) })
    }

    /// Connects to the parts that this kernel has, but not to the programs. Does not load modules.
    pub(super) fn open_existing(troubles: &mut Vec<String>) -> Self {
        let servers = match Servers::open() {
            Err(ipvs_netlink::Error::Unsupported) => Ok(None),
            opened => opened.map(Some).map_err(not_opened),
        };
        let sets = match Sets::open() {
            Err(ipset_netlink::Error { reason: Reason::Unsupported, .. }) => Ok(None),
            opened => opened.map(Some).map_err(cause),
        };
        Self {
            links: noted(troubles, "devices", Links::open().map_err(cause)),
            sets: noted(troubles, "sets", sets).flatten(),
            servers: noted(troubles, "virtual servers", servers).flatten(),
            iptables: PerFamily::default(),
            device: None,
            nftables: PerFamily::default(),
        }
    }

    pub(super) fn links(&mut self) -> Result<&mut Links, Cause> {
        self.links.as_mut().ok_or_else(|| lacks("network devices"))
    }

    pub(super) fn sets(&mut self) -> Result<&mut Sets, Cause> {
        self.sets.as_mut().ok_or_else(|| lacks("IP sets"))
    }

    pub(super) fn servers(&mut self) -> Result<&mut Servers, Cause> {
        self.servers.as_mut().ok_or_else(|| lacks("IPVS"))
    }

    pub(super) fn may_have_nftables(&self, family: Family) -> bool {
        self.nftables.of(family).load(Ordering::Relaxed)
    }

    /// Reads everything that may be this proxy's.
    ///
    /// # Errors
    /// Fails if any part but the rules of one family cannot be read in whole.
    pub fn observe(&mut self) -> Result<KernelReading, Cause> {
        let mut observed = Observed {
            addresses: self.read_device()?,
            link: self.device.is_some(),
            servers: self.read_servers()?,
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
                self.read_sets(family, &mut observed)?;
            }
        }
        Ok(KernelReading { observed, unread })
    }

    /// Looks for the dummy device and reads its addresses. There are none without the device.
    pub(super) fn read_device(&mut self) -> Result<BTreeSet<IpAddr>, Cause> {
        let Some(links) = &mut self.links else { return Ok(BTreeSet::new()) };
        self.device = links.index().map_err(cause)?;
        self.device.map_or(Ok(BTreeSet::new()), |index| links.addresses(index)).map_err(cause)
    }

    /// Reads all virtual servers, including those of other programs.
    pub(super) fn read_servers(
        &mut self,
    ) -> Result<BTreeMap<VirtualServerKey, ObservedServer>, Cause> {
        self.servers.as_mut().map_or(Ok(BTreeMap::new()), Servers::observe)
    }

    /// Adds this proxy's sets of a family, with their entries and capacities.
    pub(super) fn read_sets(&mut self, of: Family, found: &mut Observed) -> Result<(), Cause> {
        self.sets.as_mut().map_or(Ok(()), |sets| sets.observe(of, found))
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

fn lacks(part: &str) -> Cause {
    Cause::of(CauseKind::Missing, format!("this kernel has no {part}"))
}

/// Returns the value, or adds a line about what could not be read to `troubles`.
pub(super) fn noted<T>(
    troubles: &mut Vec<String>,
    what: &str,
    looked: Result<T, Cause>,
) -> Option<T> {
    looked.map_err(|cause| troubles.push(format!("cannot look at {what}: {cause}"))).ok()
}
