//! Encoder and decoder of netlink attributes: appends to a `Vec<u8>`, reads from a slice.
//!
//! Takes an attribute's type and value, and appends the bytes to the caller's buffer. Takes bytes, and gives
//! an iterator of types and values that borrow from them. Does not allocate for an attribute, does not panic,
//! and does not write a length that does not fit `nla_len`.
//!
//! This crate does not use those of `netlink-packet-core`. Its `NlasIterator` lends a value only for its
//! item's lifetime and reads each header several times. It was a fifth of the cost of a burst of endpoint
//! changes. Its `Nla` and `Emitable` are made for attributes that exist as values: they measure each one,
//! then fill a slice allocated before. They also truncate a length beyond 65,535.

use netlink_packet_core::{DecodeError, NLA_F_NESTED, NLA_HEADER_SIZE, NLA_TYPE_MASK};

/// An attribute that was read from bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type (`nla_type`) without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
    pub kind: u16,
    /// The flags among those two that were set; `kind | flags` was on the wire.
    pub flags: u16,
    /// The bytes of the value, without padding.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Returns the attributes inside this one.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }

    /// Returns the value as one byte.
    pub fn u8(&self) -> Result<u8, DecodeError> {
        self.number().map(u8::from_ne_bytes)
    }

    /// Returns the value as a 16-bit number in the host's byte order.
    pub fn u16(&self) -> Result<u16, DecodeError> {
        self.number().map(u16::from_ne_bytes)
    }

    /// Returns the value as a 32-bit number in the host's byte order.
    pub fn u32(&self) -> Result<u32, DecodeError> {
        self.number().map(u32::from_ne_bytes)
    }

    /// Returns the value as a 64-bit number in the host's byte order.
    pub fn u64(&self) -> Result<u64, DecodeError> {
        self.number().map(u64::from_ne_bytes)
    }

    /// Returns the value as a 16-bit number in network byte order.
    pub fn be16(&self) -> Result<u16, DecodeError> {
        self.number().map(u16::from_be_bytes)
    }

    /// Returns the value as a 32-bit number in network byte order.
    pub fn be32(&self) -> Result<u32, DecodeError> {
        self.number().map(u32::from_be_bytes)
    }

    /// Returns the value as a 64-bit number in network byte order.
    pub fn be64(&self) -> Result<u64, DecodeError> {
        self.number().map(u64::from_be_bytes)
    }

    fn number<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        let wrong =
            |_| DecodeError::from(format!("{N} bytes expected, {} found", self.value.len()));
        self.value.try_into().map_err(wrong)
    }

    /// Returns the value up to its first NUL, as text.
    pub fn string(&self) -> Result<String, DecodeError> {
        Ok(String::from_utf8(self.text().to_vec())?)
    }

    /// Returns the value up to its first NUL, as text; bytes that are not UTF-8 are replaced.
    pub fn string_lossy(&self) -> String {
        String::from_utf8_lossy(self.text()).into_owned()
    }

    fn text(&self) -> &'a [u8] {
        self.value.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Iterates over the attributes in a slice, in order. Ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads from `bytes`, which must begin with an attribute's header.
    pub fn new(bytes: &'a [u8]) -> Self {
        Attributes { rest: bytes }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.rest);
        Some(split(bytes).ok_or_else(|| malformed(bytes)).map(|(attribute, rest)| {
            self.rest = rest;
            attribute
        }))
    }
}

/// Splits off a `struct nlattr`: a length that includes these four bytes, a type, and the value.
#[inline]
fn split(bytes: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let [a, b, c, d] = *bytes.first_chunk::<NLA_HEADER_SIZE>()?;
    let (length, raw) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
    let value = bytes.get(NLA_HEADER_SIZE..length)?;
    let kind = raw & NLA_TYPE_MASK;
    let rest = bytes.get(length.next_multiple_of(NLA_HEADER_SIZE)..).unwrap_or_default();
    Some((Attribute { kind, flags: raw & !NLA_TYPE_MASK, value }, rest))
}

#[cold]
fn malformed(bytes: &[u8]) -> DecodeError {
    let Some([a, b, ..]) = bytes.first_chunk::<NLA_HEADER_SIZE>() else {
        return DecodeError::invalid_buffer("attribute", bytes.len(), NLA_HEADER_SIZE);
    };
    let length = u16::from_ne_bytes([*a, *b]);
    DecodeError::from(format!(
        "an attribute of length {length} where {} bytes are left",
        bytes.len()
    ))
}

/// The error for an attribute that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The value does not fit the 16-bit length of an attribute.
    #[error("attribute {kind} of {length} bytes is longer than 65,531")]
    TooLong {
        /// The type (`nla_type`).
        kind: u16,
        /// The length of the value in bytes.
        length: usize,
    },
    /// The text contains a NUL, at which the kernel would cut it off.
    #[error("the text of attribute {kind} contains NUL")]
    InteriorNul {
        /// The type (`nla_type`).
        kind: u16,
    },
}

