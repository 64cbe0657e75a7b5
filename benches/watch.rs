//! Measures following an API server, from the bytes on a socket to facts.
//!
//! Takes lists and events as a server sends them, over loopback without TLS. Returns objects per
//! second. The server's work is done beforehand, except for sending.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "what fails here is to end the run")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipvs_proxy::watch::{self, Api, ApiSettings, NodesWatched, Retry};
use proxier::model::{Batch, Event, Update};
use tokio::sync::mpsc;

use self::world::Shape;

#[path = "vm/api.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod api;
#[path = "vm/world.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod world;

const SIZES: [u32; 3] = [100, 1_000, 10_000];
/// The number of events in one burst.
const BURST: u32 = 1_000;

fn follow(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut lists = criterion.benchmark_group("list Services and EndpointSlices");
    lists.sample_size(10);
    for services in SIZES {
        let server = api::Api::start(Shape { services, endpoints: 10 });
        lists.throughput(Throughput::Elements((2 * services).into()));
        lists.bench_function(BenchmarkId::from_parameter(services), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let mut events = watch(&server).await;
                    listed(&mut events).await;
                })
            });
        });
    }
    lists.finish();

    let mut bursts = criterion.benchmark_group("a burst of EndpointSlices");
    let shape = Shape { services: 100, endpoints: 10 };
    let server = api::Api::start(shape);
    let mut bytes = Vec::new();
    for at in 0..BURST {
        let slice = world::slice(shape, at % shape.services, 0, |_| at);
        api::event("MODIFIED", &slice, &mut bytes);
    }
    bursts.throughput(Throughput::Elements(BURST.into()));
    let mut events = runtime.block_on(async {
        let mut events = watch(&server).await;
        listed(&mut events).await;
        events
    });
    bursts.bench_function(BenchmarkId::from_parameter(BURST), |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                server.send(api::Kind::Slice, &bytes);
                for _ in 0..BURST {
                    events.recv().await.unwrap();
                }
            })
        });
    });
    bursts.finish();
}

async fn watch(server: &api::Api) -> mpsc::Receiver<Batch> {
    let settings = ApiSettings {
        kubeconfig: None,
        master: Some(format!("http://{}", server.address)),
        retry: Retry::default(),
        ..ApiSettings::default()
    };
    let api = Api::new(&settings).await.unwrap();
    let (sender, events) = mpsc::channel(1024);
    tokio::spawn(async move { watch::run(&api, world::NODE, NodesWatched::This, sender).await });
    events
}

async fn listed(events: &mut mpsc::Receiver<Batch>) {
    let mut lists = 0;
    while lists < 2 {
        for event in events.recv().await.unwrap() {
            if let Event::Slice(Update::Listed(_)) | Event::Service(Update::Listed(_)) = event {
                lists += 1;
            }
        }
    }
}

criterion_group!(benches, follow);
criterion_main!(benches);
