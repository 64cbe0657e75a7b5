//! Checks addresses, networks and interface names of the configuration.
//!
//! Takes text of files and flags. Returns addresses and networks as kube-proxy reads them. Adds a warning for each that
//! other programs may read as another address. Does not resolve names.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxier::model::{Family, Net, PerFamily};

use super::{Check, PREVIOUS_MINOR};
use crate::config::INTERFACE_NAME_MAX;
use crate::config::document::KubeProxyConfiguration;
use crate::sloppy::{self, Parsed, Spelling};

/// Addresses that the proxy listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The node's address, unless unspecified. The proxy does not listen on it.
    pub bind_address: IpAddr,
    /// The address of `/healthz` and `/livez`; `None` if they are not served.
    pub healthz: Option<SocketAddr>,
    /// The address of `/metrics` and `/proxyMode`.
    pub metrics: SocketAddr,
    /// True if a port that cannot be bound ends the process.
    pub hard_fail: bool,
    /// True if profiles are served under `/debug/pprof`.
    pub profiling: bool,
    /// True if metrics that are hidden in this version are shown.
    pub show_hidden_metrics: bool,
}

/// The node's addresses that serve node ports (`nodePortAddresses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The Node object's first address of each family.
    Primary,
    /// The node's addresses in these networks. In a family without such a network, every address.
    Nets(Vec<Net>),
}

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
    pub(super) fn cluster_cidrs(&mut self, raw: &KubeProxyConfiguration) -> PerFamily<Option<Net>> {
        let mut found = PerFamily::default();
        let text = raw.cluster_cidr.as_str();
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

    pub(super) fn node_port_addresses(
        &mut self,
        raw: &KubeProxyConfiguration,
    ) -> NodePortAddresses {
        let words = raw.node_port_addresses.as_deref().unwrap_or_default();
        if words == ["primary"] {
            return NodePortAddresses::Primary;
        }
        if words.iter().any(|word| word == "primary") {
            self.refuse("NodePortAddresses", "primary", "must be alone when it is used");
        }
        NodePortAddresses::Nets(self.nets("NodePortAddresses", words))
    }

    pub(super) fn serving(&mut self, raw: &KubeProxyConfiguration) -> Serving {
        let bind = raw.bind_address.as_str();
        let found = self.plain("BindAddress", bind, sloppy::address(bind));
        let bind_address = found.unwrap_or_else(|| {
            self.refuse("BindAddress", bind, "must be an IP address");
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        });
        let (healthz, metrics) = (&raw.healthz_bind_address, &raw.metrics_bind_address);
        Serving {
            bind_address,
            healthz: (!healthz.is_empty()).then(|| self.listener("HealthzBindAddress", healthz)),
            metrics: self.listener("MetricsBindAddress", metrics),
            hard_fail: raw.bind_address_hard_fail,
            profiling: raw.enable_profiling,
            show_hidden_metrics: raw.show_hidden_metrics_for_version == PREVIOUS_MINOR,
        }
    }

    fn listener(&mut self, field: &str, text: &str) -> SocketAddr {
        self.plain(field, text, sloppy::socket(text)).unwrap_or_else(|| {
            self.refuse(field, text, "must be IP:port with a port from 1 to 65535");
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
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
