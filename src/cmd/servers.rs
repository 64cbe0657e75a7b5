//! Starts the proxy's own servers, and connects them with the sync thread.
//!
//! Takes the configuration, facts about the process, and the sink of events. Returns running servers, and a
//! [`Publish`] for the sync thread. Does not wait for a port.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use proxier::model::PerFamily;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch as latest;
use tokio::task::JoinSet;

use crate::config::{Config, Source};
use crate::events::{self, Kind, Regarding, Sink};
use crate::kernel::traffic::Reader;
use crate::lasting::Lasting;
use crate::metrics::{Build, Metrics};
use crate::serve::{
    HealthTable, Inspect, OnBindFailure, Probes, Process, ProxyHealth, RETRY, Server, ServerKind,
    ServiceHealth, Unbound,
};
use crate::sync::publish::Publish;
use crate::traffic::{Limits, Traffic};
use crate::version;

/// The running servers. They end when this value is dropped.
pub(super) struct Servers {
    running: JoinSet<Unbound>,
    health: Arc<ProxyHealth>,
}

impl Servers {
    /// Returns the health of the proxy, which the servers report.
    pub(super) fn health(&self) -> Arc<ProxyHealth> {
        Arc::clone(&self.health)
    }

    /// Waits until a server fails for good, which ends the process. Usually waits for ever.
    pub(super) async fn end(&mut self) -> anyhow::Error {
        match self.running.join_next().await {
            Some(Ok(unbound)) => unbound.into(),
            Some(Err(_)) => anyhow!("a server has died"),
            None => std::future::pending().await,
        }
    }
}

/// Declares the metrics of the process.
pub(super) fn metrics(config: &Config) -> anyhow::Result<Arc<Metrics>> {
    let build = Build {
        kube_proxy: version::KUBE_PROXY,
        own: version::OWN,
        features: config.gates.all().map(|(name, stage, on)| (name, stage.name(), on)).collect(),
    };
    Ok(Arc::new(Metrics::new(&build).context("cannot declare the metrics")?))
}

/// The sinks of events and of conditions that last.
#[derive(Clone)]
pub(super) struct Telling {
    pub(super) events: Sink,
    pub(super) lasting: Lasting,
}

/// Starts all servers. The sync thread gives them their values through the returned [`Publish`]. Must be called within
/// the runtime.
pub(super) fn start(
    config: &Config,
    process: Process,
    families: &PerFamily<bool>,
    metrics: Arc<Metrics>,
    telling: Telling,
) -> anyhow::Result<(Servers, Publish)> {
    telling.events.tell(events::Event {
        kind: Kind::Normal,
        reason: "Starting",
        action: "StartKubeProxy",
        regarding: Regarding::Node(config.node_name.clone()),
        note: String::new(),
    });
    allow_files();
    metrics.rounds.begin(families);
    let health = Arc::new(ProxyHealth::new(families, config.ipvs.sync_period));
    health.started();
    if matches!(config.source, Source::Manifests(_)) {
        // Manifests usually have no Node, and no cluster autoscaler removes the node.
        health.needs_no_node();
    }
    let traffic = traffic(config)?;
    let running = own_servers(config, process, &health, &metrics, traffic.clone(), &telling);
    let Telling { events, lasting } = telling;
    let (checks, table) = latest::channel(HealthTable::default());
    let judged = judged(config, &health);
    let of_services = ServiceHealth::new(config.node_name.clone(), judged, events.clone())
        .reminding(lasting.clone());
    tokio::spawn(of_services.run(table));
    let servers = Servers { running, health: Arc::clone(&health) };
    let publish =
        Publish::new(health, metrics, checks, events).with_traffic(traffic).reminding(lasting);
    Ok((servers, publish))
}

/// The proxy health that health checks of Services include; `None` if the health server is switched off (spec 10.2).
fn judged(config: &Config, health: &Arc<ProxyHealth>) -> Option<Arc<ProxyHealth>> {
    config.serving.healthz.map(|_| Arc::clone(health))
}

/// Raises the number of open files to the hard limit, as Go's runtime does. The connections of all servers may be more
/// than the usual soft limit of 1024.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!("cannot raise the number of open files: {error}");
    }
}

/// Starts the thread that reads the counters of Services, if the configuration asks for them. The thread opens its
/// socket at the first reading, so that this one need not wait for the kernel.
fn traffic(config: &Config) -> anyhow::Result<Option<Traffic>> {
    let Some(wanted) = config.service_metrics else { return Ok(None) };
    let services = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let limits = Limits { services, interval: wanted.interval };
    let mut opened = None;
    let traffic = Traffic::start(limits, move |servers| match &mut opened {
        Some(reader) => Reader::read(reader, servers),
        closed => closed.insert(Reader::open()?).read(servers),
    });
    Ok(Some(traffic.context("cannot start the traffic thread")?))
}

fn own_servers(
    config: &Config,
    process: Process,
    health: &Arc<ProxyHealth>,
    metrics: &Arc<Metrics>,
    traffic: Option<Traffic>,
    telling: &Telling,
) -> JoinSet<Unbound> {
    let serving = &config.serving;
    let without_port = match serving.hard_fail {
        true => OnBindFailure::End,
        false => OnBindFailure::TryAgain(RETRY),
    };
    let server = |which, address| Server {
        which,
        address,
        without_port,
        node: Arc::clone(&config.node_name),
        events: telling.events.clone(),
        lasting: telling.lasting.clone(),
    };
    let mut running = JoinSet::new();
    if let Some(address) = serving.healthz {
        let probes = Probes::new(Arc::clone(health), Arc::clone(metrics));
        running.spawn(probes.serve(server(ServerKind::Health, address)));
    }
    let inspect = Inspect::new(process, Arc::clone(metrics), traffic);
    running.spawn(inspect.serve(server(ServerKind::Metrics, serving.metrics)));
    running
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::{Command, parse};
    use crate::config::{self, Environment};

    #[test]
    fn health_checks_judge_the_proxy_only_if_it_has_a_health_server() {
        let families = PerFamily { v4: true, v6: true };
        let health = Arc::new(ProxyHealth::new(&families, Duration::from_secs(30)));
        for (flag, is_judged) in [("--healthz-port=0", false), ("--healthz-port=10256", true)] {
            let Ok(Command::Run(run)) = parse(["ipvs-proxy", "--manifests=/", flag]) else {
                panic!("it runs")
            };
            let here = Environment::look();
            let config = config::load(&run.flags, run.manifests.as_deref(), &here).unwrap().0;
            assert_eq!(judged(&config, &health).is_some(), is_judged, "{flag}");
        }
    }
}
