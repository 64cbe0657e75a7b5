//! `run`: the proxy itself.
//!
//! In: flags. Out: a kernel that follows its source of objects and the node's addresses, until a
//! signal. Never: a change to the kernel before the first lists are complete, or when the process
//! ends: everything stays as it is for the next one to adopt.
//!
//! Threads: this one waits for the source and for signals; `addresses` waits for the kernel to tell
//! of addresses; `sync` runs rounds and owns the kernel.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use proxier::Proxier;
use proxier::model::{Event, PerFamily};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch as latest};

use super::settings;
use crate::cli::RunArgs;
use crate::config::{self, Config, Source, Surroundings};
use crate::events::{self, Kind, Regarding, Sink};
use crate::kernel::LinuxKernel;
use crate::serve::{HealthTable, ProxyHealth, ServiceHealth};
use crate::sync::publish::Publish;
use crate::watch::{Api, ApiSettings, NodesWatched, Retry};
use crate::{addresses, folder, sync, watch};

/// Runs the proxy until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting, or from preparing the kernel.
pub fn run(arguments: &RunArgs) -> anyhow::Result<()> {
    let here = Surroundings::look();
    let (config, warnings) = config::load(&arguments.flags, arguments.manifests.as_deref(), &here)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(serve(&config, here.host_name))
}

/// Lowering the score needs CAP_SYS_RESOURCE; without it the proxy works all the same.
fn resist_the_oom_killer(score: i16) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::warn!("cannot set oom_score_adj to {score}: {error}");
    }
}

async fn serve(config: &Config, host_name: String) -> anyhow::Result<()> {
    let (sender, events) = mpsc::channel(sync::QUEUE);
    let source = Opened::new(config).await?;
    let (kernel, abilities) = LinuxKernel::open(settings::ground(config))?;
    let mut reader = kernel.open_reader()?;
    let publish = serve_and_tell(config, &abilities.families, source.tell(host_name));
    let planning = settings::planning(config, abilities.families, abilities.random_fully);
    let periods = settings::periods(config);
    let (tell, mut ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("sync".into())
        .spawn(move || {
            let read = move || reader.observe();
            let proxier = Proxier::new(planning);
            let _ = tell.send(sync::run(proxier, kernel, read, events, periods, publish));
        })
        .context("cannot start the sync thread")?;
    addresses::start(&sender).context("cannot start the addresses thread")?;
    resist_the_oom_killer(config.oom_score_adj);
    settings::without_effect(config).iter().for_each(|missing| tracing::info!("{missing}"));
    tracing::info!(node = %config.node_name, "following {}", config.source);
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let nodes = match config.drain.dead_node {
        Some(_) => NodesWatched::All,
        None => NodesWatched::This,
    };
    tokio::select! {
        () = source.follow(&config.node_name, nodes, sender) => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        result = &mut ended => return sync_ended(result),
    }
    sync_ended(ended.await)?;
    Err(anyhow!("the source of objects has ended"))
}

/// Starts what answers and tells; what it answers with comes from the sync thread.
fn serve_and_tell(config: &Config, families: &PerFamily<bool>, events: Sink) -> Publish {
    events.tell(events::Event {
        kind: Kind::Normal,
        reason: "Starting",
        action: "StartKubeProxy",
        regarding: Regarding::Node(config.node_name.clone()),
        note: String::new(),
    });
    let health = Arc::new(ProxyHealth::new(families, config.ipvs.sync_period));
    let (checks, table) = latest::channel(HealthTable::default());
    let servers = ServiceHealth::new(config.node_name.clone(), Arc::clone(&health), events.clone());
    tokio::spawn(servers.run(table));
    Publish::new(health, checks, events)
}

fn sync_ended(
    result: Result<Result<(), sync::Error>, oneshot::error::RecvError>,
) -> anyhow::Result<()> {
    match result {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(anyhow!("the sync thread has died")),
    }
}

/// A source that is known to be there, as far as that can be known without waiting for it.
enum Opened {
    Api(Box<Api>),
    Folder(Box<folder::Folder>),
}

impl Opened {
    async fn new(config: &Config) -> anyhow::Result<Self> {
        let (kubeconfig, master) = match &config.source {
            Source::Manifests(path) => {
                let folder = folder::Folder::open(path, &config.node_name)?;
                return Ok(Self::Folder(Box::new(folder)));
            }
            Source::InCluster(_) => (None, None),
            Source::ApiServer { kubeconfig, master, .. } => (kubeconfig.clone(), master.clone()),
        };
        let settings = ApiSettings { kubeconfig, master, retry: Retry::default() };
        Ok(Self::Api(Box::new(Api::new(&settings).await?)))
    }

    /// Where events are told: to the API server, if the objects come from there. Must be called
    /// within the runtime.
    fn tell(&self, host_name: String) -> Sink {
        match self {
            Self::Folder(_) => Sink::log(),
            Self::Api(api) => {
                let (sink, queue) = events::channel();
                tokio::spawn(events::write(queue, Api::clone(api), host_name));
                sink
            }
        }
    }

    async fn follow(self, node: &str, nodes: NodesWatched, events: mpsc::Sender<Event>) {
        match self {
            Self::Api(api) => watch::run(&api, node, nodes, events).await,
            Self::Folder(folder) => folder.follow(events).await,
        }
    }
}
