//! WHAT SERVICES CARRY: connections, bytes and packets of each Service, read when somebody scrapes.
//!
//! In: whose virtual servers there are and what drains, from the sync thread, which waits for nothing;
//! readings of the kernel's counters. Out: metrics of each Service. A thread of its own reads the
//! kernel, by sockets of its own, seldom, and of so many Services at most: who scrapes often gets the
//! last reading. Never: a change to the kernel, a Service that is counted in part.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use proxier::apply::{Cause, Draining};
use proxier::model::ServiceName;
use proxier::plan::{VirtualServerDestination, VirtualServerKey};
use tokio::sync::oneshot;

use self::accounts::Accounts;

mod accounts;

/// What the kernel has counted at a virtual server since it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections begun.
    pub connections: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// A virtual server at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which one.
    pub server: VirtualServerKey,
    /// What it has counted.
    pub counters: Counters,
    /// Connections that carry something.
    pub active: u64,
    /// Connections that are ending, or of protocols that have none.
    pub inactive: u64,
}

/// What one who scrapes may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many Services are told of at most, in the order of their names.
    pub services: usize,
    /// So long a reading is good for.
    pub interval: Duration,
}

enum Notification {
    /// Whose virtual servers these are now; nobody's if there is no name.
    Owners(Vec<(VirtualServerKey, Option<ServiceName>)>),
    /// What has begun to drain, what does no longer, and when.
    Draining {
        begun: BTreeSet<VirtualServerDestination>,
        ended: BTreeSet<VirtualServerDestination>,
        now: Instant,
    },
    /// Somebody scrapes.
    Scrape(oneshot::Sender<Vec<MetricFamily>>),
}

/// The thread that keeps the accounts. Clones speak to the same one, which ends with the last.
#[derive(Clone, Debug)]
pub struct Traffic {
    told: mpsc::Sender<Notification>,
}

impl Traffic {
    /// Starts the thread; `read` reads these virtual servers.
    ///
    /// # Errors
    /// If there can be no such thread.
    pub fn start(
        limits: Limits,
        read: impl FnMut(&BTreeSet<VirtualServerKey>) -> Result<Vec<Reading>, Cause> + Send + 'static,
    ) -> io::Result<Self> {
        let (told, hears) = mpsc::channel();
        std::thread::Builder::new()
            .name("traffic".into())
            .spawn(move || keep(Accounts::new(limits), read, &hears))?;
        Ok(Self { told })
    }

    /// Says whose virtual servers these are now.
    pub fn owners(&self, owners: Vec<(VirtualServerKey, Option<ServiceName>)>) {
        self.tell(Notification::Owners(owners));
    }

    /// Says what has begun to drain, and what does no longer.
    pub fn draining(&self, news: &Draining) {
        if !news.begun.is_empty() || !news.ended.is_empty() {
            let (begun, ended) = (news.begun.clone(), news.ended.clone());
            self.tell(Notification::Draining { begun, ended, now: Instant::now() });
        }
    }

    /// Metrics of each Service, from a reading that is not too old.
    pub async fn read(&self) -> Vec<MetricFamily> {
        let (tell, families) = oneshot::channel();
        self.tell(Notification::Scrape(tell));
        // A thread that has died tells nothing any more.
        families.await.unwrap_or_default()
    }

    fn tell(&self, told: Notification) {
        // The thread ends after all who could tell it something.
        let _ = self.told.send(told);
    }
}

fn keep(
    mut accounts: Accounts,
    mut read: impl FnMut(&BTreeSet<VirtualServerKey>) -> Result<Vec<Reading>, Cause>,
    hears: &mpsc::Receiver<Notification>,
) {
    while let Ok(told) = hears.recv() {
        match told {
            Notification::Owners(owners) => accounts.note_owners(owners),
            Notification::Draining { begun, ended, now } => {
                accounts.note_draining(begun, &ended, now)
            }
            Notification::Scrape(tell) => {
                accounts.refresh(Instant::now(), &mut read);
                // Nobody waits for it any more.
                let _ = tell.send(accounts.families(Instant::now()));
            }
        }
    }
}

/// Whose each virtual server is.
type Owners = BTreeMap<VirtualServerKey, ServiceName>;
