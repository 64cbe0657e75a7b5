//! Names the network interfaces of this namespace.
//!
//! In: nothing. Out: one line for each, as the kernel lists them. Never: a change; rights are not needed.
//!
//! ```sh
//! cargo run --example links
//! ```

use netlink_batch::attribute::Attributes;
use netlink_batch::{Error, Family, Request, Socket};

const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
/// `struct ifinfomsg`.
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
