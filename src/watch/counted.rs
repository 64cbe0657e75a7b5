//! Counts requests and answers.
//!
//! Takes requests and answers and passes them on unchanged. Counts them under client-go's metric
//! names.
//!
//! Source: spec 11.2.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Request, Response};
use tower::Service;

use crate::metrics::Requests;

/// The counters for requests to one server. Nothing is counted if there are none.
#[derive(Clone)]
pub(super) struct Counts {
    requests: Option<Requests>,
    host: Arc<str>,
}

/// A request that is under way.
pub(super) struct Begun {
    method: Method,
    sent: usize,
    at: Instant,
}

impl Counts {
    /// Counts requests to the server at this URL.
    pub(super) fn new(requests: Option<Requests>, url: &str) -> Self {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        if let Some(requests) = &requests {
            requests.begin();
        }
        Self { requests, host: host.split('/').next().unwrap_or(host).into() }
    }

    /// Notes that the server has sent something.
    pub(super) fn heard(&self) {
        if let Some(requests) = &self.requests {
            requests.heard(SystemTime::now());
        }
    }

    /// Starts the measurement of a request. Not used for watches.
    pub(super) fn begin(request: &Request<Vec<u8>>) -> Begun {
        let method = request.method().clone();
        Begun { method, sent: request.body().len(), at: Instant::now() }
    }

    /// Counts a request that has ended. `received` is the size of the answer's body in bytes, if
    /// there was an answer.
    pub(super) fn end(&self, begun: Begun, received: Option<usize>) {
        let Some(requests) = &self.requests else { return };
        let method = begun.method.as_str();
        requests.took(method, &self.host, begun.at.elapsed(), begun.sent);
        if let Some(received) = received {
            requests.received(method, &self.host, received);
        }
    }

    /// Counts how long a request waited before it was sent.
    pub(super) fn waited(&self, method: &str, waited: Duration) {
        if let Some(requests) = &self.requests {
            requests.waited(method, &self.host, waited);
        }
    }
}

/// A service that counts requests by the status of their answers.
#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    counts: Counts,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, counts: Counts) -> Self {
        Self { inner, counts }
    }
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (method, counts) = (request.method().clone(), self.counts.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Some(requests) = &counts.requests {
                let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
                if status.is_some() {
                    requests.heard(SystemTime::now());
                }
                requests.answered(method.as_str(), &counts.host, status);
            }
            answer
        })
    }
}
