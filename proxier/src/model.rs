//! THE FACTS: what the cluster and the node say, in our words.
//!
//! In: values that a door has already converted and checked ([`Event`]). Out: the [`Store`], which
//! folds events into facts and names the Services they touch. Never: a Kubernetes type, a wish
//! about the kernel, a clock. What cannot be programmed (port 0, an address of the wrong family,
//! an unknown protocol) is turned away at the door and does not get here.

pub use self::address::{Family, Net, PerFamily, Protocol};
pub use self::endpoint::{Endpoint, Hints, LastChange, Slice, SlicePort};
pub use self::event::{Event, Removed, Update};
pub use self::name::{ServiceName, SliceName};
pub use self::node::{DUMMY_DEVICE, InterfaceAddress, Node, NodeReadiness};
pub use self::outside::{AddressOwner, ForeignAddress};
pub use self::service::{
    Affinity, Completeness, Service, ServicePort, SourceRanges, TrafficPolicy,
};
pub use self::store::{Dirty, Pending, Store, TriggerTime};

mod address;
mod endpoint;
mod event;
mod name;
mod names;
mod node;
mod outside;
mod service;
mod store;
