//! The form of a dump, as `docs/dump.md` describes it.
//!
//! Takes kernel state and names. Returns a value that serializes to the documented form. A version may gain fields, but
//! loses none. Shows only what the kernel holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proxier::model::{Family, PerFamily};
use proxier::plan::{Rules, ServerFlags, SetKey, VirtualServerKey, weight};
use serde::Serialize;

use super::ask::API_VERSION;
use super::names::{Name, Names};
use crate::kernel::link::DEVICE;
use crate::kernel::snapshot::{HeldDestination, HeldServer, KernelSnapshot};

/// Kernel state with names, ready to be printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dump {
    api_version: &'static str,
    kind: &'static str,
    names_from: NamesFrom,
    pub(super) frontends: Vec<Frontend>,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
    pub(super) jumps: Vec<Jump>,
    pub(super) device: Option<Device>,
}

/// The source of Service names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NamesFrom {
    /// The running proxy.
    Agent,
    /// The API server.
    Api,
    /// Manifests.
    Manifests,
    /// No source: frontends have no names.
    Nobody,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frontend {
    pub(super) protocol: String,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) service: Option<Service>,
    pub(super) scheduler: String,
    pub(super) affinity: Option<Affinity>,
    pub(super) flags: u32,
    pub(super) destinations: Vec<Destination>,
}

#[derive(Debug, Serialize)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Affinity {
    pub(super) timeout_seconds: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Destination {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) weight: u32,
    pub(super) draining: bool,
    forwarding: &'static str,
    pub(super) active_connections: u32,
    pub(super) inactive_connections: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) family: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) used: usize,
    pub(super) limit: u32,
    pub(super) entries: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Chain {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) name: &'static str,
    pub(super) rules: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Jump {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Device {
    pub(super) name: &'static str,
    pub(super) addresses: Vec<IpAddr>,
}

impl Dump {
    /// Joins kernel state with names.
    pub fn new(held: &KernelSnapshot, names: &Names, names_from: NamesFrom) -> Self {
        let by_key: BTreeMap<_, _> = names.iter().map(|name| (name.key, name)).collect();
        let name = |key: &VirtualServerKey| by_key.get(key).copied();
        Self {
            api_version: API_VERSION,
            kind: "Dump",
            names_from,
            frontends: held.servers.iter().map(|held| frontend(held, name(&held.key))).collect(),
            sets: held.sets.sets.keys().map(|key| set(held, *key)).collect(),
            chains: per_family(&held.rules, chains),
            jumps: per_family(&held.rules, jumps),
            device: held.addresses.as_ref().map(|addresses| Device {
                name: DEVICE,
                addresses: addresses.iter().copied().collect(),
            }),
        }
    }
}

fn frontend(held: &HeldServer, name: Option<&Name>) -> Frontend {
    let timeout_seconds = held.settings.timeout;
    let is_persistent = held.settings.flags.has(ServerFlags::PERSISTENT);
    Frontend {
        protocol: held.key.protocol.name().to_uppercase(),
        address: held.key.address,
        port: held.key.port,
        service: name.map(|name| Service {
            namespace: name.service.namespace.to_string(),
            name: name.service.name.to_string(),
            port: name.port.to_string(),
        }),
        scheduler: held.settings.scheduler.to_string(),
        affinity: is_persistent.then_some(Affinity { timeout_seconds }),
        flags: held.settings.flags.0,
        destinations: held.destinations.iter().map(destination).collect(),
    }
}

fn destination(held: &HeldDestination) -> Destination {
    Destination {
        address: held.address.ip(),
        port: held.address.port(),
        weight: held.weight,
        draining: held.weight == weight::DRAINING,
        forwarding: held.forwarding,
        active_connections: held.active,
        inactive_connections: held.inactive,
    }
}

fn set(held: &KernelSnapshot, key: SetKey) -> Set {
    let entries = held.sets.sets.get(&key).into_iter().flatten().map(ToString::to_string);
    let entries: Vec<_> = entries.collect();
    Set {
        name: key.name.kernel_name(key.family),
        family: key.family.to_string(),
        kind: key.name.kind().name(),
        used: entries.len(),
        limit: held.sets.room(key),
        entries,
    }
}

fn per_family<T>(
    rules: &PerFamily<Option<Rules>>,
    each: impl Fn(String, &Rules) -> Vec<T>,
) -> Vec<T> {
    let of = |family: Family| Some(each(family.to_string(), rules.of(family).as_ref()?));
    Family::BOTH.into_iter().filter_map(of).flatten().collect()
}

fn chains(family: String, rules: &Rules) -> Vec<Chain> {
    let chain = |(key, rules): (&proxier::plan::ChainKey, &Vec<String>)| Chain {
        family: family.clone(),
        table: key.table.to_string(),
        name: key.chain,
        rules: rules.clone(),
    };
    rules.chains.iter().map(chain).collect()
}

fn jumps(family: String, rules: &Rules) -> Vec<Jump> {
    let jump = |jump: &proxier::plan::Jump| Jump {
        family: family.clone(),
        table: jump.table.to_string(),
        from: jump.from,
        to: jump.to,
    };
    rules.jumps.iter().map(jump).collect()
}
