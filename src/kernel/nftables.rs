//! The table that kube-proxy's nftables mode leaves behind.
//!
//! Takes a family. Says whether the table `kube-proxy` exists, and removes it. Looking for it works without
//! the program `nft`. Does not touch any other table.
//!
//! Source: spec 14.1.

use netlink_batch::attribute::Writer;
use netlink_batch::{Request, Socket};
use proxier::apply::Cause;
use proxier::model::Family;

use super::cause::Classified as _;
use super::program::{self, PROGRAM_TIMEOUT};

const TABLE: &str = "kube-proxy";

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// `NFNL_SUBSYS_NFTABLES` (`linux/netfilter/nfnetlink.h`).
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_GETTABLE` (`linux/netfilter/nf_tables.h`).
const GET_TABLE: u16 = 1;
/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;

/// True if the table exists. If the kernel gives no answer or has no nftables, it counts as absent.
pub(super) fn has_table(family: Family) -> bool {
    // struct nfgenmsg: family (NFPROTO_*), version, resource.
    let number = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    let mut payload = vec![number, 0, 0, 0];
    let named = Writer::new(&mut payload).nul_string(TABLE_NAME, TABLE);
    let question = Request { kind: (SUBSYSTEM << 8) | GET_TABLE, flags: 0, payload };
    let Ok(mut socket) = Socket::open(netlink_batch::Family::Netfilter) else { return false };
    named.is_ok() && socket.ask(&question).is_ok()
}

/// Removes the table.
pub(super) fn remove_table(family: Family) -> Result<(), Cause> {
    let arguments = ["delete", "table", name(family), TABLE];
    let output = program::run("nft", &arguments, None, PROGRAM_TIMEOUT)
        .map_err(|error| Cause::of(error.kind(), format!("nft: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Cause::new(format!("nft: {}", said.lines().next().unwrap_or("failed"))))
}
