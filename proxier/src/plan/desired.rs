//! The desired state of the kernel, combined from the plans of all Services.
//!
//! Takes each Service's [`ServicePlan`], replaced as a whole whenever it is planned again. Gives the desired
//! value of each kernel key, and the keys that a replacement has affected. Counts what several Services need,
//! so that adding and removing one Service is exact without a look at the others.
//!
//! If several Services claim the same address, protocol and port, the oldest wins (creation time, then name).
//! Nothing of the others' frontends counts. Upstream lets them overwrite each other.

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

/// A Service that claims frontends. The order is that of precedence: the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The creation time in seconds since 1970.
    pub created: i64,
    /// The Service's name.
    pub service: ServiceName,
}

/// The desired state of the kernel.
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

/// The number of Services that have usable endpoints, but none on this node although a policy asks for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WithoutLocal {
    /// The number for traffic from inside the cluster.
    pub internal: usize,
    /// The number for traffic from outside.
    pub external: usize,
}

/// A Service with its plan.
#[derive(Clone, Debug)]
struct Claim {
    claimant: Owner,
    wanted: ServicePlan,
}

/// The Services that claim a virtual server: the one that owns it, and rarely others, in order of precedence.
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

    /// Returns the claims that are left without one Service.
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

    /// Returns the frontend of the owner.
    fn won(&self, key: &VirtualServerKey) -> Option<&Frontend> {
        self.first.wanted.frontends.get(key)
    }

    fn losers(&self) -> impl Iterator<Item = &Owner> {
        self.others.iter().map(|other| &other.claimant)
    }
}

/// The Service that owns a frontend, by the frontend and the name of another Service that also claims it.
pub type Conflicts = BTreeMap<(VirtualServerKey, ServiceName), ServiceName>;

impl Desired {
    /// Replaces the plan of a Service; `None` if the Service is gone.
    pub fn replace(
        &mut self,
        name: &ServiceName,
        planned: Option<(Owner, ServicePlan)>,
        dirty_keys: &mut DirtyKeys,
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
            self.release_frontend(key, dirty_keys);
        }
        self.count_without_local(name, planned.as_ref().map(|(_, new)| new));
        if let Some(old) = self.plans.remove(name) {
            old.wanted.frontends.keys().for_each(|key| self.withdraw(key, &old.claimant));
            for (set, entry) in &old.wanted.entries {
                self.counts.remove_entry(*set, *entry, dirty_keys);
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
                self.counts.add_entry(*set, *entry, dirty_keys);
            }
            self.plans.insert(name.clone(), claim);
        }
        for key in &keys {
            self.assign_frontend(key, dirty_keys);
        }
    }

    /// Plans the rules again in families in which a fact that they depend on has changed.
    pub fn replace_rules(&mut self, settings: &Settings, node: Option<&Node>) {
        let stale = self.counts.take_stale();
        for family in Family::BOTH.into_iter().filter(|family| *settings.families.of(*family)) {
            if *stale.of(family) || self.rules.of(family).is_none() {
                let rules = self.rules_with(settings, node, family, BTreeSet::new());
                *self.rules.of_mut(family) = Some(rules);
            }
        }
    }

    /// Marks the rules to be planned again, because something other than Services has changed.
    pub fn invalidate_rules(&mut self) {
        self.counts.invalidate_rules();
    }

    /// Returns the rules that a family would have if these sets had entries as well. Such rules are a step
    /// towards the desired ones, at which every object that still exists keeps its rules.
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

    /// Returns the desired virtual server with this key.
    pub fn server(&self, key: &VirtualServerKey) -> Option<&VirtualServer> {
        self.frontend(key).map(|frontend| &frontend.server)
    }

    /// Iterates over the desired virtual servers, sorted by key.
    pub fn servers(&self) -> impl Iterator<Item = (&VirtualServerKey, &VirtualServer)> {
        let won = self.claims.iter().filter_map(|(key, claims)| Some((key, claims.won(key)?)));
        won.map(|(key, frontend)| (key, &frontend.server))
    }

    /// Returns the Service that owns the virtual server.
    pub fn owner(&self, key: &VirtualServerKey) -> Option<&ServiceName> {
        self.claims.get(key).map(|claims| &claims.first.claimant.service)
    }

    /// Returns the claims that are not served because an older Service owns the same frontend.
    pub fn conflicts(&self) -> &Conflicts {
        &self.conflicts
    }

    /// Returns the health checks of the Services that have a health-check node port. The pointer changes
    /// whenever the content does, so a holder can compare pointers.
    pub fn health_checks(&self) -> &Arc<BTreeMap<ServiceName, HealthCheck>> {
        &self.health
    }

    /// Returns the number of Services that have no endpoint on this node although a policy asks for them.
    pub fn without_local(&self, family: Family) -> WithoutLocal {
        *self.without_local.of(family)
    }

    /// True if the address should be on the dummy device.
    pub fn has_address(&self, address: &IpAddr) -> bool {
        self.counts.addresses.contains_key(address)
    }

    /// Iterates over the addresses that should be on the dummy device.
    pub fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.counts.addresses.keys()
    }

    /// True if the entry should be in the set.
    pub fn has_entry(&self, set: SetKey, entry: &Entry) -> bool {
        self.counts.sets.get(&set).is_some_and(|entries| entries.contains_key(entry))
    }

    /// Iterates over the entries that should be in a set.
    pub fn entries(&self, set: SetKey) -> impl Iterator<Item = &Entry> {
        self.counts.sets.get(&set).into_iter().flat_map(BTreeMap::keys)
    }

    /// Returns the sets of a family that should have entries.
    pub fn filled(&self, family: Family) -> BTreeSet<SetName> {
        self.counts.sets.keys().filter(|key| key.family == family).map(|key| key.name).collect()
    }

    /// Returns the rules of a family; `None` before the first plan and for a disabled family.
    pub fn rules(&self, family: Family) -> Option<&Rules> {
        self.rules.of(family).as_ref()
    }

    /// Returns the frontend of the Service that owns a key.
    fn frontend(&self, key: &VirtualServerKey) -> Option<&Frontend> {
        self.claims.get(key)?.won(key)
    }

    /// Uncounts everything that the owner's frontend needs.
    fn release_frontend(&mut self, key: &VirtualServerKey, dirty_keys: &mut DirtyKeys) {
        dirty_keys.servers.insert(*key);
        for claimant in self.claims.get(key).iter().flat_map(|claims| claims.losers()) {
            self.conflicts.remove(&(*key, claimant.service.clone()));
        }
        if let Some(frontend) = self.claims.get(key).and_then(|claims| claims.won(key)) {
            self.counts.remove(key, frontend, dirty_keys);
        }
    }

    /// Counts everything that the owner's frontend needs.
    fn assign_frontend(&mut self, key: &VirtualServerKey, dirty_keys: &mut DirtyKeys) {
        self.note_losers(key);
        if let Some(frontend) = self.claims.get(key).and_then(|claims| claims.won(key)) {
            self.counts.add(key, frontend, dirty_keys);
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
