//! Attributes that this crate does not know. They are kept and written back unchanged.

use netlink_batch::attribute::{Attribute, EncodeError, Writer};

/// An attribute of a later kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unknown {
    /// The type (`nla_type`) as on the wire, with `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` if they were set.
    pub kind: u16,
    /// The bytes of the value, without padding.
    pub value: Vec<u8>,
}

impl Unknown {
    pub(crate) fn keep(attribute: Attribute<'_>) -> Self {
        Unknown { kind: attribute.kind | attribute.flags, value: attribute.value.to_vec() }
    }

    /// Writes kept attributes unchanged.
    pub(crate) fn write_all(
        unknown: &[Unknown],
        writer: &mut Writer<'_>,
    ) -> Result<(), EncodeError> {
        unknown.iter().try_for_each(|attribute| writer.bytes(attribute.kind, &attribute.value))
    }
}
