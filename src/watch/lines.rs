//! What a watch sends: one JSON document a line.
//!
//! In: the body of an answer, as it comes. Out: typed events, decoded from the bytes in place.
//! Never: more than one line in memory.

use std::pin::Pin;
use std::time::Duration;

use futures_util::io::{AsyncBufRead, AsyncBufReadExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::client::chain;
use super::failure::Failure;
use super::unserved::Unserved;
use crate::objects::Field;

/// One line (`metav1.WatchEvent`).
#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Line<T> {
    /// An object is new, or is part of the initial state.
    Added(T),
    /// An object has changed.
    Modified(T),
    /// An object is gone, or no longer selected.
    Deleted(T),
    /// Nothing has happened up to this resource version.
    Bookmark(Bookmark),
    /// The watch cannot go on.
    Error(Status),
}

#[derive(Deserialize)]
pub(super) struct Bookmark {
    #[serde(default)]
    metadata: Field<BookmarkMeta>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    #[serde(default)]
    resource_version: Field<String>,
    #[serde(default)]
    annotations: Field<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(default, rename = "k8s.io/initial-events-end")]
    initial_events_end: Field<String>,
}

/// `metav1.Status`, as far as it is told.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) code: Field<u16>,
    #[serde(default)]
    pub(super) message: Field<String>,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match status.code.given() {
            Some(410) => Self::Expired,
            code => Self::Unserved(Unserved::Refused {
                code: code.copied().unwrap_or_default(),
                message: status.message.given().cloned().unwrap_or_default(),
                retry_after: Duration::ZERO,
            }),
        }
    }
}

impl Bookmark {
    pub(super) fn version(&self) -> Option<&str> {
        self.metadata.given()?.resource_version.given().map(String::as_str)
    }

    /// Whether this is the mark behind the initial state (KEP-3157).
    pub(super) fn ends_initial_events(&self) -> bool {
        let annotations = self.metadata.given().and_then(|metadata| metadata.annotations.given());
        annotations.is_some_and(|all| all.initial_events_end.given().is_some())
    }
}

/// An open watch.
pub(super) struct Lines {
    body: Pin<Box<dyn AsyncBufRead + Send>>,
    line: Vec<u8>,
    patience: Duration,
    began: Instant,
}

impl Lines {
    /// A body that is given up when it is silent for longer than `patience`.
    pub(super) fn new(body: impl AsyncBufRead + Send + 'static, patience: Duration) -> Self {
        Self { body: Box::pin(body), line: Vec::new(), patience, began: Instant::now() }
    }

    /// How long this watch has been open.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The next event; `None` where the watch ended, in order, broken off, or silent for too long:
    /// it is resumed the same way after each. A last line without its end is dropped: it will be
    /// sent again.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Line<T>>, Failure> {
        self.next_within(self.patience).await
    }

    /// The same, with another measure of silence.
    pub(super) async fn next_within<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
    ) -> Result<Option<Line<T>>, Failure> {
        self.line.clear();
        match timeout(patience, self.body.read_until(b'\n', &mut self.line)).await {
            Ok(Ok(_)) if self.line.ends_with(b"\n") => {}
            Ok(Ok(_)) => return Ok(None),
            Ok(Err(error)) => {
                tracing::debug!("watch broken off: {}", chain(&error));
                return Ok(None);
            }
            Err(_) => {
                tracing::debug!("watch silent for {patience:?}: given up");
                return Ok(None);
            }
        }
        serde_json::from_slice(&self.line).map(Some).map_err(|error| Failure::garbled(&error))
    }
}
