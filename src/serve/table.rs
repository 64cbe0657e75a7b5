//! The health checks of Services, as the sync thread publishes them.
//!
//! Takes the Services that have a health-check node port, and the addresses of such ports. Returns each place to listen
//! on, with the number to answer. Opens no sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use proxier::model::{Family, PerFamily, ServiceName};
use proxier::plan::{HealthCheck, HealthCheckAddresses};

/// The part of the plan that concerns health-check node ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthTable {
    /// The check of each Service that has one.
    pub checks: Arc<BTreeMap<ServiceName, HealthCheck>>,
    /// The addresses at which checks of each family are answered.
    pub addresses: PerFamily<HealthCheckAddresses>,
}

impl Default for HealthTable {
    /// Returns a table without checks; the addresses are those of kube-proxy's defaults.
    fn default() -> Self {
        let addresses = PerFamily::from_fn(|_| HealthCheckAddresses::Every);
        Self { checks: Arc::default(), addresses }
    }
}

/// A Service, and an address at which its check is answered. An unspecified address is the wildcard of its own family
/// only.
pub(super) type Place = (ServiceName, SocketAddr);

impl HealthTable {
    /// Returns each place to listen on, with the number of local endpoints to answer there.
    pub(super) fn places(&self) -> BTreeMap<Place, usize> {
        let mut places = BTreeMap::new();
        for (service, check) in &*self.checks {
            for family in Family::BOTH {
                let Some(count) = *check.local_endpoints.of(family) else { continue };
                for address in self.addresses_of(family) {
                    places.insert((service.clone(), SocketAddr::new(address, check.port)), count);
                }
            }
        }
        places
    }

    /// Keeps the checks of blocked families as `before` has them. They describe kernel state, which does not change
    /// until the family is served again.
    pub fn keep(&mut self, before: &Self, blocked: &PerFamily<bool>) {
        let is_blocked = |family: &Family| *blocked.of(*family);
        if !Family::BOTH.iter().any(is_blocked) {
            return;
        }
        let checks = Arc::make_mut(&mut self.checks);
        for family in Family::BOTH.into_iter().filter(is_blocked) {
            self.addresses.of_mut(family).clone_from(before.addresses.of(family));
            checks.values_mut().for_each(|check| *check.local_endpoints.of_mut(family) = None);
            for (service, had) in &*before.checks {
                let Some(count) = *had.local_endpoints.of(family) else { continue };
                let check = checks.entry(service.clone()).or_insert_with(|| HealthCheck {
                    port: had.port,
                    local_endpoints: PerFamily::default(),
                });
                // A changed port is answered as soon as the family is served again.
                if check.port == had.port {
                    *check.local_endpoints.of_mut(family) = Some(count);
                }
            }
        }
        checks.retain(|_, check| check.local_endpoints != PerFamily::default());
    }

    /// The addresses to listen on in a family. Ignores addresses of the other family, which the plan does not give.
    fn addresses_of(&self, family: Family) -> Vec<IpAddr> {
        match self.addresses.of(family) {
            HealthCheckAddresses::Every => vec![wildcard(family)],
            HealthCheckAddresses::These(addresses) => {
                addresses.iter().copied().filter(|ip| Family::of(*ip) == family).collect()
            }
        }
    }
}

fn wildcard(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(port: u16, v4: Option<usize>, v6: Option<usize>) -> HealthCheck {
        HealthCheck { port, local_endpoints: PerFamily { v4, v6 } }
    }

    fn shown(table: &HealthTable) -> Vec<String> {
        let places = table.places().into_iter();
        places.map(|((service, place), count)| format!("{service} {place} {count}")).collect()
    }

    #[test]
    fn a_check_is_answered_in_the_families_of_its_service() {
        let web = ServiceName::new("shop", "web");
        let mut table = HealthTable::default();
        assert!(table.places().is_empty());
        table.checks = Arc::new([(web.clone(), check(31000, Some(2), None))].into());
        assert_eq!(shown(&table), ["shop/web 0.0.0.0:31000 2"]);
        table.checks = Arc::new([(web, check(31000, Some(2), Some(0)))].into());
        assert_eq!(shown(&table), ["shop/web 0.0.0.0:31000 2", "shop/web [::]:31000 0"]);
    }

    #[test]
    fn a_blocked_family_keeps_what_was_published() {
        let (web, new) = (ServiceName::new("shop", "web"), ServiceName::new("shop", "new"));
        let table = |checks: &[(&ServiceName, HealthCheck)]| HealthTable {
            checks: Arc::new(checks.iter().map(|(name, c)| ((*name).clone(), c.clone())).collect()),
            ..HealthTable::default()
        };
        let before = table(&[(&web, check(31000, Some(2), Some(1)))]);
        let wanted =
            table(&[(&web, check(31000, Some(3), Some(3))), (&new, check(2, None, Some(1)))]);
        let kept = |mut table: HealthTable, v4, v6| {
            table.keep(&before, &PerFamily { v4, v6 });
            shown(&table)
        };
        assert_eq!(kept(wanted.clone(), true, true), shown(&before));
        assert_eq!(kept(wanted.clone(), false, false), shown(&wanted));
        let mixed = ["shop/web 0.0.0.0:31000 3", "shop/web [::]:31000 1"];
        assert_eq!(kept(wanted, false, true), mixed);
        assert_eq!(kept(table(&[]), false, true), ["shop/web [::]:31000 1"]);
        assert_eq!(kept(table(&[(&web, check(7, None, Some(1)))]), false, true), [""; 0]);
    }

    #[test]
    fn given_addresses_take_the_place_of_the_wildcard_and_may_be_none() {
        let mut table = HealthTable::default();
        let web = ServiceName::new("shop", "web");
        table.checks = Arc::new([(web, check(31000, Some(1), Some(1)))].into());
        let these: BTreeSet<IpAddr> =
            ["192.0.2.11", "127.0.0.1"].iter().map(|text| text.parse().unwrap()).collect();
        table.addresses.v4 = HealthCheckAddresses::These(these);
        table.addresses.v6 = HealthCheckAddresses::These(BTreeSet::new());
        assert_eq!(shown(&table), ["shop/web 127.0.0.1:31000 1", "shop/web 192.0.2.11:31000 1"]);
    }
}
