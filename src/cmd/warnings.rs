//! Warnings about settings in force (spec 12.6).
//!
//! Takes a checked configuration and the families that the node can serve. Returns one warning per setting with an
//! unexpected effect, or an error if the two contradict each other. Says nothing about other settings.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::ensure;
use proxier::model::{Family, InterfaceAddress, Net, PerFamily};

use crate::config::{Config, DetectLocal, NodePortAddresses, Source};

/// Refuses local detection by networks whose family the node does not serve: no traffic would ever be local.
///
/// # Errors
/// If `clusterCIDR` has networks, but none of a family that the node serves.
pub(super) fn refuse(config: &Config, families: &PerFamily<bool>) -> anyhow::Result<()> {
    let DetectLocal::ClusterCidr(nets) = &config.detect_local else { return Ok(()) };
    let (is_there, is_here) = (nets.v4.is_some() || nets.v6.is_some(), |family: &Family| {
        *families.of(*family) && nets.of(*family).is_some()
    });
    ensure!(
        !is_there || Family::BOTH.iter().any(is_here),
        "clusterCIDR names networks only of a family that this node does not serve"
    );
    Ok(())
}

/// Returns all warnings.
pub(super) fn warnings(config: &Config, families: &PerFamily<bool>) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.drain.dead_node.is_some() && matches!(config.source, Source::Manifests(_)) {
        let field = "unreachableNodeTerminationTimeout";
        warnings.push(format!("manifests say nothing of nodes: {field} has no effect"));
    }
    warnings.extend(open_node_ports(&config.node_port_addresses, families));
    warnings.extend(undetected(&config.detect_local, families));
    let absent = |family: &Family| !*families.of(*family);
    warnings
        .extend(Family::BOTH.into_iter().filter(absent).flat_map(|family| unused(config, family)));
    warnings
}

/// Names the served families for which nothing is configured. `None` if there is no such family.
fn missing(is_named: impl Fn(Family) -> bool, families: &PerFamily<bool>) -> Option<String> {
    let is_missing = |family: &Family| *families.of(*family) && !is_named(*family);
    let missing: Vec<_> =
        Family::BOTH.into_iter().filter(is_missing).map(|family| family.to_string()).collect();
    (!missing.is_empty()).then(|| missing.join(" and "))
}

fn open_node_ports(addresses: &NodePortAddresses, families: &PerFamily<bool>) -> Option<String> {
    let NodePortAddresses::Nets(nets) = addresses else { return None };
    let open = missing(|family| nets.iter().any(|net| Family::of_net(net) == family), families)?;
    Some(format!(
        "nodePortAddresses names no network of {open}: node ports answer there on every address of the node; \
         consider `primary`"
    ))
}

/// Warns about addresses of the node in networks whose virtual servers belong to other programs (`ipvs.excludeCIDRs`).
pub(super) fn excluded_node_addresses(
    exclude: &[Net],
    addresses: &[InterfaceAddress],
) -> Option<String> {
    let found = addresses.iter().map(|found| found.address.addr());
    let found = found.filter(|address| exclude.iter().any(|net| net.contains(address)));
    let found: BTreeSet<_> = found.map(|address| address.to_string()).collect();
    let list = found.into_iter().collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then(|| {
        format!(
            "ipvs.excludeCIDRs has addresses of this node: {list}; virtual servers at them that no Service has and no \
             set of this proxy names, stay for ever"
        )
    })
}

fn undetected(detect_local: &DetectLocal, families: &PerFamily<bool>) -> Option<String> {
    let DetectLocal::ClusterCidr(nets) = detect_local else { return None };
    // Without any network the operator has chosen not to detect local traffic.
    let is_chosen = nets.v4.is_some() || nets.v6.is_some();
    let family = missing(|family| nets.of(family).is_some(), families).filter(|_| is_chosen)?;
    Some(format!(
        "clusterCIDR names no network of {family}: what comes from pods is not told apart there"
    ))
}

