//! Classifies the failures of a watch.
//!
//! Takes errors of the client, of HTTP and of the server. Returns one enumeration from which the
//! caller sees what to do. Does not decide to stop: each failure is followed by another try.

use std::time::Duration;

use super::request_error::RequestError;

/// The reason why a stream has no next step yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The request failed or was refused.
    #[error(transparent)]
    RequestError(RequestError),
    /// The server does not know the resource version or the page token any more.
    #[error("the server no longer knows the resource version")]
    Expired,
    /// The answer is not what the API promises.
    #[error("answer not understood: {0}")]
    Garbled(String),
    /// A watch ended before it brought anything.
    #[error("the watch ended at once")]
    Brief {
        /// True if several watches in a row have ended like this.
        again: bool,
    },
}

impl Failure {
    /// Makes a failure of a text that is not the expected JSON. An HTML or XML page, such as a login
    /// page, is named as such: a parser's error would not tell the operator that.
    pub(super) fn garbled(text: &str, error: &serde_json::Error) -> Self {
        if text.trim_start().starts_with('<') {
            let text =
                "a page of HTML or XML instead of JSON; something else than an API server answers";
            return Self::Garbled(text.to_owned());
        }
        Self::Garbled(error.to_string())
    }

    /// True if the operator should be told. False for the ordinary course of a watch.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::RequestError(_) | Self::Garbled(_) => true,
            Self::Expired | Self::Brief { .. } => false,
        }
    }

    /// Returns a key that is equal for similar failures. Texts differ, because they may name the
    /// time or the request.
    pub(super) fn sort(&self) -> String {
        match self {
            Self::RequestError(RequestError::Refused { code, .. }) => format!("HTTP {code}"),
            Self::RequestError(RequestError::Unreachable { text, .. }) => {
                text.chars().filter(|character| !character.is_ascii_digit()).collect()
            }
            Self::Expired | Self::Garbled(_) | Self::Brief { .. } => "answer".to_owned(),
        }
    }

    /// Returns the shortest pause that the server asks for. Zero if it asks for none.
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
