//! Changes of the kernel by other programs.
//!
//! Takes the changes that a whole comparison has found, and notices of removals from the dummy device. Counts
//! them, names the first ones, and finds virtual servers of others that are removed. Does not restore
//! anything: a missing object is compared and added like any other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Proxier;
use crate::apply::Differences;
use crate::diff::{Change, Observed, OwnershipEvidence, RulesChange, ServerChange};
use crate::model::{Family, Removed};
use crate::plan::{DirtyKeys, LocalNode, VirtualServerKey};

impl Proxier {
    /// Notes which of these changes follow from no event, so that another program must have changed the
    /// kernel. `has_news` says whether events have arrived on which rules may depend. Drained destinations
    /// are expected to be removed, and objects that have failed before are expected to differ.
    pub(super) fn note_differences(
        &mut self,
        changes: &[Change],
        dirty_keys: &DirtyKeys,
        has_news: bool,
    ) {
        let blocked = self.refused.blocked();
        for change in changes {
            let is_expected = match change {
                Change::Server(ServerChange::RemoveDestination(key, server)) => {
                    self.drain.has(&(*key, *server))
                }
                Change::Rules(RulesChange::Write(step)) => has_news || *blocked.of(step.family),
                _ => has_news && change.is_common(),
            };
            let is_expected = is_expected || self.refused.has_failed_before(&change.key());
            if !is_expected && !change.is_of(dirty_keys) {
                self.differences.note(change.object(), || change.to_string());
            }
        }
    }

    /// Notes what was removed from the dummy device, so that the next round adds it again.
    pub(super) fn note_removed(&mut self, removed: Removed) {
        // Without a cache, everything is read anyway.
        let cache = self.work.as_mut().map(|work| &mut work.cache).or(self.cache.as_mut());
        let Some(cache) = cache else { return };
        let is_by_others = match removed {
            Removed::Device => cache.lose_device(),
            // Others may come and go there as they like, such as the kernel's own link-local addresses.
            Removed::Address(address) => {
                cache.lose_address(address) && self.desired.has_address(&address)
            }
        };
        if !is_by_others {
            return;
        }
        match &mut self.work {
            Some(work) => work.validity.require_full_reading(),
            None => self.invalidate(),
        }
        self.has_interference = true;
        self.dirty.device = true;
    }

    /// Finds in a reading which virtual servers in excluded networks belong to this proxy.
    pub(super) fn note_proven(&mut self, found: &Observed) {
        if self.settings.exclude_nets.is_empty() {
            return;
        }
        let node = self.node_port_addresses();
        self.proven.read(found, &node, &self.desired, &self.settings.exclude_nets);
    }

    /// The virtual servers that are removed although no event has asked for it and nothing shows that this
    /// proxy or kube-proxy created them.
    pub(super) fn servers_of_others(
        &self,
        changes: &[Change],
        dirty_keys: &DirtyKeys,
        found: &Observed,
    ) -> Vec<VirtualServerKey> {
        let removed = changes.iter().filter_map(|change| match change {
            Change::Server(ServerChange::Remove(key)) if !dirty_keys.servers.contains(key) => {
                Some(*key)
            }
            _ => None,
        });
        let removed: Vec<_> = removed.collect();
        if removed.is_empty() {
            return removed;
        }
        let (node, sets, device) = (&self.node_port_addresses(), &found.sets, &found.addresses);
        let evidence = OwnershipEvidence { device, sets, node, exclude: &[] };
        let flags = |key: &VirtualServerKey| {
            found.servers.get(key).map(|server| server.settings.flags).unwrap_or_default()
        };
        removed.into_iter().filter(|key| !evidence.is_our_server(key, flags(key))).collect()
    }

    fn node_port_addresses(&self) -> BTreeSet<IpAddr> {
        let node = LocalNode::new(self.store.node(), self.store.addresses(), &self.settings);
        Family::BOTH.iter().flat_map(|family| node.node_port_addresses(*family)).copied().collect()
    }
}

impl Differences {
    pub(super) fn note(&mut self, object: &'static str, correction: impl FnOnce() -> String) {
        *self.counts.entry(object).or_default() += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(correction());
        }
    }
}
