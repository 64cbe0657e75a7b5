//! Answers as the servers of Kubernetes' components give them.
//!
//! In: a status, a type, a text. Out: a response with its headers. Never: a choice.

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::listener::Answer;

/// Whether a client is told not to guess the type from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffing {
    /// It is.
    Forbidden,
    /// Nothing is said of it.
    Unmentioned,
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Any answer.
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

/// A text that is no more than that.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, TEXT, Sniffing::Forbidden, body)
}

/// A page for people.
pub(super) fn page(body: impl Into<Bytes>) -> Answer {
    answer(StatusCode::OK, "text/html; charset=utf-8", Sniffing::Forbidden, body)
}

/// A JSON value.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "application/json", Sniffing::Forbidden, body)
}

/// There is nothing at this path.
pub(super) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// It is somewhere else.
pub(super) fn moved(to: &'static str) -> Answer {
    let mut response = page(format!("<a href=\"{to}\">Found</a>.\n\n"));
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    response
}
