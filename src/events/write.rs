//! Writes events to the API server.
//!
//! Takes the queue of events. Sends requests within a rate limit. While the server fails or cannot be reached, repeats
//! writes for some minutes with growing pauses. Drops an event, with a debug line, when that time is over or when the
//! server refuses it: no event is worth an outage. Empties the queue during pauses too. Changes only Event objects.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time;

use super::object::{self, Id};
use super::rate::Rate;
use super::series::{Series, Write};
use super::{Notification, Queue};
use crate::watch::{Api, Backoff, RequestError};

/// The longest wait for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes events until every sink is gone. `host` is the name of this machine, the reporter of the events.
pub async fn write(mut queue: Queue, api: Api, host: String) {
    let mut writer = Writer::new(api, host);
    loop {
        match next(&mut queue, writer.next_due()).await {
            Next::Notification(told) => writer.series.note(told, Instant::now()),
            Next::Due => {}
            Next::Closed => return,
        }
        // The series hold more events than the queue does, and join equal ones.
        while let Some(told) = queue.ready() {
            writer.series.note(told, Instant::now());
        }
        writer.write_one().await;
    }
}

/// The state of the writer.
struct Writer {
    api: Api,
    host: String,
    series: Series,
    rate: Rate,
    backoff: Backoff,
    /// The end of the pause after a failure. Nothing is written before.
    quiet_until: Instant,
}

impl Writer {
    fn new(api: Api, host: String) -> Self {
        let (now, backoff) = (Instant::now(), Backoff::new(api.retry()));
        let (series, rate) = (Series::default(), Rate::new(now));
        Self { api, host, series, rate, backoff, quiet_until: now }
    }

    fn next_due(&self) -> Option<Instant> {
        self.series.next_due().map(|due| due.max(self.quiet_until))
    }

    async fn write_one(&mut self) {
        let now = Instant::now();
        if now < self.quiet_until {
            return;
        }
        let Some(write) = self.series.due(now) else { return };
        let pause = self.rate.wait(now);
        time::sleep(pause).await;
        self.api.waited(write.method(), pause);
        match attempt(&self.api, &write, &self.host).await {
            Ok(()) => {
                self.backoff.reset();
                self.series.succeeded(write.id());
            }
            Err(error) => self.failed(&write, &error),
        }
    }

    /// Handles a failed write. A server in trouble gets a pause; after a refusal the next event is written at once.
    fn failed(&mut self, write: &Write, error: &RequestError) {
        let (id, now) = (write.id(), Instant::now());
        if error.may_pass() {
            let pause = self.backoff.next(Duration::ZERO).max(error.retry_after());
            self.quiet_until = now + pause;
            if self.series.postpone(write, now) {
                return;
            }
        } else {
            self.backoff.reset();
        }
        match write {
            Write::Patch { .. } if error.is_not_found() => self.series.gone(id, now),
            Write::Create { .. } | Write::Patch { .. } => {
                tracing::debug!("event {}/{}: {error}; given up", id.namespace, id.name);
                self.series.forget(id);
            }
        }
    }
}

enum Next {
    Notification(Notification),
    Due,
    Closed,
}

async fn next(queue: &mut Queue, due: Option<Instant>) -> Next {
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    let told = match left {
        None => queue.next().await,
        Some(left) => match time::timeout(left, queue.next()).await {
            Ok(told) => told,
            Err(_) => return Next::Due,
        },
    };
    told.map_or(Next::Closed, Next::Notification)
}

async fn attempt(api: &Api, write: &Write, host: &str) -> Result<(), RequestError> {
    let request = async {
        match write {
            Write::Create { id, event, at } => {
                let body = object::object(id, event, *at, host);
                api.create(&path(id, ""), &body).await
            }
            Write::Patch { id, count, at } => {
                let body: Value = object::series(*count, *at);
                api.patch(&path(id, &format!("/{}", id.name)), &body).await
            }
        }
    };
    match time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(result) => result,
        Err(_) => Err(RequestError::unreachable(format!("no answer within {REQUEST_TIMEOUT:?}"))),
    }
}

fn path(id: &Id, rest: &str) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{}/events{rest}", id.namespace)
}
