//! The proxy's HTTP servers: health, health checks of Services, metrics and settings.
//!
//! Takes values that the sync thread publishes after a round ([`HealthTable`], [`ProxyHealth`], metrics). Answers load
//! balancers, probes and scrapers. Does not ask the sync thread or make it wait. Does not change kernel state.

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
