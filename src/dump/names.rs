//! Maps each virtual server to its Service port.
//!
//! Takes the core's last plan. Returns [`Names`], which share their text with the core. Keeps no copy: clients send a
//! question, and the thread that owns the core answers it between two rounds.

use std::net::IpAddr;
use std::sync::Arc;

use proxier::Proxier;
use proxier::model::{Service, ServiceName};
use proxier::plan::VirtualServerKey;
use tokio::sync::{mpsc, oneshot};

/// A virtual server, and the Service port that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The virtual server.
    pub key: VirtualServerKey,
    /// The Service's namespace and name.
    pub service: ServiceName,
    /// The port's name; may be empty.
    pub port: Arc<str>,
}

/// Every desired virtual server, in the order of keys.
pub type Names = Vec<Name>;

/// A question for names: the sender of its answer.
pub type Question = oneshot::Sender<Names>;

/// The questions that wait for an answer.
#[derive(Debug)]
pub struct Questions(mpsc::Receiver<Question>);

impl Questions {
    /// Creates a channel in which at most `most` questions wait.
    pub fn channel(most: usize) -> (mpsc::Sender<Question>, Self) {
        let (sender, receiver) = mpsc::channel(most);
        (sender, Self(receiver))
    }

    /// Answers the questions that have arrived.
    pub fn answer(&mut self, proxier: &Proxier) {
        while let Ok(question) = self.0.try_recv() {
            reply(question, proxier);
        }
    }

    /// Waits for a question. Waits for ever once all senders are gone.
    pub async fn next(&mut self) -> Question {
        match self.0.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

/// Answers a question. Before everything has been listed there is no answer, so that the client asks elsewhere.
pub fn reply(question: Question, proxier: &Proxier) {
    // The client may have gone.
    if proxier.is_complete() && !question.is_closed() {
        let _ = question.send(names(proxier));
    }
}

/// Names every desired virtual server.
pub fn names(proxier: &Proxier) -> Names {
    let desired = proxier.desired();
    let name = |key: &VirtualServerKey| {
        let service = desired.owner(key)?.clone();
        let port = proxier.store().service(&service).and_then(|service| port_name(service, key));
        Some(Name { key: *key, service, port: port.unwrap_or_else(|| "".into()) })
    };
    desired.servers().filter_map(|(key, _)| name(key)).collect()
}

/// The name of the Service port with this key. Matches the port number at the Service's own addresses, and the node
/// port at the node's addresses.
fn port_name(service: &Service, key: &VirtualServerKey) -> Option<Arc<str>> {
    let mut ports = service.ports.iter().filter(|port| port.protocol == key.protocol);
    let own = has_address(service, key.address);
    let by_number = ports.clone().find(|port| own && port.port == key.port);
    let found = by_number.or_else(|| ports.find(|port| port.node_port == Some(key.port)))?;
    Some(Arc::clone(&found.name))
}

fn has_address(service: &Service, address: IpAddr) -> bool {
    let cluster_ips = [service.cluster_ips.v4, service.cluster_ips.v6];
    cluster_ips.contains(&Some(address))
        || service.external_ips.contains(&address)
        || service.load_balancer_ips.contains(&address)
}
