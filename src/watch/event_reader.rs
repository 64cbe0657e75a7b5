//! Reads the events of a watch: a sequence of JSON documents, usually one on each line.
//!
//! Takes the body of an answer while it arrives. Returns typed events, deserialized from the buffer
//! without a copy. Holds at most one line, or one event that spans several lines, in memory.

use std::pin::Pin;
use std::time::Duration;

use futures_util::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::failure::Failure;
use super::request_error::RequestError;
use super::said_type::SaidType;
use crate::objects::Field;
use crate::one_line::one_line;

/// One event of a watch (`metav1.WatchEvent`).
#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Line<T> {
    /// An object is new, or is part of the initial state.
    Added(T),
    /// An object has changed.
    Modified(T),
    /// An object was deleted, or the selectors do not match it any more.
    Deleted(T),
    /// No further changes came up to this resource version.
    Bookmark(Bookmark),
    /// The watch cannot continue.
    Error(Status),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bookmark {
    #[serde(default)]
    api_version: Field<String>,
    #[serde(default)]
    kind: Field<String>,
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

/// A `metav1.Status`, with the fields that are reported.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) code: Field<u16>,
    #[serde(default)]
    pub(super) message: Field<String>,
    #[serde(default)]
    pub(super) reason: Field<String>,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let reason = status.reason.given().map(String::as_str);
        match status.code.given() {
            Some(410) => Self::Expired,
            _ if matches!(reason, Some("Expired" | "Gone")) => Self::Expired,
            code => Self::RequestError(RequestError::Refused {
                code: code.copied().unwrap_or_default(),
                message: status.message.given().cloned().unwrap_or_default(),
                retry_after: Duration::ZERO,
            }),
        }
    }
}

impl Bookmark {
    /// Returns the type that the bookmark names. It has the type of the objects that are watched.
    pub(super) fn said_type(&self) -> SaidType<'_> {
        SaidType { api_version: &self.api_version, kind: &self.kind }
    }

    pub(super) fn version(&self) -> Option<&str> {
        self.metadata.given()?.resource_version.given().map(String::as_str)
    }

    /// True if this bookmark marks the end of the initial state (KEP-3157).
    pub(super) fn ends_initial_events(&self) -> bool {
        let annotations = self.metadata.given().and_then(|metadata| metadata.annotations.given());
        annotations
            .is_some_and(|all| all.initial_events_end.given().is_some_and(|end| end == "true"))
    }
}

/// The longest event, in bytes. A longer one is refused while it is read, so that a line without an
/// end does not fill the memory.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// An open watch.
pub(super) struct EventReader {
    body: Pin<Box<dyn AsyncBufRead + Send>>,
    /// The bytes that have arrived. Those from `taken` on have not been returned yet.
    text: Vec<u8>,
    taken: usize,
    has_ended: bool,
    patience: Duration,
    began: Instant,
}

impl EventReader {
    /// Reads a body. Gives it up if nothing arrives for `patience`.
    pub(super) fn new(body: impl AsyncBufRead + Send + 'static, patience: Duration) -> Self {
        let (text, began) = (Vec::new(), Instant::now());
        Self { body: Box::pin(body), text, taken: 0, has_ended: false, patience, began }
    }

