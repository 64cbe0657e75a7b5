//! Tests that a cleanup after any history leaves nothing of this proxy and everything of other programs, also if it
//! is interrupted and run again.
//!
//! Takes histories, and the number of changes after which the first cleanup ends. Looks at the kernel after each
//! change. At an address of the node, a process of the node may answer once the virtual server has gone.

use std::net::IpAddr;

use proptest::prelude::*;

use super::super::*;
use super::worlds::{ip, some_history};
use super::{complete_with, local_detection};
use crate::apply::fake::FakeKernel;
use crate::apply::ordered;
use crate::diff::{Cleanup, Destinations, ObservedServer};
use crate::model::Net;
use crate::plan::{ServerFlags, ServerSettings};
use crate::testing::now;
use crate::testing::packet::{Client, Moment, moments};

const CLIENTS: [&str; 4] = ["198.51.100.7", "192.0.2.100", "2001:db8:a::7", "2001:db8:1::9"];

const NODE: [&str; 4] = ["192.0.2.11", "192.0.2.12", "203.0.113.1", "2001:db8:1::11"];

/// Adds a virtual server of another program.
fn of_others(kernel: &mut FakeKernel, address: IpAddr, port: u16) -> VirtualServerKey {
    let settings = ServerSettings { scheduler: "rr".into(), flags: ServerFlags(0), timeout: 0 };
    let server = ObservedServer { settings, destinations: Destinations::default() };
    let key = VirtualServerKey { protocol: Protocol::Tcp, address, port };
    kernel.state.servers.insert(key, server);
    key
}

/// Runs a cleanup up to this number of changes. Returns the virtual servers that it keeps.
fn clean(kernel: &mut FakeKernel, exclude: &[Net], most: usize) -> Vec<VirtualServerKey> {
    // In some histories, an address of the node is also a cluster IP on the dummy device.
    let node = NODE.map(ip).into_iter().chain([ip("10.96.0.1")]);
    let reading = kernel.read_for_cleanup(node.collect());
    let Cleanup { changes, others } = Cleanup::new(&reading, exclude);
    let mut changes = ordered(changes, &reading.state);
    changes.truncate(most);
    for (change, result) in kernel.carry_out(changes) {
        assert_eq!(result, Ok(()), "{change}");
    }
    others
}

fn reaches_host(moment: &Observed, keys: &BTreeSet<VirtualServerKey>) -> Vec<String> {
    let node = NODE.map(ip);
    let here = Moment { state: moment, node: &node, near: &[] };
    let clients = CLIENTS.map(|client| Client::Outside(ip(client))).into_iter();
    let clients: Vec<_> = clients.chain([Client::Node]).collect();
    let reaches = |key: &&VirtualServerKey| {
        let is_of_family = |client: &&Client| match client {
            Client::Outside(address) => Family::of(*address) == key.family(),
            Client::Pod(_) | Client::Node => true,
        };
        let mut clients = clients.iter().filter(is_of_family);
        !node.contains(&key.address) && clients.any(|client| here.reaches_host(*client, key))
    };
    keys.iter().filter(reaches).map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_cleanup_leaves_nothing_of_ours_and_all_of_others(
        history in some_history(), cut in 0..120usize, excludes in prop::bool::ANY
    ) {
        let mut proxier = complete_with(local_detection());
        let mut kernel = FakeKernel { keep_history: true, ..FakeKernel::default() };
        for events in history {
            events.into_iter().for_each(|event| proxier.fold(event));
            proxier.round(&mut kernel, now());
        }
        let ours: BTreeSet<_> = kernel.state.servers.keys().copied().collect();
        let mut others = BTreeSet::from([of_others(&mut kernel, ip("198.51.100.99"), 80)]);
        let mut exclude: Vec<Net> = Vec::new();
        // Only an excluded network keeps an address of the dummy device from being evidence.
        if excludes && let Some(address) = kernel.state.addresses.first().copied() {
            others.insert(of_others(&mut kernel, address, 7000));
            exclude.extend(["0.0.0.0/0", "::/0"].map(|net| net.parse::<Net>().expect("a network")));
        }
        let before = kernel.state.clone();
        kernel.history.clear();
        clean(&mut kernel, &exclude, cut);
        let kept = clean(&mut kernel, &exclude, usize::MAX);
        prop_assert_eq!(&kept.into_iter().collect::<BTreeSet<_>>(), &others);
        let rest = Observed { servers: kernel.state.servers.clone(), ..Observed::default() };
        prop_assert_eq!(&kernel.state, &rest);
        prop_assert_eq!(&rest.servers.into_keys().collect::<BTreeSet<_>>(), &others);
        for moment in moments(&before, &kernel.history) {
            prop_assert_eq!(reaches_host(&moment, &ours), [""; 0]);
        }
    }
}
