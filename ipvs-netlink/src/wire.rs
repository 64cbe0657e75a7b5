//! The generic-netlink header and the addresses, which all messages of the family have in common.
//!
//! Takes a command number and a closure that appends attributes. Gives one payload. An address is always 16
//! bytes on the wire (`union nf_inet_addr`), with an IPv4 address in the first four.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_batch::attribute::{self, Writer};
use netlink_packet_core::DecodeError;

use crate::{AddressFamily, EncodeError, uapi};

/// The size of `struct genlmsghdr`: command, version, two reserved bytes.
const GENL_HEADER: usize = 4;
/// The size of a message with a virtual server and one destination; most messages are shorter.
const USUAL_SIZE: usize = 192;

/// Builds the payload of one message.
pub(crate) fn message(
    command: u8,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), attribute::EncodeError>,
) -> Result<Vec<u8>, EncodeError> {
    let mut payload = Vec::with_capacity(USUAL_SIZE);
    payload.extend_from_slice(&[command, uapi::IPVS_GENL_VERSION, 0, 0]);
    fill(&mut Writer::new(&mut payload))?;
    Ok(payload)
}

/// Returns the command number of a message and the bytes of its attributes.
pub(crate) fn split_header(payload: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    match payload.split_at_checked(GENL_HEADER) {
        Some(([command, ..], attributes)) => Ok((*command, attributes)),
        _ => Err(DecodeError::invalid_buffer("genlmsghdr", payload.len(), GENL_HEADER)),
    }
}

/// Encodes an address as `union nf_inet_addr`.
pub(crate) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// Decodes `union nf_inet_addr`, or only its first four bytes for an IPv4 address.
pub(crate) fn address(value: &[u8], family: AddressFamily) -> Result<IpAddr, DecodeError> {
    let short = || DecodeError::invalid_ip_address(value.len());
    Ok(match family {
        AddressFamily::Inet => {
            IpAddr::V4(Ipv4Addr::from(*value.first_chunk::<4>().ok_or_else(short)?))
        }
        AddressFamily::Inet6 => {
            IpAddr::V6(Ipv6Addr::from(*value.first_chunk::<16>().ok_or_else(short)?))
        }
    })
}

/// Returns the error for a mandatory attribute that the kernel left out.
pub(crate) fn missing(name: &str) -> DecodeError {
    DecodeError::from(format!("{name} is missing"))
}
