//! Notes when the server refuses this client by a TLS alert.
//!
//! Takes the bytes of a connection and passes them on unchanged. Notes whether an alert has refused
//! the client's certificate since the last successful read. Over HTTP/2 the library keeps only the
//! text of such an error.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower::BoxError;

use super::request_error::{RejectedBy, doubted_by};

/// A flag that an alert sets which refuses the client. The next successful read clears it.
#[derive(Clone, Debug, Default)]
pub(super) struct Alerts(Arc<AtomicBool>);

impl Alerts {
    /// Returns the error of a request, wrapped in [`RefusedByAlert`] if an alert was its cause.
    pub(super) fn explain(&self, error: legacy::Error) -> BoxError {
        if self.0.load(Ordering::Relaxed) && !error.is_connect() {
            return Box::new(RefusedByAlert(error));
        }
        error.into()
    }

    /// Wraps a connection so that its alerts are noted.
    pub(super) fn listen<T>(&self, inner: T) -> Heard<T> {
        Heard { inner, alerts: self.clone() }
    }

    fn hear(&self, result: &io::Result<()>) {
        match result {
            Ok(()) => self.0.store(false, Ordering::Relaxed),
            Err(error) if doubted_by(error) == Some(RejectedBy::Credentials) => {
                self.0.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
    }
}

/// The error of a request on a connection that the server refused by an alert.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct RefusedByAlert(legacy::Error);

/// A connection whose alerts are noted.
#[derive(Debug)]
pub(super) struct Heard<T> {
    inner: T,
    alerts: Alerts,
}

impl<T: Read + Unpin> Read for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(result) = &read {
            self.alerts.hear(result);
        }
        read
    }
}

impl<T: Write + Unpin> Write for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }
}

impl<T: Connection> Connection for Heard<T> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}
