//! Classifies the failures of requests.
//!
//! Takes errors of the client and unsuccessful answers. Returns whether the server was reached and
//! what it answered. Does not decide what to do: readers and writers differ in that.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use super::alert::RefusedByAlert;
use crate::one_line::one_line;

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request did not reach the server, or its answer did not come back.
    #[error("{text}")]
    Unreachable {
        /// The description of the error.
        text: String,
        /// The side whose certificate or credentials TLS has rejected, if it has.
        doubted: Option<RejectedBy>,
    },
    /// The server refused the request.
    #[error("HTTP {code}: {message}")]
    Refused {
        /// The HTTP status code.
        code: u16,
        /// The server's message.
        message: String,
        /// The pause that the server asks for before the next try. Zero if it asks for none.
        retry_after: Duration,
    },
}

/// The part of the authentication that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedBy {
    /// The client's credentials, for example an expired token.
    Credentials,
    /// The server's certificate.
    Certificate,
}

impl RequestError {
    /// Makes an error for a request that did not reach the server, for a reason that new files
    /// would not fix.
    pub(crate) fn unreachable(text: impl Into<String>) -> Self {
        Self::Unreachable { text: text.into(), doubted: None }
    }

    /// Returns what was rejected, if new files may fix it.
    pub(super) fn doubted(&self) -> Option<RejectedBy> {
        match self {
            Self::Refused { code: 401, .. } => Some(RejectedBy::Credentials),
            Self::Unreachable { doubted, .. } => *doubted,
            Self::Refused { .. } => None,
        }
    }

    /// Adds to the text which file was rejected, and why.
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

    /// True if another try may succeed: the server was not reached, is in trouble, or the
    /// credentials are just being replaced.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => matches!(*code, 401 | 429 | 500..),
        }
    }

    /// True if the object to change does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Unreachable { .. } => false,
            Self::Refused { code, .. } => *code == 404,
        }
    }

    /// Returns the shortest pause that the server asks for. Zero if it asks for none.
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

/// Returns what a TLS error rejects. An I/O error keeps the error that it wraps outside of the
/// chain of sources, so both are searched.
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

/// Classifies a TLS error. Some alerts of the server are about the certificate that this proxy has
/// shown, or has not.
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
