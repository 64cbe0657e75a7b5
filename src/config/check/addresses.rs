//! Checks addresses, networks and interface names of the configuration.
//!
//! Takes text of files and flags. Returns addresses and networks as kube-proxy reads them. Adds a warning for each that
//! other programs may read as another address. Does not resolve names.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxier::model::{Family, Net, PerFamily};

use super::{Check, PREVIOUS_MINOR, listeners};
use crate::config::file::Raw;
use crate::config::{INTERFACE_NAME_MAX, NodePortAddresses, Serving, defaults};
use crate::sloppy::{self, Parsed, Spelling};

impl Check {
    /// Returns the name. An empty name is a problem. A name longer than any interface name is only a warning, because
    /// kube-proxy accepts it.
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

    /// Reads one network, or one of each family. Spaces are not trimmed: kube-proxy does not trim them either.
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

    /// Reads `IP:PORT`, or a bare IP, which gets the default port.
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
                // Only node ports have this word, and `node_port_addresses` has checked it.
                None if field == "NodePortAddresses" && word == "primary" => {}
                None => self.refuse(&field_of_word, word, "must be a CIDR"),
            }
        }
        nets
    }

    /// Returns the value, with a warning if other programs may read the text as another value.
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
