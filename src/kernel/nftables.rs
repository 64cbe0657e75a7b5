//! The table that kube-proxy's nftables mode leaves behind.
//!
//! In: a family. Out: whether the table `kube-proxy` is there; its removal. Never: a failure
//! because the program `nft` is not there, and never another table.
//!
//! Source: spec 14.1.

use std::process::{Command, Stdio};

use proxier::apply::Cause;
use proxier::model::Family;

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// True if the table is there; without `nft` nobody can have made it.
pub(super) fn has_table(family: Family) -> bool {
    let mut nft = Command::new("nft");
    nft.args(["list", "tables", name(family)]).stdin(Stdio::null()).stderr(Stdio::null());
    let Ok(output) = nft.output() else { return false };
    let wanted = format!("table {} kube-proxy", name(family));
    String::from_utf8_lossy(&output.stdout).lines().any(|line| line.trim() == wanted)
}

/// Takes the table away.
pub(super) fn remove_table(family: Family) -> Result<(), Cause> {
    let mut nft = Command::new("nft");
    let output = nft.args(["delete", "table", name(family), "kube-proxy"]).stdin(Stdio::null());
    let output = output.output().map_err(Cause::new)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Cause(format!("nft: {}", said.lines().next().unwrap_or("failed"))))
}
