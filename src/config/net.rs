//! A network as it is written in a setting.
//!
//! In: text. Out: the network. Never: one whose address some programs would read as another, as those
//! with leading zeros.

use std::net::IpAddr;

use proxier::model::Net;

/// `ADDRESS/BITS`; the library reads leading zeros as decimal numbers, where others read octal ones.
pub(super) fn net(text: &str) -> Option<Net> {
    let (address, bits) = text.split_once('/')?;
    let is_plain = address.parse::<IpAddr>().is_ok() && (bits == "0" || !bits.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::net;

    #[test]
    fn leading_zeros_are_refused() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "10.1.2.3/32"] {
            assert_eq!(net(text).map(|net| net.to_string()).as_deref(), Some(text));
        }
        for text in ["010.0.0.0/8", "10.0.00.0/8", "10.0.0.0/08", "10.0.0.0", "", "x/8"] {
            assert_eq!(net(text), None, "{text}");
        }
    }
}
