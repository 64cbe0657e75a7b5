//! Lists every field that the API has, whether or not this proxy uses it.
//!
//! Takes the types of `k8s-openapi`, which are generated from the published OpenAPI documents.
//! Returns a tree of field names: each type deserializes an object that has every field once. Does
//! not hold values.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

/// The fields of a part of an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// A value, or a map with arbitrary keys, such as labels.
    #[default]
    Any,
    /// An object with these fields and no others.
    Named(BTreeMap<&'static str, Fields>),
    /// A list of such parts.
    List(Box<Fields>),
}

/// The fields of `core/v1 Service`.
pub static SERVICE: LazyLock<Fields> = LazyLock::new(Fields::of::<Service>);
/// The fields of `discovery.k8s.io/v1 EndpointSlice`.
pub static ENDPOINT_SLICE: LazyLock<Fields> = LazyLock::new(Fields::of::<EndpointSlice>);

/// The value of every text field. It is a time because some fields are times.
const TEXT: &str = "1970-01-01T00:00:00Z";

impl Fields {
    fn of<T: Resource + DeserializeOwned>() -> Self {
        let mut fields = Self::Any;
        // If a type cannot read what it is given, the fields it has read so far are known.
        let root = Some((T::API_VERSION, T::KIND));
        let _ = T::deserialize(Probe { fields: &mut fields, text: TEXT, root });
        fields
    }
}

/// A deserializer that gives a type whatever it asks for, and notes the fields.
struct Probe<'f> {
    fields: &'f mut Fields,
    text: &'static str,
    /// The `apiVersion` and `kind` that the root of an object expects.
    root: Option<(&'static str, &'static str)>,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(false)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        *self.fields = Fields::List(Box::default());
        let Fields::List(element) = self.fields else { return visitor.visit_unit() };
        visitor.visit_seq(OneElement(Some(element)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(EveryField { names: [].iter(), next: None, into: None, root: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.fields = Fields::Named(BTreeMap::new());
        let into = match self.fields {
            Fields::Named(into) => Some(into),
            Fields::Any | Fields::List(_) => None,
        };
        visitor.visit_map(EveryField { names: names.iter(), next: None, into, root: self.root })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum
        identifier ignored_any
    }
}

/// A list of one element.
struct OneElement<'f>(Option<&'f mut Box<Fields>>);

impl<'de> SeqAccess<'de> for OneElement<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(fields) = self.0.take() else { return Ok(None) };
        seed.deserialize(Probe { fields, text: TEXT, root: None }).map(Some)
    }
}

/// An object that has every field that its type knows.
struct EveryField<'f> {
    names: std::slice::Iter<'static, &'static str>,
    next: Option<&'static str>,
    into: Option<&'f mut BTreeMap<&'static str, Fields>>,
    root: Option<(&'static str, &'static str)>,
}

impl<'de> MapAccess<'de> for EveryField<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.next = self.names.next().copied();
        let Some(name) = self.next else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let name = self.next.unwrap_or_default();
        let text = match (name, self.root) {
            ("apiVersion", Some((api_version, _))) => api_version,
            ("kind", Some((_, kind))) => kind,
            _ => TEXT,
        };
        let mut fields = Fields::Any;
        let value = seed.deserialize(Probe { fields: &mut fields, text, root: None });
        if let Some(into) = &mut self.into {
            into.insert(name, fields);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'f>(fields: &'f Fields, path: &[&'static str]) -> &'f Fields {
        path.iter().fold(fields, |fields, name| match fields {
            Fields::Named(names) => names.get(name).unwrap_or_else(|| panic!("{path:?}")),
            Fields::List(element) if *name == "[]" => element,
            Fields::List(_) | Fields::Any => panic!("{path:?} {fields:?}"),
        })
    }

    #[test]
    fn every_field_of_the_api_is_known() {
        let service = &*SERVICE;
        for path in [
            &["apiVersion"][..],
            &["kind"],
            &["metadata", "uid"],
            &["metadata", "managedFields", "[]", "fieldsV1"],
            &["metadata", "ownerReferences", "[]", "blockOwnerDeletion"],
            &["metadata", "deletionGracePeriodSeconds"],
            &["metadata", "generateName"],
            &["metadata", "selfLink"],
            &["spec", "allocateLoadBalancerNodePorts"],
            &["spec", "clusterIPs"],
            &["spec", "loadBalancerClass"],
            &["spec", "ports", "[]", "appProtocol"],
            &["spec", "ports", "[]", "targetPort"],
            &["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"],
            &["spec", "trafficDistribution"],
            &["status", "conditions", "[]", "lastTransitionTime"],
            &["status", "loadBalancer", "ingress", "[]", "ports", "[]", "error"],
        ] {
            at(service, path);
        }
        assert_eq!(at(service, &["metadata", "labels"]), &Fields::Any);
        assert_eq!(at(service, &["metadata", "annotations"]), &Fields::Any);
        assert_eq!(at(service, &["spec", "selector"]), &Fields::Any);
        assert_eq!(at(service, &["metadata", "managedFields", "[]", "fieldsV1"]), &Fields::Any);
        let slice = &*ENDPOINT_SLICE;
        for path in [
            &["addressType"][..],
            &["endpoints", "[]", "conditions", "terminating"],
            &["endpoints", "[]", "deprecatedTopology"],
            &["endpoints", "[]", "hints", "forNodes", "[]", "name"],
            &["endpoints", "[]", "targetRef", "resourceVersion"],
            &["endpoints", "[]", "zone"],
            &["ports", "[]", "appProtocol"],
        ] {
            at(slice, path);
        }
    }
}
