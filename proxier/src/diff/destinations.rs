//! The destinations of a virtual server in the kernel.
//!
//! Takes a reading, or single changes. Gives each destination with its weight. Shares the list of the desired
//! state while both are equal, which is nearly always, so that memory does not hold the list twice.

use std::net::SocketAddr;

use super::observed::ObservedDestination;
use crate::plan::weight;
use crate::sorted::{SortedMap, SortedSet};

/// Destinations by address and port.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    /// Destinations that are all like [`PLAIN`]. If there are any, `owned` is empty.
    shared: SortedSet<SocketAddr>,
    /// Destinations with their own state.
    owned: SortedMap<SocketAddr, ObservedDestination>,
}

/// The state of a destination that takes new connections and is reached by NAT.
static PLAIN: ObservedDestination =
    ObservedDestination { weight: weight::SERVING, masquerades: true, connections: None };

impl Destinations {
    /// The state of a destination; `None` if it does not exist.
    pub fn get(&self, destination: &SocketAddr) -> Option<ObservedDestination> {
        let shared = self.shared.contains(destination).then_some(PLAIN);
        shared.or_else(|| self.owned.get(destination).copied())
    }

    /// True if the destination exists.
    pub fn contains_key(&self, destination: &SocketAddr) -> bool {
        self.get(destination).is_some()
    }

    /// All destinations, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&SocketAddr, ObservedDestination)> + Clone {
        let shared = self.shared.iter().map(|destination| (destination, PLAIN));
        shared.chain(self.owned.iter().map(|(destination, found)| (destination, *found)))
    }

    /// The addresses and ports of all destinations, in order.
    pub fn keys(&self) -> impl Iterator<Item = &SocketAddr> {
        self.iter().map(|(destination, _)| destination)
    }

    /// The states of all destinations, in the order of their addresses and ports.
    pub fn values(&self) -> impl Iterator<Item = ObservedDestination> {
        self.iter().map(|(_, found)| found)
    }

    /// The number of destinations.
    pub fn count(&self) -> usize {
        self.shared.len() + self.owned.len()
    }

    /// Records the state of a destination.
    pub fn insert(&mut self, destination: SocketAddr, found: ObservedDestination) {
        self.owned().insert(destination, found);
    }

    /// Records that a destination is gone.
    pub fn remove(&mut self, destination: &SocketAddr) {
        self.owned().remove(destination);
    }

    /// Shares the list of the desired state if it equals this one. Counts of connections are dropped, because
    /// they are soon out of date.
    pub(super) fn share(&mut self, wished: &SortedSet<SocketAddr>) {
        let is_plain = |found: &ObservedDestination| {
            ObservedDestination { connections: None, ..*found } == PLAIN
        };
        // A list that is already shared may belong to an older desired state; `owned` is empty then.
        if self.shared.is_empty()
            && self.owned.keys().eq(wished)
            && self.owned.values().all(is_plain)
        {
            *self = Self { shared: wished.clone(), owned: SortedMap::default() };
        }
    }

    fn owned(&mut self) -> &mut SortedMap<SocketAddr, ObservedDestination> {
        if !self.shared.is_empty() {
            let shared = std::mem::take(&mut self.shared);
            self.owned = shared.iter().map(|destination| (*destination, PLAIN)).collect();
        }
        &mut self.owned
    }
}

impl PartialEq for Destinations {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Destinations {}

impl FromIterator<(SocketAddr, ObservedDestination)> for Destinations {
    fn from_iter<I: IntoIterator<Item = (SocketAddr, ObservedDestination)>>(all: I) -> Self {
        Self { shared: SortedSet::default(), owned: all.into_iter().collect() }
    }
}

#[cfg(any(test, feature = "testing"))]
impl std::ops::Index<&SocketAddr> for Destinations {
    type Output = ObservedDestination;

    fn index(&self, destination: &SocketAddr) -> &ObservedDestination {
        match self.shared.contains(destination) {
            true => &PLAIN,
            false => std::ops::Index::index(&self.owned, destination),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wishs_list_is_kept_while_it_says_it_all() {
        let one: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let two: SocketAddr = "10.0.0.2:80".parse().unwrap();
        let wished: SortedSet<_> = [one, two].into_iter().collect();
        let mut destinations: Destinations =
            [(one, PLAIN), (two, ObservedDestination { connections: Some(3), ..PLAIN })]
                .into_iter()
                .collect();
        destinations.share(&wished);
        assert_eq!(destinations.shared, wished);
        destinations.insert(two, ObservedDestination { weight: 0, ..PLAIN });
        destinations.share(&wished);
        assert!(destinations.shared.is_empty());
        assert_eq!(destinations.values().map(|found| found.weight).collect::<Vec<_>>(), [1, 0]);
        destinations.remove(&two);
        assert_eq!(destinations, [(one, PLAIN)].into_iter().collect());
    }
}
