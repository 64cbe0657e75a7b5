//! Prints the names of the network interfaces in this namespace.
//!
//! Prints one line for each interface, in the kernel's order. Changes nothing and needs no privileges.
//!
//! ```sh
//! cargo run --example links
//! ```

use netlink_batch::attribute::Attributes;
use netlink_batch::{Error, Family, Request, Socket};

const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
/// The size of `struct ifinfomsg`.
const HEADER: usize = 16;

fn main() -> Result<(), Error> {
    let mut socket = Socket::open(Family::Route)?;
    let request = Request { kind: RTM_GETLINK, payload: vec![0; HEADER], ..Request::default() };
    let names = socket.fold_dump(&request, Vec::new, |names, reply| {
        let attributes = Attributes::new(reply.payload.get(HEADER..).unwrap_or_default());
        let name = attributes.flatten().find(|attribute| attribute.kind == IFLA_IFNAME);
        names.extend(name.map(|name| name.string_lossy()));
    })?;
    names.iter().for_each(|name| println!("{name}"));
    Ok(())
}
