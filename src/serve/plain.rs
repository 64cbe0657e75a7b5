//! Builds answers with the headers that Kubernetes' components send.
//!
//! Takes a status, a content type and a body. Returns a response.

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::listener::Answer;

/// Tells if an answer forbids clients to guess the content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffing {
    /// The answer has `X-Content-Type-Options: nosniff`.
    Forbidden,
    /// The answer has no such header.
    Unmentioned,
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Returns an answer with this status, content type and body.
pub(super) fn answer(
    status: StatusCode,
    kind: &'static str,
    sniffing: Sniffing,
    body: impl Into<Bytes>,
) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if sniffing == Sniffing::Forbidden {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

/// Returns an answer of plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, TEXT, Sniffing::Forbidden, body)
}

/// Returns an HTML page.
pub(super) fn page(body: impl Into<Bytes>) -> Answer {
    answer(StatusCode::OK, "text/html; charset=utf-8", Sniffing::Forbidden, body)
}

/// Returns an answer of JSON.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "application/json", Sniffing::Forbidden, body)
}

/// Returns the answer to an unknown path.
pub(super) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Returns a redirect to another path.
pub(super) fn moved(to: &'static str) -> Answer {
    let mut response = page(format!("<a href=\"{to}\">Found</a>.\n\n"));
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    response
}
