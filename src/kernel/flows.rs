//! Reads and removes tracked flows through `conntrack-netlink`.
//!
//! Takes a family, a protocol and a test for the wanted flows, or flows to remove. Returns the wanted flows,
//! or one result for each removal, from one batch. Keeps only wanted flows in memory. On a kernel without
//! connection tracking there are no flows. This is logged once and is not a failure.

use std::collections::BTreeSet;

use conntrack_netlink::{Conntrack, Error, Selection, Tuple};
use proxier::apply::{Answered, Cause};
use proxier::diff::Flow;
use proxier::model::{Family, Protocol};

use super::all_failed;
use super::cause::cause;

/// A connection to connection tracking, opened when it is first needed.
#[derive(Default)]
pub(super) struct Flows {
    conntrack: Option<Conntrack>,
    is_unsupported: bool,
}

impl Flows {
    pub(super) fn read(
        &mut self,
        of: (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<Vec<Flow>, Cause> {
        match self.list(of, is_wanted, at_most) {
            Ok(flows) => Ok(flows.into_iter().collect()),
            Err(Error::Unsupported) => {
                if !std::mem::replace(&mut self.is_unsupported, true) {
                    tracing::warn!("{}; stale flows are not forgotten", Error::Unsupported);
                }
                Ok(Vec::new())
            }
            Err(error) => Err(cause(error)),
        }
    }

    pub(super) fn remove(&mut self, flows: Vec<Flow>) -> Vec<Answered<Flow>> {
        let theirs: Vec<_> = flows.iter().map(their_flow).collect();
        match self.open().and_then(|conntrack| conntrack.delete(&theirs)) {
            Ok(results) => flows
                .into_iter()
                .zip(results)
                .map(|(flow, result)| (flow, result.map_err(cause)))
                .collect(),
            Err(error) => all_failed(flows, &cause(error)),
        }
    }

    fn list(
        &mut self,
        (family, protocol): (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<BTreeSet<Flow>, Error> {
        let family = match family {
            Family::V4 => conntrack_netlink::Family::Inet,
            Family::V6 => conntrack_netlink::Family::Inet6,
        };
        let protocol = conntrack_netlink::Protocol(protocol.number());
        // A listing may contain a flow twice, so that flows are collected in a set.
        let pick = |picked: &mut BTreeSet<Flow>, flow| {
            if picked.len() < at_most {
                picked.extend(core_flow(&flow).filter(is_wanted));
            }
        };
        self.open()?.fold(&Selection::new(family, protocol), BTreeSet::new, pick)
    }

    fn open(&mut self) -> Result<&mut Conntrack, Error> {
        match &mut self.conntrack {
            Some(conntrack) => Ok(conntrack),
            closed @ None => Ok(closed.insert(Conntrack::open()?)),
        }
    }
}

fn core_flow(flow: &conntrack_netlink::Flow) -> Option<Flow> {
    Some(Flow {
        protocol: Protocol::of_number(flow.protocol.0)?,
        client: flow.original.source,
        frontend: flow.original.destination,
        server: flow.reply.source,
        answered: match flow.translated.source {
            // The rule has overwritten the address that IPVS wrote there.
            true => flow.original.source,
            false => flow.reply.destination,
        },
        id: flow.id?,
        zone: flow.zone,
    })
}

fn their_flow(flow: &Flow) -> conntrack_netlink::Flow {
    let protocol = conntrack_netlink::Protocol(flow.protocol.number());
    let original = Tuple { source: flow.client, destination: flow.frontend };
    let reply = Tuple { source: flow.server, destination: flow.answered };
    let mut theirs = conntrack_netlink::Flow::new(protocol, original, reply);
    (theirs.id, theirs.zone) = (Some(flow.id), flow.zone);
    theirs
}
