//! Writes to the API server.
//!
//! Takes a path and an object. Returns whether the server accepted it. Does not retry. Does not
//! change Services, EndpointSlices or Nodes: only events are written.

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request};
use serde_json::Value;

use super::Api;
use super::request::AGENT;
use super::request_error::RequestError;

impl Api {
    /// Creates an object in the collection at `path`.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn create(&self, path: &str, object: &Value) -> Result<(), RequestError> {
        self.write(Method::POST, "application/json", path, object).await
    }

    /// Changes the fields that `change` names of the object at `path` (RFC 7386).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn patch(&self, path: &str, change: &Value) -> Result<(), RequestError> {
        self.write(Method::PATCH, "application/merge-patch+json", path, change).await
    }

    async fn write(
        &self,
        method: Method,
        kind: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<(), RequestError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, kind)
            .header(USER_AGENT, AGENT)
            .body(body.to_string().into_bytes())
            .map_err(|error| RequestError::unreachable(error.to_string()))?;
        self.text(request).await?;
        Ok(())
    }
}
