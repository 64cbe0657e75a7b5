//! The wish as a whole.
//!
//! In: each Service's [`ServicePlan`], replaced whole whenever it is planned again. Out: what is
//! wanted under each kernel key, and which keys a replacement has touched. What several Services
//! want is counted, so that adding and removing stay exact without a look at the rest. Never: two
//! values under one key: of Services that claim the same address, protocol and port the older wins
//! (creation time, then name) and nothing of the others' frontend counts, where upstream lets them
//! overwrite each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::counts::{Counts, DirtyKeys};
use super::frontend::Frontend;
use super::health::HealthCheck;
use super::rules::{Facts, Rules};
use super::server::{VirtualServer, VirtualServerKey};
use super::service::ServicePlan;
use super::set::{Entry, SetKey, SetName};
use super::settings::Settings;
use crate::model::{Family, Node, PerFamily, ServiceName};

/// A Service that wants something, ordered by who comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Creation time in seconds since 1970.
    pub created: i64,
    /// Whose claim it is.
    pub service: ServiceName,
}

/// Everything that is wanted of the kernel.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    plans: BTreeMap<ServiceName, Arc<Claim>>,
    claims: BTreeMap<VirtualServerKey, Owners>,
    conflicts: Conflicts,
    counts: Counts,
    health: Arc<BTreeMap<ServiceName, HealthCheck>>,
    rules: PerFamily<Option<Rules>>,
    without_local: PerFamily<WithoutLocal>,
}

/// How many Services have endpoints, but none on this node although a policy asks for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WithoutLocal {
    /// For traffic from inside the cluster.
    pub internal: usize,
    /// For traffic from outside.
    pub external: usize,
}

/// A Service, and what it wants.
#[derive(Clone, Debug)]
struct Claim {
    claimant: Owner,
    wanted: ServicePlan,
}

/// Who claims a virtual server: the one who has it, and seldom others, in their order.
#[derive(Clone, Debug)]
struct Owners {
    first: Arc<Claim>,
    others: Vec<Arc<Claim>>,
}

impl Owners {
    fn add(&mut self, claim: &Arc<Claim>) {
        let later = if claim.claimant < self.first.claimant {
            std::mem::replace(&mut self.first, Arc::clone(claim))
        } else {
            Arc::clone(claim)
        };
        let place = self.others.binary_search_by(|other| other.claimant.cmp(&later.claimant));
        if later.claimant != self.first.claimant
            && let Err(at) = place
        {
            self.others.insert(at, later);
        }
    }

    /// What is left without a claimant.
    fn without(mut self, claimant: &Owner) -> Option<Self> {
        if self.first.claimant == *claimant {
            if self.others.is_empty() {
                return None;
            }
            self.first = self.others.remove(0);
        } else {
            self.others.retain(|other| other.claimant != *claimant);
        }
        Some(self)
    }

    /// The frontend of the one who has it.
    fn won(&self, key: &VirtualServerKey) -> Option<&Frontend> {
        self.first.wanted.frontends.get(key)
    }

    fn losers(&self) -> impl Iterator<Item = &Owner> {
        self.others.iter().map(|other| &other.claimant)
    }
}

/// Of a virtual server and a Service that claims it in vain: the Service that has it.
pub type Conflicts = BTreeMap<(VirtualServerKey, ServiceName), ServiceName>;

impl Desired {
    /// Replaces what a Service wants; `None` when it is gone.
    pub fn replace(
        &mut self,
        name: &ServiceName,
        planned: Option<(Owner, ServicePlan)>,
        touched: &mut DirtyKeys,
    ) {
        let old = self.plans.get(name);
        let is_same = match (old, &planned) {
            (None, None) => true,
            (Some(old), Some((claimant, new))) => old.claimant == *claimant && old.wanted == *new,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if is_same {
            return;
        }
        let wanted = old.map(|old| &old.wanted).into_iter();
        let wanted = wanted.chain(planned.as_ref().map(|(_, new)| new));
        let keys: BTreeSet<_> =
            wanted.flat_map(|wanted| wanted.frontends.keys()).copied().collect();
        for key in &keys {
            self.release_frontend(key, touched);
        }
        self.count_without_local(name, planned.as_ref().map(|(_, new)| new));
        if let Some(old) = self.plans.remove(name) {
            old.wanted.frontends.keys().for_each(|key| self.withdraw(key, &old.claimant));
            for (set, entry) in &old.wanted.entries {
                self.counts.remove_entry(*set, *entry, touched);
            }
        }
        self.note_health(name, planned.as_ref().and_then(|(_, new)| new.health.as_ref()));
        if let Some((claimant, wanted)) = planned {
            let claim = Arc::new(Claim { claimant, wanted });
            for key in claim.wanted.frontends.keys() {
                self.claims
                    .entry(*key)
                    .and_modify(|claims| claims.add(&claim))
                    .or_insert_with(|| Owners { first: Arc::clone(&claim), others: Vec::new() });
            }
            for (set, entry) in &claim.wanted.entries {
                self.counts.add_entry(*set, *entry, touched);
            }
            self.plans.insert(name.clone(), claim);
        }
        for key in &keys {
            self.assign_frontend(key, touched);
        }
    }

    /// Plans the rules of families in which a fact they depend on has changed.
    pub fn replace_rules(&mut self, settings: &Settings, node: Option<&Node>) {
        let stale = self.counts.take_stale();
        for family in Family::BOTH.into_iter().filter(|family| *settings.families.of(*family)) {
            if *stale.of(family) || self.rules.of(family).is_none() {
                let rules = self.rules_with(settings, node, family, BTreeSet::new());
                *self.rules.of_mut(family) = Some(rules);
            }
        }
    }

    /// Lets the rules be planned anew: something other than Services has changed.
    pub fn invalidate_rules(&mut self) {
        self.counts.invalidate_rules();
    }

    /// The rules a family would have if these sets had entries as well. A step towards the
    /// wanted rules at which nothing that still stands has lost its own.
    pub(crate) fn rules_with(
        &self,
        settings: &Settings,
        node: Option<&Node>,
        family: Family,
        mut filled: BTreeSet<SetName>,
    ) -> Rules {
        filled.extend(self.filled(family));
        let refused =
            self.counts.refused.iter().filter(|key| key.family() == family).copied().collect();
        let missing = settings.missing.of(family);
        Rules::planned(settings, &Facts { family, filled, refused, node, missing })
    }

    /// The virtual server wanted under a key.
    pub fn server(&self, key: &VirtualServerKey) -> Option<&VirtualServer> {
        self.frontend(key).map(|frontend| &frontend.server)
    }

    /// Every wanted virtual server, by key.
    pub fn servers(&self) -> impl Iterator<Item = (&VirtualServerKey, &VirtualServer)> {
        let won = self.claims.iter().filter_map(|(key, claims)| Some((key, claims.won(key)?)));
        won.map(|(key, frontend)| (key, &frontend.server))
    }

    /// Whose virtual server it is.
    pub fn owner(&self, key: &VirtualServerKey) -> Option<&ServiceName> {
        self.claims.get(key).map(|claims| &claims.first.claimant.service)
    }

    /// Claims that came to nothing because an older Service has the same.
    pub fn conflicts(&self) -> &Conflicts {
        &self.conflicts
    }

    /// Services that have a health-check node port, with what is answered there. Who keeps it sees
    /// by the pointer whether it is still so.
    pub fn health_checks(&self) -> &Arc<BTreeMap<ServiceName, HealthCheck>> {
        &self.health
    }

    /// How many Services have no endpoint on this node although a policy asks for them.
    pub fn without_local(&self, family: Family) -> WithoutLocal {
        *self.without_local.of(family)
    }

    /// True if the address is to be on the dummy device.
    pub fn has_address(&self, address: &IpAddr) -> bool {
        self.counts.addresses.contains_key(address)
    }

    /// Every address to be on the dummy device.
    pub fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.counts.addresses.keys()
    }

