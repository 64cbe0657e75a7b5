//! THE WISH: what the kernel should hold for the facts at hand.
//!
//! In: one Service with its slices, the node, and the [`Settings`]. Out: a [`Contribution`] for
//! each Service, gathered in [`Desired`], which counts who wants what. Never: a look at what the
//! kernel has, at what was planned before, at connection counts or at time.

pub use self::desired::{Claimant, Desired, Touched};
pub use self::health::{HealthCheck, HealthCheckAddresses};
pub use self::rules::{ChainKey, Jump, Rules, Table};
pub use self::server::{ServerFlags, ServerSettings, VirtualServer, VirtualServerKey, weight};
pub use self::service::{Contribution, contribution};
pub use self::set::{Entry, SetKey, SetKind, SetName};
pub use self::settings::{DrainLimits, LocalDetection, NodePortAddresses, Policy, Settings};

mod backend;
mod desired;
mod dump;
mod health;
mod rules;
mod server;
mod service;
mod set;
mod settings;
