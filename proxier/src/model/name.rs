//! Names of API objects.
//!
//! In: namespace and name as the API gives them. Out: ordered keys that share their text, so that
//! a name used by thousands of facts is stored once. Never: names of kernel objects.

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
            /// The name of an object in a namespace.
            pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
                Self { namespace: namespace.into(), name: name.into() }
            }
        }

        /// By namespace, then by name. Most namespaces are the same text in the same place.
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
    /// Which Service: shown as `namespace/name`.
    ServiceName
}

namespaced_name! {
    /// Which EndpointSlice: shown as `namespace/name`.
    SliceName
}
