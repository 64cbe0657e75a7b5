//! Waits for the first address of this Node.
//!
//! Takes the events about this Node. Returns an event at once if the Node has an address. Else
//! holds it back until the Node has one or the time is up. Does not wait after the first event was
//! returned.
//!
//! Source: spec 7.2.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proxier::model::{Batch, Event};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

/// The state of the wait for one source of events.
pub(super) struct NodeAddressWait {
    limit: Duration,
    held: Mutex<Held>,
    listed: Notify,
}

enum Held {
    /// No event was returned yet; the last one is held back here.
    Back(Option<Event>),
    /// Each event is returned at once.
    Over,
}

impl NodeAddressWait {
    /// Waits for at most `limit`. Does not wait at all if it is zero.
    pub(super) fn new(limit: Duration) -> Self {
        let held = if limit.is_zero() { Held::Over } else { Held::Back(None) };
        Self { limit, held: Mutex::new(held), listed: Notify::new() }
    }

    /// Returns the event if it may be sent now. `None` if it is held back.
    pub(super) fn take(&self, event: Event) -> Option<Event> {
        let has_address = matches!(&event, Event::Node(Some(node)) if !node.addresses.is_empty());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Held::Back(last) if !has_address => {
                if last.replace(event).is_none() {
                    let limit = self.limit;
                    tracing::warn!("the Node has no address: waiting for one for {limit:?}");
                }
                self.listed.notify_one();
                None
            }
            Held::Back(_) | Held::Over => {
                *held = Held::Over;
                Some(event)
            }
        }
    }

    /// Sends the held-back event when the time is up. Never returns.
    pub(super) async fn end(&self, events: &Sender<Batch>) {
        self.listed.notified().await;
        sleep(self.limit).await;
        if let Some(event) = self.give_up() {
            tracing::warn!("the Node has no address yet; going on without");
            // The sources notice a dropped receiver themselves.
            let _ = events.send(vec![event]).await;
        }
        std::future::pending().await
    }

    fn give_up(&self) -> Option<Event> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *held, Held::Over) {
            Held::Back(last) => last,
            Held::Over => None,
        }
    }
}
