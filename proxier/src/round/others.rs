//! What others have changed in the kernel.
//!
//! Takes the changes that a comparison in whole has named, and notices of removals from the dummy device. Gives the
//! numbers, the first names, and virtual servers of others that go. Does not decide what is done about it: what is
//! missing is planned and comes back like everything else.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Proxier;
use crate::apply::Differences;
use crate::diff::{Change, Observed, OwnershipEvidence, RulesChange, ServerChange};
use crate::model::Removed;
use crate::plan::{DirtyKeys, VirtualServerKey};

impl Proxier {
    /// Notes which of these changes no fact asks for: somebody else has changed the kernel. `has_news` says whether
    /// facts have come in that rules may follow from. What has drained goes by itself, and what failed before is
    /// missing because of that.
    pub(super) fn note_differences(
        &mut self,
        changes: &[Change],
        touched: &DirtyKeys,
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
            if !is_expected && !change.is_of(touched) {
                self.differences.note(change.object(), || change.to_string());
            }
        }
    }

    /// Takes note of what somebody else has removed from the dummy device. The next round reads the whole kernel: whoever
    /// removed that may have removed what an address must not stand without, its virtual servers, entries and rules.
    pub(super) fn note_removed(&mut self, removed: Removed) {
        let cache = self.work.as_mut().map(|work| &mut work.cache).or(self.cache.as_mut());
        // Without a cache everything is read anyway.
        let Some(cache) = cache else { return };
        let is_by_others = match removed {
            Removed::Device => cache.lose_device(),
            Removed::Address(address) => cache.lose_address(address),
        };
        if !is_by_others {
            return;
        }
        match &mut self.work {
            Some(work) => work.doubts.lose_all(),
            None => self.invalidate(),
        }
        self.has_interference = true;
        self.dirty.device = true;
    }

    /// Learns from a reading which virtual servers in excluded networks are ours.
    pub(super) fn note_proven(&mut self, found: &Observed) {
        let node = self.node_addresses();
        self.proven.read(found, &node, &self.desired, &self.settings.exclude_nets);
    }

    /// The virtual servers that go, no fact having asked for it, and of which nothing tells that this proxy, or
    /// kube-proxy, had made them.
    pub(super) fn servers_of_others(
        &self,
        changes: &[Change],
        touched: &DirtyKeys,
        found: &Observed,
    ) -> Vec<VirtualServerKey> {
        let removed = changes.iter().filter_map(|change| match change {
            Change::Server(ServerChange::Remove(key)) if !touched.servers.contains(key) => {
                Some(*key)
            }
            _ => None,
        });
        let removed: Vec<_> = removed.collect();
        if removed.is_empty() {
            return removed;
        }
        let (node, sets, device) = (&self.node_addresses(), &found.sets, &found.addresses);
        let evidence = OwnershipEvidence { device, sets, node, exclude: &[] };
        removed.into_iter().filter(|key| !evidence.is_our_server(key)).collect()
    }

    fn node_addresses(&self) -> BTreeSet<IpAddr> {
        self.store.addresses().iter().map(|found| found.address.addr()).collect()
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
