//! Finds out which features for rules and sets this node lacks.
//!
//! Takes the `iptables` programs of a family and a connection to ipset. Gives the missing features, and tells
//! the operator once about each: what is lost and how to get it. Does not guess. A trial that fails for
//! another reason, such as a lock or missing rights, says nothing about the feature. What needs the feature
//! is then written and refused by itself.
//!
//! The trials follow from tests on Linux 6.1 with iptables 1.8.9 in its nft flavour, with modules hidden one
//! by one. `iptables-restore --test` warns of a missing module and succeeds. So does a transaction that
//! removes its own rule again. The kernel checks only a rule that stays in a chain. All rules are therefore
//! put into a chain to which no rule jumps. If they are refused together, they are tried one by one. A
//! feature whose module is loaded is not tried, so that a restart costs nothing.
//!
//! `-m physdev` is the exception. Its first rule loads `br_netfilter`, which changes the path of every
//! bridged packet of the host. It is only tested with `--test`, whose warning suffices here.

use proxier::apply::Ready;
use proxier::model::{Family, PerFamily};
use proxier::plan::{Feature, Missing, SetKind, Table};

use super::LinuxKernel;
use super::iptables::{Error, Iptables, Reason};
use super::program::{is_loaded, load_module};
use super::reader::Programs;
use super::sets::Sets;

/// The features to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// Features whose module is not loaded.
    Unloaded,
    /// Features that were missing at the last check.
    Missing,
    /// All features.
    Everything,
}

/// Missing features with the errors that show it, for the operator.
type Reasons = Vec<(Feature, Option<Error>)>;

impl LinuxKernel {
    /// Finds the missing features of each family, and logs those that were not known before.
    pub(super) fn find_missing(&mut self) -> Ready {
        self.forget_trial();
        self.try_features(&PerFamily::from_fn(|_| Trial::Unloaded))
    }

    /// Removes the chain and the set of a trial that a killed process has not ended. The set is made before the chain and
    /// removed after it, so that without the set there is no chain.
    fn forget_trial(&mut self) {
        if !self.tables.sets().is_ok_and(Sets::has_probe) {
            return;
        }
        for family in Family::BOTH {
            let programs = self.tables.iptables.of(family).as_ref().map(Programs::get);
            if let Some(Ok(iptables)) = programs
                && let Err(error) = iptables.forget_tried()
            {
                tracing::debug!("{family}: could not remove the probe chain: {error}");
            }
        }
        if let Err(cause) = self.tables.sets().and_then(Sets::destroy_probe) {
            tracing::debug!("could not remove the probe set: {cause}");
        }
    }

    /// Tries missing features again, and all features of families whose rules could not be written.
    pub(super) fn find_missing_again(&mut self) -> Ready {
        let failed = std::mem::take(&mut self.has_failed_rules);
        self.try_features(&PerFamily::from_fn(|family| match failed.of(family) {
            true => Trial::Everything,
            false => Trial::Missing,
        }))
    }

    fn try_features(&mut self, trials: &PerFamily<Trial>) -> Ready {
        for family in Family::BOTH {
            // A family whose programs do not work yet is tried when they do.
            let programs = self.tables.iptables.of(family).as_ref().map(Programs::get);
            let Some(Ok(iptables)) = programs.map(|found| found.cloned()) else { continue };
            let (known, trial) = (self.missing.of(family), *trials.of(family));
            let is_tried = |feature: &Feature| match trial {
                Trial::Unloaded => !vouches(&iptables, family, *feature),
                Trial::Missing => known.contains(feature),
                Trial::Everything => true,
            };
            let Ok(sets) = self.tables.sets() else { continue };
            let reasons = find(family, &iptables, sets, is_tried);
            let missing = reasons.iter().map(|(feature, _)| *feature).collect();
            let known = std::mem::replace(self.missing.of_mut(family), missing);
            tell(family, &iptables, &known, &reasons);
        }
        Ready { missing: self.missing.clone() }
    }
}

