//! Reports Services' external and load-balancer addresses that also belong to something else.
//!
//! Takes those addresses before and after a round. Reports new ones as an event of the Service, and
//! those that ended as a log line. Does not change what is programmed.

use std::collections::BTreeSet;

use proxier::model::ForeignAddress;

use crate::events::{Event, Kind, Regarding, Sink};

/// Reports the differences.
pub(super) fn tell(
    before: &BTreeSet<ForeignAddress>,
    now: &BTreeSet<ForeignAddress>,
    events: &Sink,
) {
    // Telling an event logs it too.
    begun(before, now).for_each(|event| events.tell(event));
    for ForeignAddress { service, address, owner } in before.difference(now) {
        tracing::info!("Service {service}: {address} is no address of {owner} any more");
    }
}

fn begun<'a>(
    before: &'a BTreeSet<ForeignAddress>,
    now: &'a BTreeSet<ForeignAddress>,
) -> impl Iterator<Item = Event> + 'a {
    now.difference(before).map(event)
}

fn event(foreign: &ForeignAddress) -> Event {
    let ForeignAddress { service, address, owner } = foreign;
    Event {
        kind: Kind::Warning,
        reason: "AddressOfAnother",
        action: "Program",
        regarding: Regarding::Service(service.clone()),
        note: format!(
            "external or load-balancer address {address} is the address of {owner}, which nodes cannot reach while \
             the Service has it; give the Service another address or, if it is the load balancer's, name a network with \
             it in ipModeProxyCIDRs"
        ),
    }
}

#[cfg(test)]
mod tests {
    use proxier::model::{AddressOwner, ServiceName};

    use super::*;

    #[test]
    fn an_address_of_another_is_told_once() {
        let foreign = ForeignAddress {
            service: ServiceName::new("shop", "web"),
            address: [192, 0, 2, 10].into(),
            owner: AddressOwner::ApiServer,
        };
        let (none, one) = (BTreeSet::new(), BTreeSet::from([foreign]));
        let told: Vec<String> = begun(&none, &one).map(|event| event.to_string()).collect();
        let [told] = &told[..] else { panic!("{told:?}") };
        let start = "Service shop/web: AddressOfAnother: external or load-balancer address 192.0.2.10 is the address of \
                     the API server";
        assert!(told.starts_with(start), "{told}");
        assert_eq!(begun(&one, &one).count() + begun(&one, &none).count(), 0);
    }
}
