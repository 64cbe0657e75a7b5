//! The socket as the exchange sees it: datagrams out, datagrams in.
//!
//! In: a whole datagram to send. Out: a whole datagram received, or the error number. Never: half
//! a datagram; one that does not fit the buffer is an error ([`Received::Truncated`]), because a
//! cut dump looks like a complete one.
//!
//! `netlink-sys` makes and binds the descriptor and turns netlink's own options on. `rustix` does
//! what that crate has no call for (`SO_RCVBUFFORCE`, `SO_SNDBUFFORCE`, `SO_RCVTIMEO`, receiving
//! into a slice) on the same descriptor, without unsafe code.

use std::{io, time::Duration};

use netlink_sys::Socket;
use rustix::{
    io::Errno,
    net::{
        RecvFlags, SendFlags, recv, send,
        sockopt::{
            Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force,
            set_socket_send_buffer_size, set_socket_send_buffer_size_force, set_socket_timeout,
            socket_recv_buffer_size, socket_send_buffer_size,
        },
    },
};

use crate::{Echo, Error, Family, Options};

/// Usually asked for in both directions.
pub(crate) const BUFFER_SIZE: usize = 16 << 20;

/// What the exchange needs of a socket; scripted in tests.
pub(crate) trait Wire {
    /// Sends one datagram.
    fn send(&mut self, datagram: &[u8]) -> io::Result<()>;

    /// Receives one datagram into `buffer`.
    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> io::Result<Received>;
}

/// Whether to wait for a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Up to the receive timeout.
    Timeout,
    /// Not at all: the queue is being emptied.
    No,
}

/// One datagram's fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// This many bytes of the buffer are filled.
    Whole(usize),
    /// The datagram had this many bytes, more than the buffer.
    Truncated(usize),
}

/// What the kernel granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The address of the socket.
    pub(crate) port: u32,
    /// How much of a refused request comes back.
    pub(crate) echo: Echo,
    /// Bytes of `SO_SNDBUF`, the limit of one datagram to the kernel.
    pub(crate) send_buffer: usize,
    /// Bytes of `SO_RCVBUF`, the limit of replies waiting.
    pub(crate) receive_buffer: usize,
}

impl Wire for Socket {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        // Without a destination the kernel is meant (`netlink_sendmsg`: dst_portid 0).
        retry(|| send(&*self, datagram, SendFlags::empty())).map(drop)
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> io::Result<Received> {
        let flags = match wait {
            Wait::Timeout => RecvFlags::TRUNC,
            Wait::No => RecvFlags::TRUNC | RecvFlags::DONTWAIT,
        };
        let (filled, length) = retry(|| recv(&*self, &mut *buffer, flags))?;
        Ok(if length > filled { Received::Truncated(length) } else { Received::Whole(length) })
    }
}

/// Opens, binds and tunes a socket.
pub(crate) fn open(family: Family, options: Options) -> Result<(Socket, Granted), Error> {
    let mut socket = Socket::new(family.protocol()).map_err(io_error("socket"))?;
    let port = socket.bind_auto().map_err(io_error("bind"))?.port_number();
    // Kernels before 4.12 explain no error, and those before 4.2 echo every request whole: both are less, and
    // both are read. What they do not know they refuse with ENOPROTOOPT.
    optional(socket.set_ext_ack(true)).map_err(io_error("NETLINK_EXT_ACK"))?;
    let echo = match options.echo {
        Echo::HeaderOnly => match optional(socket.set_cap_ack(true)) {
            Ok(Known::Yes) => Echo::HeaderOnly,
            // Room is kept for what comes.
            Ok(Known::No) => Echo::WholeRequest,
            Err(error) => return Err(io_error("NETLINK_CAP_ACK")(error)),
        },
        Echo::WholeRequest => Echo::WholeRequest,
    };
    forced(
        || set_socket_recv_buffer_size_force(&socket, options.receive_buffer),
        || set_socket_recv_buffer_size(&socket, options.receive_buffer),
    )
    .map_err(errno("SO_RCVBUF"))?;
    forced(
        || set_socket_send_buffer_size_force(&socket, BUFFER_SIZE),
        || set_socket_send_buffer_size(&socket, BUFFER_SIZE),
    )
    .map_err(errno("SO_SNDBUF"))?;
    // The kernel rounds up to its clock's tick; zero would mean "for ever".
    let timeout = options.receive_timeout.max(Duration::from_millis(1));
    set_socket_timeout(&socket, Timeout::Recv, Some(timeout)).map_err(errno("SO_RCVTIMEO"))?;
    let granted = Granted {
        port,
        echo,
        send_buffer: socket_send_buffer_size(&socket).map_err(errno("SO_SNDBUF"))?,
        receive_buffer: socket_recv_buffer_size(&socket).map_err(errno("SO_RCVBUF"))?,
    };
    Ok((socket, granted))
}

/// Whether the kernel knows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

/// The result of setting an option that one can do without.
fn optional(result: io::Result<()>) -> io::Result<Known> {
    match result {
        Ok(()) => Ok(Known::Yes),
        Err(error) if error.raw_os_error() == Some(Errno::NOPROTOOPT.raw_os_error()) => {
            Ok(Known::No)
        }
        Err(error) => Err(error),
    }
}

/// Sets a buffer size beyond the system's limit, or up to it when we may not.
fn forced(
    force: impl FnOnce() -> Result<(), Errno>,
    plain: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match force() {
        Err(Errno::PERM) => plain(),
        result => result,
    }
}

/// Repeats a call that a signal has ended.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result.map_err(Into::into),
        }
    }
}

/// Names the operation that failed.
pub(crate) fn io_error(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { operation, source }
}

fn errno(operation: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Io { operation, source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_the_kernel_does_not_know_is_done_without_and_other_refusals_are_errors() {
        let refused = |errno: Errno| Err(io::Error::from_raw_os_error(errno.raw_os_error()));
        assert_eq!(optional(Ok(())).unwrap(), Known::Yes);
        assert_eq!(optional(refused(Errno::NOPROTOOPT)).unwrap(), Known::No);
        assert_eq!(optional(refused(Errno::BADF)).unwrap_err().raw_os_error(), Some(9));
    }
}
