//! `metadata`, as far as it matters here.
//!
//! In: `metadata` of any object. Out: its name and what a watch needs; labels only as far as the
//! kind at hand names them in its own type, and one annotation. Never: managed fields, other
//! annotations, owners, which make up most of an object's text.

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
    /// Whether `deletionTimestamp` is there: somebody has asked for the object to be deleted.
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
    /// The resource version, if there is one.
    pub fn resource_version(&self) -> Option<&str> {
        self.resource_version.given().map(String::as_str)
    }
}

/// For labels of which only the presence counts, whatever their value.
pub(super) fn presence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// The same for a field that may be `null`, which is absence.
fn presence_of_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(deserializer)?.is_some())
}
