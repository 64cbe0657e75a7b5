//! Watches the Node object of this node.
//!
//! Takes the one Node with this node's name. Returns its facts, or that the first list has none.
//! Does not report a deletion: a Node deleted while the proxy runs is kept as it was last.
//! kube-proxy does the same, since the machine itself is evidently still there.

use std::sync::Arc;

use proxier::model::{self, Event, Unread};

use super::Watched;
use super::node_address_wait::NodeAddressWait;
use super::request::Resource;
use super::said_type::SaidType;
use crate::objects::{Kind, Node, ObjectId, Problem, convert};

pub(super) struct ThisNode<'a> {
    name: Arc<str>,
    needs_pod_nets: bool,
    last: Option<model::Node>,
    /// True if the operator was told that there is no such Node.
    is_missed: bool,
    patience: &'a NodeAddressWait,
}

impl<'a> ThisNode<'a> {
    pub(super) fn new(name: &str, needs_pod_nets: bool, patience: &'a NodeAddressWait) -> Self {
        Self { name: name.into(), needs_pod_nets, last: None, is_missed: false, patience }
    }
}

impl Watched for ThisNode<'_> {
    type Object = Node;
    type Fact = model::Node;
    const KIND: Kind = Kind::Node;
    const API_VERSION: &'static str = "v1";

    fn resource(&self) -> Resource {
        Resource::new("/api/v1/nodes").fields(&format!("metadata.name={}", self.name))
    }

    fn said_type(object: &Node) -> SaidType<'_> {
        SaidType { api_version: &object.api_version, kind: &object.kind }
    }

    fn id(object: &Node) -> Option<ObjectId> {
        convert::id(Kind::Node, &object.metadata)
    }

    fn resource_version(object: &Node) -> Option<&str> {
        object.metadata.given()?.resource_version()
    }

    fn convert(object: &Node, problems: &mut Vec<Problem>) -> Option<model::Node> {
        convert::node(object, problems)
    }

    fn listed(&mut self, facts: Vec<model::Node>, unread: Unread<ObjectId>) -> Option<Event> {
        let node = facts.into_iter().find(|node| node.name == self.name);
        match node {
            Some(node) => self.put(node),
            // An element that cannot be read may be this Node.
            None if self.last.is_some() && !unread.is_none() => None,
            None if self.last.is_some() => self.gone_but_kept(),
            None => {
                self.miss("there is none with this name");
                self.patience.take(Event::Node(None))
            }
        }
    }

    fn put(&mut self, fact: model::Node) -> Option<Event> {
        if fact.name != self.name {
            return None;
        }
        if std::mem::take(&mut self.is_missed) {
            tracing::info!("Node {}: found", self.name);
        }
        let last = self.last.replace(fact.clone());
        if let Some(last) = &last {
            tell(last, &fact);
        }
        let had_pod_nets = last.is_none_or(|last| !last.pod_nets.is_empty());
        if self.needs_pod_nets && had_pod_nets && fact.pod_nets.is_empty() {
            tracing::warn!(
                "Node {}: it has no pod networks, so no traffic counts as this node's pods' until it has",
                self.name
            );
        }
        self.patience.take(Event::Node(Some(fact)))
    }

    fn gone(&mut self, _object: &ObjectId) -> Option<Event> {
        self.gone_but_kept()
    }
}

impl ThisNode<'_> {
    fn gone_but_kept(&mut self) -> Option<Event> {
        self.miss("deleted; what was last known of it stays in force");
        None
    }

    /// Warns once that the Node is missing. Lists repeat what an earlier list has shown.
    fn miss(&mut self, how: &str) {
        if !std::mem::replace(&mut self.is_missed, true) {
            tracing::warn!("Node {}: {how}", self.name);
        }
    }
}

/// Logs which parts of the node's identity have changed. All of them take effect.
fn tell(last: &model::Node, now: &model::Node) {
    let name = &now.name;
    if last.addresses != now.addresses {
        let addresses = joined(&now.addresses);
        tracing::info!("Node {name}: its addresses are {addresses} now");
    }
    if last.pod_nets != now.pod_nets {
        tracing::info!("Node {name}: its pod networks are {} now", joined(&now.pod_nets));
    }
    if last.zone != now.zone {
        let zone = now.zone.as_deref().unwrap_or("none");
        tracing::info!("Node {name}: its zone is {zone} now");
    }
}

fn joined<T: ToString>(values: &[T]) -> String {
    match values {
        [] => "none".to_owned(),
        _ => values.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}
