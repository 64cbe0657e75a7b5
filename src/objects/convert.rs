//! Converts objects into facts.
//!
//! Takes one object. Returns its value of [`proxier::model`], or `None` if this proxy does not use
//! it, and a [`Problem`] for each part that was left out. An error affects the smallest part
//! possible: a port, an endpoint, an address. Does not look at other objects, the node's name, or
//! earlier states of the object.

use std::fmt::Display;
use std::net::IpAddr;

use proxier::model::{Family, Net, Protocol};

pub use self::node::{node, readiness};
pub use self::service::service;
pub use self::slice::slice;
use super::field::{Field, List, quoted};
use super::meta::Metadata;
use super::name::{LABEL, SUBDOMAIN, is_label, is_subdomain};
use super::problem::{Kind, ObjectId, Problem, Spoils};
use crate::sloppy::{self, Parsed, Spelling};

mod node;
mod service;
mod slice;

/// Returns the identity of an object; `None` if it has no name, or a namespace that is no
/// text. An object without a namespace is in
/// `default`, as with kubectl. A Node has no namespace.
pub fn id<L>(kind: Kind, metadata: &Field<Metadata<L>>) -> Option<ObjectId> {
    let metadata = metadata.given()?;
    let name = metadata.name.given().filter(|name| !name.is_empty())?;
    let namespace = match (kind, &metadata.namespace) {
        (Kind::Node, _) => "",
        (Kind::Service | Kind::EndpointSlice, Field::Wrong(_)) => return None,
        (Kind::Service | Kind::EndpointSlice, Field::Given(namespace)) if !namespace.is_empty() => {
            namespace
        }
        (Kind::Service | Kind::EndpointSlice, Field::Given(_) | Field::Absent) => "default",
    };
    Some(ObjectId { kind, namespace: namespace.to_owned(), name: name.clone() })
}

/// Reads the fields of one object and notes the problems in them.
struct Reader<'a> {
    object: ObjectId,
    problems: &'a mut Vec<Problem>,
    has_unusual_spelling: bool,
}

impl<'a> Reader<'a> {
    /// Starts to read an object. `None`, and a problem, if it has no name or an invalid one.
    fn open<L>(
        kind: Kind,
        metadata: &Field<Metadata<L>>,
        problems: &'a mut Vec<Problem>,
    ) -> Option<Self> {
        if let Some(object) = id(kind, metadata) {
            let mut reader = Self { object, problems, has_unusual_spelling: false };
            return reader.has_good_names().then_some(reader);
        }
        let text = |field: fn(&Metadata<L>) -> &Field<String>| {
            metadata
                .given()
                .and_then(|metadata| field(metadata).given())
                .cloned()
                .unwrap_or_default()
        };
        let (name, namespace) = (text(|it| &it.name), text(|it| &it.namespace));
        let object = ObjectId { kind, namespace, name };
        let mut reader = Self { object, problems, has_unusual_spelling: false };
        let before = reader.problems.len();
        if let Some(metadata) = reader.value(metadata, "metadata", OBJECT) {
            reader.text(&metadata.name, "metadata.name");
            reader.text(&metadata.namespace, "metadata.namespace");
        }
        if reader.problems.len() == before {
            reader.report("metadata.name", "an object needs a name");
        }
        None
    }

    /// Checks the object's names. The API server has checked its own objects; manifests may have
    /// any name.
    fn has_good_names(&mut self) -> bool {
        let ObjectId { kind, namespace, name } = &self.object;
        let (is_good, wanted): (fn(&str) -> bool, _) = match kind {
            Kind::Service => (is_label, LABEL),
            Kind::EndpointSlice => (is_subdomain, SUBDOMAIN),
            // Only the Node that the configuration names matters.
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
        let (object, spoils) = (self.object.clone(), Spoils::Part);
        self.problems.push(Problem { object, field, message, spoils });
    }

    /// Gives the object up because of the problem that was reported last. Returns no fact.
    fn unreadable<T>(&mut self) -> Option<T> {
        if let Some(last) = self.problems.last_mut() {
            last.spoils = Spoils::Object;
        }
        None
    }

    /// Returns the value of a field. A value of another type is reported as `… is not EXPECTED`.
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

    /// Returns a text. `None` if it is absent or empty.
    fn text<'v>(&mut self, value: &'v Field<String>, field: impl Display) -> Option<&'v str> {
        self.value(value, field, "a string").map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Returns the usable elements of a list, each with its index. Skips `null` elements.
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

    /// Returns a port number from 1 to 65535. `None` if it is absent or 0.
    fn port(&mut self, value: &Field<u16>, field: impl Display) -> Option<u16> {
        self.value(value, field, PORT).copied().filter(|&port| port != 0)
    }

    /// Returns a port number from 1 to 65535. Reports an absent one and 0.
    fn required_port(&mut self, value: &Field<u16>, field: impl Display) -> Option<u16> {
        match value {
            Field::Given(0) => self.report(field, format_args!("0 is not {PORT}")),
            Field::Absent => self.report(field, "a port number is required"),
            Field::Given(_) | Field::Wrong(_) => return self.port(value, field),
        }
        None
    }

    /// Returns a transport protocol. An absent one is TCP, the API server's default.
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

    /// Parses an address in any spelling that kube-proxy reads. Reports a spelling that other
    /// programs read as another address.
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

    /// Reports an unusual spelling. An EndpointSlice has many addresses, which come and go: one
    /// message that stays the same is enough.
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

    /// Parses an address of one family.
    fn address_of(&mut self, family: Family, text: &str, field: impl Display) -> Option<IpAddr> {
        let address = self.address(text, &field)?;
        if Family::of(address) == family {
            return Some(address);
        }
        self.report(field, format_args!("{} is not an {family} address", quoted(text)));
        None
    }

    /// Parses an address of one family that a host can have. Unspecified, multicast, broadcast,
    /// loopback and IPv6 link-local addresses, and those in 0.0.0.0/8, can be neither a virtual
    /// server's nor a destination's.
    fn host_address(&mut self, family: Family, text: &str, field: impl Display) -> Option<IpAddr> {
        let address = self.address_of(family, text, &field)?;
        self.of_a_host(address, text, field)
    }

    /// Parses an address of either family that a host can have.
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

    /// Returns the usable host addresses of a list, in order. Skips blank elements.
    fn host_addresses(&mut self, list: &List<String>, field: &str) -> Vec<IpAddr> {
        self.items(list, field, "an IP address")
            .into_iter()
            .map(|(at, text)| (at, text.trim()))
            .filter(|(_, text)| !text.is_empty())
            .filter_map(|(at, text)| self.any_host_address(text, format_args!("{field}[{at}]")))
            .collect()
    }

    /// Returns the usable networks of a list, in order. Ignores blanks around each.
    fn nets(&mut self, list: &List<String>, field: &str) -> Vec<Net> {
        let items = self.items(list, field, "a CIDR");
        items
            .into_iter()
            .filter_map(|(at, text)| self.net(text, format_args!("{field}[{at}]")))
            .collect()
    }

    /// Parses a network in prefix form, in any spelling that kube-proxy reads.
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
