//! Counts the connections, bytes and packets of each Service.
//!
//! Takes the owners of virtual servers and the draining destinations from the sync thread, and
//! readings of the kernel's counters. Returns metrics of each Service when they are scraped. A
//! thread of its own reads the kernel, with sockets of its own. It reads at most once in an
//! interval, and only a limited number of Services: frequent scrapes get the last reading. Does not
//! change the kernel. Does not count a part of a Service's virtual servers.

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

/// The kernel's counters of a virtual server since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The number of connections that have begun.
    pub connections: u64,
    /// The number of packets from clients.
    pub packets_in: u64,
    /// The number of packets to clients.
    pub packets_out: u64,
    /// The number of bytes from clients.
    pub bytes_in: u64,
    /// The number of bytes to clients.
    pub bytes_out: u64,
}

/// The present counters of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The key of the virtual server.
    pub server: VirtualServerKey,
    /// The counters since it was created.
    pub counters: Counters,
    /// The number of established connections.
    pub active: u64,
    /// The number of connections that are ending, or of protocols without connections.
    pub inactive: u64,
}

/// The limits of the cost of scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest number of Services that are counted, in the order of their names.
    pub services: usize,
    /// The time for which a reading is used.
    pub interval: Duration,
}

enum Notification {
    /// The present owners of virtual servers. One without a name has no owner any more.
    Owners(Vec<(VirtualServerKey, Option<ServiceName>)>),
    /// The destinations that have begun or stopped draining, and when.
    Draining {
        begun: BTreeSet<VirtualServerDestination>,
        ended: BTreeSet<VirtualServerDestination>,
        now: Instant,
    },
    /// Metrics are being scraped.
    Scrape(oneshot::Sender<Vec<MetricFamily>>),
}

/// The handle of the counting thread. Clones share it; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Traffic {
    told: mpsc::Sender<Notification>,
}

impl Traffic {
    /// Starts the thread. `read` reads the counters of the given virtual servers.
    ///
    /// # Errors
    /// An error if the thread cannot be created.
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

    /// Sets the present owners of these virtual servers.
    pub fn owners(&self, owners: Vec<(VirtualServerKey, Option<ServiceName>)>) {
        self.tell(Notification::Owners(owners));
    }

    /// Sets which destinations have begun or stopped draining.
    pub fn draining(&self, news: &Draining) {
        if !news.begun.is_empty() || !news.ended.is_empty() {
            let (begun, ended) = (news.begun.clone(), news.ended.clone());
            self.tell(Notification::Draining { begun, ended, now: Instant::now() });
        }
    }

    /// Returns the metrics of each Service. Reads the kernel if the last reading is too old.
    pub async fn read(&self) -> Vec<MetricFamily> {
        let (tell, families) = oneshot::channel();
        self.tell(Notification::Scrape(tell));
        // A thread that has died sends nothing any more.
        families.await.unwrap_or_default()
    }

    fn tell(&self, told: Notification) {
        // The thread ends only after all its senders.
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
                // The scrape may have been given up.
                let _ = tell.send(accounts.families(Instant::now()));
            }
        }
    }
}

/// The owner of each virtual server.
type Owners = BTreeMap<VirtualServerKey, ServiceName>;
