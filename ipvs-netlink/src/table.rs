//! The whole table in one pass: every virtual server exactly, with all its destinations.
//!
//! In: one netlink dump of the virtual servers and one reading of `/proc/net/ip_vs`, which alone
//! has all destinations at once. Out: the two joined. Each is a walk over a living table that skips
//! some when others come or go, even in another network namespace; so where the two differ, or are fewer
//! than the kernel counts (since Linux 7.1), the virtual servers are dumped again until two dumps in a row
//! are the same, what the text lacks is asked for by itself, and a virtual server once seen is left out only
//! when the kernel says that it is gone. The text alone lacks some also at rest where other network namespaces
//! have virtual servers ([`proc`] tells why): one more dump, and two questions for each of those, is
//! what this costs. The cost is linear in what the table holds. Never: a wrong family for a firewall mark (the text does not tell
//! it: those virtual servers are asked for one by one).

use std::io::{Read, Seek};

use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

use crate::{
    Answer, Client, Error, Service, ServiceKey, Unreadable,
    proc::{self, ListedDestination, ListedKey, Listing},
};

/// How often the virtual servers are dumped again at most, when the table moves.
const MORE_DUMPS: usize = 4;
/// Bytes of the text that show the schedulers in use, nearly always.
const SCHEDULERS_BUFFER_BYTES: u64 = 1 << 14;

/// Tells if virtual servers are read with their counters, which make up half of a dump.
#[derive(Clone, Copy)]
enum Counters {
    Read,
    LeftOut,
}

/// A virtual server with its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VirtualServer {
    /// The virtual server, exactly as netlink tells it; without its counters, unless they were asked for.
    pub service: Service,
    /// Its destinations, as far as `/proc/net/ip_vs` tells: see [`proc`] for what it does not.
    pub destinations: Vec<ListedDestination>,
}

