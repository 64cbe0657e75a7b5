//! WHAT THE PROXY ANSWERS: whether it keeps up, and whether a Service is served on this node.
//!
//! In: values that the sync thread leaves behind after a round ([`HealthTable`], [`ProxyHealth`]).
//! Out: HTTP answers to load balancers. Never: a question to the sync thread, a wait of its, or a
//! change to what it programs.

pub use self::health::{FamilyHealth, Moment, ProxyHealth, Standing};
pub use self::service_health::ServiceHealth;
pub use self::table::HealthTable;

mod health;
mod service_health;
mod table;
