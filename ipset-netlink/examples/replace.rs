//! Replaces the contents of a `hash:ip` set in one step, so that no packet sees part of it.
//!
//! Takes a set's name and IPv4 addresses. Gives the set exactly these, and prints the refused ones. The set
//! is never empty meanwhile.
//!
//! ```sh
//! cargo run --example replace -- blocked 192.0.2.1 192.0.2.2
//! ```

use std::error::Error;

use ipset_netlink::{Entry, Family, Ipset, Repeat, SetSpec, SetType};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: replace SET ADDRESS...")?;
    let entries: Vec<_> =
        arguments.map(|address| address.parse().map(Entry::Ip)).collect::<Result<_, _>>()?;

    let live = SetSpec::new(name.parse()?, SetType::HashIp, Family::Inet);
    let next = SetSpec { name: format!("{name}-next").parse()?, ..live.clone() };
    let mut ipset = Ipset::open()?;
    ipset.create(&live, Repeat::Accept)?;
    ipset.create(&next, Repeat::Refuse)?;
    for refused in ipset.add(&next.name, &entries, Repeat::Accept)? {
        eprintln!("{refused}");
    }
    ipset.swap(&live.name, &next.name)?;
    ipset.destroy(&next.name)?;
    Ok(())
}
