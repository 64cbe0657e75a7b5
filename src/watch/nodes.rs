//! Watches the readiness and the addresses of all nodes.
//!
//! Takes every Node of the cluster. Returns an event when its readiness or its addresses change.
//! Other updates, which come every few minutes, are dropped. Does not report problems of these
//! Nodes: their own proxies do.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxier::model::{Event, NodeReadiness, Unread, Update};

use super::request::Resource;
use super::said_type::SaidType;
use super::{Watched, listed};
use crate::objects::{Kind, Node, ObjectId, Problem, convert};

/// The last known readiness and addresses of each node.
#[derive(Default)]
pub(super) struct Nodes {
    said: BTreeMap<Arc<str>, NodeReadiness>,
}

impl Watched for Nodes {
    type Object = Node;
    type Fact = NodeReadiness;
    const KIND: Kind = Kind::Node;
    const API_VERSION: &'static str = "v1";

    fn resource(&self) -> Resource {
        Resource::new("/api/v1/nodes")
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

    fn convert(object: &Node, _problems: &mut Vec<Problem>) -> Option<NodeReadiness> {
        convert::readiness(object, &mut Vec::new())
    }

    fn listed(&mut self, facts: Vec<NodeReadiness>, unread: Unread<ObjectId>) -> Option<Event> {
        let update = listed(facts, unread, |object| Arc::from(object.name.as_str()));
        if let Update::PartlyListed(_, unread) = &update {
            self.said.retain(|name, _| unread.may_be(name));
        } else {
            self.said.clear();
        }
        if let Update::Listed(facts) | Update::PartlyListed(facts, _) = &update {
            self.said.extend(facts.iter().map(|node| (node.name.clone(), node.clone())));
        }
        Some(Event::NodeReadiness(update))
    }

    fn put(&mut self, fact: NodeReadiness) -> Option<Event> {
        let before = self.said.insert(fact.name.clone(), fact.clone());
        (before.as_ref() != Some(&fact)).then_some(Event::NodeReadiness(Update::Put(fact)))
    }

    fn gone(&mut self, object: &ObjectId) -> Option<Event> {
        let (name, _) = self.said.remove_entry(object.name.as_str())?;
        Some(Event::NodeReadiness(Update::Gone(name)))
    }
}