    /// Returns how long this watch has been open.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the next event. `None` if the watch ended, whether by the server, by an error or by
    /// silence: the caller resumes it in the same way. An incomplete event at the end is dropped,
    /// because the server will send it again.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Line<T>>, Failure> {
        self.next_within(self.patience).await
    }

    /// Returns the next event like [`next`](Self::next), with another limit for silence.
    pub(super) async fn next_within<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
    ) -> Result<Option<Line<T>>, Failure> {
        loop {
            if let Some(line) = self.take()? {
                return Ok(Some(line));
            }
            if self.has_ended {
                return Ok(None);
            }
            // Returned events are removed, which makes room for new ones.
            self.text.drain(..std::mem::take(&mut self.taken));
            let room = MAX_EVENT_BYTES.saturating_sub(self.text.len());
            if room == 0 {
                let text = format!("an event is longer than {} MiB", MAX_EVENT_BYTES >> 20);
                return Err(Failure::Garbled(text));
            }
            let mut body = self.body.as_mut().take(room as u64);
            match timeout(patience, body.read_until(b'\n', &mut self.text)).await {
                Ok(Ok(length)) => {
                    let is_cut = length == room;
                    self.has_ended = length == 0 || !self.text.ends_with(b"\n") && !is_cut;
                }
                Ok(Err(error)) => {
                    tracing::debug!("watch broken off: {}", one_line(&error));
                    return Ok(None);
                }
                Err(_) => {
                    tracing::debug!("watch silent for {patience:?}: given up");
                    return Ok(None);
                }
            }
        }
    }

    /// Returns an event that has arrived completely. Kubernetes sends one event on each line. Any
    /// sequence of JSON documents is accepted, as client-go does.
    fn take<T: DeserializeOwned>(&mut self) -> Result<Option<Line<T>>, Failure> {
        // Checking the encoding of the whole text at once is much cheaper than checking each
        // string.
        let rest = self.text.get(self.taken..).unwrap_or_default();
        let rest = std::str::from_utf8(rest)
            .map_err(|error| Failure::Garbled(format!("not UTF-8: {error}")))?;
        if rest.trim_ascii().is_empty() {
            self.clear();
            return Ok(None);
        }
        if let Ok(line) = serde_json::from_str(rest) {
            self.clear();
            return Ok(Some(line));
        }
        let mut events = serde_json::Deserializer::from_str(rest).into_iter();
        match events.next() {
            Some(Ok(line)) => {
                self.taken += events.byte_offset();
                Ok(Some(line))
            }
            Some(Err(error)) if error.is_eof() => Ok(None),
            Some(Err(error)) => Err(Failure::garbled(rest, &error)),
            None => Ok(None),
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::io::Cursor;
    use serde_json::Value;

    use super::*;

    /// Returns the names of the added objects, and how the watch ended.
    async fn heard(text: &str) -> (Vec<String>, Option<Failure>) {
        let mut lines = EventReader::new(Cursor::new(text.to_owned().into_bytes()), Duration::MAX);
        let mut names = Vec::new();
        loop {
            match lines.next::<Value>().await {
                Ok(Some(Line::Added(object))) => names.push(object.to_string()),
                Ok(Some(_)) => names.push("?".to_owned()),
                Ok(None) => return (names, None),
                Err(failure) => return (names, Some(failure)),
            }
        }
    }

    fn added(object: &str) -> String {
        format!("{{\"type\":\"ADDED\",\"object\":{object}}}")
    }

    #[tokio::test]
    async fn events_are_taken_however_they_are_spaced() {
        let (one, two) = (added("1"), added("2"));
        let indented = two.replace(',', ",\n  ");
        for text in [
            format!("{one}\n{two}\n"),
            format!("{one}\r\n\n \n{two}\n\n"),
            format!("{one}{two}\n"),
            format!("{one}\n{two}"),
            format!("{one}\n{indented}\n"),
            format!("{indented}{one}").replace("2", "x").replace("1", "2").replace('x', "1"),
            format!("{one}\n{two}\n{}", &one[..10]),
            format!("{one}\n{two}\n{}\n", &one[..7]),
        ] {
            let (names, failure) = heard(&text).await;
            assert_eq!(names, ["1", "2"], "{text:?}");
            assert!(failure.is_none(), "{text:?}");
        }
    }

    /// A peer that never ends the line, and counts the bytes that are read.
    struct Endless(std::sync::Arc<std::sync::atomic::AtomicUsize>);

    impl futures_util::io::AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut [u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            unreachable!("lines are read from the buffer")
        }
    }

    impl AsyncBufRead for Endless {
        fn poll_fill_buf(
            self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<&[u8]>> {
            let read = self.0.load(std::sync::atomic::Ordering::Relaxed);
            assert!(read <= MAX_EVENT_BYTES, "{read} bytes of one line were read");
            let text: &[u8] = if read == 0 { b"\"" } else { &[b'a'; 1 << 16] };
            std::task::Poll::Ready(Ok(text))
        }

        fn consume(self: Pin<&mut Self>, amount: usize) {
            self.0.fetch_add(amount, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_refused_while_it_is_read() {
        let read = std::sync::Arc::default();
        let mut lines = EventReader::new(Endless(std::sync::Arc::clone(&read)), Duration::MAX);
        let failure = lines.next::<Value>().await.err();
        assert!(
            matches!(&failure, Some(Failure::Garbled(text)) if text.contains("longer than 64 MiB"))
        );
        assert_eq!(read.load(std::sync::atomic::Ordering::Relaxed), MAX_EVENT_BYTES);
    }

    #[tokio::test]
    async fn what_is_no_event_is_told() {
        for wrong in ["[]\n", "{\"type\":\"ADDED\"}\n", "x\n", "{} {}\n"] {
            let (names, failure) = heard(&(added("1") + wrong)).await;
            assert_eq!(names, ["1"], "{wrong:?}");
            assert!(matches!(failure, Some(Failure::Garbled(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_version_that_is_too_old_is_known_by_its_reason_too() {
        for text in
            [r#"{"code":410}"#, r#"{"reason":"Expired"}"#, r#"{"reason":"Gone","code":400}"#]
        {
            let status: Status = serde_json::from_str(text).unwrap();
            assert!(matches!(Failure::from(status), Failure::Expired), "{text}");
        }
    }
}
