//! Reads the addresses of all nodes while Services have external or load-balancer addresses.
//!
//! Takes the Services as they come and go. Returns the addresses as an event: soon after a Service has a new
//! such address, and again every ten minutes. Asks for a table, which is a small part of the Nodes. Does not
//! watch Nodes, which change all the time, and asks at most once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proxier::model::{Batch, Event, NodeAddresses, Service, ServiceName, Update};
use serde::Deserialize;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch::{self, Receiver};
use tokio::time::{sleep, timeout};

use super::backoff::random;
use super::request::{Freshness, Resource};
use super::{Api, ReceiverClosed};
use crate::objects::{Field, List};

/// The longest time from a new address to the request. The proxies of all nodes ask at different moments.
const SPREAD: Duration = Duration::from_secs(5);

/// The shortest time between two requests.
const SHORTEST: Duration = Duration::from_secs(60);

/// The time after which the addresses are read again, apart from [`SHORTEST`].
const LONGEST: Duration = Duration::from_secs(9 * 60);

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// The external and load-balancer addresses of Services. Most Services have none.
pub(super) struct OutsideAddresses {
    of: BTreeMap<ServiceName, BTreeSet<IpAddr>>,
    sender: watch::Sender<BTreeSet<IpAddr>>,
}

impl OutsideAddresses {
    /// Starts without addresses. The receiver sees all of them whenever they change.
    pub(super) fn channel() -> (Self, Receiver<BTreeSet<IpAddr>>) {
        let (sender, receiver) = watch::channel(BTreeSet::new());
        (Self { of: BTreeMap::new(), sender }, receiver)
    }

    /// Takes a change of Services.
    pub(super) fn note(&mut self, update: &Update<ServiceName, Service>) {
        let has_changed = match update {
            Update::Listed(services) => {
                self.of.clear();
                services.iter().for_each(|service| drop(self.put(service)));
                true
            }
            Update::PartlyListed(services, unread) => {
                self.of.retain(|name, _| unread.may_be(name));
                services.iter().for_each(|service| drop(self.put(service)));
                true
            }
            Update::Put(service) => self.put(service) != self.of.get(&service.name).cloned(),
            Update::Gone(name) => self.of.remove(name).is_some(),
        };
        if !has_changed {
            return;
        }
        let now: BTreeSet<_> = self.of.values().flatten().copied().collect();
        self.sender.send_if_modified(|known| {
            let differs = *known != now;
            *known = now;
            differs
        });
    }

    /// Returns the addresses that the Service had before.
    fn put(&mut self, service: &Service) -> Option<BTreeSet<IpAddr>> {
        let addresses: BTreeSet<_> = service.outside_addresses().copied().collect();
        if addresses.is_empty() {
            return self.of.remove(&service.name);
        }
        self.of.insert(service.name.clone(), addresses)
    }
}

/// Sends the addresses of all nodes, as long as Services have addresses outside. Returns when the receiver of
/// events is gone.
pub(super) async fn follow(
    mut outside: Receiver<BTreeSet<IpAddr>>,
    api: &Api,
    events: &Sender<Batch>,
) -> ReceiverClosed {
    let mut is_told = false;
    loop {
        if outside.wait_for(|addresses| !addresses.is_empty()).await.is_err() {
            return std::future::pending().await;
        }
        sleep(SPREAD.mul_f64(random())).await;
        let known = outside.borrow_and_update().clone();
        let mut longest = LONGEST;
        match read(api).await {
            Ok(nodes) => {
                is_told = false;
                if events.send(vec![Event::OtherNodes(nodes)]).await.is_err() {
                    return ReceiverClosed;
                }
            }
            Err(why) => {
                longest = SHORTEST;
                if std::mem::replace(&mut is_told, true) {
                    tracing::debug!("the addresses of other nodes: {why}");
                } else {
                    tracing::info!(
                        "the addresses of other nodes cannot be read, so no Service is warned that has one of \
                         them: {why}"
                    );
                }
            }
        }
        sleep(SHORTEST).await;
        let has_new = outside.wait_for(|now| !now.is_subset(&known));
        // The result does not matter: the addresses are read again in any case.
        drop(timeout(longest.mul_f64(random() / 2.0 + 0.75), has_new).await);
    }
}

/// Reads the first internal and the first external address of each node, from the API server's cache.
async fn read(api: &Api) -> Result<Vec<NodeAddresses>, String> {
    let request = Resource::new("/api/v1/nodes").table(Freshness::Any);
    let request = request.map_err(|error| error.to_string())?;
    let answer = timeout(ANSWER, api.text(request)).await;
    let answer = answer.map_err(|_| format!("no answer for {ANSWER:?}"))?;
    let answer = answer.map_err(|error| error.to_string())?;
    nodes(&answer).ok_or_else(|| "the answer is not a table of nodes".to_owned())
}

/// A `meta.k8s.io/v1` Table, as API servers since Kubernetes 1.15 make it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    #[serde(default)]
    column_definitions: List<Column>,
    #[serde(default)]
    rows: List<Row>,
}

#[derive(Deserialize)]
struct Column {
    #[serde(default)]
    name: Field<String>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    cells: List<String>,
}

fn nodes(text: &str) -> Option<Vec<NodeAddresses>> {
    let table: Table = serde_json::from_str(text).ok()?;
    let columns = table.column_definitions.items();
    let column = |name: &str| {
        let is_it = |column: &Column| column.name.given().is_some_and(|found| found == name);
        columns.iter().position(|column| column.given().is_some_and(is_it))
    };
    let (name, internal, external) =
        (column("Name")?, column("Internal-IP")?, column("External-IP")?);
    let rows = table.rows.items().iter().filter_map(Field::given);
    let nodes = rows.filter_map(|row| {
        let cell = |at: usize| row.cells.items().get(at).and_then(Field::given);
        // A node without such an address has `<none>` there.
        let addresses = [internal, external].into_iter().filter_map(|at| cell(at)?.parse().ok());
        Some(NodeAddresses { name: cell(name)?.as_str().into(), addresses: addresses.collect() })
    });
    Some(nodes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_table_are_read_by_the_names_of_its_columns() {
        let text = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":
            [{"name":"Name"},{"name":"Age"},{"name":"Internal-IP"},{"name":"External-IP"}],
            "rows":[{"cells":["node1","3d","192.0.2.11","<none>"],"object":null},
            {"cells":["node2",7,"2001:db8::12","203.0.113.12"]},{"cells":[5]},6]}"#;
        let found = nodes(text).unwrap();
        let found: Vec<_> = found.iter().map(|node| (&*node.name, node.addresses.len())).collect();
        assert_eq!(found, [("node1", 1), ("node2", 2)]);
        assert_eq!(nodes(r#"{"kind":"NodeList","items":[]}"#), None);
        assert_eq!(nodes("<html>"), None);
    }
}
