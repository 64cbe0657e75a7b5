//! Prints the virtual servers of this namespace with their destinations and connections.
//!
//! Prints one line for each virtual server and each of its destinations. Changes nothing.
//!
//! ```sh
//! cargo run --example table
//! ```

use ipvs_netlink::{Client, Error};

fn main() -> Result<(), Error> {
    let mut client = Client::open()?;
    for server in client.counted_table()? {
        let connections = server.service.stats64.as_ref().map_or(0, |stats| stats.connections);
        println!("{} {} ({connections} connections)", server.service.key, server.service.scheduler);
        for destination in &server.destinations {
            println!("  {} weight {}", destination.key(), destination.weight);
        }
    }
    client.unreadable().iter().for_each(|what| eprintln!("{what}"));
    Ok(())
}
