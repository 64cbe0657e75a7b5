//! Follows the addresses of the node's interfaces.
//!
//! Takes the kernel's notices of interfaces and addresses in this process' network namespace. Sends
//! [`Event::Addresses`] with all addresses except those of the dummy device, at the start and then
//! whenever they change. Sends [`Event::Removed`] for everything that is removed from the dummy
//! device. Tentative, deprecated, link-local and loopback addresses are included. Does not send
//! events for what the proxy adds to the dummy device. Does not poll, and sets no timer while
//! nothing happens. Does not end because of a failure: the last known addresses stay in force, and
//! reading is tried again.

use std::io;
use std::thread;
use std::time::Duration;

use proxier::model::{Batch, Event, InterfaceAddress, Removed};
use tokio::sync::mpsc::{Sender, WeakSender};

use self::known::Known;
use crate::kernel::interfaces::{Error, Interfaces};
use crate::lasting::{Area, Lasting};

mod known;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The time for which further notices are collected before they are looked at. A first sync puts
/// thousands of addresses on the dummy device, and a wakeup for each would cost as much as creating
/// it.
const SETTLE_TIME: Duration = Duration::from_millis(10);

/// Starts a thread that follows the addresses. It does not keep the process running. It ends when
/// the receiver is dropped or all other senders are gone, at the next event that it sends. `lasting`
/// gets the condition that the addresses cannot be read.
///
/// # Errors
/// An error if the thread cannot be created.
pub fn start(events: &Sender<Batch>, lasting: Lasting) -> io::Result<()> {
    let source = Source { events: events.downgrade(), said: None, pause: FIRST_PAUSE, lasting };
    thread::Builder::new().name("addresses".into()).spawn(|| source.run()).map(drop)
}

/// The state that outlives a failure.
struct Source {
    events: WeakSender<Batch>,
    /// The last sent addresses, sorted.
    said: Option<Vec<InterfaceAddress>>,
    /// The pause before the next try.
    pause: Duration,
    lasting: Lasting,
}

/// The key of the condition that the addresses cannot be read.
const READING: &str = "interface addresses";

/// Says that the receiver of events is gone.
struct ReceiverClosed;

impl Source {
    fn run(mut self) {
        while let Err(error) = self.attempt() {
            let pause = self.pause;
            let text =
                format!("interface addresses: {error}; what was last known of them stays in force");
            self.lasting.begin(Area::Source, READING, text);
            thread::sleep(pause);
            self.pause = pause.saturating_mul(2).min(MAX_PAUSE);
        }
    }

    /// Listens, reads, and then keeps the addresses up to date until the receiver is gone. It
    /// listens before it reads, so that no change is missed.
    fn attempt(&mut self) -> Result<ReceiverClosed, Error> {
        let mut interfaces = Interfaces::open()?;
        let mut known = read(&interfaces)?;
        loop {
            // The changes during the reading are waiting already.
            take_changes(&mut interfaces, &mut known)?;
            let removed = known.take_removed();
            if !removed.is_empty()
                && let Err(closed) = self.say_removed(removed)
            {
                return Ok(closed);
            }
            if !known.is_whole() {
                known = read(&interfaces)?;
                continue;
            }
            self.succeeded();
            if known.has_changed()
                && let Err(closed) = self.say(known.addresses())
            {
                return Ok(closed);
            }
            interfaces.wait()?;
            thread::sleep(SETTLE_TIME);
        }
    }

    fn succeeded(&mut self) {
        self.lasting.end(Area::Source, READING);
        self.pause = FIRST_PAUSE;
    }

    fn say(&mut self, now: Vec<InterfaceAddress>) -> Result<(), ReceiverClosed> {
        if self.said.as_ref() == Some(&now) {
            return Ok(());
        }
        tracing::debug!("interface addresses: there are {}", now.len());
        self.said = Some(now.clone());
        self.send(vec![Event::Addresses(now)])
    }

    fn say_removed(&self, removed: Vec<Removed>) -> Result<(), ReceiverClosed> {
        self.send(removed.into_iter().map(Event::Removed).collect())
    }

    fn send(&self, batch: Batch) -> Result<(), ReceiverClosed> {
        let events = self.events.upgrade().ok_or(ReceiverClosed)?;
        events.blocking_send(batch).map_err(|_| ReceiverClosed)
    }
}

/// Returns the present addresses of all interfaces except the dummy device.
///
/// # Errors
/// An error if the kernel refuses, if its answer cannot be parsed, or if the state keeps changing
/// during the reading.
pub fn now() -> Result<Vec<InterfaceAddress>, Error> {
    Ok(read(&Interfaces::open()?)?.addresses())
}

fn read(interfaces: &Interfaces) -> Result<Known, Error> {
    let mut known = Known::default();
    interfaces.read(|fact| known.fold(fact))?;
    Ok(known)
}

fn take_changes(interfaces: &mut Interfaces, known: &mut Known) -> Result<(), Error> {
    match interfaces.changes(|fact| known.fold(fact)) {
        Err(Error::StateUnknown) => known.invalidate(),
        result => result?,
    }
    Ok(())
}
