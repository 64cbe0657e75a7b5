//! Checks the status of an answer.
//!
//! Takes an answer whose head has arrived. Returns it unchanged, or a refusal with the server's
//! message and the pause that it asks for. Does not follow a redirection: credentials go to no
//! other server than the one they were given for.

use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use kube::core::Status;

use super::request_error::RequestError;

/// The longest pause that a server can ask for. A wrong value would leave the node without updates.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest body of a refusal that is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 1 << 20;

/// Returns the answer if its status is a success.
pub(super) async fn good(answer: Response<Body>) -> Result<Response<Body>, RequestError> {
    let code = answer.status();
    if code.is_success() {
        return Ok(answer);
    }
    let (head, body) = answer.into_parts();
    let asked = asked_pause(&head.headers);
    let place = head.headers.get(LOCATION).and_then(|place| place.to_str().ok().map(str::to_owned));
    let body = Limited::new(body, MAX_REFUSAL_BYTES).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Err(refusal(code, asked, place.as_deref(), &text.unwrap_or_default()))
}

fn refusal(code: StatusCode, asked: Duration, place: Option<&str>, text: &str) -> RequestError {
    let (mut message, mut retry_after) = (text.trim().to_owned(), asked);
    if let Ok(status) = serde_json::from_str::<Status>(text) {
        let seconds = status.details.map_or(0, |details| details.retry_after_seconds);
        retry_after = asked.max(Duration::from_secs(seconds.into()));
        message = status.message;
    }
    if let (true, Some(place)) = (code.is_redirection(), place) {
        message = format!("the server is at {place}, where it is not followed");
    }
    if message.is_empty() {
        message = code.canonical_reason().unwrap_or("no reason given").to_owned();
    }
    let retry_after = if may_ask(code) { retry_after.min(LONGEST_PAUSE) } else { Duration::ZERO };
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    RequestError::Refused { code: code.as_u16(), message, retry_after }
}

/// True if an answer with this status may ask for a pause. As client-go: only an overloaded or
/// failing server may.
fn may_ask(code: StatusCode) -> bool {
    code == StatusCode::TOO_MANY_REQUESTS || code.is_server_error()
}

/// Returns the pause of the `Retry-After` header, in seconds. Dates are ignored: no API server
/// sends them.
fn asked_pause(headers: &HeaderMap) -> Duration {
    let text = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = text.trim();
    // A number that does not fit is longer than the longest pause, too.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().unwrap_or(if is_number { u64::MAX } else { 0 });
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(code: u16, headers: &[(&str, &str)], body: &str) -> String {
        let mut answer = Response::builder().status(code);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        let body = Body::from(body.as_bytes().to_vec());
        let request_error = good(answer.body(body).unwrap()).await.unwrap_err();
        format!("{request_error} {:?}", request_error.retry_after())
    }

    #[tokio::test]
    async fn a_refusal_has_the_servers_words_and_the_pause_it_asks_for() {
        let status = r#"{"kind":"Status","message":"slowly","details":{"retryAfterSeconds":6}}"#;
        assert_eq!(refused(429, &[], status).await, "HTTP 429: slowly 6s");
        assert_eq!(refused(429, &[("Retry-After", "8")], "busy\n").await, "HTTP 429: busy 8s");
        assert_eq!(
            refused(503, &[("Retry-After", "soon")], "").await,
            "HTTP 503: Service Unavailable 0ns"
        );
        for (code, asked, pause) in [
            (429, "60", "60s"),
            (429, "3600", "60s"),
            (503, "99999999999999999999999", "60s"),
            (500, " 7 ", "7s"),
            (503, "-5", "0ns"),
            (503, "Wed, 21 Oct 2026 07:28:00 GMT", "0ns"),
            (401, "30", "0ns"),
            (403, "30", "0ns"),
            (404, "30", "0ns"),
            (410, "30", "0ns"),
            (302, "30", "0ns"),
        ] {
            let said = refused(code, &[("Retry-After", asked)], "x").await;
            assert_eq!(said, format!("HTTP {code}: x {pause}"), "{asked}");
        }
        let for_ever = r#"{"kind":"Status","message":"x","details":{"retryAfterSeconds":4000000}}"#;
        assert_eq!(refused(500, &[], for_ever).await, "HTTP 500: x 60s");
        assert_eq!(refused(403, &[], for_ever).await, "HTTP 403: x 0ns");
        let endless = "x".repeat(MAX_REFUSAL_BYTES + 1);
        assert_eq!(refused(500, &[], &endless).await, "HTTP 500: Internal Server Error 0ns");
        let moved = refused(302, &[("Location", "https://elsewhere/")], "<a>").await;
        assert_eq!(
            moved,
            "HTTP 302: the server is at https://elsewhere/, where it is not followed 0ns"
        );
        let good = good(Response::new(Body::empty())).await;
        assert_eq!(good.unwrap().status(), StatusCode::OK);
    }
}
