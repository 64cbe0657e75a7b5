//! THE DEED: walk the changes through a kernel.
//!
//! In: a [`ChangeSet`](crate::diff::ChangeSet) and something that is a [`Kernel`]. Out: an
//! [`Outcome`] that names every failure with its operation, key and cause. Never: another choice
//! because a call failed, or a neighbour stopped by it. The consequences of a failure are that its object is tried
//! again later, and that what would become reachable without its protection is held back until then.

pub use self::cause::{Cause, CauseKind, Refusal};
pub(crate) use self::execution::Execution;
pub use self::execution::{Budget, apply};
pub(crate) use self::kernel::FLOWS_AT_ONCE;
pub use self::kernel::{Answered, Connections, Kernel, KernelReading, Part, Ready, RulesReading};
pub use self::order::Stage;
pub use self::outcome::{Differences, Draining, Failure, Outcome};
pub(crate) use self::refused::{Due, Refused};

mod blocked;
mod cause;
mod coverage;
mod execution;
mod kernel;
mod order;
mod outcome;
mod refused;

#[cfg(any(test, feature = "testing"))]
pub mod fake;
