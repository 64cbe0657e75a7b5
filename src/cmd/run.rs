//! The command `run`: the proxy itself.
//!
//! Takes flags. Keeps the kernel in sync with the source of objects and the node's addresses until a signal comes. Does
//! not change the kernel before the first lists are complete. Leaves kernel state in place at the end, for the next
//! process to adopt.
//!
//! Threads: this one waits for the source, the configuration and signals, and for nothing else; `addresses` waits for
//! the kernel to report addresses; `sync` runs rounds and owns the kernel.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use proxier::Proxier;
use proxier::apply::Kernel as _;
use proxier::model::{Batch, Event, Family, PerFamily};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::reload::{InForce, Notification};
use super::servers::Telling;
use super::{servers, settings, warnings};
use crate::cli::{self, RunArgs};
use crate::config::{Config, DetectLocal, Environment, RawConfig, Source, gates};
use crate::dump::Questions;
use crate::dump::agent::Knowledge;
use crate::events::{self, Sink};
use crate::kernel::LinuxKernel;
use crate::lasting::Lasting;
use crate::lock::{self, Lock};
use crate::metrics::{Metrics, Requests};
use crate::sd_notify::Supervisor;
use crate::serve::{ConfigurationNote, Process, ProxyHealth};
use crate::watch::{Api, ApiSettings, NodesWatched};
use crate::{addresses, dump, folder, sync, telemetry, version, watch};

/// Runs the proxy until SIGTERM or SIGINT, or does what `--write-config-to` or `--init-only` asks for.
///
/// # Errors
/// If the proxy cannot start, cannot prepare the kernel, or fails later. If it ends because its configuration has
/// changed.
pub fn run(arguments: &RunArgs) -> anyhow::Result<()> {
    let here = Environment::look();
    let mut given = RawConfig::read(&arguments.flags)?;
    let config = given.check(arguments.manifests.as_deref(), &here)?;
    let verbosity = telemetry::start(&config.logging);
    given.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let process = &arguments.flags.process;
    if let Some(path) = &process.write_config_to {
        return write_config(&given, path);
    }
    if process.init_only == Some(true) {
        return initialise(&config);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let in_force = InForce::new(&given, &config);
    let (metrics, configuration) = (servers::metrics(&config)?, ConfigurationNote::default());
    let told = Notification::new(Arc::clone(&metrics), configuration.clone());
    let supervisor = Arc::new(Supervisor::from_environment());
    let process = Process {
        settings: given.effective(),
        flags: cli::flagz(std::env::args_os()),
        kube_proxy: version::KUBE_PROXY,
        profiling: config.serving.profiling,
        flagz: config.gates.is_on(gates::FLAGZ),
        statusz: config.gates.is_on(gates::STATUSZ),
        verbosity,
        configuration,
    };
    let result = runtime.block_on(async {
        let mut stop = Stop::new()?;
        tokio::select! {
            biased;
            () = stop.asked() => Ok(()),
            result = serve(&config, process, metrics, here.host_name.clone(), &supervisor) => result,
            error = in_force.ends(arguments, &here, told) => Err(error),
        }
    });
    supervisor.stopping();
    // Tasks that wait for a server or the kernel are abandoned.
    runtime.shutdown_background();
    result
}

fn write_config(given: &RawConfig, path: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    std::fs::write(path, given.yaml()).with_context(context)?;
    tracing::info!(file = %path.display(), "wrote configuration");
    Ok(())
}

/// Does what needs more privileges than a later run: loads modules, creates the device, writes `/proc/sys`. Unlike
/// upstream (spec Q-54) it needs no API server.
fn initialise(config: &Config) -> anyhow::Result<()> {
    let (mut kernel, _) = LinuxKernel::open(settings::node_setup(config))?;
    kernel.prepare()?;
    tracing::info!("the node is prepared; later runs need CAP_NET_ADMIN and CAP_NET_RAW only");
    Ok(())
}

/// The signals that end the process.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Catches the signals from now on.
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot wait for signals");
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: listen(terminate)?, interrupt: listen(interrupt)? })
    }

    /// Waits for one of the signals, and logs its name.
    async fn asked(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!("stopping on {name}: the kernel stays as it is until the next start");
    }
}

