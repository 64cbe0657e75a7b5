//! A request that came to nothing.
//!
//! In: errors of the client and answers other than success. Out: whether the server was reached and
//! what it said. Never: what follows from it, which differs between those who read and who write.

use crate::one_line::one_line;
use std::path::Path;
use std::time::Duration;

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

/// What is in doubt when a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubted {
    /// Who asks: a token that has expired, for one.
    Credentials,
    /// Who answers.
    Certificate,
}

impl Unserved {
    /// Whether other files would make a difference.
    pub(super) fn doubted(&self) -> Option<Doubted> {
        match self {
            Self::Refused { code: 401, .. } => Some(Doubted::Credentials),
            // rustls says what it does not like of the server's; an alert is the server's word on ours.
            Self::Unreachable(text) if text.contains("received fatal alert") => {
                Some(Doubted::Credentials)
            }
            Self::Unreachable(text) if text.contains("certificate") => Some(Doubted::Certificate),
            Self::Unreachable(_) | Self::Refused { .. } => None,
        }
    }

    /// Adds which file is in doubt, and what of it.
    pub(super) fn blame(&mut self, doubted: Doubted, file: &Path) {
        let (Self::Unreachable(text) | Self::Refused { message: text, .. }) = self;
        text.push_str(&match doubted {
            Doubted::Certificate => {
                format!(" (certificates are trusted as {} says)", file.display())
            }
            Doubted::Credentials => {
                format!(" (credentials of {}, invalid or expired)", file.display())
            }
        });
    }

    /// Whether another try may succeed: the server was not reached or is in trouble, or credentials are
    /// just being replaced.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { code, .. } => matches!(*code, 401 | 429 | 500..),
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
        Self::Unreachable(one_line(&error))
    }
}
