//! Entries of this proxy's sets that another program has made.
//!
//! Takes entries as the kernel has them. Gives values that compare by meaning and print nearly as `ipset
//! save` prints them. Does not represent entries that plans make.

use std::fmt;
use std::net::IpAddr;

use crate::model::{Net, Protocol};

/// An entry of one of this proxy's sets that no plan makes: its protocol is one that Services cannot have, or
/// it is an exception (`nomatch`). Such entries are read so that they can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnplannedEntry {
    /// The destination address.
    pub address: IpAddr,
    /// The protocol's IANA number.
    pub protocol: u8,
    /// The port; type and code for ICMP, 0 for a protocol without ports.
    pub port: u16,
    /// The sources that the entry matches, by the type of its set.
    pub source: UnplannedSource,
}

/// The source part of an unplanned entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnplannedSource {
    /// No source, in a set of type `hash:ip,port`.
    Any,
    /// A source address, in a set of type `hash:ip,port,ip`.
    Address(IpAddr),
    /// A source network that matches, in a set of type `hash:ip,port,net`.
    Net(Net),
    /// A source network that does not match (`nomatch`), in a set of type `hash:ip,port,net`, although a
    /// larger network of the set may contain it. The kernel keeps either the exception or the entry with the
    /// same parts. Adding one replaces the other, and removing one removes whichever is there.
    Exception(Net),
}

impl fmt::Display for UnplannedEntry {
    /// Writes the protocol by name if a Service can have it, and by number otherwise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, protocol, port, source } = self;
        match Protocol::of_number(*protocol) {
            Some(known) => write!(f, "{address},{known}:{port}")?,
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

/// A network as ipset prints it: a single host has no prefix length.
pub(super) struct Source(pub(super) Net);

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => write!(f, "{}", self.0.addr()),
            false => write!(f, "{}", self.0),
        }
    }
}
