//! Watches EndpointSlices.
//!
//! Takes the EndpointSlices of all namespaces that do not belong to a headless Service; the server
//! filters the others out. Returns events of the model. Conversion is in [`convert`].

use proxier::model::{self, Event, SliceName, Unread, Update};

use super::request::Resource;
use super::said_type::SaidType;
use super::{Watched, listed};
use crate::objects::{EndpointSlice, Kind, ObjectId, Problem, convert};

pub(super) struct Slices;

impl Watched for Slices {
    type Object = EndpointSlice;
    type Fact = model::Slice;
    const KIND: Kind = Kind::EndpointSlice;
    const API_VERSION: &'static str = "discovery.k8s.io/v1";

    fn resource(&self) -> Resource {
        Resource::new("/apis/discovery.k8s.io/v1/endpointslices")
            .labels("!service.kubernetes.io/headless")
    }

    fn said_type(object: &EndpointSlice) -> SaidType<'_> {
        SaidType { api_version: &object.api_version, kind: &object.kind }
    }

    fn id(object: &EndpointSlice) -> Option<ObjectId> {
        convert::id(Kind::EndpointSlice, &object.metadata)
    }

    fn resource_version(object: &EndpointSlice) -> Option<&str> {
        object.metadata.given()?.resource_version()
    }

    fn convert(object: &EndpointSlice, problems: &mut Vec<Problem>) -> Option<model::Slice> {
        convert::slice(object, problems)
    }

    fn listed(&mut self, facts: Vec<model::Slice>, unread: Unread<ObjectId>) -> Option<Event> {
        Some(Event::Slice(listed(facts, unread, name)))
    }

    fn put(&mut self, fact: model::Slice) -> Option<Event> {
        Some(Event::Slice(Update::Put(fact)))
    }

    fn gone(&mut self, object: &ObjectId) -> Option<Event> {
        Some(Event::Slice(Update::Gone(name(object))))
    }
}

fn name(object: &ObjectId) -> SliceName {
    SliceName::new(&*object.namespace, &*object.name)
}
