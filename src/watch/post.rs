//! The little that is written to the API server.
//!
//! In: a path and an object. Out: whether the server took it, or why not. Never: a retry, a change
//! of Services, EndpointSlices or Nodes; events are all that is ever sent.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request};
use serde_json::Value;

use super::Api;
use super::client::chain;
use super::request::AGENT;

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
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

impl Unwritten {
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

impl From<kube::Error> for Unwritten {
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

impl Api {
    /// Creates an object in the collection at `path`.
    ///
    /// # Errors
    /// See [`Unwritten`].
    pub async fn create(&self, path: &str, object: &Value) -> Result<(), Unwritten> {
        self.write(Method::POST, "application/json", path, object).await
    }

    /// Changes the fields that `change` names of the object at `path` (RFC 7386).
    ///
    /// # Errors
    /// See [`Unwritten`].
    pub async fn patch(&self, path: &str, change: &Value) -> Result<(), Unwritten> {
        self.write(Method::PATCH, "application/merge-patch+json", path, change).await
    }

    async fn write(
        &self,
        method: Method,
        kind: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<(), Unwritten> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, kind)
            .header(USER_AGENT, AGENT)
            .body(body.to_string().into_bytes())
            .map_err(|error| Unwritten::Unreachable(error.to_string()))?;
        self.text(request).await?;
        Ok(())
    }
}
