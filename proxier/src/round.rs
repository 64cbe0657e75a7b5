//! One round: facts, plan, diff, apply.
//!
//! In: events, and a kernel to read and change. Out: an [`Outcome`] for each round. Never: a
//! decision when to run, which needs a clock and is the caller's.
//!
//! A restart is a round without a belief; a failure makes the belief be forgotten, so that the
//! next round reads the kernel instead of trusting what may not have happened.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::apply::{Cause, Failure, Kernel, Outcome, Ready, apply};
use crate::diff::{Comparison, Extent, Observed, is_tracked, suspects};
use crate::model::{Dirty, Event, Family, ServiceName, Store};
use crate::plan::{
    Claimant, Contested, Desired, HealthCheckAddresses, Here, Settings, Touched, VirtualServerKey,
    contribution, health_check_addresses,
};

use self::drain::Drain;

mod drain;

/// The proxy's whole memory.
#[derive(Debug)]
pub struct Proxier {
    settings: Settings,
    store: Store,
    dirty: Dirty,
    desired: Desired,
    touched: Touched,
    belief: Option<Observed>,
    drain: Drain,
    suspects: Suspects,
}

/// Whose tracked flows are to be looked at.
#[derive(Debug)]
enum Suspects {
    /// Those of every virtual server: nobody has looked yet.
    All,
    /// Those of these.
    These(BTreeSet<VirtualServerKey>),
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
            drain: Drain::default(),
            suspects: Suspects::All,
        }
    }

    /// Takes in what the kernel was found to be able to do.
    pub fn learn(&mut self, ready: &Ready) {
        if self.settings.ipvs_match != ready.ipvs_match {
            self.settings.ipvs_match = ready.ipvs_match.clone();
            self.dirty.rules = true;
        }
    }

    /// Takes a fact in.
    pub fn fold(&mut self, event: Event) {
        self.store.fold(event, &mut self.dirty);
    }

    /// True once every kind of fact has been listed; before that, nothing may be programmed.
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

    /// Claims that came to nothing because an older Service has the same frontend.
    pub fn contested(&self) -> &Contested {
        self.desired.contested()
    }

    /// Where health checks of a family are to be answered.
    pub fn health_check_addresses(&self, family: Family) -> HealthCheckAddresses {
        let (node, interfaces) = (self.store.node(), self.store.addresses());
        health_check_addresses(family, node, interfaces, &self.settings)
    }

    /// Drops the belief about the kernel, so that the next round reads and compares everything:
    /// the periodic audit.
    pub fn doubt(&mut self) {
        self.belief = None;
    }

    /// Lets the next round count the connections of everything that drains. Otherwise it counts
    /// only what begins to, so that a round costs what changed.
    pub fn look_at_draining(&mut self) {
        self.drain.look_at_all();
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

    /// Brings the kernel to the wish, as far as it lets itself be brought. `now` says for how long
    /// destinations have been draining.
    pub fn round(&mut self, kernel: &mut dyn Kernel, now: Instant) -> Outcome {
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
        if let Suspects::These(known) = &mut self.suspects {
            known.append(&mut suspects(&changes.changes));
        }
        let mut due = changes.draining;
        due.append(&mut self.drain.due(whole));
        let mut outcome = apply(changes.changes, kernel, &mut belief);
        self.finish_draining(due, kernel, &mut belief, now, &mut outcome);
        self.forget_stale_flows(kernel, &mut belief, &mut outcome);
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

    /// Forgets the flows of changed virtual servers that lead nowhere. What could not be looked at
    /// or forgotten is looked at again in the next round.
    fn forget_stale_flows(
        &mut self,
        kernel: &mut dyn Kernel,
        belief: &mut Observed,
        outcome: &mut Outcome,
    ) {
        let keys = match &self.suspects {
            Suspects::These(keys) => keys.clone(),
            Suspects::All => {
                let tracked = |key: &&VirtualServerKey| is_tracked(key.protocol);
                self.desired.servers().map(|(key, _)| key).filter(tracked).copied().collect()
            }
        };
        let kinds = keys.iter().map(|key| (key.family(), key.protocol)).collect::<BTreeSet<_>>();
        let flows = match kinds.is_empty() {
            true => Ok(Vec::new()),
            false => kernel.flows(&kinds),
        };
        match flows {
            Ok(flows) => {
                let stale = self.comparison(belief).stale_flows(flows, &keys);
                let removed = apply(stale, kernel, belief);
                let succeeded = removed.is_success();
                outcome.absorb(removed);
                self.suspects = Suspects::These(if succeeded { BTreeSet::new() } else { keys });
            }
            Err(cause) => {
                outcome.failed.push(Failure { operation: "read tracked flows".into(), cause });
            }
        }
    }
}

fn failed_read(operation: &str, cause: Cause) -> Outcome {
    let failure = Failure { operation: operation.into(), cause };
    Outcome { failed: vec![failure], is_blocked: true, ..Outcome::default() }
}

#[cfg(test)]
mod tests;
