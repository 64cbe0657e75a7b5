//! Why a watch has nothing to give yet.
//!
//! In: errors of the client, of HTTP and of the server. Out: one enumeration that says what follows
//! from each. Never: a decision to stop; every failure is met by another try.

use std::time::Duration;

use super::client::chain;

/// Why there is no next step yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection, or none that lasts for an answer.
    #[error("{0}")]
    Unreachable(String),
    /// An answer other than success.
    #[error("HTTP {code}: {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The server's words.
        message: String,
        /// The server's wish.
        retry_after: Duration,
    },
    /// The resource version or the page is no longer known to the server.
    #[error("the server no longer knows the resource version")]
    Expired,
    /// What came is not what the API promises.
    #[error("answer not understood: {0}")]
    Garbled(String),
    /// A watch ended before it was of any use.
    #[error("the watch ended at once")]
    Brief,
}

impl Failure {
    pub(super) fn garbled(error: &serde_json::Error) -> Self {
        Self::Garbled(error.to_string())
    }

    /// Whether the operator should hear of it, or it is part of the ordinary course of a watch.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Refused { .. } | Self::Garbled(_) => true,
            Self::Expired | Self::Brief => false,
        }
    }

    /// The shortest pause the server asks for.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable(_) | Self::Expired | Self::Garbled(_) | Self::Brief => Duration::ZERO,
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else { return Self::Unreachable(chain(&error)) };
        if status.code == 410 {
            return Self::Expired;
        }
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        Self::Refused {
            code: status.code,
            message: status.message.clone(),
            retry_after: Duration::from_secs(seconds.into()),
        }
    }
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        Self::Garbled(error.to_string())
    }
}
