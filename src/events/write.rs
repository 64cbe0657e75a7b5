//! Writes events to the API server.
//!
//! In: the queue of events. Out: requests, no faster than a limit. A request that fails is tried
//! again a few times and then given up with a debug line: an event is never worth an outage.
//! Never: a change of anything but events.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time;

use super::object::{self, Id};
use super::rate::Rate;
use super::series::{Series, Write};
use super::{Queue, Told};
use crate::watch::{Api, Unserved};

/// How often a request is tried.
const TRIES: u32 = 4;

/// The longest pause between two tries; other events wait meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Writes until every sink is gone. `host` is the name of this machine, which reports.
pub async fn write(mut queue: Queue, api: Api, host: String) {
    let mut series = Series::default();
    let mut rate = Rate::new(Instant::now());
    loop {
        match next(&mut queue, series.next_due()).await {
            Next::Told(told) => series.note(told, Instant::now()),
            Next::Due => {}
            Next::Closed => return,
        }
        while let Some(write) = series.due(Instant::now()) {
            time::sleep(rate.wait(Instant::now())).await;
            let Err(error) = attempts(&api, &write, &host).await else { continue };
            let id = write.id();
            match write {
                Write::Patch { .. } if error.is_not_found() => series.gone(id, Instant::now()),
                Write::Create { .. } | Write::Patch { .. } => {
                    tracing::debug!("event {}/{}: {error}; given up", id.namespace, id.name);
                    series.forget(id);
                }
            }
        }
    }
}

enum Next {
    Told(Told),
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
    told.map_or(Next::Closed, Next::Told)
}

async fn attempts(api: &Api, write: &Write, host: &str) -> Result<(), Unserved> {
    let mut pause = api.retry().first;
    let mut tries = 1;
    loop {
        let Err(error) = attempt(api, write, host).await else { return Ok(()) };
        if tries == TRIES || !error.may_pass() {
            return Err(error);
        }
        tries += 1;
        time::sleep(pause.max(error.retry_after()).min(LONGEST_PAUSE)).await;
        pause *= 2;
    }
}

async fn attempt(api: &Api, write: &Write, host: &str) -> Result<(), Unserved> {
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
    match time::timeout(LIMIT, request).await {
        Ok(result) => result,
        Err(_) => Err(Unserved::Unreachable(format!("no answer within {LIMIT:?}"))),
    }
}

fn path(id: &Id, rest: &str) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{}/events{rest}", id.namespace)
}
