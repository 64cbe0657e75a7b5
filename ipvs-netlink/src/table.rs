//! Reads the whole table in one pass: every virtual server exactly, with all its destinations.
//!
//! Takes one netlink dump of the virtual servers and one reading of `/proc/net/ip_vs`, which alone has all
//! destinations at once. Gives the two joined.
//!
//! Each of the two walks over a live table and skips some virtual servers if others come or go, even in
//! another network namespace. The two may differ, or be fewer than the kernel counts (since Linux 7.1). Then
//! the virtual servers are dumped again until two dumps in a row are equal, and what the text lacks is
//! queried separately. A virtual server once seen is left out only if the kernel says that it is gone.
//!
//! If other network namespaces have virtual servers, the text lacks some even while nothing changes ([`proc`]
//! explains why). This costs one more dump, and two queries for each of those. The cost is linear in the size
//! of the table.
//!
//! The text does not contain the family of a firewall mark, so those virtual servers are queried one by one.

use std::io::{Read, Seek};

use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

use crate::{
    Answer, Client, Error, Service, ServiceKey, Unreadable,
    proc::{self, ListedDestination, ListedKey, Listing},
};

/// The largest number of repeated dumps of the virtual servers if the table changes.
const MORE_DUMPS: usize = 4;
/// The number of bytes of the text that nearly always show all schedulers in use.
const SCHEDULERS_BUFFER_BYTES: u64 = 1 << 14;

/// The choice to read virtual servers with their counters, which make up half of a dump, or without.
#[derive(Clone, Copy)]
enum Counters {
    Read,
    LeftOut,
}

/// A virtual server with its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VirtualServer {
    /// The virtual server, exactly as in netlink. Without its counters unless the caller asked for them.
    pub service: Service,
    /// The destinations, with the fields that `/proc/net/ip_vs` contains; [`proc`] lists those that it lacks.
    pub destinations: Vec<ListedDestination>,
}

impl Client {
    /// Reads the whole table: exact virtual servers with their destinations' addresses, forwarding methods,
    /// weights and connections.
    ///
    /// For a large table this is many times faster than [`Client::services`] with one
    /// [`Client::destinations`] for each. It also tolerates a table that changes meanwhile. A virtual server
    /// that existed throughout is missing only in two cases: the text and two equal dumps in a row skipped
    /// it, or half a dozen walks did. One that is deleted and added again meanwhile may show its old
    /// attributes with its new destinations.
    ///
    /// A firewall mark costs two queries, and so does a virtual server whose line in `/proc/net/ip_vs` has an
    /// unknown form. If the file cannot be read at all, every virtual server costs two queries, which is slow
    /// for a large table. That happens if there was no `/proc` when the client was opened, or if the module
    /// was loaded again since then. [`Client::unreadable`] reports it.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
    pub fn table(&mut self) -> Result<Vec<VirtualServer>, Error> {
        self.read_table(Counters::LeftOut)
    }

    /// Reads the whole table like [`table`](Self::table), with the counters of the virtual servers.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
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
                // The first dump has reported the same replies.
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
                // A mark, or a virtual server that is not in the text, is queried separately.
                None => servers.extend(self.virtual_server(service.key, counters)?),
            }
        }
        Ok(servers)
    }

    /// True if one of the first virtual servers that `/proc/net/ip_vs` lists has this scheduler, so that the
    /// kernel knows it. False proves nothing: a later virtual server may have it, or the file may be missing.
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

    /// Returns one virtual server with its destinations; `None` if it is gone.
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

    /// Returns the number of virtual servers, if the kernel provides it.
    fn count(&mut self) -> Option<usize> {
        let file = self.status.as_mut()?;
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        proc::parse_services(&text)
    }

    /// Returns the current content of `/proc/net/ip_vs`; reads the open file from its beginning.
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

/// True if both walks saw the same virtual servers, ignoring marks, which the text does not identify.
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

/// Returns the destinations of every virtual server whose complete key is in the text. If the text contains
/// one twice, which may happen while the table changes, the later one counts.
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
