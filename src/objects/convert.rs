//! Objects into facts.
//!
//! In: one object as it was read. Out: the same thing as [`proxier::model`] says it, or `None`
//! where this proxy is not concerned, and a [`Problem`] for each thing that had to be left out.
//! What is wrong spoils the smallest thing it can: a port, an endpoint, an address. Never: a look
//! at another object, the node's name, or what the object was before.

use std::fmt::Display;
use std::net::IpAddr;

use proxier::model::{Family, Net, Protocol};

pub use self::node::{node, readiness};
pub use self::service::service;
pub use self::slice::slice;
use super::field::{Field, List, quoted};
use super::meta::Metadata;
use super::name::{LABEL, SUBDOMAIN, is_label, is_subdomain};
use super::problem::{Kind, ObjectId, Problem};
use crate::sloppy::{self, Parsed, Spelling};

mod node;
mod service;
mod slice;

/// The name of an object as this program keys it; `None` without one. An object that has no
/// namespace is in `default`, as with kubectl; a Node has none at all.
pub fn id<L>(kind: Kind, metadata: &Field<Metadata<L>>) -> Option<ObjectId> {
    let metadata = metadata.given()?;
    let name = metadata.name.given().filter(|name| !name.is_empty())?;
    let namespace = match (kind, metadata.namespace.given()) {
        (Kind::Node, _) => "",
        (Kind::Service | Kind::EndpointSlice, None) => "default",
        (Kind::Service | Kind::EndpointSlice, Some(namespace)) if namespace.is_empty() => "default",
        (Kind::Service | Kind::EndpointSlice, Some(namespace)) => namespace,
    };
    Some(ObjectId { kind, namespace: namespace.to_owned(), name: name.clone() })
}

/// Reads the fields of one object and notes what is wrong with them.
struct Reader<'a> {
    object: ObjectId,
    problems: &'a mut Vec<Problem>,
    has_unusual_spelling: bool,
}

impl<'a> Reader<'a> {
    /// Begins an object; `None`, and a problem, if it has no name.
    fn open<L>(
        kind: Kind,
        metadata: &Field<Metadata<L>>,
        problems: &'a mut Vec<Problem>,
    ) -> Option<Self> {
        if let Some(object) = id(kind, metadata) {
            let mut reader = Self { object, problems, has_unusual_spelling: false };
            return reader.has_good_names().then_some(reader);
        }
        let namespace = metadata.given().and_then(|metadata| metadata.namespace.given());
        let object = ObjectId {
            kind,
            namespace: namespace.cloned().unwrap_or_default(),
            name: String::new(),
        };
        Self { object, problems, has_unusual_spelling: false }
            .report("metadata.name", "an object needs a name");
        None
    }

    /// The API server has judged them; a manifest may say anything.
    fn has_good_names(&mut self) -> bool {
        let ObjectId { kind, namespace, name } = &self.object;
        let (is_good, wanted): (fn(&str) -> bool, _) = match kind {
            Kind::Service => (is_label, LABEL),
            Kind::EndpointSlice => (is_subdomain, SUBDOMAIN),
            // It is the one that the configuration names, or none that matters.
            Kind::Node => return true,
        };
        let judge = |is_good: fn(&str) -> bool, field, text: &str, wanted| {
            (!is_good(text)).then(|| (field, format!("{} is not {wanted}", quoted(text))))
        };
        let wrong = [
            judge(is_label, "metadata.namespace", namespace, LABEL),
            judge(is_good, "metadata.name", name, wanted),
        ];
        let are_good = wrong.iter().all(Option::is_none);
        wrong.into_iter().flatten().for_each(|(field, message)| self.report(field, message));
        are_good
    }

    fn report(&mut self, field: impl Display, message: impl Display) {
        let (field, message) = (field.to_string(), message.to_string());
        self.problems.push(Problem { object: self.object.clone(), field, message });
    }

