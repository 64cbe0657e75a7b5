//! Turns flags into settings: alone, or over a configuration file.
//!
//! Takes [`Flags`]. Returns the same [`Raw`] that a file gives. Sets two defaults that differ from a file's, because
//! kube-proxy computes them before it looks at flags. Does not check values.

use super::{Api, Conntrack, Flags, Local, Logging, Proxy, Serving, Unused};
use crate::config::GoDuration;
use crate::config::file::{self, Raw};
use crate::sloppy;

/// Tells if the deprecated port flags count. Beside `--write-config-to` they do not (spec 12.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    Counted,
    PassedOver,
}

impl Flags {
    /// Returns the settings when there is no configuration file.
    pub fn settings(&self) -> Raw {
        let mut raw = Raw {
            oom_score_adj: self.process.oom_score_adj,
            feature_gates: self
                .process
                .feature_gates
                .as_ref()
                .map(|gates| gates.iter().flatten().cloned().collect()),
            ..Raw::default()
        };
        self.api.put(&mut raw);
        self.proxy.put(&mut raw);
        self.local.put(&mut raw);
        self.conntrack.put(&mut raw);
        let ports = match self.process.write_config_to {
            Some(_) => Ports::PassedOver,
            None => Ports::Counted,
        };
        self.serving.put(&mut raw, ports);
        raw.iptables.localhost_node_ports = self.unused.iptables_localhost_nodeports;
        self.over_file(&mut raw);
        raw
    }

    /// Puts the few flags that win over a file into its settings; other flags are ignored.
    pub fn over_file(&self, raw: &mut Raw) {
        let name = self.process.hostname_override.as_ref();
        win(&mut raw.hostname_override, name.filter(|name| !name.is_empty()));
        raw.master = self.api.master.clone();
        self.logging.put(&mut raw.logging);
        self.unused.put(&mut raw.logging);
    }
}

impl Flags {
    /// Puts the flags that kube-proxy does not have into the proxy's own settings, over those of a file.
    pub fn over_own(&self, raw: &mut Raw) {
        let own = &mut raw.own;
        let proxy = &self.proxy;
        win(
            &mut own.graceful_termination_timeout,
            proxy.ipvs_graceful_termination_timeout.as_ref(),
        );
        win(
            &mut own.unreachable_node_termination_timeout,
            proxy.ipvs_unreachable_node_termination_timeout.as_ref(),
        );
        win(&mut own.service_metrics, proxy.ipvs_service_metrics.as_ref());
        let nets = words(proxy.ipvs_ip_mode_proxy_cidrs.as_ref());
        win(&mut own.ip_mode_proxy_cidrs, nets.as_ref());
    }
}

fn win<T: Clone>(setting: &mut Option<T>, flag: Option<&T>) {
    if flag.is_some() {
        *setting = flag.cloned();
    }
}

impl Api {
    fn put(&self, raw: &mut Raw) {
        raw.client_connection = file::ClientConnection {
            kubeconfig: self.kubeconfig.clone(),
            accept_content_types: None,
            content_type: self.kube_api_content_type.clone(),
            qps: self.kube_api_qps,
            burst: self.kube_api_burst,
        };
        raw.config_sync_period = self.config_sync_period;
    }
}

impl Proxy {
    fn put(&self, raw: &mut Raw) {
        raw.mode = self.proxy_mode.clone();
        raw.ipvs = file::Ipvs {
            sync_period: self.ipvs_sync_period,
            min_sync_period: self.ipvs_min_sync_period.or(Some(GoDuration::from_secs(1))),
            scheduler: self.ipvs_scheduler.clone(),
            exclude_cidrs: words(self.ipvs_exclude_cidrs.as_ref()),
            strict_arp: self.ipvs_strict_arp,
            tcp_timeout: self.ipvs_tcp_timeout,
            tcp_fin_timeout: self.ipvs_tcpfin_timeout,
            udp_timeout: self.ipvs_udp_timeout,
        };
        raw.iptables.masquerade_all = self.masquerade_all;
        raw.iptables.masquerade_bit = self.iptables_masquerade_bit;
        raw.node_port_addresses = words(self.nodeport_addresses.as_ref());
    }
}

