//! The name of a set.
//!
//! Takes text from the caller, or bytes from the kernel. Gives a name that the kernel can store: one to
//! thirty-one bytes without NUL, stored inline without allocation. Does not truncate names. The kernel
//! accepts any bytes, so a name that another program chose need not be UTF-8.

use std::{
    fmt::{self, Write},
    str::FromStr,
};

use thiserror::Error;

use crate::uapi::IPSET_MAXNAMELEN;

/// A set's name: one to thirty-one bytes, no NUL.
///
/// ```
/// use ipset_netlink::SetName;
///
/// let name: SetName = "KUBE-CLUSTER-IP".parse()?;
/// assert_eq!(name.to_string(), "KUBE-CLUSTER-IP");
/// assert!("a name that is longer than the kernel has room for".parse::<SetName>().is_err());
/// # Ok::<(), ipset_netlink::InvalidName>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName {
    // The bytes after the name are zero, and there is at least one: comparing the arrays compares the names.
    bytes: [u8; IPSET_MAXNAMELEN],
    length: u8,
}

/// The reason why bytes are not a set's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// The name has no bytes.
    #[error("a set name cannot be empty")]
    Empty,
    /// The name has more than thirty-one bytes.
    #[error("a set name has at most 31 bytes, this one has {0}")]
    TooLong(usize),
    /// The name contains a NUL, at which the kernel would end it.
    #[error("a set name cannot hold a NUL byte")]
    Nul,
}

impl SetName {
    /// Converts bytes to a name.
    ///
    /// # Errors
    ///
    /// Returns an [`InvalidName`] if there are no bytes or too many, or if they contain a NUL.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, InvalidName> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(InvalidName::Empty);
        }
        if name.contains(&0) {
            return Err(InvalidName::Nul);
        }
        if name.len() >= IPSET_MAXNAMELEN {
            return Err(InvalidName::TooLong(name.len()));
        }
        let mut bytes = [0; IPSET_MAXNAMELEN];
        for (to, from) in bytes.iter_mut().zip(name) {
            *to = *from;
        }
        Ok(SetName { bytes, length: name.len() as u8 })
    }

    /// Returns the name without padding or NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Returns the name and one NUL, as in a message.
    pub(crate) fn with_nul(&self) -> &[u8] {
        self.bytes.get(..=usize::from(self.length)).unwrap_or_default()
    }
}

impl FromStr for SetName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        SetName::new(name)
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetName(\"{}\")", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_to_thirty_one_bytes() {
        assert_eq!(SetName::new(""), Err(InvalidName::Empty));
        assert!(SetName::new("x".repeat(31)).is_ok());
        assert_eq!(SetName::new("x".repeat(32)), Err(InvalidName::TooLong(32)));
        assert_eq!(SetName::new("a\0b"), Err(InvalidName::Nul));
    }

    #[test]
    fn a_name_that_is_not_text_still_prints() {
        let name = SetName::new(b"caf\xe9").unwrap();
        assert_eq!(name.to_string(), "caf\u{fffd}");
        assert_eq!(format!("{name:?}"), r#"SetName("caf\xe9")"#);
    }

    #[test]
    fn names_sort_as_their_bytes() {
        let sorted = |a: &str, b: &str| SetName::new(a).unwrap() < SetName::new(b).unwrap();
        assert!(sorted("a", "ab") && sorted("ab", "b"));
    }
}
