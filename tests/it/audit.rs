//! Tests the periodic comparison with the real kernel, seen from outside the sync thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipvs_proxy::events::Sink;
use ipvs_proxy::metrics::{Build, Metrics};
use ipvs_proxy::serve::{HealthTable, ProxyHealth};
use ipvs_proxy::sync::{self, pace::Periods, publish::Publish};
use proxier::Proxier;
use proxier::apply::Cause;
use proxier::apply::fake::FakeKernel;
use proxier::model::{Event, PerFamily, Update};
use proxier::testing::{ready, service, settings, slice};
use tokio::sync::{mpsc, watch};

const LIMIT: Duration = Duration::from_secs(60);

fn publish() -> Publish {
    let families = PerFamily { v4: true, v6: true };
    let build = Build { kube_proxy: "v1.36.2", own: "v0.1.0", features: vec![] };
    let health = Arc::new(ProxyHealth::new(&families, LIMIT));
    let metrics = Arc::new(Metrics::new(&build).unwrap());
    Publish::new(health, metrics, watch::channel(HealthTable::default()).0, Sink::log())
}

#[test]
fn changes_without_a_pause_do_not_put_it_off() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let read = move || {
        counts.fetch_add(1, Ordering::Relaxed);
        Err(Cause::new("not now"))
    };
    let (events, queue) = mpsc::channel(100);
    let periods = Periods { min: Duration::from_millis(50), max: Duration::from_millis(200) };
    thread::spawn(move || {
        let proxier = Proxier::new(settings());
        sync::run(proxier, FakeKernel::default(), read, queue, periods, publish())
    });
    let tell = |event| events.blocking_send(vec![event]).unwrap();
    tell(Event::Node(None));
    tell(Event::Addresses(vec![]));
    tell(Event::Service(Update::Listed(vec![service("web", &["10.96.0.1"])])));
    tell(Event::Slice(Update::Listed(vec![])));
    let start = Instant::now();
    for turn in (0..=u8::MAX).cycle() {
        let endpoints = vec![ready(&format!("10.244.2.{turn}"))];
        tell(Event::Slice(Update::Put(slice("a", "web", endpoints))));
        if asked.load(Ordering::Relaxed) >= 3 {
            return;
        }
        assert!(start.elapsed() < LIMIT, "the kernel was not read");
        thread::sleep(Duration::from_millis(5));
    }
}