/// Settings that name a family which the node does not serve.
fn unused(config: &Config, family: Family) -> Vec<String> {
    let is_of =
        |address: &SocketAddr| Family::of(address.ip()) == family && !address.ip().is_unspecified();
    let excluded = config.ipvs.exclude_cidrs.iter().any(|net| Family::of_net(net) == family);
    let serving = &config.serving;
    [
        ("ipvs.excludeCIDRs", excluded),
        ("healthzBindAddress", serving.healthz.as_ref().is_some_and(is_of)),
        ("metricsBindAddress", is_of(&serving.metrics)),
    ]
    .into_iter()
    .filter(|(_, is_used)| *is_used)
    .map(|(field, _)| format!("{field} names {family}, a family that this node does not serve"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::config::{self, Environment};

    fn config(flags: &[&str]) -> Config {
        let arguments = ["ipvs-proxy", "--manifests", "/"].iter().chain(flags);
        let Ok(Command::Run(run)) = parse(arguments.copied()) else { panic!("it runs") };
        config::load(&run.flags, run.manifests.as_deref(), &Environment::look()).unwrap().0
    }

    const BOTH: PerFamily<bool> = PerFamily { v4: true, v6: true };
    const V4: PerFamily<bool> = PerFamily { v4: true, v6: false };

    #[test]
    fn families_without_a_network_are_named() {
        for (flags, families, wanted) in [
            (&["--nodeport-addresses=primary", "--cluster-cidr=10.0.0.0/8"][..], V4, vec![]),
            (
                &["--nodeport-addresses=192.0.2.0/24", "--cluster-cidr=10.0.0.0/8,fd00::/8"],
                BOTH,
                vec!["nodePortAddresses names no network of IPv6"],
            ),
            (&[], BOTH, vec!["nodePortAddresses names no network of IPv4 and IPv6"]),
            (
                &["--nodeport-addresses=primary", "--cluster-cidr=10.0.0.0/8"],
                BOTH,
                vec!["clusterCIDR names no network of IPv6"],
            ),
            (
                &[
                    "--nodeport-addresses=primary",
                    "--ipvs-exclude-cidrs=fd00::/8",
                    "--metrics-bind-address=[::1]:1",
                    "--healthz-bind-address=[::]:2",
                ],
                V4,
                vec!["ipvs.excludeCIDRs names IPv6", "metricsBindAddress names IPv6"],
            ),
        ] {
            let found = warnings(&config(flags), &families);
            assert_eq!(found.len(), wanted.len(), "{flags:?}: {found:?}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!(found.starts_with(wanted), "{flags:?}: {found}");
            }
        }
    }

    #[test]
    fn an_excluded_network_with_an_address_of_the_node_is_told() {
        let at =
            |text: &str| InterfaceAddress { device: "eth0".into(), address: text.parse().unwrap() };
        let addresses = [at("192.0.2.11/24"), at("192.0.2.11/32"), at("fd00::1/64")];
        let told = |net: &str| excluded_node_addresses(&[net.parse().unwrap()], &addresses);
        let line = told("192.0.2.0/28").unwrap();
        assert!(line.contains("addresses of this node: 192.0.2.11;"), "{line}");
        assert_eq!(told("192.0.2.128/25"), None);
        assert_eq!(excluded_node_addresses(&[], &addresses), None);
    }

    #[test]
    fn networks_of_a_family_that_is_not_served_alone_are_refused() {
        for (nets, families, is_refused) in [
            ("fd00::/8", V4, true),
            ("fd00::/8", BOTH, false),
            ("10.0.0.0/8,fd00::/8", V4, false),
            ("", V4, false),
        ] {
            let config = config(&[&format!("--cluster-cidr={nets}")]);
            assert_eq!(refuse(&config, &families).is_err(), is_refused, "{nets}");
        }
    }
}
