//! The plan of one Service.
//!
//! Takes a Service, its slices, this node and the settings. Gives the [`ServicePlan`]: the frontends in every
//! enabled family, and the set entries that belong to no frontend. Does not look at other Services;
//! [`Desired`](super::Desired) counts what several of them need together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::backend::{Candidates, NoLocalEndpoints, SlicePorts};
use super::frontend::{Draft, Frontend, Port};
use super::health::HealthCheck;
use super::local_node::LocalNode;
use super::server::VirtualServerKey;
use super::set::{Entry, SetKey, SetName};
use super::settings::Settings;
use crate::model::{Family, PerFamily, Service, ServicePort, Slice};
use crate::sorted::{SortedMap, SortedSet};

/// Everything the kernel should hold because of one Service, and the answer of its health check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePlan {
    /// The frontends at which the Service is served.
    pub frontends: SortedMap<VirtualServerKey, Frontend>,
    /// Set entries that belong to no frontend: those for hairpin traffic, and the health-check node port.
    pub entries: SortedSet<(SetKey, Entry)>,
    /// The health check at the Service's health-check node port, if it has one.
    pub health: Option<HealthCheck>,
    /// For each family, the kinds of traffic whose policy asks for endpoints of this node although there are
    /// none.
    pub lacks_local: PerFamily<NoLocalEndpoints>,
}

/// Plans one Service.
pub(crate) fn plan_service(
    service: &Service,
    slices: &[&Slice],
    here: &LocalNode<'_>,
    settings: &Settings,
) -> ServicePlan {
    let service = &*without_proxied(service, settings);
    let mut wanted = Wanted::default();
    let mut local_endpoints = PerFamily::default();
    let mut lacks_local = PerFamily::<NoLocalEndpoints>::default();
    for family in Family::BOTH.into_iter().filter(|family| *settings.families.of(*family)) {
        // A Service without a cluster IP of a family does not exist for that family (spec 13.3).
        let Some(cluster_ip) = *service.cluster_ips.of(family) else { continue };
        let mut healthy: BTreeSet<IpAddr> = BTreeSet::new();
        let slice_ports = SlicePorts::new(slices, family);
        for port in &service.ports {
            let candidates = Candidates::gather(&slice_ports, port);
            wanted.add_hairpin(&candidates, port, here);
            healthy.extend(candidates.ready_on_node(here));
            lacks_local.of_mut(family).join(candidates.lacks_local(service, port, here));
            let frontends = Port::new(service, port, &candidates, here, settings);
            for (key, frontend) in frontends.frontends(cluster_ip) {
                wanted.add_frontend(key, frontend);
            }
        }
        *local_endpoints.of_mut(family) = Some(healthy.len());
        if let Some(port) = service.health_check_node_port {
            wanted.add_entry(family, SetName::HealthCheckNodePort, Entry::Port(port));
        }
    }
    let health = |port| HealthCheck { port, local_endpoints };
    let frontends = wanted.frontends.into_iter();
    let entries = wanted.entries.into_iter().filter(|(set, _)| settings.has_set(*set));
    ServicePlan {
        frontends: frontends.map(|(key, frontend)| (key, frontend.finish(settings))).collect(),
        entries: entries.collect(),
        health: service.health_check_node_port.map(health),
        lacks_local,
    }
}

/// Returns the Service without load-balancer addresses whose load balancer connects by itself.
fn without_proxied<'a>(service: &'a Service, settings: &Settings) -> Cow<'a, Service> {
    let is_proxied = |address: &IpAddr| settings.is_of_a_proxy(address);
    if !service.load_balancer_ips.iter().any(is_proxied) {
        return Cow::Borrowed(service);
    }
    let mut service = service.clone();
    service.load_balancer_ips.retain(|address| !is_proxied(address));
    Cow::Owned(service)
}

/// The plan of a Service while it is being computed.
#[derive(Default)]
struct Wanted {
    frontends: BTreeMap<VirtualServerKey, Draft>,
    entries: Vec<(SetKey, Entry)>,
}

impl Wanted {
    /// Adds entries for hairpin traffic: every local endpoint, ready or not, is masqueraded when it connects
    /// to itself.
    fn add_hairpin(
        &mut self,
        candidates: &Candidates<'_>,
        port: &ServicePort,
        here: &LocalNode<'_>,
    ) {
        for endpoint in candidates.on_node(here) {
            let ip = endpoint.ip();
            let entry = Entry::AddressPortAddress(ip, port.protocol, endpoint.port(), ip);
            self.add_entry(candidates.family(), SetName::LoopBack, entry);
        }
    }

    fn add_frontend(&mut self, key: VirtualServerKey, frontend: Draft) {
        match self.frontends.get_mut(&key) {
            Some(earlier) => earlier.merge(frontend),
            None => drop(self.frontends.insert(key, frontend)),
        }
    }

    fn add_entry(&mut self, family: Family, name: SetName, entry: Entry) {
        self.entries.push((SetKey { family, name }, entry));
    }
}
