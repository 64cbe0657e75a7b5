//! Reads the `metadata` of objects.
//!
//! Takes the `metadata` of any object. Returns its name and the fields that a watch needs, the
//! labels that the kind's own type names, and one annotation. Does not keep managed fields, other
//! annotations and owners, which make up most of an object's text.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::field::Field;

/// The metadata of an object whose labels of interest are `L`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", bound = "L: Deserialize<'de> + Default")]
pub struct Metadata<L> {
    /// `name`.
    pub name: Field<String>,
    /// `namespace`; absent in objects without one, and in manifests that mean `default`.
    pub namespace: Field<String>,
    /// `resourceVersion`: where a watch may be resumed after this object.
    pub resource_version: Field<String>,
    /// `creationTimestamp`, RFC 3339.
    pub creation_timestamp: Field<String>,
    /// `labels`.
    pub labels: Field<L>,
    /// True if `deletionTimestamp` is set: the deletion of the object was requested.
    #[serde(deserialize_with = "presence_of_value")]
    pub deletion_timestamp: bool,
    /// `annotations`.
    pub annotations: Field<Annotations>,
}

/// The annotations of any object that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// `endpoints.kubernetes.io/last-change-trigger-time` of an EndpointSlice, RFC 3339.
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    pub last_change: Field<String>,
}

impl<L> Metadata<L> {
    /// Returns the resource version, if there is one.
    pub fn resource_version(&self) -> Option<&str> {
        self.resource_version.given().map(String::as_str)
    }
}

/// Returns true. For labels of which only the presence counts, whatever their value.
pub(super) fn presence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Returns true unless the value is `null`. For fields of which only the presence counts.
fn presence_of_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(deserializer)?.is_some())
}
