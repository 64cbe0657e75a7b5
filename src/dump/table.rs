//! Writes a dump as a table for operators.
//!
//! Takes a [`Dump`]. Writes sections with headings and columns. Their form is not stable; programs read the JSON.
//! Replaces control characters in names, which could control the terminal.

use std::fmt;
use std::net::SocketAddr;

use crate::objects::Plain;

use super::shape::{Chain, Destination, Dump, Frontend, Service, Set};

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "FRONTEND",
            "SERVICE",
            "SCHEDULER",
            "AFFINITY",
            "DESTINATION",
            "WEIGHT",
            "ACTIVE",
            "INACTIVE",
            "",
        ];
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(self.frontends.iter().flat_map(rows_of));
        columns(f, &rows)?;
        f.write_str("\n")?;
        let mut rows = vec![["SET", "TYPE", "USED", "LIMIT"].map(str::to_owned)];
        rows.extend(self.sets.iter().map(row_of));
        columns(f, &rows)?;
        let filled = self.sets.iter().filter(|set| !set.entries.is_empty());
        filled.clone().try_for_each(|set| block(f, set.name, &set.entries))?;
        f.write_str("\n")?;
        self.chains.iter().try_for_each(|chain| block(f, &title(chain), &chain.rules))?;
        for jump in &self.jumps {
            writeln!(f, "{} {} {} -> {}", jump.family, jump.table, jump.from, jump.to)?;
        }
        match &self.device {
            None => writeln!(f, "\nno device kube-ipvs0"),
            Some(device) => {
                let addresses: Vec<_> = device.addresses.iter().map(ToString::to_string).collect();
                f.write_str("\n")?;
                block(f, device.name, &addresses)
            }
        }
    }
}

fn title(chain: &Chain) -> String {
    format!("{} {} {}", chain.family, chain.table, chain.name)
}

/// Returns one row per destination. Only the first row has the frontend.
fn rows_of(frontend: &Frontend) -> Vec<[String; 9]> {
    let address = SocketAddr::new(frontend.address, frontend.port);
    let affinity = frontend
        .affinity
        .as_ref()
        .map_or("-".into(), |found| format!("{}s", found.timeout_seconds));
    let head = [
        format!("{address}/{}", frontend.protocol),
        frontend.service.as_ref().map_or_else(|| "-".into(), name),
        frontend.scheduler.clone(),
        affinity,
    ];
    let mut rows: Vec<_> = frontend.destinations.iter().map(destination).collect();
    if rows.is_empty() {
        rows.push(["-", "", "", "", ""].map(str::to_owned));
    }
    let mut heads = std::iter::once(head).chain(std::iter::repeat_with(Default::default));
    let mut join = |[e, f, g, h, i]: [String; 5]| {
        let [a, b, c, d] = heads.next().unwrap_or_default();
        [a, b, c, d, e, f, g, h, i]
    };
    rows.drain(..).map(&mut join).collect()
}

fn name(service: &Service) -> String {
    let Service { namespace, name, port } = service;
    let (namespace, name, port) = (Plain(namespace), Plain(name), Plain(port));
    if port.0.is_empty() {
        format!("{namespace}/{name}")
    } else {
        format!("{namespace}/{name}:{port}")
    }
}

fn destination(found: &Destination) -> [String; 5] {
    let state = if found.draining { "draining" } else { "" };
    [
        SocketAddr::new(found.address, found.port).to_string(),
        found.weight.to_string(),
        found.active_connections.to_string(),
        found.inactive_connections.to_string(),
        state.into(),
    ]
}

fn row_of(set: &Set) -> [String; 4] {
    [set.name.into(), set.kind.into(), set.used.to_string(), set.limit.to_string()]
}

/// Writes a heading, and indented lines below it.
fn block(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    writeln!(f, "{title} ({})", lines.len())?;
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
}

fn columns<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
