//! Lists the UDP flows to an address and port, or deletes them.
//!
//! Takes `ADDRESS:PORT`, and `--delete` to delete the flows. Prints one line for each flow, the number of
//! flows that were read, and the peak memory. Keeps only the flows to that address and port.
//!
//! ```sh
//! cargo run --example flows -- 10.96.0.10:53
//! ```

use std::error::Error;
use std::net::SocketAddr;

use conntrack_netlink::{Conntrack, Family, Flow, Protocol, Selection};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let to: SocketAddr = arguments.next().ok_or("usage: flows ADDRESS:PORT [--delete]")?.parse()?;
    let deletes = arguments.next().is_some_and(|argument| argument == "--delete");
    let family = if to.is_ipv4() { Family::Inet } else { Family::Inet6 };

    let mut conntrack = Conntrack::open()?;
    let nothing = || (0_u64, Vec::new());
    let take = |(seen, kept): &mut (u64, Vec<Flow>), flow: Flow| {
        *seen += 1;
        if flow.original.destination == to {
            kept.push(flow);
        }
    };
    let (seen, kept) = conntrack.fold(&Selection::new(family, Protocol::UDP), nothing, take)?;
    for flow in &kept {
        println!("{flow}");
    }
    eprintln!("{seen} flows looked at, {} to {to}, {}", kept.len(), peak_memory());
    if deletes {
        for (flow, result) in kept.iter().zip(conntrack.delete(&kept)?) {
            if let Err(refused) = result {
                eprintln!("{flow}: {refused}");
            }
        }
    }
    Ok(())
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("peak unknown");
    peak.split_whitespace().collect::<Vec<_>>().join(" ")
}
