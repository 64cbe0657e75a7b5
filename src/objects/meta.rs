//! `metadata`, as far as it matters here.
//!
//! In: `metadata` of any object. Out: its name and what a watch needs; labels only as far as the
//! kind at hand names them in its own type. Never: managed fields, annotations, owners, which
//! make up most of an object's text.

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
