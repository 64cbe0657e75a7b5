//! A request that came to nothing.
//!
//! In: errors of the client and answers other than success. Out: whether the server was reached and
//! what it said. Never: what follows from it, which differs between those who read and who write.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use super::alert::RefusedByAlert;
use crate::one_line::one_line;

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request did not reach the server, or its answer did not come back.
    #[error("{text}")]
    Unreachable {
        /// Why not.
        text: String,
        /// What is in doubt then, if TLS has said so.
        doubted: Option<RejectedBy>,
    },
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
pub enum RejectedBy {
    /// Who asks: a token that has expired, for one.
    Credentials,
    /// Who answers.
    Certificate,
}

impl RequestError {
    /// A request that did not get there, for a reason that no other file would mend.
    pub(crate) fn unreachable(text: impl Into<String>) -> Self {
        Self::Unreachable { text: text.into(), doubted: None }
    }

    /// Whether other files would make a difference.
    pub(super) fn doubted(&self) -> Option<RejectedBy> {
        match self {
            Self::Refused { code: 401, .. } => Some(RejectedBy::Credentials),
            Self::Unreachable { doubted, .. } => *doubted,
            Self::Refused { .. } => None,
        }
    }

    /// Adds which file is in doubt, and what of it.
    pub(super) fn name_file(&mut self, doubted: RejectedBy, file: &Path) {
        let (Self::Unreachable { text, .. } | Self::Refused { message: text, .. }) = self;
        text.push_str(&match doubted {
            RejectedBy::Certificate => {
                format!(" (certificates are trusted as {} says)", file.display())
            }
            RejectedBy::Credentials => {
                format!(" (credentials of {}, invalid or expired)", file.display())
            }
        });
    }

    /// Whether another try may succeed: the server was not reached or is in trouble, or credentials are
    /// just being replaced.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => matches!(*code, 401 | 429 | 500..),
        }
    }

    /// Whether what was to be changed does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Unreachable { .. } => false,
            Self::Refused { code, .. } => *code == 404,
        }
    }

    /// The shortest pause the server asks for.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Unreachable { .. } => Duration::ZERO,
            Self::Refused { retry_after, .. } => *retry_after,
        }
    }
}

impl From<kube::Error> for RequestError {
    fn from(error: kube::Error) -> Self {
        let doubted = doubted_by(&error);
        Self::Unreachable { text: one_line(&error), doubted }
    }
}

/// What is in doubt after an error of TLS. An error of input and output has what it wraps in a place of its own,
/// which is not in the chain of causes.
pub(super) fn doubted_by(error: &(dyn Error + 'static)) -> Option<RejectedBy> {
    let mut link = Some(error);
    while let Some(error) = link {
        if error.is::<RefusedByAlert>() {
            return Some(RejectedBy::Credentials);
        }
        if let Some(error) = error.downcast_ref() {
            return doubted_by_tls(error);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(doubted) = wrapped.and_then(|inner| doubted_by(inner)) {
            return Some(doubted);
        }
        link = error.source();
    }
    None
}

/// An alert is the server's word: some of them are about the certificate that this proxy has shown, or has not.
fn doubted_by_tls(error: &rustls::Error) -> Option<RejectedBy> {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(_) => Some(RejectedBy::Certificate),
        rustls::Error::AlertReceived(
            Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => Some(RejectedBy::Credentials),
        _ => None,
    }
}
