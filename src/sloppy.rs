//! Parses addresses and networks in every spelling that kube-proxy accepts.
//!
//! Takes text of an object, a configuration or a flag. Returns the address or network that Kubernetes' `ParseIPSloppy`
//! and `ParseCIDRSloppy` (`k8s.io/utils/net`) read, and whether its spelling is usual. Numbers with leading zeros are
//! decimal, and IPv4-mapped IPv6 addresses are IPv4. Refuses spaces around the text, and zones. Does not judge whether
//! the address may be used.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxier::model::Net;

/// A value and its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The value that kube-proxy reads.
    pub value: T,
    /// The spelling of the text.
    pub spelling: Spelling,
}

/// Tells if other programs read the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Every program reads this value.
    Usual,
    /// Some programs refuse the text or read another value: it has leading zeros, or is IPv4-mapped.
    Unusual,
}

/// The bits that mark an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Reads an address; `None` if the text is not one.
pub fn address(text: &str) -> Option<Parsed<IpAddr>> {
    let Parsed { value: written, spelling } = written(text)?;
    let value = unmapped(written);
    Some(Parsed { value, spelling: if value == written { spelling } else { Spelling::Unusual } })
}

/// Reads `ADDRESS/BITS`; `None` if the text is not a network. Bits after the prefix may be set.
pub fn net(text: &str) -> Option<Parsed<Net>> {
    let (address, bits) = text.split_once('/')?;
    let Parsed { value: written, spelling } = written(address)?;
    let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let prefix: u8 = bits.parse().ok().filter(|_| is_number)?;
    let net = Net::new(written, prefix).ok()?;
    let value = match (unmapped(written), prefix.checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(ip), Some(prefix)) if written.is_ipv6() => Net::new(ip.into(), prefix).ok()?,
        // The prefix is too short to cover the bits that mark a mapped address.
        (IpAddr::V4(_), None) if written.is_ipv6() => net.trunc(),
        _ => net,
    };
    let is_usual = value == net && bits == prefix.to_string();
    Some(Parsed { value, spelling: if is_usual { spelling } else { Spelling::Unusual } })
}

/// Reads `IPv4:PORT` or `[IPv6]:PORT`; `None` if the text is neither, or the port is 0.
pub fn socket(text: &str) -> Option<Parsed<SocketAddr>> {
    let (host, port) = text.rsplit_once(':')?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = in_brackets.or(Some(host).filter(|host| !host.contains(':')))?;
    let ip = address(host)?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    Some(Parsed { value: SocketAddr::new(ip.value, port), spelling: ip.spelling })
}

/// Joins an address and a port without changing the address's spelling. IPv6 gets brackets.
pub fn with_port(address: &str, port: i32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Reads an address. An IPv4-mapped address stays IPv6.
fn written(text: &str) -> Option<Parsed<IpAddr>> {
    // Nearly every address has the usual spelling, so try that first, without a copy.
    if let Ok(value) = text.parse() {
        return Some(Parsed { value, spelling: Spelling::Usual });
    }
    let value = without_leading_zeros(text).parse().ok()?;
    Some(Parsed { value, spelling: Spelling::Unusual })
}

fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, Ipv4Addr::into),
    }
}

/// Removes the leading zeros of each number of the address, decimal or hexadecimal.
fn without_leading_zeros(address: &str) -> String {
    let mut plain = String::with_capacity(address.len());
    for word in address.split_inclusive(['.', ':']) {
        let digits = word.trim_end_matches(['.', ':']);
        let rest = digits.trim_start_matches('0');
        plain.push_str(if rest.is_empty() && !digits.is_empty() { "0" } else { rest });
        plain.push_str(word.get(digits.len()..).unwrap_or_default());
    }
    plain
}

/// The warning about an unusual spelling, with the value that is read.
pub fn warning(text: &str, value: impl std::fmt::Display) -> String {
    format!("{text:?} is read as {value}, as kube-proxy does; other programs may read it otherwise")
}

#[cfg(test)]
mod tests {
    use super::{Spelling, address, net, socket};

    fn read<T: ToString>(parsed: Option<super::Parsed<T>>) -> Option<(String, Spelling)> {
        parsed.map(|parsed| (parsed.value.to_string(), parsed.spelling))
    }

