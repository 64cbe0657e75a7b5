//! Which Service port each virtual server belongs to.
//!
//! In: the core, as it last planned. Out: [`Names`], which share their text with the core. Never: a
//! copy that is kept: who wants names asks, and the thread that owns the core answers between two
//! rounds.

use std::net::IpAddr;
use std::sync::Arc;

use proxier::Proxier;
use proxier::model::{Service, ServiceName};
use proxier::plan::VirtualServerKey;
use tokio::sync::{mpsc, oneshot};

/// A virtual server, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The virtual server.
    pub key: VirtualServerKey,
    /// The Service's namespace and name.
    pub service: ServiceName,
    /// The port's name; may be empty.
    pub port: Arc<str>,
}

/// Every virtual server that is wanted, in the order of their keys.
pub type Names = Vec<Name>;

/// Somebody wants names, and waits there.
pub type Question = oneshot::Sender<Names>;

/// Where questions arrive.
#[derive(Debug)]
pub struct Questions(mpsc::Receiver<Question>);

impl Questions {
    /// So many may wait. A question is put by sending where its answer is waited for.
    pub fn channel(most: usize) -> (mpsc::Sender<Question>, Self) {
        let (sender, receiver) = mpsc::channel(most);
        (sender, Self(receiver))
    }

    /// Answers what has been asked by now.
    pub fn answer(&mut self, proxier: &Proxier) {
        while let Ok(question) = self.0.try_recv() {
            reply(question, proxier);
        }
    }

    /// Waits for a question; for ever when nobody can ask any more.
    pub async fn next(&mut self) -> Question {
        match self.0.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

/// Answers a question; before everything was listed there is no answer, and others may know one.
pub fn reply(question: Question, proxier: &Proxier) {
    // Who asked may have gone.
    if proxier.is_complete() && !question.is_closed() {
        let _ = question.send(names(proxier));
    }
}

/// Names everything that is wanted.
pub fn names(proxier: &Proxier) -> Names {
    let desired = proxier.desired();
    let name = |key: &VirtualServerKey| {
        let service = desired.owner(key)?.clone();
        let port = proxier.store().service(&service).and_then(|service| port_name(service, key));
        Some(Name { key: *key, service, port: port.unwrap_or_else(|| "".into()) })
    };
    desired.servers().filter_map(|(key, _)| name(key)).collect()
}

/// The port of a Service that is served there: under its own number at the Service's own addresses,
/// under its node port at the node's.
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
