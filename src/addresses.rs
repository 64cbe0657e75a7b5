//! THE DOOR TO THE NODE'S ADDRESSES: what its interfaces carry, followed as it changes.
//!
//! In: what the kernel says of interfaces and addresses in this process' network namespace. Out:
//! [`Event::Addresses`] with all of them but those of the dummy device, once at first and then
//! whenever they differ; [`Event::Removed`] for whatever is removed from the dummy device. Addresses that are tentative, deprecated, link-local or on loopback are
//! there like any others. Never: an event for what the proxy itself puts on the dummy device, a
//! poll, a timer while nothing happens, and never an end because of a failure: what was last said stays
//! in force, and reading is tried again.

use std::io;
use std::thread;
use std::time::Duration;

use proxier::model::{Event, InterfaceAddress, Removed};
use tokio::sync::mpsc::{Sender, WeakSender};

use self::known::Known;
use crate::kernel::interfaces::{Error, Interfaces};

mod known;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long further notices may come before they are looked at. A first sync puts thousands of addresses on
/// the dummy device, and to be woken for each would cost as much as making it.
const SETTLE_TIME: Duration = Duration::from_millis(10);

/// Starts a thread that follows the addresses. It keeps nobody waiting for it: it ends with the
/// process, or when there is something to say and nobody listens, or no other source speaks, any
/// more.
///
/// # Errors
/// If there can be no thread.
pub fn start(events: &Sender<Event>) -> io::Result<()> {
    let source = Source {
        events: events.downgrade(),
        said: None,
        pause: FIRST_PAUSE,
        state: State::Followed,
    };
    thread::Builder::new().name("addresses".into()).spawn(|| source.run()).map(drop)
}

/// What outlives a failure.
struct Source {
    events: WeakSender<Event>,
    /// What was last said, sorted.
    said: Option<Vec<InterfaceAddress>>,
    /// Before the next try.
    pause: Duration,
    state: State,
}

/// Whether the operator has been told of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Followed,
    Failing,
}

/// Nobody listens any more.
struct ReceiverClosed;

impl Source {
    fn run(mut self) {
        while let Err(error) = self.attempt() {
            let pause = self.pause;
            match self.state {
                State::Followed => tracing::warn!(
                    "interface addresses: {error}; what was last known of them stays in force"
                ),
                State::Failing => {
                    tracing::debug!("interface addresses: {error}; again in {pause:?}")
                }
            }
            self.state = State::Failing;
            thread::sleep(pause);
            self.pause = pause.saturating_mul(2).min(MAX_PAUSE);
        }
    }

    /// Listens, reads, and then keeps what was read up to date until nobody hears it. The listener
    /// comes first, so that no change falls between.
    fn attempt(&mut self) -> Result<ReceiverClosed, Error> {
        let mut interfaces = Interfaces::open()?;
        let mut known = read(&interfaces)?;
        loop {
            // What changed during a reading waits already.
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
        if self.state == State::Failing {
            tracing::info!("interface addresses: followed again");
        }
        self.state = State::Followed;
        self.pause = FIRST_PAUSE;
    }

    fn say(&mut self, now: Vec<InterfaceAddress>) -> Result<(), ReceiverClosed> {
        if self.said.as_ref() == Some(&now) {
            return Ok(());
        }
        tracing::debug!("interface addresses: there are {}", now.len());
        self.said = Some(now.clone());
        self.send(Event::Addresses(now))
    }

    fn say_removed(&self, removed: Vec<Removed>) -> Result<(), ReceiverClosed> {
        self.send(Event::Together(removed.into_iter().map(Event::Removed).collect()))
    }

    fn send(&self, event: Event) -> Result<(), ReceiverClosed> {
        let events = self.events.upgrade().ok_or(ReceiverClosed)?;
        events.blocking_send(event).map_err(|_| ReceiverClosed)
    }
}

/// All addresses of all interfaces but the dummy device, as they are now.
///
/// # Errors
/// If the kernel refuses, is not understood, or has no quiet moment.
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
