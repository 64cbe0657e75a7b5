//! The Linux kernel, as [`proxier::apply::Kernel`].
//!
//! In: one stage of changes at a time. Out: one result each, and what the kernel has. Never: a
//! decision; each part translates the words of the plan into its interface's and back.
//!
//! Its sockets belong to the network namespace of the thread that opened them; all calls must
//! come from a thread in that namespace.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use proxier::apply::{Cause, Connections, Kernel, Ready};
use proxier::diff::{Change, Flow, Observed};
use proxier::model::{Family, PerFamily, Protocol};
use proxier::plan::VirtualServerKey;

use self::flows::Flows;
use self::iptables::{Iptables, Remains};
use self::link::{AddressChange, Links};
use self::servers::Servers;
use self::sets::Sets;

mod errno;
mod flows;
pub mod ground;
pub mod interfaces;
pub mod iptables;
pub mod link;
mod module;
mod nftables;
pub mod probe;
mod route;
mod servers;
mod sets;
pub mod sysctl;

/// The service tables of this node.
pub struct LinuxKernel {
    links: Links,
    sets: Sets,
    servers: Servers,
    flows: Flows,
    /// The families that are programmed.
    iptables: PerFamily<Option<Iptables>>,
    device: Option<u32>,
    /// Whether the next reading looks for the table of nftables mode: the first one does.
    looks_at_nftables: bool,
    ground: ground::Wanted,
}

/// Which part of the kernel a change goes to; neighbours of one part go there together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Link,
    Addresses,
    Sets,
    Rules,
    Servers,
    Flows,
    Leftovers,
}

fn part(change: &Change) -> Part {
    match change {
        Change::AddLink => Part::Link,
        Change::AddAddress(_) | Change::RemoveAddress(_) => Part::Addresses,
        Change::AddSet(_)
        | Change::GrowSet(..)
        | Change::AddEntry(..)
        | Change::RemoveEntry(..) => Part::Sets,
        Change::RemoveFlow(_) => Part::Flows,
        Change::RemoveLeftovers(_) => Part::Leftovers,
        Change::WriteRules(_) => Part::Rules,
        Change::AddServer(..)
        | Change::UpdateServer(..)
        | Change::AddDestination(..)
        | Change::UpdateDestination(..)
        | Change::RemoveDestination(..)
        | Change::RemoveServer(_) => Part::Servers,
    }
}

impl Kernel for LinuxKernel {
    fn prepare(&mut self) -> Result<Ready, Cause> {
        self.lay_ground()?;
        Ok(Ready { ipvs_match: PerFamily::from_fn(|family| self.can_match_ipvs(family)) })
    }

    fn observe(&mut self) -> Result<Observed, Cause> {
        self.device = self.links.index().map_err(Cause::new)?;
        let addresses = match self.device {
            Some(index) => self.links.addresses(index).map_err(Cause::new)?,
            None => BTreeSet::new(),
        };
        let mut observed = Observed {
            link: self.device.is_some(),
            addresses,
            servers: self.servers.observe()?,
            ..Observed::default()
        };
        for family in Family::BOTH {
            if let Some(iptables) = self.iptables.of(family) {
                let (rules, remains) = iptables.observe().map_err(Cause::new)?;
                *observed.rules.of_mut(family) = rules;
                let has_table = self.looks_at_nftables && nftables::has_table(family);
                *observed.leftovers.of_mut(family) = has_table || remains == Remains::Something;
                self.sets.observe(family, &mut observed)?;
            }
        }
        // Nobody but a proxy of that mode makes the table, and two cannot run at once.
        self.looks_at_nftables = false;
        Ok(observed)
    }

    fn count_connections(
        &mut self,
        of: &BTreeSet<(VirtualServerKey, SocketAddr)>,
    ) -> Result<Connections, Cause> {
        self.servers.count_connections(of)
    }

    fn flows(&mut self, of: &BTreeSet<(Family, Protocol)>) -> Result<Vec<Flow>, Cause> {
        self.flows.read(of)
    }

    fn carry_out(&mut self, changes: &[Change]) -> Vec<Result<(), Cause>> {
        changes.iter().for_each(|change| tracing::debug!("{change}"));
        let mut results = Vec::with_capacity(changes.len());
        for run in changes.chunk_by(|a, b| part(a) == part(b)) {
            results.extend(match run.first().map(part) {
                Some(Part::Link) => run.iter().map(|_| self.add_link()).collect(),
                Some(Part::Addresses) => self.change_addresses(run),
                Some(Part::Sets) => self.sets.carry_out(run),
                Some(Part::Rules) => run.iter().map(|change| self.write_rules(change)).collect(),
                Some(Part::Servers) => self.servers.carry_out(run),
                Some(Part::Flows) => self.flows.carry_out(run),
                Some(Part::Leftovers) => {
                    run.iter().map(|change| self.remove_leftovers(change)).collect()
                }
                None => Vec::new(),
            });
        }
        results
    }
}

impl LinuxKernel {
    fn add_link(&mut self) -> Result<(), Cause> {
        self.links.create().map_err(Cause::new)?;
        self.device = self.links.index().map_err(Cause::new)?;
        Ok(())
    }

    fn change_addresses(&mut self, changes: &[Change]) -> Vec<Result<(), Cause>> {
        let wanted: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::AddAddress(address) => Some(AddressChange::Add(*address)),
                Change::RemoveAddress(address) => Some(AddressChange::Remove(*address)),
                _ => None,
            })
            .collect();
        let Some(index) = self.device else {
            return all_failed(changes, &Cause(format!("there is no device {}", link::DEVICE)));
        };
        match self.links.change(index, &wanted) {
            Ok(results) => results.into_iter().map(|result| result.map_err(Cause::new)).collect(),
            Err(error) => all_failed(changes, &Cause::new(error)),
        }
    }

    fn write_rules(&mut self, change: &Change) -> Result<(), Cause> {
        let Change::WriteRules(step) = change else { return Ok(()) };
        match self.iptables.of_mut(step.family) {
            Some(iptables) => iptables.write(step).map_err(Cause::new),
            None => Err(Cause(format!("{} is not available on this node", step.family))),
        }
    }
}

impl LinuxKernel {
    fn remove_leftovers(&self, change: &Change) -> Result<(), Cause> {
        let Change::RemoveLeftovers(family) = *change else { return Ok(()) };
        if let Some(iptables) = self.iptables.of(family) {
            iptables.remove_leftovers().map_err(Cause::new)?;
        }
        if nftables::has_table(family) {
            nftables::remove_table(family)?;
        }
        Ok(())
    }

    /// Spec Q-13: one rule with a match that the kernel lacks would fail the whole table.
    fn can_match_ipvs(&self, family: Family) -> bool {
        let Some(iptables) = self.iptables.of(family) else { return true };
        let tried = iptables.try_ipvs_match().or_else(|_| {
            module::load_module("xt_ipvs");
            iptables.try_ipvs_match()
        });
        if let Err(error) = &tried {
            tracing::warn!(
                "{family} rules cannot match virtual servers: a load balancer whose source ranges \
                 leave this node out is open to it all the same; load the module with \
                 `modprobe xt_ipvs` and start again ({error})"
            );
        }
        tried.is_ok()
    }
}

/// The exchange itself failed: what was applied is unknown, and every change counts as failed.
fn all_failed(changes: &[Change], cause: &Cause) -> Vec<Result<(), Cause>> {
    changes.iter().map(|_| Err(cause.clone())).collect()
}
