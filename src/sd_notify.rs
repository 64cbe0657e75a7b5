//! Notifies the service manager that the proxy is ready or about to end.
//!
//! Takes the socket that `NOTIFY_SOCKET` names. Sends datagrams of systemd's protocol (sd_notify(3)). Does not wait,
//! and only logs failures.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager, if it has asked for notifications.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Supervisor {
    /// Returns the service manager that the environment names.
    pub fn from_environment() -> Self {
        match std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            Some(name) => Self::at(&name),
            None => Self { socket: None },
        }
    }

    /// Returns the service manager at this path, or at an abstract name after `@`.
    pub fn at(name: &OsStr) -> Self {
        let socket = open(name);
        if let Err(error) = &socket {
            tracing::warn!("NOTIFY_SOCKET {}: {error}", name.to_string_lossy());
        }
        Self { socket: socket.ok() }
    }

    /// Notifies that the first sync has succeeded.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// Notifies that the process is about to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, what: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(what.as_bytes(), address) {
            tracing::warn!("cannot tell the service manager {what}: {error}");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut text = [0; 64];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(path.as_os_str());
        supervisor.ready();
        assert_eq!(heard(&socket), "READY=1");
        supervisor.stopping();
        assert_eq!(heard(&socket), "STOPPING=1");
    }

    #[test]
    fn an_abstract_name_is_told() {
        let name = format!("ipvs-proxy-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Supervisor::at(OsStr::new(&format!("@{name}"))).ready();
        assert_eq!(heard(&socket), "READY=1");
    }

    #[test]
    fn nobody_who_listens_is_no_trouble() {
        Supervisor::at(OsStr::new("/nowhere/notify")).ready();
        Supervisor { socket: None }.stopping();
    }
}
