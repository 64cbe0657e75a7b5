//! Reports events about Services and this Node to the cluster.
//!
//! Takes events from any thread ([`Sink::tell`]). Writes one log line for each. With an API server, also writes
//! `events.k8s.io/v1` objects, with equal events joined in a series ([`write()`]). Does not make a sender wait: events
//! that come faster than they can be written are dropped and counted.
//!
//! Source: spec 12.8.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use proxier::model::ServiceName;
use tokio::sync::mpsc;

pub use self::write::write;

mod object;
mod rate;
mod series;
mod write;

/// The largest number of events that wait to be written.
pub const QUEUE: usize = 256;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The kind: expected, or a problem.
    pub kind: Kind,
    /// The reason, in one UpperCamelCase word of at most 128 bytes.
    pub reason: &'static str,
    /// The action that led to the event, in one UpperCamelCase word of at most 128 bytes.
    pub action: &'static str,
    /// The object that the event is about.
    pub regarding: Regarding,
    /// The full text for operators; may be empty. The API server gets its first 1,024 bytes.
    pub note: String,
}

/// The kind of an event: expected, or a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The event is expected.
    Normal,
    /// The operator should look into the event.
    Warning,
}

/// The object that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regarding {
    /// A Service.
    Service(ServiceName),
    /// A Node, by its name.
    Node(Arc<str>),
}

impl fmt::Display for Regarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "Service {name}"),
            Self::Node(name) => write!(f, "Node {name}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.regarding, self.reason)?;
        if !self.note.is_empty() {
            write!(f, ": {}", self.note)?;
        }
        Ok(())
    }
}

/// An event, and the time when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Notification {
    event: Event,
    at: SystemTime,
}

/// Accepts events. Clones write to the same queue.
#[derive(Clone, Debug)]
pub struct Sink {
    queue: Option<mpsc::Sender<Notification>>,
    dropped: Arc<AtomicU64>,
}

/// The events of a [`Sink`] that wait to be written.
#[derive(Debug)]
pub struct Queue {
    told: mpsc::Receiver<Notification>,
    dropped: Arc<AtomicU64>,
}

/// Creates a sink, and the queue of its events.
pub fn channel() -> (Sink, Queue) {
    let (sender, told) = mpsc::channel(QUEUE);
    let dropped = Arc::<AtomicU64>::default();
    (Sink { queue: Some(sender), dropped: Arc::clone(&dropped) }, Queue { told, dropped })
}

impl Sink {
    /// Creates a sink that only writes log lines.
    pub fn log() -> Self {
        Self { queue: None, dropped: Arc::default() }
    }

    /// Logs an event and queues it for the API server. Does not wait.
    pub fn tell(&self, event: Event) {
        match event.kind {
            Kind::Normal => tracing::info!("{event}"),
            Kind::Warning => tracing::warn!("{event}"),
        }
        self.repeat(event);
    }

    /// Queues an event for the API server, without a log line. Does not wait.
    pub fn repeat(&self, event: Event) {
        let Some(queue) = &self.queue else { return };
        let told = Notification { event, at: SystemTime::now() };
        match queue.try_send(told) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!("events come faster than they can be written: some are dropped");
                }
            }
        }
    }
}

impl Queue {
    /// Waits for the next event; `None` once every sink is gone. Logs the number of dropped events when the queue is
    /// empty.
    async fn next(&mut self) -> Option<Notification> {
        if let Ok(told) = self.told.try_recv() {
            return Some(told);
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!("{dropped} events were dropped");
        }
        self.told.recv().await
    }

    /// The next event, if one waits.
    fn ready(&mut self) -> Option<Notification> {
        self.told.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(note: &str) -> Event {
        Event {
            kind: Kind::Warning,
            reason: "Trouble",
            action: "Try",
            regarding: Regarding::Service(ServiceName::new("shop", "web")),
            note: note.to_owned(),
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_does_not_wait() {
        let (sink, queue) = channel();
        for number in 0..QUEUE + 7 {
            sink.tell(event(&number.to_string()));
        }
        assert_eq!(queue.told.len(), QUEUE);
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn nobody_who_writes_is_no_trouble() {
        let (sink, queue) = channel();
        drop(queue);
        sink.tell(event("a"));
        Sink::log().tell(event("b"));
        assert_eq!(sink.dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_line_names_the_object_and_the_reason() {
        assert_eq!(event("it is so").to_string(), "Service shop/web: Trouble: it is so");
        let start = Event { regarding: Regarding::Node("n1".into()), ..event("") };
        assert_eq!(start.to_string(), "Node n1: Trouble");
    }
}
