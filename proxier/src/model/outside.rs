//! External and load-balancer addresses of Services that also belong to an API server or another node.
//!
//! Takes Services as they come and go, and the addresses of API servers and nodes. Gives each external or
//! load-balancer address that has a second owner. This node makes such an address local and can no longer
//! reach the other owner. Does not look at cluster IPs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::Slice;
use super::name::ServiceName;
use super::node::{InterfaceAddress, Node, NodeAddresses, NodeReadiness};
use super::service::Service;

/// An external or load-balancer address of a Service that also belongs to an API server or another node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignAddress {
    /// The Service that has the address.
    pub service: ServiceName,
    /// The address in question.
    pub address: IpAddr,
    /// The other owner of the address.
    pub owner: AddressOwner,
}

/// The owner of an address outside the Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressOwner {
    /// An API server: an endpoint of the Service `default/kubernetes`, or the server that this proxy connects
    /// to, which may be a load balancer in front of the API servers.
    ApiServer,
    /// Another node, by name.
    Node(Arc<str>),
}

impl fmt::Display for AddressOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiServer => f.write_str("the API server"),
            Self::Node(name) => write!(f, "node {name}"),
        }
    }
}

impl fmt::Display for ForeignAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, address, owner } = self;
        write!(
            f,
            "Service {service}: its external or load-balancer address {address} is the address of {owner}, which this \
             node cannot reach while the Service has it; give the Service another address or, if it is the load \
             balancer's, name a network with it in ipModeProxyCIDRs"
        )
    }
}

/// The Services that have each external or load-balancer address, and the address of the API server in use.
#[derive(Debug, Default)]
pub(super) struct Outside {
    services: BTreeMap<IpAddr, BTreeSet<ServiceName>>,
    /// The address of the API server that this proxy connects to.
    server: Option<IpAddr>,
    /// The addresses of all nodes, if they were sent without the nodes' readiness.
    nodes: Vec<NodeAddresses>,
}

impl Outside {
    pub(super) fn set_api_server(&mut self, address: IpAddr) {
        self.server = Some(address);
    }

    pub(super) fn set_nodes(&mut self, nodes: Vec<NodeAddresses>) {
        self.nodes = nodes;
    }

    pub(super) fn put(&mut self, service: &Service) {
        for address in service.outside_addresses() {
            self.services.entry(*address).or_default().insert(service.name.clone());
        }
    }

    pub(super) fn remove(&mut self, service: &Service) {
        for address in service.outside_addresses() {
            let Some(services) = self.services.get_mut(address) else { continue };
            services.remove(&service.name);
            if services.is_empty() {
                self.services.remove(address);
            }
        }
    }

    /// Returns the addresses that also belong to API servers or to nodes other than `this`. The API servers
    /// are the endpoints of `servers` and the server that this proxy connects to. Leaves out addresses of
    /// this node's own interfaces, which are local anyway.
    pub(super) fn foreign<'a>(
        &self,
        servers: impl Iterator<Item = &'a Slice>,
        nodes: impl Iterator<Item = &'a NodeReadiness>,
        this: Option<&Node>,
        own: &[InterfaceAddress],
    ) -> BTreeSet<ForeignAddress> {
        let servers = servers.flat_map(|slice| &slice.endpoints);
        let servers = servers.map(|endpoint| endpoint.address).chain(self.server);
        let servers = servers.map(|address| (address, None));
        let nodes = nodes.map(|node| (&node.name, &node.addresses));
        let others = nodes.chain(self.nodes.iter().map(|node| (&node.name, &node.addresses)));
        let others = others.filter(|(name, _)| this.is_none_or(|this| this.name != **name));
        let others =
            others.flat_map(|(name, addresses)| addresses.iter().map(move |ip| (*ip, Some(name))));
        let is_own = |ip: &IpAddr| own.iter().any(|found| found.address.addr() == *ip);
        let mut foreign = BTreeSet::new();
        for (address, node) in servers.chain(others) {
            // Each round calls this. Most addresses belong to no Service, so the interfaces of this node are
            // searched last.
            let Some(services) = self.services.get(&address).filter(|_| !is_own(&address)) else {
                continue;
            };
            let owner =
                node.map_or(AddressOwner::ApiServer, |name| AddressOwner::Node(name.clone()));
            foreign.extend(services.iter().cloned().map(|service| {
                let owner = owner.clone();
                ForeignAddress { service, address, owner }
            }));
        }
        foreign
    }
}