/// A writer that appends attributes to a buffer.
///
/// The methods write `kind` as given. Add `NLA_F_NET_BYTEORDER` to it for families that want the flag, such
/// as ipset. Only [`nested`](Writer::nested) adds its own flag.
///
/// ```
/// use netlink_batch::attribute::{Attributes, Writer};
///
/// let mut bytes = Vec::new();
/// Writer::new(&mut bytes).nested(1, |inner| {
///     inner.u16(2, 17);
///     inner.nul_string(6, "rr")
/// })?;
/// let outer = Attributes::new(&bytes).next().unwrap()?;
/// assert_eq!(outer.nested().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    /// Creates a writer that appends to `buffer`. Its length must be a multiple of four (netlink's
    /// alignment).
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        Writer(buffer)
    }

    /// Returns the current length of the whole buffer in bytes.
    pub fn position(&self) -> usize {
        self.0.len()
    }

    /// Appends one byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.fixed(kind, [value]);
    }

    /// Appends a 16-bit number in the host's byte order.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.fixed(kind, value.to_ne_bytes());
    }

    /// Appends a 32-bit number in the host's byte order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.fixed(kind, value.to_ne_bytes());
    }

    /// Appends a 64-bit number in the host's byte order.
    pub fn u64(&mut self, kind: u16, value: u64) {
        self.fixed(kind, value.to_ne_bytes());
    }

    /// Appends a 16-bit number in network byte order.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.fixed(kind, value.to_be_bytes());
    }

    /// Appends a 32-bit number in network byte order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.fixed(kind, value.to_be_bytes());
    }

    /// Appends a 64-bit number in network byte order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.fixed(kind, value.to_be_bytes());
    }

    /// Appends a flag: an attribute without a value.
    pub fn flag(&mut self, kind: u16) {
        self.fixed(kind, []);
    }

    /// Appends bytes of a length known at compile time, such as addresses and small structures.
    pub fn fixed<const N: usize>(&mut self, kind: u16, value: [u8; N]) {
        const { assert!(N <= MAX_VALUE_BYTES, "longer than an attribute") };
        self.append(kind, N, &value);
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// Returns [`EncodeError::TooLong`] beyond 65,531 bytes; nothing is appended then.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> Result<(), EncodeError> {
        fits(kind, value.len())?;
        self.append(kind, value.len(), value);
        Ok(())
    }

    /// Appends text and a closing NUL.
    ///
    /// # Errors
    ///
    /// Returns an [`EncodeError`] if the text is too long or contains a NUL; nothing is appended then.
    pub fn nul_string(&mut self, kind: u16, value: &str) -> Result<(), EncodeError> {
        fits(kind, value.len() + 1)?;
        if value.as_bytes().contains(&0) {
            return Err(EncodeError::InteriorNul { kind });
        }
        self.header(kind, value.len() + 1);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.pad();
        Ok(())
    }

    /// Appends an attribute of attributes: its value is what `fill` appends, and `NLA_F_NESTED` is set.
    ///
    /// # Errors
    ///
    /// Returns [`EncodeError::TooLong`], or the error of `fill`; nothing is appended then.
    pub fn nested(
        &mut self,
        kind: u16,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.0.len();
        self.header(kind | NLA_F_NESTED, 0);
        let filled = fill(&mut Writer(self.0));
        let length = self.0.len().saturating_sub(start + NLA_HEADER_SIZE);
        if let Err(error) = filled.and_then(|()| fits(kind, length)) {
            self.0.truncate(start);
            return Err(error);
        }
        if let Some(header) = self.0.get_mut(start..start + 2) {
            header.copy_from_slice(&length_field(length));
        }
        Ok(())
    }

    fn append(&mut self, kind: u16, length: usize, value: &[u8]) {
        self.header(kind, length);
        self.0.extend_from_slice(value);
        self.pad();
    }

    fn header(&mut self, kind: u16, length: usize) {
        self.0.extend_from_slice(&length_field(length));
        self.0.extend_from_slice(&kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The length of the longest value in bytes: `nla_len` counts the header too.
const MAX_VALUE_BYTES: usize = u16::MAX as usize - NLA_HEADER_SIZE;

fn fits(kind: u16, length: usize) -> Result<(), EncodeError> {
    if length > MAX_VALUE_BYTES {
        return Err(EncodeError::TooLong { kind, length });
    }
    Ok(())
}

/// Returns the bytes of `nla_len` for a value that fits.
fn length_field(length: usize) -> [u8; 2] {
    ((length + NLA_HEADER_SIZE) as u16).to_ne_bytes()
}

#[cfg(test)]
mod tests;
