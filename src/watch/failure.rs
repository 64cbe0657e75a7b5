//! Why a watch has nothing to give yet.
//!
//! In: errors of the client, of HTTP and of the server. Out: one enumeration that says what follows
//! from each. Never: a decision to stop; every failure is met by another try.

use std::time::Duration;

use super::request_error::RequestError;

/// Why there is no next step yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No good answer.
    #[error(transparent)]
    RequestError(RequestError),
    /// The resource version or the page is no longer known to the server.
    #[error("the server no longer knows the resource version")]
    Expired,
    /// What came is not what the API promises.
    #[error("answer not understood: {0}")]
    Garbled(String),
    /// A watch ended before it was of any use, again and again or for once.
    #[error("the watch ended at once")]
    Brief {
        /// Whether it is one of many.
        again: bool,
    },
}

impl Failure {
    /// A text that is not the JSON it should be. A proxy's or a login's page is called one: no parser's
    /// words would tell an operator that.
    pub(super) fn garbled(text: &str, error: &serde_json::Error) -> Self {
        if text.trim_start().starts_with('<') {
            let text =
                "a page of HTML or XML instead of JSON; something else than an API server answers";
            return Self::Garbled(text.to_owned());
        }
        Self::Garbled(error.to_string())
    }

    /// Whether the operator should hear of it, or it is part of the ordinary course of a watch.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::RequestError(_) | Self::Garbled(_) => true,
            Self::Expired | Self::Brief { .. } => false,
        }
    }

    /// What sort of trouble it is, whatever the words: they may name the time or the request.
    pub(super) fn sort(&self) -> String {
        match self {
            Self::RequestError(RequestError::Refused { code, .. }) => format!("HTTP {code}"),
            Self::RequestError(RequestError::Unreachable { text, .. }) => {
                text.chars().filter(|character| !character.is_ascii_digit()).collect()
            }
            Self::Expired | Self::Garbled(_) | Self::Brief { .. } => "answer".to_owned(),
        }
    }

    /// The shortest pause the server asks for.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::RequestError(request_error) => request_error.retry_after(),
            Self::Expired | Self::Garbled(_) | Self::Brief { .. } => Duration::ZERO,
        }
    }
}

impl From<RequestError> for Failure {
    fn from(request_error: RequestError) -> Self {
        match request_error {
            RequestError::Refused { code: 410, .. } => Self::Expired,
            request_error => Self::RequestError(request_error),
        }
    }
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        Self::Garbled(error.to_string())
    }
}
