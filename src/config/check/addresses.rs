//! Addresses, networks and interfaces of the configuration, checked.
//!
//! In: text of files and flags. Out: addresses and networks as kube-proxy reads them, and a warning for each that other
//! programs may read as another one. Never: a name that has to be looked up.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxier::model::{Family, Net, PerFamily};

use super::{Check, PREVIOUS_MINOR, listeners};
use crate::config::file::Raw;
use crate::config::{INTERFACE_NAME_MAX, NodePortAddresses, Serving, defaults};
use crate::sloppy::{self, Parsed, Spelling};

impl Check {
    /// Any name that is not empty, as upstream. The longest names that interfaces have are shorter than what may be
    /// written here.
    pub(super) fn interface(&mut self, field: &str, name: String) -> String {
        if name.is_empty() {
            self.refuse(field, &name, "must not be empty");
        } else if name.len() > INTERFACE_NAME_MAX {
            let text = format!(
                "{name:?} is longer than the name of an interface can be ({INTERFACE_NAME_MAX} bytes): \
                 no traffic counts as coming from pods of this node, and all of it is masqueraded"
            );
            self.warn(field, text);
        }
        name
    }

    /// One network, or one of each family. No spaces are cut off: upstream does not either.
    pub(super) fn cluster_cidrs(&mut self, raw: &Raw) -> PerFamily<Option<Net>> {
        let mut found = PerFamily::default();
        let text = raw.cluster_cidr.as_deref().unwrap_or_default();
        if text.is_empty() {
            return found;
        }
        for part in text.split(',') {
            let net = self.plain("ClusterCIDR", part, sloppy::net(part));
            let slot = net.map(|net| (found.of_mut(Family::of_net(&net)), net));
            match slot {
                Some((slot @ None, net)) => *slot = Some(net),
                Some((Some(_), _)) | None => {
                    self.refuse("ClusterCIDR", text, "must be one CIDR, or one of each IP family");
                    break;
                }
            }
        }
        found
    }

    pub(super) fn node_port_addresses(&mut self, raw: &Raw) -> NodePortAddresses {
        let words = raw.node_port_addresses.as_deref().unwrap_or_default();
        if words == ["primary"] {
            return NodePortAddresses::Primary;
        }
        if words.iter().any(|word| word == "primary") {
            self.refuse("NodePortAddresses", "primary", "must be alone when it is used");
        }
        NodePortAddresses::Nets(self.nets("NodePortAddresses", words))
    }

    pub(super) fn serving(&mut self, raw: &Raw) -> Serving {
        let bind = raw.bind_address.as_deref().unwrap_or(defaults::BIND_ADDRESS);
        let found = self.plain("BindAddress", bind, sloppy::address(bind));
        let bind_address = found.unwrap_or_else(|| {
            self.refuse("BindAddress", bind, "must be an IP address");
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        });
        let (any, loopback) = listeners(raw);
        let healthz = raw.healthz_bind_address.as_deref().unwrap_or(any);
        let metrics = raw.metrics_bind_address.as_deref().unwrap_or(loopback);
        Serving {
            bind_address,
            healthz: (!healthz.is_empty())
                .then(|| self.listener("HealthzBindAddress", healthz, defaults::HEALTHZ_PORT)),
            metrics: self.listener("MetricsBindAddress", metrics, defaults::METRICS_PORT),
            hard_fail: raw.bind_address_hard_fail.unwrap_or_default(),
            profiling: raw.enable_profiling.unwrap_or_default(),
            show_hidden_metrics: raw.show_hidden_metrics_for_version.as_deref()
                == Some(PREVIOUS_MINOR),
        }
    }

    /// `IP:PORT`, or an IP alone with the usual port.
    fn listener(&mut self, field: &str, text: &str, port: u16) -> SocketAddr {
        let alone = sloppy::address(text);
        let alone = alone
            .map(|ip| Parsed { value: SocketAddr::new(ip.value, port), spelling: ip.spelling });
        let found = alone.or_else(|| sloppy::socket(text));
        self.plain(field, text, found).unwrap_or_else(|| {
            self.refuse(field, text, "must be IP:port with a port from 1 to 65535");
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
        })
    }

    pub(super) fn nets(&mut self, field: &str, words: &[String]) -> Vec<Net> {
        let mut nets = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let field_of_word = format!("{field}[{index}]");
            match self.plain(&field_of_word, word, sloppy::net(word)) {
                Some(net) => nets.push(net),
                // Node ports alone have this word, and it was judged with them.
                None if field == "NodePortAddresses" && word == "primary" => {}
                None => self.refuse(&field_of_word, word, "must be a CIDR"),
            }
        }
        nets
    }

    /// The value, with a warning if other programs may read the text as another one.
    fn plain<T: Display>(
        &mut self,
        field: &str,
        text: &str,
        found: Option<Parsed<T>>,
    ) -> Option<T> {
        let Parsed { value, spelling } = found?;
        match spelling {
            Spelling::Usual => {}
            Spelling::Unusual => self.warn(field, sloppy::warning(text, &value)),
        }
        Some(value)
    }
}
