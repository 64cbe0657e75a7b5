//! Measures a round, apart from the kernel.
//!
//! Takes N Services with ten endpoints each, and a kernel in memory. Returns the time of a first
//! round, of a round for one changed endpoint, and of a comparison of everything. The second must
//! not grow with N. Does not assert times.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use proxier::Proxier;
use proxier::apply::fake::FakeKernel;
use proxier::model::{Endpoint, Event, Service, Slice, Update};
use proxier::testing::{now, ready, service, settings, slice};

const SIZES: [usize; 3] = [100, 5_000, 50_000];
const ENDPOINTS: usize = 10;

fn a_service(n: usize) -> Service {
    service(&format!("s{n}"), &[&format!("10.{}.{}.{}", 96 + n / 65_536, n / 256 % 256, n % 256)])
}

fn endpoints(n: usize, count: usize) -> Vec<Endpoint> {
    (0..count).map(|i| ready(&format!("10.244.{}.{}", 2 + (n + i) % 200, 1 + i))).collect()
}

fn a_slice(n: usize, count: usize) -> Slice {
    slice(&format!("e{n}"), &format!("s{n}"), endpoints(n, count))
}

fn informed(size: usize) -> Proxier {
    let mut proxier = Proxier::new(settings());
    proxier.fold(Event::Service(Update::Listed((0..size).map(a_service).collect())));
    proxier.fold(Event::Slice(Update::Listed((0..size).map(|n| a_slice(n, ENDPOINTS)).collect())));
    proxier.fold(Event::Node(None));
    proxier.fold(Event::Addresses(vec![]));
    proxier
}

fn first_round(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("first round");
    group.sample_size(10);
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(
                || (informed(size), FakeKernel::default()),
                |(mut proxier, mut kernel)| black_box(proxier.round(&mut kernel, now())),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn one_endpoint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one endpoint");
    for size in SIZES {
        let mut proxier = informed(size);
        let mut kernel = FakeKernel::default();
        proxier.round(&mut kernel, now());
        let mut count = ENDPOINTS;
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                count = if count == ENDPOINTS { ENDPOINTS - 1 } else { ENDPOINTS };
                proxier.fold(Event::Slice(Update::Put(a_slice(size / 2, count))));
                kernel.log.clear();
                black_box(proxier.round(&mut kernel, now()))
            });
        });
    }
    group.finish();
}

fn comparison_of_everything(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("comparison of everything");
    group.sample_size(10);
    for size in SIZES {
        let mut proxier = informed(size);
        let mut kernel = FakeKernel::default();
        proxier.round(&mut kernel, now());
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                proxier.invalidate();
                black_box(proxier.round(&mut kernel, now()))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, first_round, one_endpoint, comparison_of_everything);
criterion_main!(benches);
