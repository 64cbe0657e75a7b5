//! Checks whether the process would start with a new configuration.
//!
//! Takes the new configuration and the one in force. Returns the first problem that would prevent a start. Does not
//! change the kernel's tables, but may load a kernel module. Does not keep ports, and tries only
//! the address where this process holds the port.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::timeout;

use super::run::{Opened, run_on_other_thread};
use super::{settings, warnings};
use crate::config::Config;
use crate::kernel::LinuxKernel;
use crate::lasting::Lasting;
use crate::serve::try_to_listen;

/// The longest time for the whole check: a program for credentials or `iptables` may hang.
const REHEARSAL_TIMEOUT: Duration = Duration::from_secs(60);

/// The reason why a start would fail.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Something is missing. A later attempt may succeed.
    #[error("{0:#}")]
    Fails(#[from] anyhow::Error),
    /// Something hangs. There is no other attempt, since each one would leave another hanging thread.
    #[error("whatever a start waits for has not come within {REHEARSAL_TIMEOUT:?}")]
    Hangs,
}

/// Checks a start with `config` while `in_force` is in force.
///
/// # Errors
/// The first problem that would prevent the start.
pub(super) async fn rehearse(config: &Config, in_force: &Config) -> Result<(), Refusal> {
    let rehearsal = async {
        Opened::new(config, None, &Lasting::default()).await?.try_access().await?;
        try_ports(&listeners(config), &listeners(in_force))?;
        try_kernel(config.clone()).await
    };
    Ok(timeout(REHEARSAL_TIMEOUT, rehearsal).await.map_err(|_| Refusal::Hangs)??)
}

async fn try_kernel(config: Config) -> anyhow::Result<()> {
    run_on_other_thread(move || {
        let (mut kernel, capabilities) = LinuxKernel::open(settings::node_setup(&config))?;
        warnings::refuse(&config, &capabilities.families)?;
        Ok(kernel.try_scheduler()?)
    })
    .await?
}

/// A field of the configuration and the address that it sets.
type Listener = (&'static str, SocketAddr);

fn listeners(config: &Config) -> Vec<Listener> {
    let metrics = Some(("metricsBindAddress", config.serving.metrics));
    let health = config.serving.healthz.map(|address| ("healthzBindAddress", address));
    health.into_iter().chain(metrics).collect()
}

/// Checks that each address can be listened on. Of an address at a port that this process holds, only checks that the
/// node has it, since the port is free after this process's end.
fn try_ports(wanted: &[Listener], held: &[Listener]) -> anyhow::Result<()> {
    for (at, (field, address)) in wanted.iter().enumerate() {
        let others = wanted.iter().skip(at + 1);
        if let Some((other, _)) = others.clone().find(|(_, other)| overlap(*address, *other)) {
            bail!("{field} and {other} are both {address}");
        }
        let is_held = held.iter().any(|(_, held)| held.port() == address.port());
        let port = if is_held { 0 } else { address.port() };
        try_to_listen(SocketAddr::new(address.ip(), port))
            .with_context(|| format!("{field}: {address}"))?;
    }
    Ok(())
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (is_everywhere || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_of_others_is_refused_and_an_own_one_is_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let said = try_ports(&[("metricsBindAddress", address)], &[]).unwrap_err();
        let said = format!("{said:#}");
        assert!(said.starts_with(&format!("metricsBindAddress: {address}: ")), "{said}");
        // The wildcard of the other family includes this address.
        let everywhere = SocketAddr::new("::".parse().unwrap(), address.port());
        assert!(try_ports(&[("metricsBindAddress", everywhere)], &[]).is_err());
        try_ports(&[("metricsBindAddress", address)], &[("healthzBindAddress", everywhere)])
            .unwrap();
        drop(taken);
        try_ports(&[("metricsBindAddress", address)], &[]).unwrap();
        TcpListener::bind(address).expect("nobody listens there afterwards");
    }

    #[test]
    fn an_address_that_the_node_lacks_is_refused_even_at_a_port_that_is_held() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let health = "healthzBindAddress";
        let held = [(health, at("0.0.0.0:10256"))];
        // A network for documentation (RFC 5737).
        let said = try_ports(&[(health, at("203.0.113.99:10256"))], &held).unwrap_err();
        assert!(said.to_string().starts_with("healthzBindAddress: 203.0.113.99:10256"), "{said:#}");
        for there in ["127.0.0.1:10256", "0.0.0.0:10256", "[::]:10256"] {
            try_ports(&[(health, at(there))], &held).unwrap();
        }
    }

    #[test]
    fn one_port_for_both_servers_is_refused_even_if_it_is_held() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (health, metrics) = ("healthzBindAddress", "metricsBindAddress");
        let held = [(health, at("0.0.0.0:10256"))];
        let both = [(health, at("0.0.0.0:10256")), (metrics, at("127.0.0.1:10256"))];
        assert!(try_ports(&both, &held).unwrap_err().to_string().contains("are both"));
        let run_on_other_thread =
            [(health, at("127.0.0.1:10256")), (metrics, at("127.0.0.2:10256"))];
        try_ports(&run_on_other_thread, &held).unwrap();
    }
}
