//! WHAT THE PROXY ANSWERS: whether it keeps up, whether a Service is served on this node, what is
//! counted and set.
//!
//! In: values that the sync thread leaves behind after a round ([`HealthTable`], [`ProxyHealth`],
//! metrics). Out: HTTP answers to load balancers, probes and scrapers. Never: a question to the sync
//! thread, a wait of its, or a change to what it programs.

pub use self::health::{FamilyHealth, HealthStatus, Moment, ProxyHealth};
pub use self::inspect::{ConfigurationNote, Inspect, Process};
pub use self::listener::try_to_listen;
pub use self::probes::Probes;
pub use self::server::{OnBindFailure, RETRY, Server, ServerKind, Unbound};
pub use self::service_health::ServiceHealth;
pub use self::table::HealthTable;

mod health;
mod inspect;
mod listener;
mod plain;
mod probes;
mod server;
mod service_health;
mod table;
