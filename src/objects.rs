//! Reads API objects and converts them into facts.
//!
//! Takes JSON or YAML of `core/v1 Service`, `discovery.k8s.io/v1 EndpointSlice` and `core/v1 Node`,
//! from an API server or from a file. Returns values of [`proxier::model`], and a [`Problem`] for
//! everything that could not be used. The types hold only the fields that decide kernel state; the
//! parser skips other fields. A field of the wrong type is kept as a note ([`Field::Wrong`]). So
//! one bad object does not fail its list, and one bad port does not fail its Service. Does not send
//! requests, read files or decide about the kernel.

pub use self::field::{Field, List};
pub use self::fields::Fields;
pub use self::meta::Metadata;
pub use self::name::Plain;
pub use self::node::Node;
pub use self::problem::{Kind, ObjectId, Problem, Spoils};
pub use self::reports::Reports;
pub use self::service::Service;
pub use self::slice::EndpointSlice;

pub mod convert;
mod field;
pub mod fields;
pub mod meta;
mod name;
pub mod node;
mod problem;
mod reports;
pub mod service;
pub mod slice;

#[cfg(test)]
mod tests;
