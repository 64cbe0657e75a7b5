//! Converts `discovery.k8s.io/v1 EndpointSlice` into [`model::Slice`].
//!
//! Takes an EndpointSlice. Returns the facts, or `None` if no proxy uses it: a headless Service's
//! slice, or one of host names. Does not decide which endpoints are local, near or chosen.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use proxier::model::{self, Family, LastChange, ServiceName, SliceName, SlicePort};

use super::{BOOLEAN, OBJECT, Reader};
use crate::objects::field::{Field, List, quoted};
use crate::objects::name::is_label;
use crate::objects::problem::{Kind, Problem};
use crate::objects::slice::{Endpoint, EndpointSlice, Hint, Port};

/// Converts an EndpointSlice. Appends problems and leaves out what they concern.
pub fn slice(object: &EndpointSlice, problems: &mut Vec<Problem>) -> Option<model::Slice> {
    let reader = &mut Reader::open(Kind::EndpointSlice, &object.metadata, problems)?;
    let labels = &object.metadata.given()?.labels;
    let is_readable = !matches!(labels, Field::Wrong(_));
    let labels = reader.value(labels, "metadata.labels", OBJECT);
    if !is_readable {
        return reader.unreadable();
    }
    if labels.is_some_and(|labels| labels.is_headless) {
        return None;
    }
    let family = family(object, reader)?;
    let field = "metadata.labels[kubernetes.io/service-name]";
    let service = labels.map_or(&Field::Absent, |labels| &labels.service_name);
    if service == &Field::Absent {
        reader.report(field, "a slice without this label belongs to no Service");
    }
    let service = match (service, reader.text(service, field)) {
        (_, Some(service)) => service,
        (Field::Wrong(_), None) => return reader.unreadable(),
        (Field::Absent | Field::Given(_), None) => return None,
    };
    if !is_label(service) {
        reader.report(field, format_args!("{} is not the name of a Service", quoted(service)));
        return reader.unreadable();
    }
    let ports = reader.items(&object.ports, "ports", OBJECT);
    let endpoints = reader.items(&object.endpoints, "endpoints", OBJECT);
    Some(model::Slice {
        name: SliceName::new(&*reader.object.namespace, &*reader.object.name),
        service: ServiceName::new(&*reader.object.namespace, service),
        family,
        ports: ports.into_iter().filter_map(|(at, item)| port(item, at, reader)).collect(),
        endpoints: endpoints
            .into_iter()
            .filter_map(|(at, item)| endpoint(item, at, family, reader))
            .collect(),
        last_change: last_change(object),
    })
}

/// Returns the time of the last change. It is only used for a metric: an invalid one is ignored, as
/// upstream does.
fn last_change(object: &EndpointSlice) -> LastChange {
    let annotations = object.metadata.given().and_then(|metadata| metadata.annotations.given());
    let text = annotations.and_then(|annotations| annotations.last_change.given());
    let time = text.and_then(|text| text.parse::<Timestamp>().ok());
    LastChange(time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()))
}

fn family(object: &EndpointSlice, reader: &mut Reader<'_>) -> Option<Family> {
    match reader.text(&object.address_type, "addressType") {
        Some("IPv4") => Some(Family::V4),
        Some("IPv6") => Some(Family::V6),
        Some("FQDN") => {
            tracing::debug!("{}: addressType FQDN: left to others", reader.object);
            None
        }
        Some(other) => {
            reader.report("addressType", format_args!("{} is not IPv4 or IPv6", quoted(other)));
            reader.unreadable()
        }
        None => {
            if !matches!(object.address_type, Field::Wrong(_)) {
                reader.report("addressType", "IPv4 or IPv6 is required");
            }
            reader.unreadable()
        }
    }
}

fn port(port: &Port, at: usize, reader: &mut Reader<'_>) -> Option<SlicePort> {
    let field = format_args!("ports[{at}].name");
    if port.name == Field::Absent {
        reader.report(field, "a port without a name serves no port of a Service");
    }
    Some(SlicePort {
        name: reader.value(&port.name, field, "a string")?.as_str().into(),
        protocol: reader.protocol(&port.protocol, format_args!("ports[{at}].protocol"))?,
        port: reader.required_port(&port.port, format_args!("ports[{at}].port"))?,
    })
}

/// Converts an endpoint. Only the first address counts: the API does not define a meaning for the
/// others.
fn endpoint(
    endpoint: &Endpoint,
    at: usize,
    family: Family,
    reader: &mut Reader<'_>,
) -> Option<model::Endpoint> {
    let place = format_args!("endpoints[{at}]");
    let addresses =
        reader.items(&endpoint.addresses, format_args!("{place}.addresses"), "an IP address");
    let (0, text) = addresses.first()? else { return None };
    let address = reader.host_address(family, text, format_args!("{place}.addresses[0]"))?;
    let conditions = format_args!("{place}.conditions");
    let given = reader.value(&endpoint.conditions, conditions, OBJECT);
    let mut condition = |name: &str, value: Option<&Field<bool>>, absent: bool| {
        let value = value.unwrap_or(&Field::Absent);
        let value = reader.value(value, format_args!("{conditions}.{name}"), BOOLEAN);
        value.copied().unwrap_or(absent)
    };
    let ready = condition("ready", given.map(|given| &given.ready), true);
    let serving = condition("serving", given.map(|given| &given.serving), true);
    let terminating = condition("terminating", given.map(|given| &given.terminating), false);
    let hints = reader.value(&endpoint.hints, format_args!("{place}.hints"), OBJECT);
    let node = reader.text(&endpoint.node_name, format_args!("{place}.nodeName"));
    Some(model::Endpoint {
        address,
        node: node.map(Arc::from),
        ready,
        serving,
        terminating,
        hints: hints.and_then(|given| {
            let hints = model::Hints {
                zones: names(&given.for_zones, format_args!("{place}.hints.forZones"), reader),
                nodes: names(&given.for_nodes, format_args!("{place}.hints.forNodes"), reader),
            };
            (hints != model::Hints::default()).then(|| Arc::new(hints))
        }),
    })
}

fn names(hints: &List<Hint>, field: fmt::Arguments<'_>, reader: &mut Reader<'_>) -> Vec<Arc<str>> {
    let hints = reader.items(hints, field, OBJECT);
    hints
        .into_iter()
        .filter_map(|(at, hint)| reader.text(&hint.name, format_args!("{field}[{at}].name")))
        .map(Arc::from)
        .collect()
}

#[cfg(test)]
mod tests;
