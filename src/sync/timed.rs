//! How much of a round is the kernel's.
//!
//! In: a kernel. Out: the same kernel, and the time spent in it. Never: another answer than its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proxier::apply::{Cause, Connections, Kernel, Ready};
use proxier::diff::{Change, Flow, Observed};
use proxier::model::{Family, Protocol};
use proxier::plan::VirtualServerKey;

/// A kernel, and a watch that runs while it works.
pub(super) struct Timed<K> {
    kernel: K,
    spent: Duration,
}

impl<K: Kernel> Timed<K> {
    pub(super) fn new(kernel: K) -> Self {
        Self { kernel, spent: Duration::ZERO }
    }

    /// The time since this was asked last.
    pub(super) fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    fn time<T>(&mut self, work: impl FnOnce(&mut K) -> T) -> T {
        let start = Instant::now();
        let result = work(&mut self.kernel);
        self.spent += start.elapsed();
        result
    }
}

impl<K: Kernel> Kernel for Timed<K> {
    fn prepare(&mut self) -> Result<Ready, Cause> {
        self.time(K::prepare)
    }

    fn observe(&mut self) -> Result<Observed, Cause> {
        self.time(K::observe)
    }

    fn count_connections(
        &mut self,
        of: &BTreeSet<(VirtualServerKey, SocketAddr)>,
    ) -> Result<Connections, Cause> {
        self.time(|kernel| kernel.count_connections(of))
    }

    fn flows(&mut self, of: &BTreeSet<(Family, Protocol)>) -> Result<Vec<Flow>, Cause> {
        self.time(|kernel| kernel.flows(of))
    }

    fn carry_out(&mut self, changes: &[Change]) -> Vec<Result<(), Cause>> {
        self.time(|kernel| kernel.carry_out(changes))
    }
}
