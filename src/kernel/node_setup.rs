//! Prepares the node for the first virtual server.
//!
//! Takes the requirements from the configuration. Checks the scheduler, applies sysctls and creates the device, or
//! returns the first requirement that cannot be met. It is called only when all kinds of objects have been
//! listed, so that a proxy without its API server changes nothing.

use ipvs_netlink::Timeouts;
use netlink_batch::{Error, KernelError};
use proxier::apply::Cause;

use super::cause::{EOPNOTSUPP, cause};
use super::program::load_module;
use super::{LinuxKernel, link, sysctl};

/// The requirements from the configuration.
#[derive(Clone, Debug, Default)]
pub struct NodeSetup {
    /// The scheduler that the kernel must have.
    pub scheduler: String,
    /// IPVS timeouts in seconds; 0 leaves a timeout as it is.
    pub timeouts: Timeouts,
    /// Settings under `/proc/sys`.
    pub sysctls: sysctl::Wanted,
}

impl LinuxKernel {
    /// Prepares the node. Steps that may be refused come first: the scheduler, the sysctls (checked when the
    /// kernel was opened), the device.
    pub(super) fn prepare_node(&mut self) -> Result<(), Cause> {
        self.try_scheduler()?;
        self.tables.sets()?.forget_unfinished()?;
        self.set_sysctls()?;
        self.ensure_device()?;
        // A timeout that the kernel refuses stays as it is, as upstream.
        if let Err(cause) = self.tables.servers()?.set_timeouts(self.node_setup.timeouts) {
            let Timeouts { tcp, tcp_fin, udp } = self.node_setup.timeouts;
            tracing::error!(
                "IPVS timeouts (ipvs.tcpTimeout {tcp} s, tcpFinTimeout {tcp_fin} s, udpTimeout {udp} s) \
                 stay as they are: {cause}"
            );
        }
        Ok(())
    }

    /// Checks that the kernel has the scheduler or can load it.
    ///
    /// # Errors
    /// Fails if the kernel has no such scheduler, or does not answer.
    pub fn try_scheduler(&mut self) -> Result<(), Cause> {
        self.tables.servers()?.try_scheduler(&self.node_setup.scheduler)
    }

    fn set_sysctls(&self) -> Result<(), Cause> {
        let wanted = &self.node_setup.sysctls;
        if let Some(max) = sysctl::size_of_the_host(wanted) {
            tracing::warn!(
                "the connection tracking table belongs to the host's network namespace: its size is \
                 not set to {max}"
            );
        }
        for error in sysctl::apply(wanted).map_err(Cause::new)? {
            tracing::warn!("{error}: the node's own value stays, and Services work with it");
        }
        Ok(())
    }

    fn ensure_device(&mut self) -> Result<(), Cause> {
        let links = self.tables.links()?;
        if links.index().map_err(cause)?.is_some() {
            // The proxy uses any device of this name, as upstream does (spec 3.8).
            if let Some(kind) = links.other_kind().map_err(cause)? {
                let name = link::DEVICE;
                tracing::warn!(
                    "{name} is no dummy device but a {kind}: it is used all the same, and addresses on it \
                     that no Service has are removed; if it is for something else, give it another name, or \
                     remove it with `ip link del {name}`, and restart the proxy"
                );
            }
            return Ok(());
        }
        let created = match links.create() {
            Err(Error::Kernel(KernelError { errno: EOPNOTSUPP, .. })) => {
                load_module("dummy");
                links.create()
            }
            created => created,
        };
        created.map_err(|error| match error {
            Error::Kernel(KernelError { errno: EOPNOTSUPP, .. }) => Cause::new(format!(
                "cannot create {}: the kernel has no dummy devices: load the module with \
                 `modprobe dummy` (CONFIG_DUMMY)",
                link::DEVICE
            )),
            error => Cause::new(format!("cannot create {}: {error}", link::DEVICE)),
        })
    }
}
