//! Entries of our sets that somebody else has made.
//!
//! In: what the kernel has. Out: values that compare by meaning and print much as `ipset save` does. Never: an entry that a
//! plan makes.

use std::fmt;
use std::net::IpAddr;

use crate::model::{Net, Protocol};

/// An entry of a set of ours that Services give no reason for: of a protocol that they do not have, or an
/// exception. It is observed so that it can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnplannedEntry {
    /// The destination address.
    pub address: IpAddr,
    /// The protocol's IANA number.
    pub protocol: u8,
    /// The port; of ICMP the type and the code, of a protocol without ports 0.
    pub port: u16,
    /// What it says of sources, by the type of its set.
    pub source: UnplannedSource,
}

/// What an unplanned entry says of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnplannedSource {
    /// `hash:ip,port`: nothing.
    Any,
    /// `hash:ip,port,ip`: the address.
    Address(IpAddr),
    /// `hash:ip,port,net`: a network that matches.
    Net(Net),
    /// `hash:ip,port,net` with `nomatch`: a network that does not match, although a larger one of the set
    /// may have it. The kernel keeps either the exception or the entry with the same parts: adding one
    /// replaces the other, and removing one removes whichever is there.
    Exception(Net),
}

impl fmt::Display for UnplannedEntry {
    /// Writes a protocol that Services do not have as its number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, protocol, port, source } = self;
        match Protocol::of_number(*protocol) {
            Some(protocol) => write!(f, "{address},{protocol}:{port}")?,
            None => write!(f, "{address},{protocol}:{port}")?,
        }
        match source {
            UnplannedSource::Any => Ok(()),
            UnplannedSource::Address(source) => write!(f, ",{source}"),
            UnplannedSource::Net(net) => write!(f, ",{}", Source(*net)),
            UnplannedSource::Exception(net) => write!(f, ",{} nomatch", Source(*net)),
        }
    }
}

/// A network as ipset prints it: a single host without its prefix length.
pub(super) struct Source(pub(super) Net);

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => write!(f, "{}", self.0.addr()),
            false => write!(f, "{}", self.0),
        }
    }
}
