//! What is wrong with an object.
//!
//! In: the object's name, the field and what stood there. Out: one line for the operator:
//! `Service shop/web: spec.ports[1].port: 0 is not a port (1–65535)`. Never: the object itself.

use std::fmt;

use super::name::Plain;

/// A kind of API object that this program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `core/v1 Service`.
    Service,
    /// `discovery.k8s.io/v1 EndpointSlice`.
    EndpointSlice,
    /// `core/v1 Node`.
    Node,
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for a Node.
    pub namespace: String,
    /// Its name; empty if that is what is wrong.
    pub name: String,
}

/// Something in an object that cannot be used and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which object.
    pub object: ObjectId,
    /// Which field, as `kubectl explain` and `jsonpath` write it: `spec.ports[1].port`.
    pub field: String,
    /// What stands there and what should: `0 is not a port (1–65535)`.
    pub message: String,
}

impl Kind {
    /// The name that the API has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", Plain(&self.namespace))?;
        }
        let name = if self.name.is_empty() { "(without a name)" } else { &self.name };
        write!(f, "{}", Plain(name))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.message)
    }
}