impl Client {
    /// Reads the whole table: exact virtual servers with their destinations' addresses, forwarding
    /// methods, weights and connections.
    ///
    /// Many times faster for a large table than [`Client::services`] with one
    /// [`Client::destinations`] for each, and tolerant of a table that changes meanwhile: a virtual
    /// server that was there throughout is missing only when the text and two dumps in a row that
    /// are the same otherwise, or half a dozen walks, skipped it. One
    /// deleted and added anew meanwhile may show its old attributes with its new destinations.
    ///
    /// A firewall mark costs two questions, as does a virtual server of which `/proc/net/ip_vs` has a
    /// line of unknown form; where the file cannot be read at all (no `/proc` when the client was
    /// opened, or the module loaded anew since) every virtual server does, which for a large table is
    /// the slow way. [`Client::unreadable`] tells.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn table(&mut self) -> Result<Vec<VirtualServer>, Error> {
        self.read_table(Counters::LeftOut)
    }

    /// The same with the counters of the virtual servers: what all of them carry, in one pass.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn counted_table(&mut self) -> Result<Vec<VirtualServer>, Error> {
        self.read_table(Counters::Read)
    }

    fn read_table(&mut self, counters: Counters) -> Result<Vec<VirtualServer>, Error> {
        self.unreadable.clear();
        let decode = match counters {
            Counters::Read => Answer::decode,
            Counters::LeftOut => Answer::decode_without_counters,
        };
        let mut services = self.list_services(decode)?;
        let mut listed = destinations_by_key(self.listings());
        let mut seen: HashSet<ServiceKey> = services.iter().map(|service| service.key).collect();
        let count = self.count();
        let is_whole = |seen: &HashSet<ServiceKey>| count.is_none_or(|count| seen.len() >= count);
        if !agree(&services, &seen, &listed) || !is_whole(&seen) {
            let mut last = keys(&services);
            for _ in 0..MORE_DUMPS {
                let known = self.unreadable.len();
                let again = self.list_services(decode)?;
                // Named by the first dump.
                self.unreadable.truncate(known);
                let met = keys(&again);
                services.extend(again.into_iter().filter(|new| seen.insert(new.key)));
                let is_at_rest = met == last;
                last = met;
                if is_at_rest && is_whole(&seen) && listed.keys().all(|key| seen.contains(key)) {
                    break;
                }
            }
            for key in listed.keys().filter(|key| !seen.contains(key)) {
                services.extend(self.readable_service(*key, counters)?);
            }
        }
        let mut servers = Vec::with_capacity(services.len());
        for service in services {
            match listed.remove(&service.key) {
                Some(destinations) => servers.push(VirtualServer { service, destinations }),
                // A mark, or not in the text: exactly, by itself.
                None => servers.extend(self.virtual_server(service.key, counters)?),
            }
        }
        Ok(servers)
    }

    /// Whether one of the first virtual servers that `/proc/net/ip_vs` lists has this scheduler, which the kernel then
    /// knows. False says nothing: it may be another one's, or the file not be there.
    pub fn lists_scheduler(&mut self, name: &str) -> bool {
        let mut text = Vec::new();
        let read = self.text.as_mut().map(|file| {
            file.rewind()
                .and_then(|()| file.take(SCHEDULERS_BUFFER_BYTES).read_to_end(&mut text))
                .is_ok()
        });
        let (listings, _) = proc::parse_readable(&String::from_utf8_lossy(&text));
        read.unwrap_or(false) && listings.iter().any(|listing| listing.scheduler == name)
    }

    /// One virtual server with its destinations, unless it is gone.
    fn virtual_server(
        &mut self,
        key: ServiceKey,
        counters: Counters,
    ) -> Result<Option<VirtualServer>, Error> {
        let Some(service) = self.readable_service(key, counters)? else { return Ok(None) };
        let destinations = self.list_destinations(key)?;
        let destinations = destinations.iter().map(ListedDestination::from).collect();
        Ok(Some(VirtualServer { service, destinations }))
    }

    fn readable_service(
        &mut self,
        key: ServiceKey,
        counters: Counters,
    ) -> Result<Option<Service>, Error> {
        match self.service(key) {
            Err(Error::Decode { what, source }) => {
                self.unreadable.push(Unreadable::Reply { what, source });
                Ok(None)
            }
            result => Ok(result?.map(|service| match counters {
                Counters::Read => service,
                Counters::LeftOut => Service { stats: None, stats64: None, ..service },
            })),
        }
    }

    /// How many virtual servers there are, where the kernel says so.
    fn count(&mut self) -> Option<usize> {
        let file = self.status.as_mut()?;
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        proc::parse_services(&text)
    }

    /// What `/proc/net/ip_vs` tells by now; the kept file is read from its beginning.
    fn listings(&mut self) -> Vec<Listing> {
        let mut text = String::new();
        let read = match &mut self.text {
            Ok(file) => file.rewind().and_then(|()| file.read_to_string(&mut text)),
            Err(kind) => Err((*kind).into()),
        };
        if let Err(error) = read {
            self.unreadable.push(Unreadable::Text(error));
            return Vec::new();
        }
        let (listings, errors) = proc::parse_readable(&text);
        self.unreadable.extend(errors.into_iter().map(Unreadable::Line));
        listings
    }
}

fn keys(services: &[Service]) -> Vec<ServiceKey> {
    services.iter().map(|service| service.key).collect()
}

/// Whether both walks saw the same virtual servers; marks aside, which only one of them knows.
fn agree(
    services: &[Service],
    seen: &HashSet<ServiceKey>,
    listed: &HashMap<ServiceKey, Vec<ListedDestination>>,
) -> bool {
    let in_text = |service: &Service| match service.key {
        ServiceKey::Address { .. } => listed.contains_key(&service.key),
        ServiceKey::Mark { .. } => true,
    };
    listed.keys().all(|key| seen.contains(key)) && services.iter().all(in_text)
}

/// The destinations of every virtual server whose key the text tells whole. Should the text have
/// one twice, which it may when the table moves, the later reading counts.
fn destinations_by_key(listings: Vec<Listing>) -> HashMap<ServiceKey, Vec<ListedDestination>> {
    let whole = listings.into_iter().filter_map(|listing| match listing.key {
        ListedKey::Address { protocol, address, port } => {
            Some((ServiceKey::Address { protocol, address, port }, listing.destinations))
        }
        ListedKey::Mark(_) => None,
    });
    whole.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_left_to_netlink_and_the_later_reading_counts() {
        let text = "1\n2\n3\n\
            TCP  0A600001:0050 rr  \n  -> C000020A:1F90      Masq    1      0          0         \n\
            FWM  00000007 wlc \n\
            TCP  0A600001:0050 rr  \n";
        let found = destinations_by_key(proc::parse(text).unwrap());
        let key = ServiceKey::address(crate::Protocol::TCP, "10.96.0.1".parse().unwrap(), 80);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(key, vec![])]);
    }
}
