//! Measures how much memory is allocated, and how much of it is kept.
//!
//! Takes Services with ten endpoints each. Prints a table of bytes: for each object read, and for
//! each Service in the core's memory. Does not measure time, as counting allocations takes some.

#![allow(clippy::unwrap_used, reason = "what fails here is to end the run")]

use allocation_counter::{AllocationInfo, measure};
use ipvs_proxy::objects::{EndpointSlice, Service, convert};
use proxier::Proxier;
use proxier::apply::fake::FakeKernel;
use proxier::model::{self, Event, Update};
use proxier::testing::{now, settings};

use self::world::Shape;

#[path = "vm/world.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod world;

const SIZES: [u32; 3] = [100, 5_000, 50_000];

fn main() {
    println!(
        "{:<34} {:>9} {:>12} {:>12} {:>10}",
        "bytes", "Services", "allocated", "kept", "calls"
    );
    for services in SIZES {
        let shape = Shape { services, endpoints: 10 };
        let (mut facts, mut proxier) = (Vec::new(), Proxier::new(settings()));
        let texts: Vec<_> = (0..services).map(world::service).collect();
        let read = |facts: &mut Vec<model::Service>| {
            for text in &texts {
                let object: Service = serde_json::from_str(text).unwrap();
                facts.push(convert::service(&object, &mut Vec::new()).unwrap());
            }
        };
        tell("read a Service", shape, &measure(|| read(&mut facts)));
        let texts: Vec<_> = (0..services).map(|at| world::slice(shape, at, 0, |_| 0)).collect();
        let mut slices = Vec::new();
        let read = |slices: &mut Vec<model::Slice>| {
            for text in &texts {
                let object: EndpointSlice = serde_json::from_str(text).unwrap();
                slices.push(convert::slice(&object, &mut Vec::new()).unwrap());
            }
        };
        tell("read its EndpointSlice", shape, &measure(|| read(&mut slices)));
        let fold = |proxier: &mut Proxier| {
            proxier.fold(Event::Service(Update::Listed(facts)));
            proxier.fold(Event::Slice(Update::Listed(slices)));
            proxier.fold(Event::Node(None));
            proxier.fold(Event::Addresses(vec![]));
        };
        tell("keep both as facts", shape, &measure(|| fold(&mut proxier)));
        tell("plan them", shape, &measure(|| proxier.plan()));
        let mut kernel = FakeKernel::default();
        // The kernel in memory keeps what the real kernel would.
        let round = || drop(proxier.round(&mut kernel, now()));
        tell("apply, believe, and a double of it", shape, &measure(round));
    }
}

fn tell(what: &str, shape: Shape, info: &AllocationInfo) {
    let each = |total: u64| total as f64 / f64::from(shape.services);
    let kept = info.bytes_current as f64 / f64::from(shape.services);
    println!(
        "{what:<34} {:>9} {:>12.0} {kept:>12.0} {:>10.1}",
        shape.services,
        each(info.bytes_total),
        each(info.count_total),
    );
}
