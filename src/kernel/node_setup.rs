//! What the kernel needs before the first virtual server.
//!
//! In: what the configuration says. Out: a scheduler that is there, a device, settings that stand;
//! or the first thing that cannot be had. Never: done before the facts are complete, so that a
//! proxy without its API server changes nothing.

use ipvs_netlink::Timeouts;
use netlink_batch::{Error, KernelError};
use proxier::apply::Cause;

use super::module::load_module;
use super::{LinuxKernel, errno, link, sysctl};

/// What is to be prepared.
#[derive(Clone, Debug, Default)]
pub struct NodeSetup {
    /// The scheduler that has to be there.
    pub scheduler: String,
    /// IPVS timeouts in seconds; 0 leaves one alone.
    pub timeouts: Timeouts,
    /// Settings under `/proc/sys`.
    pub sysctls: sysctl::Wanted,
}

impl LinuxKernel {
    /// What may be refused comes first: the scheduler, the settings (which were tried out when the
    /// kernel was opened), the device.
    pub(super) fn prepare_node(&mut self) -> Result<(), Cause> {
        self.try_scheduler()?;
        self.tables.sets.forget_unfinished()?;
        self.set_sysctls()?;
        self.ensure_device()?;
        // As upstream: what the kernel takes for too long leaves it at its own.
        if let Err(cause) = self.tables.servers.set_timeouts(self.node_setup.timeouts) {
            let Timeouts { tcp, tcp_fin, udp } = self.node_setup.timeouts;
            tracing::error!(
                "IPVS timeouts (ipvs.tcpTimeout {tcp} s, tcpFinTimeout {tcp_fin} s, udpTimeout {udp} s) \
                 stay as they are: {cause}"
            );
        }
        Ok(())
    }

    /// Finds out whether the kernel has the scheduler, or can load it.
    ///
    /// # Errors
    /// If it has not, or cannot be asked.
    pub fn try_scheduler(&mut self) -> Result<(), Cause> {
        self.tables.servers.try_scheduler(&self.node_setup.scheduler)
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
        if self.tables.links.index().map_err(Cause::new)?.is_some() {
            return Ok(());
        }
        let created = match self.tables.links.create() {
            Err(Error::Kernel(KernelError { errno: errno::EOPNOTSUPP, .. })) => {
                load_module("dummy");
                self.tables.links.create()
            }
            created => created,
        };
        created.map_err(|error| match error {
            Error::Kernel(KernelError { errno: errno::EOPNOTSUPP, .. }) => Cause::new(format!(
                "cannot create {}: the kernel has no dummy devices: load the module with \
                 `modprobe dummy` (CONFIG_DUMMY)",
                link::DEVICE
            )),
            error => Cause::new(format!("cannot create {}: {error}", link::DEVICE)),
        })
    }
}