/// Runs work that may wait for the kernel or a program on another thread, so that this thread can receive signals. The
/// end of the process does not wait for that thread, because the runtime is shut down in the background.
pub(super) async fn run_on_other_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a thread has died")
}

/// Sets the out-of-memory score. Lowering it needs CAP_SYS_RESOURCE, but the proxy works without it. A failure to set
/// the default is only a debug line: the operator did not ask for it.
fn set_oom_score(config: &Config) {
    let score = config.oom_score_adj;
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Ok(()) => {}
        Err(error) if config.oom_score_adj_is_given => {
            tracing::warn!(
                "oomScoreAdj: cannot set {score}: {error}: a lower score than the one the process was \
                 started with needs CAP_SYS_RESOURCE"
            );
        }
        Err(error) => tracing::debug!("oomScoreAdj: cannot set the default {score}: {error}"),
    }
}

async fn serve(
    config: &Config,
    process: Process,
    metrics: Arc<Metrics>,
    host_name: String,
    supervisor: &Arc<Supervisor>,
) -> anyhow::Result<()> {
    let (sender, events) = mpsc::channel(sync::QUEUE);
    let lasting = Lasting::default();
    tokio::spawn(lasting.clone().remind());
    let source = Opened::new(config, Some(metrics.requests.clone()), &lasting).await?;
    let server = source.server_address();
    let node_setup = settings::node_setup(config);
    let exclude = config.ipvs.exclude_cidrs.clone();
    let (kernel, capabilities, mut reader) = run_on_other_thread(move || {
        hold_lock()?;
        let (kernel, capabilities) = LinuxKernel::open(node_setup)?;
        let reader = kernel.open_reader()?;
        // An error is ignored here: the thread that follows the addresses reports it.
        let addresses = match exclude.is_empty() {
            true => Vec::new(),
            false => addresses::now().unwrap_or_default(),
        };
        if let Some(remark) = warnings::excluded_node_addresses(&exclude, &addresses) {
            tracing::warn!("{remark}");
        }
        anyhow::Ok((kernel, capabilities, reader))
    })
    .await??;
    warnings::refuse(config, &capabilities.families)?;
    let warnings = warnings::warnings(config, &capabilities.families);
    let (tell_synced, synced) = oneshot::channel();
    let telling = Telling { events: source.tell(host_name), lasting: lasting.clone() };
    let (mut servers, publish) =
        servers::start(config, process, &capabilities.families, metrics, telling)?;
    let publish =
        publish.first_sync_to(tell_synced).answering(answer_at_socket(config, servers.health()));
    tokio::spawn(tell_ready(Arc::clone(supervisor), synced));
    tell_started(config, &capabilities.families);
    let planning = settings::planning(config, capabilities.families, capabilities.random_fully);
    let periods = settings::periods(config);
    let (tell, mut ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("sync".into())
        .spawn(move || {
            let read = move || reader.observe();
            let mut proxier = Proxier::new(planning);
            server.into_iter().for_each(|address| proxier.fold(Event::ApiServer(address)));
            let _ = tell.send(sync::run(proxier, kernel, read, events, periods, publish));
        })
        .context("cannot start the sync thread")?;
    addresses::start(&sender, lasting).context("cannot start the addresses thread")?;
    set_oom_score(config);
    warnings.iter().for_each(|remark| tracing::info!("{remark}"));
    let nodes = match config.drain.dead_node {
        Some(_) => NodesWatched::All,
        None => NodesWatched::This,
    };
    tokio::select! {
        () = source.follow(&config.node_name, nodes, sender) => {}
        result = &mut ended => return sync_ended(result),
        error = servers.end() => return Err(error),
    }
    sync_ended(ended.await)?;
    Err(anyhow!("the source of objects has ended"))
}

fn tell_started(config: &Config, families: &PerFamily<bool>) {
    let served = Family::BOTH.into_iter().filter(|family| *families.of(*family));
    let served: Vec<_> = served.map(|family| family.to_string()).collect();
    tracing::info!(
        version = version::OWN,
        mode = "ipvs",
        families = %served.join(","),
        node = %config.node_name,
        "ipvs-proxy started, following {}",
        config.source
    );
}

async fn tell_ready(supervisor: Arc<Supervisor>, synced: oneshot::Receiver<()>) {
    if synced.await.is_ok() {
        supervisor.ready();
    }
}

/// Takes the lock of this network namespace. Holds it until the process has ended, including threads that still change
/// the kernel. Must be called within the runtime.
///
/// # Errors
/// If another proxy runs in this namespace. Other failures are only logged: the proxy then runs without the lock.
fn hold_lock() -> anyhow::Result<()> {
    match Lock::take() {
        Ok(lock) => {
            if let Some(taker) = lock.misused_by() {
                tracing::warn!(
                    "{taker}: a second proxy goes unnoticed in a container with another /run/ipvs-proxy"
                );
            }
            let lock: &'static Lock = Box::leak(Box::new(lock));
            tokio::spawn(lock.answer());
            Ok(())
        }
        Err(error @ (lock::Error::Held(_) | lock::Error::HeldBySomebody)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(
                "no lock: {error}: a second proxy in this network namespace goes unnoticed"
            );
            Ok(())
        }
    }
}

/// Answers `dump` and `ready` at the local socket. Services do not need the socket, so a failure is only logged.
fn answer_at_socket(config: &Config, health: Arc<ProxyHealth>) -> Questions {
    let (names, questions) = Questions::channel(1);
    let is_ready = Box::new(move || health.has_synced());
    let knowledge = Knowledge { node: Arc::clone(&config.node_name), names, is_ready };
    if let Some(path) = &config.local_socket
        && let Err(error) = dump::agent::start(path, knowledge)
    {
        let path = path.display();
        tracing::warn!("localSocket {path}: {error}: `dump` will have no names, `ready` no answer");
    }
    questions
}

fn sync_ended(
    result: Result<Result<(), sync::Error>, oneshot::error::RecvError>,
) -> anyhow::Result<()> {
    match result {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(anyhow!("the sync thread has died")),
    }
}

/// A source of objects that has been opened and checked as far as is possible without waiting for it.
pub(super) enum Opened {
    Api(Box<Api>),
    Folder(Box<folder::Folder>),
}

impl Opened {
    /// Opens the source. Counts requests to an API server in `requests`, and keeps conditions that last in `lasting`.
    pub(super) async fn new(
        config: &Config,
        requests: Option<Requests>,
        lasting: &Lasting,
    ) -> anyhow::Result<Self> {
        let (kubeconfig, master) = match &config.source {
            Source::Manifests(path) => {
                let (path, node_name) = (path.clone(), config.node_name.clone());
                let folder =
                    run_on_other_thread(move || folder::Folder::open(&path, &node_name)).await??;
                return Ok(Self::Folder(Box::new(folder.reminding(lasting.clone()))));
            }
            Source::InCluster(_) => (None, None),
            Source::ApiServer { kubeconfig, master, .. } => (kubeconfig.clone(), master.clone()),
        };
        let settings = ApiSettings {
            kubeconfig,
            master,
            wait_for_node: settings::wait_for_node(config),
            needs_pod_nets: config.detect_local == DetectLocal::NodeCidr,
            requests,
            lasting: lasting.clone(),
            ..ApiSettings::default()
        };
        // A kubeconfig may name a program that fetches credentials.
        let runtime = Handle::current();
        let api = run_on_other_thread(move || runtime.block_on(Api::new(&settings))).await??;
        Ok(Self::Api(Box::new(api)))
    }

    /// The address of the API server; `None` without an API server, or if its URL has a name instead.
    fn server_address(&self) -> Option<IpAddr> {
        match self {
            Self::Folder(_) => None,
            Self::Api(api) => api.address(),
        }
    }

    /// Checks that the source accepts this proxy's requests.
    ///
    /// # Errors
    /// The API server's refusal, or the reason why it does not answer.
    pub(super) async fn try_access(&self) -> anyhow::Result<()> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Api(api) => {
                api.try_access().await.with_context(|| format!("API server {}", api.url()))
            }
        }
    }

    /// Returns the sink of events: the API server if objects come from there, else the log alone. Must be called within
    /// the runtime.
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

    pub(super) async fn follow(self, node: &str, nodes: NodesWatched, events: mpsc::Sender<Batch>) {
        match self {
            Self::Api(api) => watch::run(&api, node, nodes, events).await,
            Self::Folder(folder) => folder.follow(events).await,
        }
    }
}
