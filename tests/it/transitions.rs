//! Checks every change between two recorded steps, after each single operation.
//!
//! Takes the steps of `tests/golden`, one after the other in one proxy. Checks that no client is
//! refused that is served before and after, and that none is admitted that the rules exclude. What
//! serves is derived from the rules, sets and virtual servers themselves, see
//! [`proxier::testing::packet`]. Does not skip a case. Does not pass if no client is served.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use ipvs_proxy::folder;
use proxier::Proxier;
use proxier::apply::fake::FakeKernel;
use proxier::model::{Event, Family, InterfaceAddress, Net, PerFamily};
use proxier::plan::{LocalDetection, NodePortAddresses, Settings};
use proxier::testing::now;
use proxier::testing::packet::{Client, Moment, moments};

use crate::recorded::Case;

const NODE: [(&str, &str); 3] =
    [("eth0", "192.0.2.11/24"), ("eth0", "2001:db8:1::11/64"), ("eth1", "198.51.100.11/24")];

#[test]
fn no_moment_between_recorded_steps_treats_a_client_otherwise_than_both() {
    let mut all = Pairs::default();
    for case in Case::all().iter().filter(|case| case.steps().len() > 1) {
        let pairs = check(case);
        println!("{}: {pairs:?}", case.name());
        assert!(pairs.served > 0, "nobody is served before and after a change of {}", case.name());
        all.served += pairs.served;
        all.shut_out += pairs.shut_out;
    }
    assert!(all.served >= SERVED && all.shut_out >= SHUT_OUT, "only {all:?}");
}

/// The fewest pairs that all cases together have: a little below those that there are.
const SERVED: usize = 800;
const SHUT_OUT: usize = 50;

/// Pairs of a client and a frontend over all changes of a case.
#[derive(Debug, Default)]
struct Pairs {
    /// The client is served before and after the change.
    served: usize,
    /// The rules turn the client away before or after it, and it is served at neither time.
    shut_out: usize,
}

fn check(case: &Case) -> Pairs {
    let node: Vec<IpAddr> = NODE.iter().map(|(_, net)| parse::<Net>(net).addr()).collect();
    let near = ["10.244.1.0/24", "fd00:10:244:1::/64"].map(parse::<Net>);
    let mut proxier = Proxier::new(settings(case));
    proxier.fold(Event::Addresses(
        NODE.iter()
            .map(|(device, net)| InterfaceAddress { device: (*device).into(), address: parse(net) })
            .collect(),
    ));
    let mut kernel = FakeKernel { keep_history: true, ..FakeKernel::default() };
    let mut pairs = Pairs::default();
    for (place, step) in case.steps().iter().enumerate() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), step.objects()).unwrap();
        let (events, _) = folder::load(file.path(), "node1").unwrap();
        events.into_iter().for_each(|event| proxier.fold(event));
        let before = kernel.state.clone();
        kernel.history.clear();
        let outcome = proxier.round(&mut kernel, now());
        assert!(outcome.is_success(), "{}: {:?}", step.folder().display(), outcome.failed);
        if place == 0 {
            continue;
        }
        let at = |state| Moment { state, node: &node, near: &near };
        let (first, last) = (at(&before), at(&kernel.state));
        let moments = moments(&before, &kernel.history);
        let keys = before.servers.keys().chain(kernel.state.servers.keys());
        for key in keys.collect::<BTreeSet<_>>() {
            for client in clients(key.family()) {
                let ends = [first, last].map(|end| end.serves(client, key));
                let away = [first, last].map(|end| end.turns_away(client, key));
                let stands = [first, last].map(|end| end.stands(key));
                let is_shut_out = away != [false; 2] && away == stands;
                pairs.served += usize::from(ends == [true; 2]);
                pairs.shut_out += usize::from(is_shut_out);
                if ends != [true; 2] && !is_shut_out {
                    continue;
                }
                let what = || format!("{}: {client:?} to {key}", step.folder().display());
                for moment in moments.iter().map(at) {
                    let serves = moment.serves(client, key);
                    assert!(ends != [true; 2] || serves, "{} is refused", what());
                    assert!(!(serves && is_shut_out), "{} is let in", what());
                }
            }
        }
    }
    pairs
}

fn settings(case: &Case) -> Settings {
    let config = &case.description()["config"];
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