    /// The value of a field. Something of another type is reported as `… is not EXPECTED`.
    fn value<'v, T>(
        &mut self,
        value: &'v Field<T>,
        field: impl Display,
        expected: &str,
    ) -> Option<&'v T> {
        match value {
            Field::Given(value) => Some(value),
            Field::Absent => None,
            Field::Wrong(found) => {
                self.report(field, format_args!("{found} is not {expected}"));
                None
            }
        }
    }

    /// A text; absent and empty are the same.
    fn text<'v>(&mut self, value: &'v Field<String>, field: impl Display) -> Option<&'v str> {
        self.value(value, field, "a string").map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The usable elements of a list, each with its place. `null` elements are passed over.
    fn items<'v, T>(
        &mut self,
        list: &'v List<T>,
        field: impl Display,
        expected: &str,
    ) -> Vec<(usize, &'v T)> {
        if let List::Wrong(found) = list {
            self.report(&field, format_args!("{found} is not a list"));
        }
        let items = list.items().iter().enumerate();
        items
            .filter_map(|(at, item)| {
                let place = format_args!("{field}[{at}]");
                self.value(item, place, expected).map(|item| (at, item))
            })
            .collect()
    }

    /// A port number from 1 to 65535; 0 counts as absent.
    fn port(&mut self, value: &Field<u16>, field: impl Display) -> Option<u16> {
        self.value(value, field, PORT).copied().filter(|&port| port != 0)
    }

    /// A port number that has to be there.
    fn required_port(&mut self, value: &Field<u16>, field: impl Display) -> Option<u16> {
        match value {
            Field::Given(0) => self.report(field, format_args!("0 is not {PORT}")),
            Field::Absent => self.report(field, "a port number is required"),
            Field::Given(_) | Field::Wrong(_) => return self.port(value, field),
        }
        None
    }

    /// A transport protocol; absent means TCP, as the API server would have written.
    fn protocol(&mut self, value: &Field<String>, field: impl Display) -> Option<Protocol> {
        if let Field::Wrong(found) = value {
            self.report(field, format_args!("{found} is not {PROTOCOL}"));
            return None;
        }
        match value.given().map(String::as_str) {
            None | Some("" | "TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(other) => {
                self.report(field, format_args!("{} is not {PROTOCOL}", quoted(other)));
                None
            }
        }
    }

    /// An address in any spelling that kube-proxy reads. One that other programs read as another address
    /// is told once.
    fn address(&mut self, text: &str, field: impl Display) -> Option<IpAddr> {
        let found = sloppy::address(text);
        self.spelled(found, text, field, "an IP address")
    }

    fn spelled<T: Display>(
        &mut self,
        found: Option<Parsed<T>>,
        text: &str,
        field: impl Display,
        expected: &str,
    ) -> Option<T> {
        match found {
            None => self.report(field, format_args!("{} is not {expected}", quoted(text))),
            Some(Parsed { spelling: Spelling::Unusual, value }) => {
                self.report_spelling(text, &value, field);
                return Some(value);
            }
            Some(Parsed { spelling: Spelling::Usual, value }) => return Some(value),
        }
        None
    }

    /// A slice has many addresses, which come and go: one message that stays the same is enough.
    fn report_spelling(&mut self, text: &str, value: &impl Display, field: impl Display) {
        match self.object.kind {
            Kind::Service | Kind::Node => self.report(field, sloppy::warning(text, value)),
            Kind::EndpointSlice if self.has_unusual_spelling => {}
            Kind::EndpointSlice => {
                self.has_unusual_spelling = true;
                self.report("endpoints", UNUSUAL_ADDRESSES);
            }
        }
    }

    /// An address that has to be of one family.
    fn address_of(&mut self, family: Family, text: &str, field: impl Display) -> Option<IpAddr> {
        let address = self.address(text, &field)?;
        if Family::of(address) == family {
            return Some(address);
        }
        self.report(field, format_args!("{} is not an {family} address", quoted(text)));
        None
    }

    /// An address of one family that one host can have: what is unspecified, multicast, broadcast,
    /// loopback, in 0.0.0.0/8 or IPv6 link-local can neither be a virtual server's nor a destination's.
    fn host_address(&mut self, family: Family, text: &str, field: impl Display) -> Option<IpAddr> {
        let address = self.address_of(family, text, &field)?;
        self.of_a_host(address, text, field)
    }

    /// The same of either family.
    fn any_host_address(&mut self, text: &str, field: impl Display) -> Option<IpAddr> {
        let address = self.address(text, &field)?;
        self.of_a_host(address, text, field)
    }

    fn of_a_host(&mut self, address: IpAddr, text: &str, field: impl Display) -> Option<IpAddr> {
        if is_of_a_host(address) {
            return Some(address);
        }
        self.report(field, format_args!("{} is not the address of a host", quoted(text)));
        None
    }

    /// The usable addresses of hosts in a list, in order. Blank elements are passed over.
    fn host_addresses(&mut self, list: &List<String>, field: &str) -> Vec<IpAddr> {
        self.items(list, field, "an IP address")
            .into_iter()
            .map(|(at, text)| (at, text.trim()))
            .filter(|(_, text)| !text.is_empty())
            .filter_map(|(at, text)| self.any_host_address(text, format_args!("{field}[{at}]")))
            .collect()
    }

    /// The usable networks of a list, in order. Blanks around each are cut off.
    fn nets(&mut self, list: &List<String>, field: &str) -> Vec<Net> {
        let items = self.items(list, field, "a CIDR");
        items
            .into_iter()
            .filter_map(|(at, text)| self.net(text, format_args!("{field}[{at}]")))
            .collect()
    }

    /// A network in prefix form, in any spelling that kube-proxy reads.
    fn net(&mut self, text: &str, field: impl Display) -> Option<Net> {
        let found = sloppy::net(text.trim());
        self.spelled(found, text, field, "a CIDR")
    }
}

const PORT: &str = "a port (1–65535)";
const PROTOCOL: &str = "TCP, UDP or SCTP";
const OBJECT: &str = "an object";
const BOOLEAN: &str = "true or false";
const UNUSUAL_ADDRESSES: &str = "addresses with leading zeros or in IPv4-mapped form are read as plain ones, as \
                                 kube-proxy does; other programs may read them otherwise";

fn is_of_a_host(address: IpAddr) -> bool {
    let special = match address {
        // 0.0.0.0/8 is "this network" (RFC 1122, 3.2.1.3); the kernel takes it for a broadcast address.
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets().first() == Some(&0),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(special || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::is_of_a_host;

    #[test]
    fn no_host_has_an_address_that_the_kernel_takes_for_anything_but_a_hosts() {
        for (address, is_hosts) in [
            ("0.0.0.0", false),
            ("0.0.0.1", false),
            ("0.1.2.3", false),
            ("0.255.255.255", false),
            ("1.0.0.0", true),
            ("127.0.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("240.0.0.1", true),
            ("169.254.0.1", true),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", true),
        ] {
            assert_eq!(is_of_a_host(address.parse().unwrap()), is_hosts, "{address}");
        }
    }
}