fn find(
    family: Family,
    iptables: &Iptables,
    sets: &mut Sets,
    is_asked: impl Fn(&Feature) -> bool,
) -> Reasons {
    let mut missing: Reasons = Vec::new();
    let mut kinds = Vec::new();
    for kind in SetKind::ALL {
        if !is_asked(&Feature::SetType(kind)) || sets.has_type(kind, family) {
            kinds.push(kind);
        } else {
            missing.push((Feature::SetType(kind), None));
        }
    }
    let is_tried = |feature: &Feature| match feature {
        Feature::RandomFully if !iptables.version().has_random_fully() => false,
        // Without any set type there is no set to match, and the operator is told about the types.
        Feature::Set if kinds.is_empty() => false,
        feature => is_asked(feature),
    };
    let tried: Vec<_> = Feature::OF_RULES.into_iter().filter(is_tried).collect();
    if let Some(kind) = kinds.first()
        && !tried.is_empty()
    {
        // If the probe set cannot be made, the set match is not tried.
        let made = sets.make_probe(*kind, family);
        missing.extend(try_rules(family, iptables, &tried, made.ok().map(|()| *kind)));
        if let Err(cause) = sets.destroy_probe() {
            tracing::debug!("{family}: could not remove the probe set: {cause}");
        }
    } else {
        missing.extend(try_rules(family, iptables, &tried, None));
    }
    missing
}

/// Tries features together, and each by itself if they are refused together.
fn try_rules(
    family: Family,
    iptables: &Iptables,
    tried: &[Feature],
    set: Option<SetKind>,
) -> Reasons {
    let rules = |features: &[Feature]| -> Vec<_> {
        features.iter().filter_map(|feature| rule(*feature, family, set)).collect()
    };
    let put: Vec<_> =
        tried.iter().copied().filter(|feature| *feature != Feature::Physdev).collect();
    let mut missing = Vec::new();
    if !put.is_empty() {
        if iptables.try_rules(&rules(&put)).is_err() {
            for feature in put {
                let try_it = || {
                    iptables
                        .try_rules(&rules(&[feature]))
                        .err()
                        .filter(Error::is_of_missing_feature)
                };
                // The module may exist without having been loaded automatically.
                if try_it().is_some() {
                    module(feature, family).into_iter().for_each(load_module);
                    missing.extend(try_it().map(|error| (feature, Some(error))));
                }
            }
        }
        if let Err(error) = iptables.forget_tried() {
            tracing::debug!("{family}: could not remove the probe chain: {error}");
        }
    }
    if tried.contains(&Feature::Physdev)
        && let Err(error) = iptables.ask_for_rules(&rules(&[Feature::Physdev]))
        && error.is_of_missing_feature()
    {
        missing.push((Feature::Physdev, Some(error)));
    }
    missing
}

/// A rule that needs the feature and nothing else.
fn rule(feature: Feature, family: Family, set: Option<SetKind>) -> Option<(Table, String)> {
    let (address, refusal) = match family {
        Family::V4 => ("198.51.100.1", "icmp-port-unreachable"),
        Family::V6 => ("2001:db8::1", "icmp6-port-unreachable"),
    };
    let directions = |kind| match kind {
        SetKind::HashIp | SetKind::BitmapPort => "dst",
        SetKind::HashIpPort => "dst,dst",
        SetKind::HashIpPortIp | SetKind::HashIpPortNet => "dst,dst,src",
    };
    Some(match feature {
        Feature::Comment => (Table::Nat, "-m comment --comment \"a trial\" -j RETURN".into()),
        Feature::Set => {
            let (name, directions) = (super::sets::PROBE, directions(set?));
            (Table::Nat, format!("-m set --match-set {name} {directions} -j RETURN"))
        }
        Feature::AddressType => (Table::Nat, "-m addrtype --dst-type LOCAL -j RETURN".into()),
        Feature::Physdev => (Table::Nat, "-m physdev ! --physdev-is-in -j RETURN".into()),
        Feature::Conntrack => (Table::Filter, "-m conntrack --ctstate NEW -j RETURN".into()),
        Feature::Mark => (Table::Nat, "-m mark ! --mark 0x1/0x1 -j RETURN".into()),
        Feature::Ipvs => {
            let matched = format!("-m ipvs --vproto 6 --vaddr {address} --vport 1");
            (Table::Filter, format!("{matched} -j DROP"))
        }
        Feature::SetMark => (Table::Nat, "-j MARK --set-xmark 0x1/0x0".into()),
        Feature::Masquerade => (Table::Nat, "-j MASQUERADE".into()),
        Feature::RandomFully => (Table::Nat, "-j MASQUERADE --random-fully".into()),
        Feature::Reject => (Table::Filter, format!("-j REJECT --reject-with {refusal}")),
        Feature::SetType(_) => return None,
    })
}

