//! Describes errors in an object.
//!
//! Takes the object's name, the field and its content. Returns one line for the operator: `Service
//! shop/web: spec.ports[1].port: 0 is not a port (1–65535)`. Does not hold the object itself.

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

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// The kind of the object.
    pub kind: Kind,
    /// The namespace of the object; empty for a Node.
    pub namespace: String,
    /// The name of the object; empty if it has none.
    pub name: String,
}

/// The extent of what a problem makes unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoils {
    /// The part of the object that the field names. The object is used without it.
    Part,
    /// The whole object. The proxy goes on with the last state of it that it could read.
    Object,
}

/// A part of an object that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object that has the problem.
    pub object: ObjectId,
    /// The path of the field, as `kubectl explain` and `jsonpath` write it: `spec.ports[1].port`.
    pub field: String,
    /// The value that is there and the one that is expected: `0 is not a port (1–65535)`.
    pub message: String,
    /// The extent of what is left out because of it.
    pub spoils: Spoils,
}

impl Problem {
    /// True if an object with these problems cannot be read. An object that can be read and is not used, such as
    /// a headless Service, has no such problem.
    pub fn is_unreadable(problems: &[Self]) -> bool {
        problems.iter().any(|problem| problem.spoils == Spoils::Object)
    }
}

impl Kind {
    /// Returns the name of the kind in the API.
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
