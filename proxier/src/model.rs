//! The facts about the cluster and the node, in this crate's own types.
//!
//! Takes [`Event`]s, whose values are already converted and checked. Gives the [`Store`], which folds events
//! into facts and names the Services that they affect. Contains no Kubernetes types, no desired state and no
//! clock. Conversion rejects what cannot be programmed (port 0, an address of the wrong family, an unknown
//! protocol), so it does not get here.

pub use self::address::{Family, Net, PerFamily, Protocol};
pub use self::dirty::{Arrived, Dirty, Pending, TriggerTime};
pub use self::endpoint::{Endpoint, Hints, LastChange, Slice, SlicePort};
pub use self::event::{Batch, Event, Removed, Unread, Update};
pub use self::name::{ServiceName, SliceName};
pub use self::node::{DUMMY_DEVICE, InterfaceAddress, Node, NodeAddresses, NodeReadiness};
pub use self::outside::{AddressOwner, ForeignAddress};
pub use self::service::{
    Affinity, Completeness, Service, ServicePort, SourceRanges, TrafficPolicy,
};
pub use self::store::Store;

mod address;
mod dirty;
mod endpoint;
mod event;
mod name;
mod names;
mod node;
mod outside;
mod service;
mod store;
