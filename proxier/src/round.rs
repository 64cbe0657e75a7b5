//! One round: facts, plan, diff, apply.
//!
//! In: events, and a kernel to read and change. Out: an [`Outcome`] for each round. Never: a
//! decision when to run, which needs a clock and is the caller's.
//!
//! A restart is a round without a belief; a failure makes the belief be forgotten, so that the
//! next round reads the kernel instead of trusting what may not have happened.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::apply::{Failure, Kernel, Outcome, apply};
use crate::diff::{Change, Comparison, Extent, Observed};
use crate::model::{Dirty, Event, ServiceName, Store};
use crate::plan::{
    Claimant, Desired, HealthCheckAddresses, Here, Settings, Touched, VirtualServerKey,
    contribution, weight,
};

/// The proxy's whole memory.
#[derive(Debug)]
pub struct Proxier {
    settings: Settings,
    store: Store,
    dirty: Dirty,
    desired: Desired,
    touched: Touched,
    belief: Option<Observed>,
    draining: BTreeSet<(VirtualServerKey, SocketAddr)>,
    recount: bool,
}

impl Proxier {
    /// A proxy that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            store: Store::default(),
            dirty: Dirty { everything: true, ..Dirty::default() },
            desired: Desired::default(),
            touched: Touched::default(),
            belief: None,
            draining: BTreeSet::new(),
            recount: false,
        }
    }

    /// Takes a fact in.
    pub fn fold(&mut self, event: Event) {
        self.store.fold(event, &mut self.dirty);
    }

    /// True once every kind of object has been listed; before that, nothing may be programmed.
    pub fn is_complete(&self) -> bool {
        self.store.is_complete()
    }

    /// True if facts have arrived that no round has seen.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The facts.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The wish as of the last planning.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Drops the belief about the kernel, so that the next round reads and compares everything:
    /// the periodic audit.
    pub fn doubt(&mut self) {
        self.belief = None;
    }

    /// Lets the next round count the connections of everything that drains. Otherwise it counts
    /// only what begins to, so that a round costs what changed.
    pub fn look_at_draining(&mut self) {
        self.recount = true;
    }

    /// Plans what is dirty. Called by [`round`](Self::round); on its own it is the dry run.
    pub fn plan(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        let mut names: BTreeSet<ServiceName> = dirty.services;
        if dirty.everything {
            names.extend(self.store.services().map(|service| service.name.clone()));
        }
        let here = Here::new(self.store.node(), self.store.addresses(), &self.settings);
        for name in &names {
            let planned = self.store.service(name).map(|service| {
                let slices: Vec<_> = self.store.slices_of(name).collect();
                let wanted = contribution(service, &slices, &here, &self.settings);
                (Claimant { created: service.created, service: name.clone() }, wanted)
            });
            self.desired.replace(name, planned, &mut self.touched);
        }
        if dirty.everything || dirty.rules {
            self.desired.distrust_rules();
        }
        self.desired.replace_rules(&self.settings, self.store.node());
    }

    /// Brings the kernel to the wish, as far as it lets itself be brought.
    pub fn round(&mut self, kernel: &mut dyn Kernel) -> Outcome {
        self.plan();
        let (mut belief, whole) = match self.belief.take() {
            Some(belief) => (belief, false),
            None => match kernel.observe() {
                Ok(observed) => (observed, true),
                Err(cause) => return failed_read("read kernel state", cause),
            },
        };
        let touched = std::mem::take(&mut self.touched);
        let extent = if whole { Extent::Everything } else { Extent::Keys(&touched) };
        let changes = self.comparison(&belief).changes(extent);
        let due = if std::mem::take(&mut self.recount) || whole {
            std::mem::take(&mut self.draining)
        } else {
            BTreeSet::new()
        };
        let due = due.into_iter().chain(changes.draining).collect();
        let mut outcome = apply(changes.changes, kernel, &mut belief);
        self.finish_draining(due, kernel, &mut belief, &mut outcome);
        if outcome.is_success() {
            self.belief = Some(belief);
        }
        outcome
    }

    fn comparison<'a>(&'a self, observed: &'a Observed) -> Comparison<'a> {
        Comparison {
            desired: &self.desired,
            observed,
            settings: &self.settings,
            node: self.store.node(),
        }
    }

    /// Counts what drains, now that weight 0 keeps new connections away, and removes what is done.
    fn finish_draining(
        &mut self,
        mut due: BTreeSet<(VirtualServerKey, SocketAddr)>,
        kernel: &mut dyn Kernel,
        belief: &mut Observed,
        outcome: &mut Outcome,
    ) {
        due.retain(|(key, destination)| self.is_draining(belief, key, destination));
        if !due.is_empty() {
            match kernel.count_connections(&due) {
                Ok(counts) => {
                    let is_idle = |leaving: &_| counts.get(leaving).copied().unwrap_or(0) == 0;
                    let (idle, busy): (BTreeSet<_>, _) = due.into_iter().partition(is_idle);
                    let removals = idle
                        .into_iter()
                        .map(|(key, destination)| Change::RemoveDestination(key, destination));
                    let finished = apply(removals.collect(), kernel, belief);
                    outcome.done += finished.done;
                    outcome.failed.extend(finished.failed);
                    due = busy;
                }
                Err(cause) => {
                    outcome.failed.push(Failure { operation: "count connections".into(), cause })
                }
            }
        }
        let mut draining = std::mem::take(&mut self.draining);
        draining.retain(|(key, destination)| self.is_draining(belief, key, destination));
        draining.extend(due);
        outcome.draining.clone_from(&draining);
        self.draining = draining;
    }

    /// True if the destination stands at weight 0 and is not wanted.
    fn is_draining(
        &self,
        belief: &Observed,
        key: &VirtualServerKey,
        destination: &SocketAddr,
    ) -> bool {
        let stands = belief
            .servers
            .get(key)
            .and_then(|server| server.destinations.get(destination))
            .is_some_and(|found| found.weight == weight::DRAINING);
        let wanted = self
            .desired
            .server(key)
            .is_some_and(|server| server.destinations.contains(destination));
        stands && !wanted
    }
}

fn failed_read(operation: &str, cause: crate::apply::Cause) -> Outcome {
    let failure = Failure { operation: operation.into(), cause };
    Outcome { failed: vec![failure], ..Outcome::default() }
}

#[cfg(test)]
mod tests;
