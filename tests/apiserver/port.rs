//! Reserves ports.
//!
//! Takes an address. Returns a port there that is kept for one listener. Does not listen.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port that is bound but has no listener. A client that connects is refused, and no other
/// program gets the port. A listener that sets `SO_REUSEADDR`, as the program and the standard
/// library do, can bind it at any time.
pub struct Kept {
    address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Kept {
    /// Binds this address. Port 0 chooses a free one.
    pub fn at(address: SocketAddr) -> Self {
        let socket = bound(address).expect("keep a port");
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { address, _sockets: vec![socket] }
    }

    /// Binds a free port at all addresses of both families.
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
