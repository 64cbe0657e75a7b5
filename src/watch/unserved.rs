//! A request that came to nothing.
//!
//! In: errors of the client and answers other than success. Out: whether the server was reached and
//! what it said. Never: what follows from it, which differs between those who read and who write.

use std::time::Duration;

use super::client::chain;

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Unserved {
    /// The request did not reach the server, or its answer did not come back.
    #[error("{0}")]
    Unreachable(String),
    /// The server said no.
    #[error("HTTP {code}: {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The server's words.
        message: String,
        /// The server's wish for the next try.
        retry_after: Duration,
    },
}

impl Unserved {
    /// Whether another try may succeed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { code, .. } => *code == 429 || *code >= 500,
        }
    }

    /// Whether what was to be changed does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Unreachable(_) => false,
            Self::Refused { code, .. } => *code == 404,
        }
    }

    /// The shortest pause the server asks for.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Unreachable(_) => Duration::ZERO,
            Self::Refused { retry_after, .. } => *retry_after,
        }
    }
}

impl From<kube::Error> for Unserved {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else { return Self::Unreachable(chain(&error)) };
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        Self::Refused {
            code: status.code,
            message: status.message.clone(),
            retry_after: Duration::from_secs(seconds.into()),
        }
    }
}
