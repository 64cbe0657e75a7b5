//! Names of API objects.
//!
//! Takes namespaces and names as the API gives them. Gives ordered keys that can share their text, so that a
//! name used by thousands of facts is stored once. Does not name kernel objects.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

macro_rules! namespaced_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            /// The object's namespace; never empty.
            pub namespace: Arc<str>,
            /// The object's name; never empty.
            pub name: Arc<str>,
        }

        impl $name {
            /// Returns the name of an object in a namespace.
            pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
                Self { namespace: namespace.into(), name: name.into() }
            }
        }

        /// Orders by namespace, then by name. Compares pointers first, because equal namespaces usually share
        /// their text.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                let namespaces = match Arc::ptr_eq(&self.namespace, &other.namespace) {
                    true => Ordering::Equal,
                    false => self.namespace.cmp(&other.namespace),
                };
                namespaces.then_with(|| self.name.cmp(&other.name))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }
    };
}

namespaced_name! {
    /// The name of a Service, displayed as `namespace/name`.
    ServiceName
}

namespaced_name! {
    /// The name of an EndpointSlice, displayed as `namespace/name`.
    SliceName
}