    /// True if the entry is to be in the set.
    pub fn has_entry(&self, set: SetKey, entry: &Entry) -> bool {
        self.counts.sets.get(&set).is_some_and(|entries| entries.contains_key(entry))
    }

    /// Every wanted entry of a set.
    pub fn entries(&self, set: SetKey) -> impl Iterator<Item = &Entry> {
        self.counts.sets.get(&set).into_iter().flat_map(BTreeMap::keys)
    }

    /// Sets of a family that are to have entries.
    pub fn filled(&self, family: Family) -> BTreeSet<SetName> {
        self.counts.sets.keys().filter(|key| key.family == family).map(|key| key.name).collect()
    }

    /// The rules of a family; `None` before the first plan and for a disabled family.
    pub fn rules(&self, family: Family) -> Option<&Rules> {
        self.rules.of(family).as_ref()
    }

    /// The frontend of the Service that wins a key.
    fn frontend(&self, key: &VirtualServerKey) -> Option<&Frontend> {
        self.claims.get(key)?.won(key)
    }

    /// Takes away what the winner's frontend wants.
    fn release_frontend(&mut self, key: &VirtualServerKey, touched: &mut DirtyKeys) {
        touched.servers.insert(*key);
        for claimant in self.claims.get(key).iter().flat_map(|claims| claims.losers()) {
            self.conflicts.remove(&(*key, claimant.service.clone()));
        }
        if let Some(frontend) = self.claims.get(key).and_then(|claims| claims.won(key)) {
            self.counts.remove(key, frontend, touched);
        }
    }

    /// Adds what the winner's frontend wants.
    fn assign_frontend(&mut self, key: &VirtualServerKey, touched: &mut DirtyKeys) {
        self.note_losers(key);
        if let Some(frontend) = self.claims.get(key).and_then(|claims| claims.won(key)) {
            self.counts.add(key, frontend, touched);
        }
    }

    fn note_health(&mut self, name: &ServiceName, check: Option<&HealthCheck>) {
        if self.health.get(name) == check {
            return;
        }
        let checks = Arc::make_mut(&mut self.health);
        match check {
            Some(check) => drop(checks.insert(name.clone(), check.clone())),
            None => drop(checks.remove(name)),
        }
    }

    fn count_without_local(&mut self, name: &ServiceName, new: Option<&ServicePlan>) {
        let old = self.plans.get(name).map(|claim| &claim.wanted);
        for family in Family::BOTH {
            let lacks = |wanted: Option<&ServicePlan>| {
                wanted.map(|wanted| *wanted.lacks_local.of(family)).unwrap_or_default()
            };
            let (old, new, count) = (lacks(old), lacks(new), self.without_local.of_mut(family));
            count.internal += usize::from(new.internal);
            count.internal -= usize::from(old.internal);
            count.external += usize::from(new.external);
            count.external -= usize::from(old.external);
        }
    }

    fn note_losers(&mut self, key: &VirtualServerKey) {
        let Some(claims) = self.claims.get(key) else { return };
        for loser in claims.losers() {
            let lost = (*key, loser.service.clone());
            self.conflicts.insert(lost, claims.first.claimant.service.clone());
        }
    }

    fn withdraw(&mut self, key: &VirtualServerKey, claimant: &Owner) {
        let left = self.claims.remove(key).and_then(|claims| claims.without(claimant));
        if let Some(left) = left {
            self.claims.insert(*key, left);
        }
    }
}

#[cfg(test)]
mod tests;
