//! The socket as the exchange sees it: sends and receives datagrams.
//!
//! Takes a whole datagram to send. Gives a whole received datagram, or the error number. A datagram that does
//! not fit the buffer is an error ([`Received::Truncated`]), because a truncated dump looks like a complete
//! one.
//!
//! `netlink-sys` creates and binds the descriptor and sets netlink's own options. `rustix` does what that
//! crate has no call for, on the same descriptor and without unsafe code: `SO_RCVBUFFORCE`, `SO_SNDBUFFORCE`,
//! `SO_RCVTIMEO`, and receiving into a slice.

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

/// The default size of the send and receive buffers in bytes.
pub(crate) const BUFFER_SIZE: usize = 16 << 20;

/// The operations that the exchange needs of a socket; scripted in tests.
pub(crate) trait Wire {
    /// Sends one datagram.
    fn send(&mut self, datagram: &[u8]) -> io::Result<()>;

    /// Receives one datagram into `buffer`.
    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> io::Result<Received>;
}

/// The choice between waiting for a datagram and not waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Waits up to the receive timeout.
    Timeout,
    /// Does not wait.
    No,
}

/// The result of receiving a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The datagram is complete and fills this many bytes of the buffer.
    Whole(usize),
    /// The datagram had this many bytes, more than the buffer.
    Truncated(usize),
}

/// The properties of the socket that the kernel granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The netlink port, which is the socket's address.
    pub(crate) port: u32,
    /// The part of a refused request that comes back.
    pub(crate) echo: Echo,
    /// The size in bytes of `SO_SNDBUF`, which limits one datagram to the kernel.
    pub(crate) send_buffer: usize,
    /// The size in bytes of `SO_RCVBUF`, which limits the replies that wait.
    pub(crate) receive_buffer: usize,
}

impl Wire for Socket {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        // Without a destination, a datagram goes to the kernel (`netlink_sendmsg`: dst_portid 0).
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

/// Opens, binds and configures a socket.
pub(crate) fn open(family: Family, options: Options) -> Result<(Socket, Granted), Error> {
    let mut socket = Socket::new(family.protocol()).map_err(io_error("socket"))?;
    let port = socket.bind_auto().map_err(io_error("bind"))?.port_number();
    // Kernels before 4.12 explain no error, and those before 4.2 echo every request whole. This crate can
    // read both. They refuse unknown options with ENOPROTOOPT.
    optional(socket.set_ext_ack(true)).map_err(io_error("NETLINK_EXT_ACK"))?;
    let echo = match options.echo {
        Echo::HeaderOnly => match optional(socket.set_cap_ack(true)) {
            Ok(Known::Yes) => Echo::HeaderOnly,
            // The receive buffer needs room for whole requests.
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
    // The kernel rounds up to its clock tick; zero would mean no timeout.
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

/// The kernel's knowledge of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

/// Returns the result of setting an option that is not essential.
fn optional(result: io::Result<()>) -> io::Result<Known> {
    match result {
        Ok(()) => Ok(Known::Yes),
        Err(error) if error.raw_os_error() == Some(Errno::NOPROTOOPT.raw_os_error()) => {
            Ok(Known::No)
        }
        Err(error) => Err(error),
    }
}

/// Sets a buffer size beyond the system's limit, or up to it if the process lacks the privilege.
fn forced(
    force: impl FnOnce() -> Result<(), Errno>,
    plain: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match force() {
        Err(Errno::PERM) => plain(),
        result => result,
    }
}

/// Repeats a call that a signal has interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result.map_err(Into::into),
        }
    }
}

/// Returns a function that wraps an I/O error with the name of the failed operation.
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
