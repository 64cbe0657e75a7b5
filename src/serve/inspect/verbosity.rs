//! Answers `/debug/flags/v`, which changes the verbosity of the log while the process runs.
//!
//! Takes a number as the body of a PUT. Changes the verbosity and answers in the words of Kubernetes' components.
//! Limits the size of the body and the wait for it.
//!
//! Source: spec 10.3; `k8s.io/apiserver/pkg/server/routes/flags.go`, `k8s.io/component-base/logs` (`GlogSetter`).

use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::serve::listener::Answer;
use crate::serve::plain::{self, Sniffing};
use crate::telemetry::Verbosity;

/// The longest body in bytes, longer than any number.
const MAX_BODY_BYTES: usize = 1024;

/// The longest wait for a body.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn answer(verbosity: &Verbosity, request: Request<Incoming>) -> Answer {
    if request.method() != Method::PUT {
        return text(StatusCode::NOT_ACCEPTABLE, "unsupported http method");
    }
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return unread(&*error),
        Err(elapsed) => return unread(&elapsed),
    };
    set(verbosity, &String::from_utf8_lossy(&body))
}

fn unread(why: &dyn std::error::Error) -> Answer {
    text(StatusCode::BAD_REQUEST, &format!("error reading request body: {why}"))
}

fn set(verbosity: &Verbosity, said: &str) -> Answer {
    let Ok(number) = said.parse::<i32>() else {
        let why = format!("failed set klog.logging.verbosity {said}: {said:?} is no whole number");
        return text(StatusCode::BAD_REQUEST, &why);
    };
    // klog accepts a negative number too, and treats it as 0.
    if !verbosity.set(u32::try_from(number).unwrap_or(0)) {
        let why = "IPVS_PROXY_LOG says what is logged: the verbosity counts for nothing";
        return text(StatusCode::CONFLICT, why);
    }
    tracing::info!(verbosity = number, "the verbosity is changed");
    text(StatusCode::OK, &format!("successfully set klog.logging.verbosity to {said}"))
}

fn text(status: StatusCode, line: &str) -> Answer {
    plain::answer(status, "text/plain", Sniffing::Unmentioned, format!("{line}\n"))
}
