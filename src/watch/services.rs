//! Watches Services.
//!
//! Takes the Services of all namespaces that have a cluster IP and no proxy of their own; the
//! server filters the others out. Returns events of the model. Conversion is in [`convert`].

use proxier::model::{self, Event, ServiceName, Unread, Update};

use super::other_nodes::OutsideAddresses;
use super::request::{Freshness, Resource};
use super::request_error::RequestError;
use super::said_type::SaidType;
use super::{Api, Watched, listed};
use crate::objects::{Kind, ObjectId, Problem, Service, convert};

impl Api {
    /// Requests one Service, to check that the server answers this proxy.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn try_access(&self) -> Result<(), RequestError> {
        let request = resource().list(Freshness::Latest, 1, None);
        let request = request.map_err(|error| RequestError::unreachable(error.to_string()))?;
        self.text(request).await.map(drop)
    }
}

fn resource() -> Resource {
    Resource::new("/api/v1/services")
        .labels("!service.kubernetes.io/service-proxy-name")
        .fields("spec.clusterIP!=None")
}

/// Passes Services on, and notes their external and load-balancer addresses.
pub(super) struct Services {
    pub(super) outside: OutsideAddresses,
}

impl Watched for Services {
    type Object = Service;
    type Fact = model::Service;
    const KIND: Kind = Kind::Service;
    const API_VERSION: &'static str = "v1";

    fn resource(&self) -> Resource {
        resource()
    }

    fn said_type(object: &Service) -> SaidType<'_> {
        SaidType { api_version: &object.api_version, kind: &object.kind }
    }

    fn id(object: &Service) -> Option<ObjectId> {
        convert::id(Kind::Service, &object.metadata)
    }

    fn resource_version(object: &Service) -> Option<&str> {
        object.metadata.given()?.resource_version()
    }

    fn convert(object: &Service, problems: &mut Vec<Problem>) -> Option<model::Service> {
        convert::service(object, problems)
    }

    fn listed(&mut self, facts: Vec<model::Service>, unread: Unread<ObjectId>) -> Option<Event> {
        let update = listed(facts, unread, name);
        self.outside.note(&update);
        Some(Event::Service(update))
    }

    fn put(&mut self, fact: model::Service) -> Option<Event> {
        let update = Update::Put(fact);
        self.outside.note(&update);
        Some(Event::Service(update))
    }

    fn gone(&mut self, object: &ObjectId) -> Option<Event> {
        let update = Update::Gone(name(object));
        self.outside.note(&update);
        Some(Event::Service(update))
    }
}

fn name(object: &ObjectId) -> ServiceName {
    ServiceName::new(&*object.namespace, &*object.name)
}
