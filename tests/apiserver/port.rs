//! Ports that nobody takes in between.
//!
//! In: an address. Out: a port there that is kept for one listener. Never: a listener.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port that is bound and not listened at: who connects is refused, nobody else is given it, and a listener
/// that allows the address to be used again, as the program's and the standard library's do, can have it at any
/// time.
pub struct Kept {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Kept {
    /// At this address; port 0 is any that is free.
    pub fn at(address: SocketAddr) -> Self {
        let socket = bound(address).expect("keep a port");
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { address, _sockets: vec![socket] }
    }

    /// At every address of both families.
    pub fn everywhere() -> Self {
        loop {
            let v4 = bound("0.0.0.0:0".parse().unwrap()).expect("keep a port");
            let address = v4.local_addr().unwrap().as_socket().unwrap();
            let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
            if let Ok(v6) = bound(v6) {
                return Self { address, _sockets: vec![v4, v6] };
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
