//! Answers the health check of one Service.
//!
//! Takes the number of the Service's local endpoints, and the proxy's health if it counts. Sends status, headers and
//! body as kube-proxy does. Answers every path and method alike.
//!
//! Source: spec 10.2, `conformance/lb-local`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use proxier::model::ServiceName;

use crate::serve::health::{Moment, ProxyHealth};
use crate::serve::listener::{Answer, Handler};

/// The handler of one listener. The number of endpoints may change while it runs.
#[derive(Debug)]
pub(super) struct Shown {
    service: ServiceName,
    count: AtomicUsize,
    health: Option<Arc<ProxyHealth>>,
}

const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

impl Shown {
    pub(super) fn new(
        service: ServiceName,
        count: usize,
        health: Option<Arc<ProxyHealth>>,
    ) -> Arc<Self> {
        Arc::new(Self { service, count: AtomicUsize::new(count), health })
    }

    /// Sets the number of the Service's local endpoints.
    pub(super) fn tell(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
    }
}

impl Handler for Shown {
    async fn answer(&self, _: Request<Incoming>) -> Answer {
        let count = self.count.load(Ordering::Relaxed);
        let standing = self.health.as_ref().map(|health| health.standing(Moment::now()));
        let is_healthy = standing.is_none_or(|standing| standing.is_healthy());
        answer(&self.service, count, is_healthy)
    }
}

/// Returns the answer, with headers in kube-proxy's order.
fn answer(service: &ServiceName, count: usize, is_healthy: bool) -> Answer {
    let body = body(service, count, is_healthy);
    let length = body.len();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    if count == 0 || !is_healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(WEIGHT, count.into());
    headers.insert(CONTENT_LENGTH, length.into());
    response
}

/// Returns the body. Names are escaped: those of API objects need no escapes, but those of manifests may.
fn body(service: &ServiceName, count: usize, is_healthy: bool) -> String {
    let namespace = serde_json::Value::from(&*service.namespace);
    let name = serde_json::Value::from(&*service.name);
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace},\n\t\t\"name\": {name}\n\t}},\n\
         \t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {is_healthy}\n}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_200_only_with_endpoints_and_a_healthy_proxy() {
        let web = ServiceName::new("shop", "web");
        for (count, is_healthy, status) in
            [(1, true, 200), (0, true, 503), (1, false, 503), (0, false, 503)]
        {
            assert_eq!(answer(&web, count, is_healthy).status(), status, "{count} {is_healthy}");
        }
    }

    #[test]
    fn a_name_that_no_api_server_admits_does_not_break_the_json() {
        let body = body(&ServiceName::new("shop", "a\"b"), 1, true);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["service"]["name"], "a\"b");
    }
}