/// True if the module of the feature is loaded, and for the nft flavour also [`NFT_COMPAT`].
fn vouches(iptables: &Iptables, family: Family, feature: Feature) -> bool {
    let is_given = !iptables.version().is_nft() || is_loaded(NFT_COMPAT);
    is_given && module(feature, family).is_some_and(is_loaded)
}

/// The module through which the nft flavour of `iptables` uses matches and targets.
const NFT_COMPAT: &str = "nft_compat";

/// The kernel module that provides a feature.
fn module(feature: Feature, family: Family) -> Option<&'static str> {
    Some(match feature {
        Feature::Comment => "xt_comment",
        Feature::Set => "xt_set",
        Feature::AddressType => "xt_addrtype",
        Feature::Physdev => "xt_physdev",
        Feature::Conntrack => "xt_conntrack",
        Feature::Mark | Feature::SetMark => "xt_mark",
        Feature::Ipvs => "xt_ipvs",
        Feature::Masquerade | Feature::RandomFully => "xt_MASQUERADE",
        Feature::Reject => match family {
            Family::V4 => "ipt_REJECT",
            Family::V6 => "ip6t_REJECT",
        },
        Feature::SetType(kind) => match kind {
            SetKind::HashIp => "ip_set_hash_ip",
            SetKind::HashIpPort => "ip_set_hash_ipport",
            SetKind::HashIpPortIp => "ip_set_hash_ipportip",
            SetKind::HashIpPortNet => "ip_set_hash_ipportnet",
            SetKind::BitmapPort => "ip_set_bitmap_port",
        },
    })
}

/// Logs features that are newly missing, and those that are available again.
fn tell(family: Family, iptables: &Iptables, known: &Missing, found: &Reasons) {
    let masquerades = !found.iter().any(|(feature, _)| *feature == Feature::Masquerade);
    for (feature, error) in found.iter().filter(|(feature, _)| !known.contains(feature)) {
        // Without MASQUERADE its option is missing as well and is not logged.
        if *feature != Feature::RandomFully || masquerades {
            tracing::warn!(
                "{}",
                sentence(family, iptables.version().is_nft(), *feature, error.as_ref())
            );
        }
    }
    for feature in known.iter().filter(|known| !found.iter().any(|(found, _)| found == *known)) {
        tracing::info!("{family}: `{feature}` is there now");
    }
}

fn sentence(family: Family, is_nft: bool, feature: Feature, error: Option<&Error>) -> String {
    let said = error.map(ToString::to_string).unwrap_or_default();
    let what = format!("{family}: the node has no `{feature}`: {}", feature.loss());
    let remedy = if error.is_some_and(|error| error.reason() == Reason::MissingLibrary) {
        "install the package iptables in whole".into()
    } else {
        let is_set = matches!(feature, Feature::SetType(_));
        let module = match module(feature, family) {
            Some(module) if is_set || !is_nft || is_loaded(NFT_COMPAT) => module,
            _ => NFT_COMPAT,
        };
        format!("load the module with `modprobe {module}`")
    };
    let reason = if said.is_empty() { said } else { format!(" ({said})") };
    format!("{what}; {remedy}, which is noticed within a sync period{reason}")
}

#[cfg(test)]
mod tests;