    #[test]
    fn usual_spellings_are_read_as_they_are() {
        for text in ["10.96.0.1", "0.0.0.0", "fd00::1", "::", "::1", "1:2:3:4:5:6:7:8", "::1.2.3.4"]
        {
            let parsed = address(text).unwrap();
            assert_eq!(
                (Ok(parsed.value), parsed.spelling),
                (text.parse(), Spelling::Usual),
                "{text}"
            );
        }
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "10.1.2.3/32", "10.1.2.3/8", "::/0"] {
            let parsed = net(text).unwrap();
            assert_eq!(
                (parsed.value.to_string().as_str(), parsed.spelling),
                (text, Spelling::Usual)
            );
        }
        assert_eq!(address("FD00::0001").unwrap().spelling, Spelling::Usual);
        assert_eq!(net("FD00::/8").unwrap().spelling, Spelling::Usual);
    }

    #[test]
    fn leading_zeros_are_decimal_and_mapped_addresses_are_ipv4() {
        for (text, value) in [
            ("010.096.050.001", "10.96.50.1"),
            ("192.000.002.100", "192.0.2.100"),
            ("00.000.0.0000000", "0.0.0.0"),
            ("08.09.0010.1", "8.9.10.1"),
            ("::ffff:192.0.2.101", "192.0.2.101"),
            ("::ffff:192.000.002.101", "192.0.2.101"),
            ("::FFFF:c000:265", "192.0.2.101"),
            ("0:0:0:0:0:ffff:c000:0265", "192.0.2.101"),
            ("fd00::000001", "fd00::1"),
            ("000fd00::1", "fd00::1"),
        ] {
            let wanted = Some((value.to_owned(), Spelling::Unusual));
            assert_eq!(read(address(text)), wanted, "{text}");
        }
        for (text, value) in [
            ("010.0.0.0/8", "10.0.0.0/8"),
            ("10.0.00.0/8", "10.0.0.0/8"),
            ("10.0.0.0/08", "10.0.0.0/8"),
            ("fd00::/0008", "fd00::/8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:010.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:a00:0/104", "10.0.0.0/8"),
            ("::ffff:192.168.1.0/120", "192.168.1.0/24"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            // The marking bits are after the prefix, so the network is IPv6 (Go's `IPNet` is masked).
            ("::ffff:10.0.0.0/95", "::fffe:0:0/95"),
            ("::ffff:10.0.0.0/64", "::/64"),
            ("::ffff:10.0.0.0/0", "::/0"),
        ] {
            let wanted = Some((value.to_owned(), Spelling::Unusual));
            assert_eq!(read(net(text)), wanted, "{text}");
        }
    }

    #[test]
    fn what_kube_proxy_refuses_is_refused() {
        for text in [
            "",
            "x",
            "10.96.0",
            "10.96.0.1.2",
            "10.96.0.256",
            "1..2.3",
            "+1.2.3.4",
            "0x10.1.2.3",
            "fe80::1%eth0",
            "10.0.0.1 ",
            "1:2:3",
            "::1::2",
            "1:2:3:4:5:6:7::8",
            "::fffff",
            ":1",
            "10.0.0.1/32",
            "[::1]",
            "1.2.3.4::",
            "é",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "fd00::/129",
            "x/8",
            "10.0.0.0/8/8",
            "10.0.0.0/ 8",
            " 10.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "/8",
            "10.0.0.0/256",
            "10.0.0.0/264",
        ] {
            assert_eq!(net(text), None, "{text}");
        }
    }

    #[test]
    fn sockets_are_addresses_with_a_port() {
        for (text, value, spelling) in [
            ("127.0.0.1:10249", "127.0.0.1:10249", Spelling::Usual),
            ("[::1]:10249", "[::1]:10249", Spelling::Usual),
            ("010.0.0.1:80", "10.0.0.1:80", Spelling::Unusual),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80", Spelling::Unusual),
        ] {
            assert_eq!(read(socket(text)), Some((value.to_owned(), spelling)), "{text}");
        }
        for text in
            ["", ":80", "::1:80", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "[::1]", "x:1"]
        {
            assert_eq!(socket(text), None, "{text}");
        }
    }
}
