//! What one Service wants of the kernel.
//!
//! In: a Service, its slices, the node, the settings. Out: its [`Contribution`]: virtual servers,
//! bound addresses and set entries of every enabled family. Never: other Services; what several of
//! them want together is [`Desired`](super::Desired)'s to count.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::backend::{Candidates, Place};
use super::server::{ServerSettings, VirtualServer, VirtualServerKey};
use super::set::{Entry, SetKey, SetName};
use super::settings::Settings;
use crate::model::{Family, Node, Service, ServicePort, Slice};

/// Everything the kernel should hold because of one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contribution {
    /// Virtual servers with their destinations.
    pub servers: BTreeMap<VirtualServerKey, VirtualServer>,
    /// Addresses to be local on the dummy device.
    pub addresses: BTreeSet<IpAddr>,
    /// Set entries.
    pub entries: BTreeSet<(SetKey, Entry)>,
}

/// Plans one Service.
pub fn contribution(
    service: &Service,
    slices: &[&Slice],
    node: Option<&Node>,
    settings: &Settings,
) -> Contribution {
    let place =
        Place { node: &settings.node_name, zone: node.and_then(|node| node.zone.as_deref()) };
    let mut wanted = Contribution::default();
    for family in Family::BOTH.into_iter().filter(|family| *settings.families.of(*family)) {
        // A Service without a cluster IP of a family does not exist for that family (spec 13.3).
        let Some(cluster_ip) = *service.cluster_ips.of(family) else { continue };
        for port in &service.ports {
            let candidates = Candidates::gather(slices, port, family);
            wanted.add_hairpin(&candidates, port, family, place);
            wanted.add_cluster_ip(service, port, cluster_ip, &candidates, place, settings);
        }
    }
    wanted
}

impl Contribution {
    /// Every local endpoint, ready or not, must be masqueraded when it reaches itself.
    fn add_hairpin(
        &mut self,
        candidates: &Candidates<'_>,
        port: &ServicePort,
        family: Family,
        place: Place<'_>,
    ) {
        for endpoint in candidates.on_node(place) {
            let ip = endpoint.ip();
            let entry = Entry::AddressPortAddress(ip, port.protocol, endpoint.port(), ip);
            self.add_entry(family, SetName::LoopBack, entry);
        }
    }

    fn add_cluster_ip(
        &mut self,
        service: &Service,
        port: &ServicePort,
        address: IpAddr,
        candidates: &Candidates<'_>,
        place: Place<'_>,
        settings: &Settings,
    ) {
        let family = Family::of(address);
        let entry = Entry::AddressPort(address, port.protocol, port.port);
        self.add_entry(family, SetName::ClusterIp, entry);
        self.add_address(address);
        let key = VirtualServerKey { protocol: port.protocol, address, port: port.port };
        let server = VirtualServer {
            settings: ServerSettings::new(&settings.scheduler, service.affinity),
            destinations: candidates.internal(service, port, place),
        };
        self.servers.insert(key, server);
    }

    /// An address on the dummy device is always in the set that guards the host's own ports.
    fn add_address(&mut self, address: IpAddr) {
        self.addresses.insert(address);
        self.add_entry(Family::of(address), SetName::IpvsIps, Entry::Address(address));
    }

    fn add_entry(&mut self, family: Family, name: SetName, entry: Entry) {
        self.entries.insert((SetKey { family, name }, entry));
    }
}
