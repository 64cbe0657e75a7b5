//! Checks every change between two recorded steps, after each single operation.
//!
//! Takes the steps of `tests/golden`, one after the other in one proxy. Checks that no client is
//! refused that is served before and after, and that none is admitted that the rules exclude. What
//! serves is derived from the rules, sets and virtual servers themselves, see
//! [`proxier::testing::packet`]. Does not skip a case. Does not pass if no client is served.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipvs_proxy::folder;
use proxier::Proxier;
use proxier::apply::fake::FakeKernel;
use proxier::model::{Event, Family, InterfaceAddress, Net, PerFamily};
use proxier::plan::{LocalDetection, NodePortAddresses, Settings};
use proxier::testing::now;
use proxier::testing::packet::{Client, Moment, moments};
use serde_json::Value;

const NODE: [(&str, &str); 3] =
    [("eth0", "192.0.2.11/24"), ("eth0", "2001:db8:1::11/64"), ("eth1", "198.51.100.11/24")];

#[test]
fn no_moment_between_recorded_steps_treats_a_client_otherwise_than_both() {
    let mut pairs = 0;
    for case in folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")) {
        pairs += check(&case);
    }
    assert!(pairs >= PAIRS, "only {pairs} pairs of a client and a frontend");
}

/// The smallest number of pairs of a client and a frontend, in all cases, that are served before
/// and after a change.
const PAIRS: usize = 1;

fn check(case: &Path) -> usize {
    let node: Vec<IpAddr> = NODE.iter().map(|(_, net)| parse::<Net>(net).addr()).collect();
    let near = ["10.244.1.0/24", "fd00:10:244:1::/64"].map(parse::<Net>);
    let mut proxier = Proxier::new(settings(case));
    proxier.fold(Event::Addresses(
        NODE.iter()
            .map(|(device, net)| InterfaceAddress { device: (*device).into(), address: parse(net) })
            .collect(),
    ));
    let mut kernel = FakeKernel { keep_history: true, ..FakeKernel::default() };
    let mut pairs = 0;
    for (place, step) in folders(case).iter().enumerate() {
        let (events, _) = folder::load(&step.join("objects.yaml"), "node1").unwrap();
        events.into_iter().for_each(|event| proxier.fold(event));
        let before = kernel.state.clone();
        kernel.history.clear();
        let outcome = proxier.round(&mut kernel, now());
        assert!(outcome.is_success(), "{}: {:?}", step.display(), outcome.failed);
        if place == 0 {
            continue;
        }
        let at = |state| Moment { state, node: &node, near: &near };
        let (first, last) = (at(&before), at(&kernel.state));
        let moments = moments(&before, &kernel.history);
        for key in before.servers.keys().chain(kernel.state.servers.keys()) {
            for client in clients(key.family()) {
                let what = format!("{}: {client:?} to {key}", step.display());
                let ends = [first, last].map(|end| end.serves(client, key));
                let away = [first, last].map(|end| end.turns_away(client, key));
                let is_shut =
                    [first, last].iter().all(|end| !end.stands(key) || end.turns_away(client, key));
                pairs += usize::from(ends == [true; 2]);
                for moment in moments.iter().map(at) {
                    let serves = moment.serves(client, key);
                    assert!(ends != [true; 2] || serves, "{what} is refused");
                    assert!(!(serves && is_shut && away != [false; 2]), "{what} is let in");
                }
            }
        }
    }
    pairs
}

fn settings(case: &Path) -> Settings {
    let text = fs::read_to_string(case.join("case.yaml")).unwrap();
    let description: Value = serde_saphyr::from_str(&text).unwrap();
    let config = &description["config"];
    let cidrs = config["clusterCIDR"].as_str().unwrap_or_default().split(',');
    let cidrs: Vec<Net> = cidrs.filter(|text| !text.is_empty()).map(parse).collect();
    let of = |family| cidrs.iter().find(|net| Family::of_net(net) == family).copied();
    let node_ports = config["nodePortAddresses"].as_array().into_iter().flatten();
    Settings {
        node_name: "node1".into(),
        masquerade_all: config["iptables"]["masqueradeAll"] == true,
        local_detection: LocalDetection::ClusterCidr(PerFamily::from_fn(of)),
        node_ports: NodePortAddresses::In(
            node_ports.map(|net| parse(net.as_str().unwrap())).collect(),
        ),
        ..Settings::default()
    }
}

fn clients(family: Family) -> [Client; 5] {
    let (near, far, other, pod) = match family {
        Family::V4 => ("192.0.2.100", "198.51.100.200", "203.0.113.200", "10.244.1.9"),
        Family::V6 => ("2001:db8:1::100", "2001:db8:a::9", "2001:db8:f::9", "fd00:10:244:1::9"),
    };
    let [near, far, other, pod] = [near, far, other, pod].map(parse);
    let [near, far, other] = [near, far, other].map(Client::Outside);
    [near, far, other, Client::Pod(pod), Client::Node]
}

fn parse<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
