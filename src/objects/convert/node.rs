//! Converts `core/v1 Node` into [`model::Node`].
//!
//! Takes a Node. Returns its zone, addresses and pod networks, and whether it is leaving. Does not
//! choose among the addresses.

use std::net::IpAddr;
use std::sync::Arc;

use proxier::model;

use super::{OBJECT, Reader};
use crate::objects::field::Field;
use crate::objects::node::{Condition, Node, Taint};
use crate::objects::problem::{Kind, Problem};

/// Converts a Node. Appends problems and leaves out what they concern.
pub fn node(object: &Node, problems: &mut Vec<Problem>) -> Option<model::Node> {
    let reader = &mut Reader::open(Kind::Node, &object.metadata, problems)?;
    let labels = reader.value(&object.metadata.given()?.labels, "metadata.labels", OBJECT);
    let zone = labels.and_then(|labels| {
        reader.text(&labels.zone, "metadata.labels[topology.kubernetes.io/zone]")
    });
    Some(model::Node {
        name: reader.object.name.as_str().into(),
        zone: zone.map(Arc::from),
        addresses: addresses(object, reader),
        pod_nets: pod_nets(object, reader),
        is_leaving: is_leaving(object),
    })
}

/// The taint that the cluster autoscaler puts on a node that it is about to remove (spec 10.1).
const GOING: &str = "ToBeDeletedByClusterAutoscaler";

fn is_leaving(object: &Node) -> bool {
    let taints = object.spec.given().map_or(&[][..], |spec| spec.taints.items());
    let is_going = |taint: &Taint| taint.key.given().is_some_and(|key| key == GOING);
    object.metadata.given().is_some_and(|metadata| metadata.deletion_timestamp)
        || taints.iter().filter_map(Field::given).any(is_going)
}

/// Returns a node's addresses and whether it is ready. It is ready if its condition `Ready` is
/// `True` or absent.
pub fn readiness(object: &Node, problems: &mut Vec<Problem>) -> Option<model::NodeReadiness> {
    let reader = &mut Reader::open(Kind::Node, &object.metadata, problems)?;
    let conditions = object.status.given().map_or(&[][..], |status| status.conditions.items());
    let mut ready = conditions
        .iter()
        .filter_map(Field::given)
        .filter(|condition| condition.kind.given().is_some_and(|kind| kind == "Ready"));
    let is_true =
        |condition: &Condition| condition.status.given().is_some_and(|status| status == "True");
    let ready = ready.all(is_true);
    let addresses = addresses(object, reader);
    Some(model::NodeReadiness { name: reader.object.name.as_str().into(), ready, addresses })
}

fn addresses(object: &Node, reader: &mut Reader<'_>) -> Vec<IpAddr> {
    let field = "status.addresses";
    let Some(status) = reader.value(&object.status, "status", OBJECT) else { return Vec::new() };
    let (mut internal, mut external) = (Vec::new(), Vec::new());
    for (at, address) in reader.items(&status.addresses, field, OBJECT) {
        let kind = reader.text(&address.kind, format_args!("{field}[{at}].type"));
        let chosen = match kind {
            Some("InternalIP") => &mut internal,
            Some("ExternalIP") => &mut external,
            Some(_) | None => continue,
        };
        let place = format_args!("{field}[{at}].address");
        let text = reader.text(&address.address, place);
        chosen.extend(text.and_then(|text| reader.address(text, place)));
    }
    internal.append(&mut external);
    internal
}

fn pod_nets(object: &Node, reader: &mut Reader<'_>) -> Vec<model::Net> {
    let Some(spec) = reader.value(&object.spec, "spec", OBJECT) else { return Vec::new() };
    let nets = reader.nets(&spec.pod_cidrs, "spec.podCIDRs");
    if !spec.pod_cidrs.items().is_empty() {
        return nets;
    }
    let single = reader.text(&spec.pod_cidr, "spec.podCIDR");
    single.and_then(|text| reader.net(text, "spec.podCIDR")).into_iter().collect()
}

#[cfg(test)]
mod tests;
