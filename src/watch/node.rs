//! This node's Node as a watched kind.
//!
//! In: the one Node with this node's name. Out: the facts, or that there is none in the first
//! list. Never: that it is gone: a Node object deleted under a running proxy is kept as it was
//! last, as kube-proxy does, since the machine itself is evidently still there.

use std::sync::Arc;

use proxier::model::{self, Event};

use super::Watched;
use super::request::Resource;
use crate::objects::{Kind, Node, ObjectId, Problem, convert};

pub(super) struct ThisNode {
    name: Arc<str>,
    seen: bool,
}

impl ThisNode {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), seen: false }
    }
}

impl Watched for ThisNode {
    type Object = Node;
    type Fact = model::Node;
    const KIND: Kind = Kind::Node;

    fn resource(&self) -> Resource {
        Resource::new("/api/v1/nodes").fields(&format!("metadata.name={}", self.name))
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

    fn listed(&mut self, facts: Vec<model::Node>) -> Option<Event> {
        let node = facts.into_iter().find(|node| node.name == self.name);
        match node {
            Some(node) => self.put(node),
            None if self.seen => self.gone_but_kept(),
            None => {
                tracing::warn!("Node {}: there is none with this name", self.name);
                Some(Event::Node(None))
            }
        }
    }

    fn put(&mut self, fact: model::Node) -> Option<Event> {
        if fact.name != self.name {
            return None;
        }
        self.seen = true;
        Some(Event::Node(Some(fact)))
    }

    fn gone(&mut self, _object: &ObjectId) -> Option<Event> {
        self.gone_but_kept()
    }
}

impl ThisNode {
    fn gone_but_kept(&self) -> Option<Event> {
        tracing::warn!("Node {}: deleted; what was last known of it stays in force", self.name);
        None
    }
}
