//! Tests of changes of the configuration files, with a fake check of the start.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

use anyhow::anyhow;
use tokio::time::timeout;

use super::*;
use crate::cli::{Command, parse};
use crate::metrics::Build;

/// The longest wait for a result, long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
/// Longer than a change takes to be noticed.
const SHORT: Duration = Duration::from_millis(1500);

/// A configuration file, and the process that was started with it.
struct Running {
    file: tempfile::NamedTempFile,
    arguments: RunArgs,
    in_force: InForce,
    told: Notification,
}

fn write(file: &Path, fields: &str) {
    let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    let own = "---\napiVersion: ipvs-proxy.io/v1alpha1\nkind: IPVSProxyConfiguration\n";
    let (fields, own_fields) = fields.split_once(" own ").unwrap_or((fields, ""));
    fs::write(file, format!("{head}{fields}\n{own}{own_fields}\n")).unwrap();
}

impl Running {
    fn with(fields: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), fields);
        let config = format!("--config={}", file.path().display());
        let Ok(Command::Run(arguments)) = parse(["ipvs-proxy", "--manifests=/", &config]) else {
            panic!("it runs")
        };
        let mut given = RawConfig::read(&arguments.flags).unwrap();
        let config = given.check(arguments.manifests.as_deref(), &Environment::look()).unwrap();
        let in_force =
            InForce { spread: Duration::from_millis(100), ..InForce::new(&given, &config) };
        let metrics = Arc::new(Metrics::new(&Build::default()).unwrap());
        let told = Notification::new(metrics, ConfigurationNote::default());
        Self { file, arguments: *arguments, in_force, told }
    }

    fn rewrite(&self, fields: &str) {
        write(self.file.path(), fields);
    }

    /// Runs for a while. Returns the reason if it ends. `rehearsal` is the result of each check of a start.
    async fn runs(&mut self, rehearsal: Result<(), &str>) -> Option<String> {
        let rehearse = async |_: &Config| match rehearsal {
            Ok(()) => Ok(()),
            Err(reason) => Err(Refusal::Fails(anyhow!("{reason}"))),
        };
        let here = Environment::look();
        let ends = self.in_force.ends_by(&self.arguments, &here, &mut self.told, rehearse);
        timeout(SHORT, ends).await.ok().map(|error| error.to_string())
    }

    fn gauges(&self) -> (bool, bool) {
        let text = self.told.metrics.scrape(Vec::new());
        let is_set = |name: &str| text.contains(&format!("\n{name} 1\n"));
        (is_set("ipvs_proxy_config_change_pending"), is_set("ipvs_proxy_config_unusable"))
    }
}

#[tokio::test]
async fn a_change_is_told_and_the_process_stays() {
    let mut running = Running::with("ipvs: {scheduler: rr}");
    assert_eq!(running.runs(Ok(())).await, None);
    assert_eq!((running.told.last.clone(), running.gauges()), (Verdict::InForce, (false, false)));
    running.rewrite("ipvs: {scheduler: lc}");
    assert_eq!(running.runs(Ok(())).await, None);
    assert_eq!(running.told.last, Verdict::Pending("ipvs.scheduler".to_owned()));
    assert_eq!(running.gauges(), (true, false));
    running.rewrite("ipvs: {scheduler: rr}");
    assert_eq!(running.runs(Ok(())).await, None);
    assert_eq!((running.told.last.clone(), running.gauges()), (Verdict::InForce, (false, false)));
}

#[tokio::test]
async fn a_change_that_asks_for_an_exit_does_not_get_it() {
    let mut running = Running::with("");
    running.rewrite(" own exitOnConfigChange: true");
    assert_eq!(running.runs(Ok(())).await, None);
    assert_eq!(running.told.last, Verdict::Pending("exitOnConfigChange".to_owned()));
}

#[tokio::test]
async fn where_it_is_asked_for_a_change_ends_the_process() {
    let mut running = Running::with(" own exitOnConfigChange: true");
    assert_eq!(running.runs(Ok(())).await, None, "nothing has changed");
    running.rewrite("iptables: {syncPeriod: 9s}\nportRange: 1-2 own exitOnConfigChange: true");
    assert_eq!(running.runs(Ok(())).await, None, "nothing that has an effect has changed");
    running.rewrite("ipvs: {scheduler: lc} own exitOnConfigChange: true");
    let said = running.runs(Ok(())).await.unwrap();
    assert!(
        said.starts_with("the configuration was changed (ipvs.scheduler): this process"),
        "{said}"
    );
    let note = running.told.note.get().unwrap();
    assert!(note.contains("this process ends in 0 s"), "{note}");
    assert!(!note.contains("next start"), "{note}");
}

#[tokio::test]
async fn a_start_that_would_fail_ends_nothing() {
    for own in ["", "exitOnConfigChange: true"] {
        let mut running = Running::with(&format!(" own {own}"));
        running.rewrite(&format!("ipvs: {{scheduler: nosuch}} own {own}"));
        assert_eq!(running.runs(Err("no such scheduler")).await, None);
        let wanted = "the configuration was changed (ipvs.scheduler): no such scheduler";
        let (Verdict::Unusable(said) | Verdict::NotYet(said)) = &running.told.last else {
            panic!("{:?}", running.told.last)
        };
        assert_eq!(said, wanted);
        assert_eq!(running.gauges(), (true, true));
        running.rewrite(&format!("ipvs: {{scheduler: 7, syncPeriod: soon}} own {own}"));
        assert_eq!(running.runs(Ok(())).await, None, "it is no configuration");
        assert!(
            matches!(&running.told.last, Verdict::Unusable(said) if said.contains("syncPeriod"))
        );
    }
}

/// A change that the operator reverts in time does not end the process.
#[tokio::test]
async fn a_change_that_is_taken_back_before_the_moment_comes_ends_nothing() {
    let mut running = Running::with(" own exitOnConfigChange: true");
    running.rewrite("ipvs: {scheduler: lc} own exitOnConfigChange: true");
    let (here, file) = (Environment::look(), running.file.path().to_owned());
    let turns = Cell::new(0);
    let rehearse = async |_: &Config| {
        turns.set(turns.get() + 1);
        // The change has just been accepted, and the process waits to end.
        write(&file, " own exitOnConfigChange: true");
        Ok(())
    };
    let Running { in_force, arguments, told, .. } = &mut running;
    let ends = in_force.ends_by(arguments, &here, told, rehearse);
    assert!(timeout(SHORT, ends).await.is_err());
    assert_eq!((turns.get(), told.last.clone()), (1, Verdict::InForce));
}

/// Unlike in the other tests, the file changes while the process follows it.
#[tokio::test]
async fn a_change_is_noticed_while_the_process_runs() {
    let mut running = Running::with(" own exitOnConfigChange: true");
    let (here, file) = (Environment::look(), running.file.path().to_owned());
    let seen = RefCell::new(Vec::new());
    let rehearse = async |config: &Config| {
        seen.borrow_mut().push(config.ipvs.scheduler.clone());
        Ok(())
    };
    let Running { in_force, arguments, told, .. } = &mut running;
    let change = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        write(&file, "ipvs: {scheduler: sh} own exitOnConfigChange: true");
    };
    let ends = timeout(LIMIT, in_force.ends_by(arguments, &here, told, rehearse));
    let (ended, ()) = tokio::join!(ends, change);
    assert!(ended.is_ok());
    assert_eq!(*seen.borrow(), ["sh", "sh"], "it is rehearsed again at the end");
}
