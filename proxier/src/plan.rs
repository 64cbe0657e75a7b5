//! The plan: computes the kernel state that the facts at hand require.
//!
//! Takes one Service with its slices, the node, and the [`Settings`]. Gives a [`ServicePlan`] for each
//! Service. [`Desired`] combines them and counts how many of them need each kernel object. Does not look at
//! kernel state, at earlier plans, at connection counts or at the time.

pub use self::backend::NoLocalEndpoints;
pub use self::counts::DirtyKeys;
pub use self::desired::{Conflicts, Desired, Owner, WithoutLocal};
pub use self::feature::{Feature, Missing};
pub use self::frontend::{Binding, Frontend, NodeAccess};
pub use self::health::{HealthCheck, HealthCheckAddresses};
pub(crate) use self::local_node::{LocalNode, health_check_addresses};
pub use self::rules::{ChainKey, Jump, Rules, Table};
pub(crate) use self::rules::{OUT_FILTER, refused_by};
pub use self::server::{
    NodePort, ServerFlags, ServerSettings, VirtualServer, VirtualServerDestination,
    VirtualServerKey, weight,
};
pub use self::service::ServicePlan;
pub(crate) use self::service::plan_service;
pub use self::set::{Entry, SetKey, SetKind, SetName};
pub use self::settings::{Compatibility, DrainLimits, LocalDetection, NodePortAddresses, Settings};
pub use self::unplanned::{UnplannedEntry, UnplannedSource};

mod backend;
mod counts;
mod desired;
mod dump;
mod feature;
mod frontend;
mod health;
mod local_node;
mod rules;
mod server;
mod service;
mod set;
mod settings;
mod unplanned;
