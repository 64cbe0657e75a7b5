//! Reads the whole kernel beside the rounds.
//!
//! Takes a function that reads. Returns what it has read, once it is done. Uses a thread of its
//! own: reading a large table takes long, and no change should wait for it. Does not run two
//! readings at once.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use proxier::apply::{Cause, KernelReading};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The handle of the reading thread.
#[derive(Debug)]
pub(super) struct Audit {
    ask: mpsc::Sender<()>,
    found: Receiver<Found>,
    is_reading: bool,
}

impl Audit {
    /// Starts the thread. It ends when this handle is dropped.
    pub(super) fn start(
        read: impl FnMut() -> Result<KernelReading, Cause> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (ask, asked) = mpsc::channel();
        let (tell, found) = channel(1);
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || answer(read, &asked, &tell))?;
        Ok(Self { ask, found, is_reading: false })
    }

    /// True from [`begin`](Self::begin) until the result was returned.
    pub(super) fn is_reading(&self) -> bool {
        self.is_reading
    }

    /// Requests a reading. False if the thread has ended.
    pub(super) fn begin(&mut self) -> bool {
        self.is_reading = self.ask.send(()).is_ok();
        self.is_reading
    }

    /// Waits for the result of the reading. Waits forever if there is no reading.
    pub(super) async fn end(&mut self) -> Found {
        if !self.is_reading {
            return std::future::pending().await;
        }
        let found = self.found.recv().await;
        self.is_reading = false;
        found.unwrap_or_else(Found::died)
    }

    /// Returns the result of the reading; `None` if it is not complete or there is none.
    pub(super) fn try_end(&mut self) -> Option<Found> {
        if !self.is_reading {
            return None;
        }
        let found = match self.found.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Found::died(),
            Ok(found) => found,
        };
        self.is_reading = false;
        Some(found)
    }
}

/// The result of a reading.
#[derive(Debug)]
pub(super) struct Found {
    /// The kernel state, or why it could not be read.
    pub(super) reading: Result<KernelReading, Cause>,
    /// The duration of the reading.
    pub(super) took: Duration,
}

impl Found {
    fn died() -> Self {
        let reading = Err(Cause::new("the audit thread has died"));
        Self { reading, took: Duration::ZERO }
    }
}

fn answer(
    mut read: impl FnMut() -> Result<KernelReading, Cause>,
    asked: &mpsc::Receiver<()>,
    tell: &Sender<Found>,
) {
    while asked.recv().is_ok() {
        let start = Instant::now();
        let reading = read();
        let found = Found { reading, took: start.elapsed() };
        let read_ms = super::report::Milliseconds(found.took);
        tracing::debug!(%read_ms, "the whole kernel is read");
        if tell.blocking_send(found).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proxier::diff::Observed;

    use super::*;

    #[tokio::test]
    async fn what_was_read_is_given_once() {
        let read = || Ok(Observed { link: true, ..Observed::default() }.into());
        let mut audit = Audit::start(read).unwrap();
        assert!(audit.try_end().is_none());
        assert!(audit.begin());
        assert!(audit.is_reading());
        assert!(audit.end().await.reading.unwrap().observed.link);
        assert!(!audit.is_reading() && audit.try_end().is_none());

        assert!(audit.begin());
        let found = loop {
            match audit.try_end() {
                Some(found) => break found,
                None => std::thread::yield_now(),
            }
        };
        assert!(found.reading.unwrap().observed.link);
    }

    #[tokio::test]
    async fn a_reader_that_has_died_is_found_out_once_and_not_asked_again() {
        let mut audit = Audit::start(|| panic!("on purpose")).unwrap();
        assert!(audit.begin());
        assert!(audit.end().await.reading.is_err());
        assert!(!audit.begin() && !audit.is_reading());
    }
}