/// Returns every word, also empty ones: kube-proxy refuses those by their index.
fn words(flag: Option<&Vec<Vec<String>>>) -> Option<Vec<String>> {
    flag.map(|words| words.iter().flatten().cloned().collect())
}

impl Local {
    fn put(&self, raw: &mut Raw) {
        raw.detect_local_mode = self.detect_local_mode.clone();
        raw.cluster_cidr = self.cluster_cidr.clone();
        raw.detect_local = file::DetectLocal {
            bridge_interface: self.pod_bridge_interface.clone(),
            interface_name_prefix: self.pod_interface_name_prefix.clone(),
        };
    }
}

impl Conntrack {
    fn put(&self, raw: &mut Raw) {
        raw.conntrack = file::Conntrack {
            max_per_core: self.conntrack_max_per_core,
            min: self.conntrack_min,
            tcp_established_timeout: self.conntrack_tcp_timeout_established,
            tcp_close_wait_timeout: self.conntrack_tcp_timeout_close_wait,
            tcp_be_liberal: self.conntrack_tcp_be_liberal,
            udp_timeout: self.conntrack_udp_timeout,
            udp_stream_timeout: self.conntrack_udp_timeout_stream,
        };
    }
}

impl Serving {
    /// Unlike a file's, the default addresses do not follow `--bind-address` to IPv6.
    fn put(&self, raw: &mut Raw, ports: Ports) {
        let port = |given: Option<i32>| given.filter(|_| ports == Ports::Counted);
        raw.bind_address = self.bind_address.clone().filter(|address| !address.is_empty());
        raw.bind_address_hard_fail = self.bind_address_hard_fail;
        raw.enable_profiling = self.profiling;
        raw.show_hidden_metrics_for_version = self.show_hidden_metrics_for_version.clone();
        raw.healthz_bind_address = Some(listener(
            self.healthz_bind_address.as_deref(),
            port(self.healthz_port),
            "0.0.0.0:10256",
        ));
        raw.metrics_bind_address = Some(listener(
            self.metrics_bind_address.as_deref(),
            port(self.metrics_port),
            "127.0.0.1:10249",
        ));
    }
}

/// The address of a listener. An empty address flag counts as unset. The deprecated port completes a bare address; if
/// it is 0, there is no address.
fn listener(address: Option<&str>, port: Option<i32>, default: &str) -> String {
    let address = address.filter(|address| !address.is_empty()).unwrap_or(default);
    match (port, sloppy::address(address)) {
        (Some(0), _) => String::new(),
        (Some(port), Some(_)) => sloppy::with_port(address, port),
        (None, _) | (Some(_), None) => address.to_owned(),
    }
}

impl Logging {
    fn put(&self, logging: &mut file::Logging) {
        win(&mut logging.verbosity, self.verbosity.as_ref());
        win(&mut logging.format, self.logging_format.as_ref());
        // kube-proxy joins the two lists, and the first pattern that matches wins.
        let modules = self.vmodule.iter().flatten().flatten().cloned();
        let modules: Vec<_> = modules.chain(logging.vmodule.take().unwrap_or_default()).collect();
        logging.vmodule = (!modules.is_empty()).then_some(modules);
    }
}

impl Unused {
    /// Sets these flags although they have no effect: they are checked, and written by `--write-config-to`.
    fn put(&self, logging: &mut file::Logging) {
        win(&mut logging.flush_frequency, self.log_flush_frequency.as_ref());
        let options = &mut logging.options;
        win(&mut options.text.split_stream, self.log_text_split_stream.as_ref());
        win(&mut options.text.info_buffer_size, self.log_text_info_buffer_size.as_ref());
        win(&mut options.json.split_stream, self.log_json_split_stream.as_ref());
        win(&mut options.json.info_buffer_size, self.log_json_info_buffer_size.as_ref());
    }
}
