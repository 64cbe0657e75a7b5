//! Carries out the changes of a round in the kernel.
//!
//! Takes a [`ChangeSet`](crate::diff::ChangeSet) and a [`Kernel`]. Returns an [`Outcome`] that names every
//! failure with its operation, object and cause. Does not plan something else because a change failed, and
//! does not let a failure stop unrelated changes. A failed change is tried again later. Changes that would
//! make something reachable without its protection are held back until then.

pub use self::cause::{Cause, CauseKind, Refusal};
pub(crate) use self::execution::Execution;
pub use self::execution::{Budget, apply};
pub use self::kernel::{Answered, Connections, Kernel, KernelReading, Part, Ready, RulesReading};
pub use self::order::{Stage, ordered};
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
