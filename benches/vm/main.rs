//! Measures the proxy on a kernel with IPVS, and the kernel alone for comparison.
//!
//! Takes a command: `measure api|manifests SERVICESxENDPOINTS`, `floor SERVICESxENDPOINTS FOLDER`
//! or `guard FILE`. These need a machine that nothing has used before and whose clock counts
//! instructions. `report FOLDER` runs anywhere and makes a table and a plot of the results. Writes
//! JSON to `$LAB_OUT`. Is not run directly: `make bench-vm` boots the machines for it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what fails here is to end the run"
)]

mod api;
mod floor;
mod guard;
mod plot;
mod proxy;
mod report;
#[path = "../../tests/said.rs"]
mod said;
mod scenario;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::scenario::Origin;
use self::world::Shape;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let out = PathBuf::from(std::env::var_os("LAB_OUT").unwrap_or(".".into()));
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["measure", origin, shape] => {
            proxy::count_calls();
            let origin = if origin == "api" { Origin::Api } else { Origin::Manifests };
            println!("{}", report::head());
            let rows = scenario::measure(shape.parse().unwrap(), origin, &out);
            let rows: Vec<Value> = rows.iter().map(report::Row::json).collect();
            fs::write(out.join("found.json"), Value::from(rows).to_string()).unwrap();
        }
        ["floor", shape, rules] => {
            let shape: Shape = shape.parse().unwrap();
            let found = floor::run(shape, Path::new(rules));
            println!("floor of {shape}: {found}");
            fs::write(out.join("found.json"), report::floor(shape, &found).to_string()).unwrap();
        }
        ["guard", written] => std::process::exit(i32::from(!guard::run(Path::new(written)))),
        ["report", folder] => report::report(Path::new(folder)),
        _ => eprintln!("`make bench-vm` runs this where there is a kernel for it"),
    }
}
