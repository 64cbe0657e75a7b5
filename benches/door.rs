//! Measures reading API objects and converting them into facts.
//!
//! Takes Services and EndpointSlices of ten endpoints, as an API server writes them. Returns
//! objects per second. Does not use a network.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "what fails here is to end the run")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipvs_proxy::objects::{EndpointSlice, Service, convert};

use self::world::Shape;

#[path = "vm/world.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod world;

const SIZES: [u32; 3] = [100, 5_000, 50_000];

fn read_services(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read Services");
    group.sample_size(10);
    for size in SIZES {
        let texts: Vec<String> = (0..size).map(world::service).collect();
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                for text in &texts {
                    let object: Service = serde_json::from_str(text).unwrap();
                    black_box(convert::service(&object, &mut Vec::new()).unwrap());
                }
            });
        });
    }
    group.finish();
}

fn read_slices(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read EndpointSlices");
    group.sample_size(10);
    for size in SIZES {
        let shape = Shape { services: size, endpoints: 10 };
        let texts: Vec<String> =
            (0..size).map(|service| world::slice(shape, service, 0, |_| 0)).collect();
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                for text in &texts {
                    let object: EndpointSlice = serde_json::from_str(text).unwrap();
                    black_box(convert::slice(&object, &mut Vec::new()).unwrap());
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, read_services, read_slices);
criterion_main!(benches);
