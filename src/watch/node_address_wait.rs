//! How long the first word of this Node is waited for.
//!
//! In: what lists and watches say of it. Out: that at once if the Node has an address, else when it gets
//! one or the time is up. Never: a wait once anything was said.
//!
//! Source: spec 7.2.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proxier::model::Event;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

/// The patience of one source.
pub(super) struct NodeAddressWait {
    limit: Duration,
    held: Mutex<Held>,
    listed: Notify,
}

enum Held {
    /// Nothing was said; this is what there is to say.
    Back(Option<Event>),
    /// Everything is said at once from now on.
    Over,
}

impl NodeAddressWait {
    /// None at all if the limit is zero.
    pub(super) fn new(limit: Duration) -> Self {
        let held = if limit.is_zero() { Held::Over } else { Held::Back(None) };
        Self { limit, held: Mutex::new(held), listed: Notify::new() }
    }

    /// What is to be said now.
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

    /// Says what was held back when the time is up, and then stays for ever.
    pub(super) async fn end(&self, events: &Sender<Event>) {
        self.listed.notified().await;
        sleep(self.limit).await;
        if let Some(event) = self.give_up() {
            tracing::warn!("the Node has no address yet; going on without");
            // Whoever does not listen is noticed by the sources themselves.
            let _ = events.send(event).await;
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
