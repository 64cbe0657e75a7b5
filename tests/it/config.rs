//! Tests the configuration: files and flags become settings, and every problem is reported at once.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use ipvs_proxy::cli::{self, Command};
use ipvs_proxy::config::{
    self, Config, DetectLocal, Environment, Flags, LogFormat, NodePortAddresses, Pod, RawConfig,
    Source, gates,
};
use proxier::model::Net;
use serde_json::Value;
use tempfile::NamedTempFile;

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fn here() -> Environment {
    Environment { host_name: " Host-1\n".to_owned(), pod: Pod::Inside }
}

fn flags(arguments: &[&str]) -> Flags {
    match cli::parse([&["ipvs-proxy"], arguments].concat()).unwrap() {
        Command::Run(run) => run.flags,
        other => panic!("{other:?}"),
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load(flags: &Flags) -> Result<(Config, Vec<String>), String> {
    config::load(flags, None, &here()).map_err(|error| error.to_string())
}

fn from_flags(arguments: &[&str]) -> Result<Config, String> {
    load(&flags(arguments)).map(|(config, _)| config)
}

fn from_file(text: &str) -> Result<Config, String> {
    from_file_and(text, &[]).map(|(config, _)| config)
}

fn from_file_and(text: &str, arguments: &[&str]) -> Result<(Config, Vec<String>), String> {
    let file = file(&format!("{HEAD}{text}"));
    let mut flags = flags(arguments);
    flags.process.config = Some(file.path().to_owned());
    load(&flags)
}

#[test]
fn nothing_set_gives_the_published_defaults() {
    let config = from_file("").unwrap();
    assert_eq!(&*config.node_name, "host-1");
    assert!(
        matches!(config.source, Source::InCluster(pace) if pace.qps == 5.0 && pace.burst == 10)
    );
    assert_eq!(config.detect_local, DetectLocal::ClusterCidr(Default::default()));
    assert_eq!((config.masquerade_bit, config.masquerade_all), (14, false));
    assert_eq!(config.ipvs.scheduler, "rr");
    assert_eq!(config.ipvs.sync_period, Duration::from_secs(30));
    assert_eq!(config.ipvs.min_sync_period, Duration::ZERO);
    assert_eq!((config.ipvs.tcp_timeout, config.ipvs.strict_arp), (0, false));
    assert_eq!(config.node_port_addresses, NodePortAddresses::Nets(Vec::new()));
    assert_eq!((config.conntrack.max_per_core, config.conntrack.min), (32_768, 131_072));
    assert_eq!(config.conntrack.tcp_established_timeout, Duration::from_secs(86_400));
    assert_eq!(config.conntrack.tcp_close_wait_timeout, Duration::from_secs(3_600));
    assert_eq!(config.serving.healthz.unwrap().to_string(), "0.0.0.0:10256");
    assert_eq!(config.serving.metrics.to_string(), "127.0.0.1:10249");
    assert_eq!(config.config_sync_period, Duration::from_secs(900));
    assert_eq!(config.oom_score_adj, -999);
    assert_eq!((config.logging.verbosity, config.logging.format), (0, LogFormat::Text));

    let flags = from_flags(&[]).unwrap();
    assert_eq!(flags.ipvs.min_sync_period, Duration::from_secs(1), "the one that differs");
    let mut as_file = flags;
    as_file.ipvs.min_sync_period = Duration::ZERO;
    assert_eq!(as_file, config);
}

#[test]
fn flags_that_do_not_count_are_warned_about_once_each() {
    let warnings = |arguments: &[&str]| load(&flags(arguments)).unwrap().1;
    assert_eq!(
        warnings(&["--ipvs-scheduler=rr", "-v=2", "--metrics-bind-address=127.0.0.1"]),
        [""; 0]
    );
    assert_eq!(
        warnings(&["--healthz-port=10256"]),
        [
            "flag --healthz-port is deprecated and will go in a future release: use --healthz-bind-address instead"
        ]
    );
    let idle = [
        "--iptables-sync-period=1s",
        "--iptables-min-sync-period=1s",
        "--iptables-localhost-nodeports",
        "--boot-id-file=/b",
        "--machine-id-file=/m",
        "--kube-api-content-type=application/json",
        "--kube-api-qps=1",
        "--kube-api-burst=1",
        "--config-sync-period=1m",
        "--log-flush-frequency=1s",
        "--log-text-info-buffer-size=0",
        "--log-json-split-stream=false",
    ];
    let told = warnings(&idle);
    assert_eq!(told.len(), 1, "{told:?}");
    for flag in idle {
        assert!(told[0].contains(flag.split('=').next().unwrap()), "{flag}: {told:?}");
    }
    assert_eq!(
        warnings(&["--feature-gates=A=true,AllowServiceExternalIPs=true,B=false"]),
        ["feature gates without effect here: A, B"]
    );

    let (_, told) = from_file_and(
        "",
        &[
            "--ipvs-scheduler=sh",
            "--hostname-override=n",
            "--kubeconfig=/k",
            "-v=1",
            "--master=http://m",
        ],
    )
    .unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with("counts and these flags do not: --kubeconfig, --ipvs-scheduler"),
        "{told:?}"
    );
}

/// Returns the settings in force, as they are written.
fn written(arguments: &[&str]) -> Value {
    let yaml = RawConfig::read(&flags(arguments)).unwrap().yaml();
    serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"))
}

#[test]
fn the_settings_in_force_are_written_as_kube_proxy_writes_them() {
    let recorded: Value =
        serde_saphyr::from_str(include_str!("config/written-by-kube-proxy.yaml")).unwrap();
    assert_eq!(written(&["--proxy-mode=ipvs"]), recorded);
    assert_eq!(
        written(&[
            "--proxy-mode=ipvs",
            "--healthz-port=1",
            "--metrics-port=0",
            "--write-config-to=/x"
        ]),
        recorded,
        "deprecated ports are passed over"
    );

    let file = file(KUBEADM);
    let config = format!("--config={}", file.path().display());
    let mut wanted = recorded;
    wanted["clientConnection"]["kubeconfig"] = "/var/lib/kube-proxy/kubeconfig.conf".into();
    wanted["clusterCIDR"] = "10.244.0.0/16".into();
    wanted["ipvs"]["minSyncPeriod"] = "0s".into();
    assert_eq!(written(&[&config]), wanted);
    wanted["logging"]["verbosity"] = 3.into();
    wanted["hostnameOverride"] = "n".into();
    assert_eq!(written(&[&config, "-v=3", "--hostname-override=n"]), wanted);
}

#[test]
fn the_settings_in_force_are_written_byte_by_byte_as_kube_proxy_writes_them() {
    let from_flags = RawConfig::read(&flags(&["--proxy-mode=ipvs"])).unwrap();
    assert_eq!(from_flags.yaml(), include_str!("config/written-by-kube-proxy.yaml"));
    let recorded = WRITTEN.replace("MIN", "0s");
    let file = file(&recorded);
    let from_file =
        RawConfig::read(&flags(&[&format!("--config={}", file.path().display())])).unwrap();
    assert_eq!(from_file.yaml(), recorded);
}

#[test]
fn what_is_written_means_the_same_when_it_is_read() {
    let arguments = [
        "--kube-api-qps=7.5",
        "--kube-api-burst=20",
        "--kubeconfig=/k",
        "--cluster-cidr=10.0.0.0/8,fd00::/56",
        "--nodeport-addresses=10.0.0.0/8",
        "--ipvs-exclude-cidrs=10.1.0.0/16,fd01::/64",
        "--ipvs-scheduler=wrr",
        "--ipvs-tcp-timeout=1h30m",
        "--ipvs-strict-arp",
        "--ipvs-graceful-termination-timeout=90s",
        "--healthz-bind-address=::1",
        "--show-hidden-metrics-for-version=1.35",
        "--feature-gates=AllowServiceExternalIPs=false",
        "--vmodule=sync=4,watch*=6",
        "--conntrack-max-per-core=0",
        "--oom-score-adj=5",
        "--detect-local-mode=BridgeInterface",
        "--pod-bridge-interface=cni0",
        "--hostname-override=Node1",
    ];
    let (config, _) = load(&flags(&arguments)).unwrap();
    let yaml = RawConfig::read(&flags(&arguments)).unwrap().yaml();
    let file = file(&yaml);
    let (again, warnings) =
        load(&flags(&[&format!("--config={}", file.path().display())])).unwrap();
    assert_eq!(again, config, "{yaml}");
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn levels_of_single_files_are_joined_flags_first() {
    let text = "logging: {vmodule: [{filePattern: sync, verbosity: 1}]}\n";
    let (config, _) = from_file_and(text, &["--vmodule=watch=6,sync=4", "--vmodule=a*=5"]).unwrap();
    let modules: Vec<_> = config
        .logging
        .vmodule
        .iter()
        .map(|m| format!("{}={}", m.file_pattern, m.verbosity))
        .collect();
    assert_eq!(modules, ["watch=6", "sync=4", "a*=5", "sync=1"]);
}

#[test]
fn options_of_the_log_that_are_still_tried_out_need_their_gate() {
    let gate = "--feature-gates=LoggingAlphaOptions=true";
    for (flag, field) in [
        ("--log-text-split-stream", "Logging.Options.Text.SplitStream"),
        ("--log-json-split-stream", "Logging.Options.JSON.SplitStream"),
        ("--log-text-info-buffer-size=1Ki", "Logging.Options.Text.InfoBufferSize"),
        ("--log-json-info-buffer-size=64", "Logging.Options.JSON.InfoBufferSize"),
    ] {
        let message = from_flags(&[flag]).unwrap_err();
        assert!(message.contains(field), "{flag}: {message}");
        from_flags(&[flag, gate]).unwrap();
    }
    let message = from_flags(&["--log-text-info-buffer-size=64Ki"]).unwrap_err();
    assert!(message.contains("Invalid value: \"64Ki\": needs the feature gate"), "{message}");
    let message = from_flags(&["--log-text-info-buffer-size=much", gate]).unwrap_err();
    assert!(message.contains("must be a quantity"), "{message}");
}

#[test]
fn the_json_format_needs_its_gate() {
    for (gates, is_open) in [
        ("", true),
        ("LoggingBetaOptions=false", false),
        ("AllBeta=false", false),
        ("AllBeta=false,LoggingBetaOptions=true", true),
    ] {
        let arguments = [format!("--feature-gates={gates}"), "--logging-format=json".to_owned()];
        match from_flags(&arguments.each_ref().map(String::as_str)) {
            Ok(_) => assert!(is_open, "{gates}"),
            Err(message) => {
                let wanted = "Logging.Format: Invalid value: \"json\": needs the feature gate";
                assert!(!is_open && message.contains(wanted), "{gates}: {message}");
            }
        }
        from_flags(&[&arguments[0]]).unwrap();
    }
}

/// The configuration that kubeadm writes into its ConfigMap.
const KUBEADM: &str = include_str!("../netns/daemonset/config.conf");

#[test]
fn kubeadms_nulls_zeros_and_empty_strings_mean_the_defaults() {
    let file = file(KUBEADM);
    let (mut config, warnings) =
        load(&flags(&[&format!("--config={}", file.path().display())])).unwrap();
    assert_eq!(warnings, [""; 0]);
    let Source::ApiServer { kubeconfig, master: None, pace } = &config.source else { panic!() };
    assert_eq!(kubeconfig.as_deref(), Some(Path::new("/var/lib/kube-proxy/kubeconfig.conf")));
    let mut expected = from_file("clusterCIDR: 10.244.0.0/16").unwrap();
    expected.source = Source::InCluster(*pace);
    config.source = Source::InCluster(*pace);
    assert_eq!(config, expected);
}

/// The file that kube-proxy 1.36.2 wrote with `--write-config-to`, without the lines that this
/// proxy's file has too.
const WRITTEN: &str = r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 10
  contentType: application/vnd.kubernetes.protobuf
  kubeconfig: /tmp/kc
  qps: 5
clusterCIDR: 10.32.0.0/11
configSyncPeriod: 15m0s
conntrack:
  maxPerCore: 32768
  min: 131072
  tcpBeLiberal: false
  tcpCloseWaitTimeout: 1h0m0s
  tcpEstablishedTimeout: 24h0m0s
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ClusterCIDR
enableProfiling: true
healthzBindAddress: 0.0.0.0:10256
hostnameOverride: node1
iptables:
  localhostNodePorts: true
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: MIN
  scheduler: ""
  strictARP: false
  syncPeriod: 30s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 5s
  format: text
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: 127.0.0.1:10249
mode: ipvs
nftables:
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: -999
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"#;

#[test]
fn the_defaults_that_kube_proxy_writes_are_ours() {
    for (min, arguments) in
        [("0s", &["--ipvs-min-sync-period=0s"][..]), ("1s", &["--proxy-mode=ipvs"])]
    {
        let written = file(&WRITTEN.replace("MIN", min));
        let (config, warnings) =
            load(&flags(&[&format!("--config={}", written.path().display())])).unwrap();
        assert_eq!(warnings, [""; 0]);
        let same = [
            "--kubeconfig=/tmp/kc",
            "--cluster-cidr=10.32.0.0/11",
            "--hostname-override=node1",
            "--profiling",
            "--oom-score-adj=-999",
        ];
        assert_eq!(config, from_flags(&[&same, arguments].concat()).unwrap());
    }
}

#[test]
fn every_setting_of_a_file_arrives() {
    let config = from_file(
        "
featureGates: {Whatever: true}
clientConnection: {kubeconfig: /k, qps: 7.5, burst: 20}
logging: {format: json, flushFrequency: 1000000000, verbosity: 4}
nftables: {masqueradeBit: 3, masqueradeAll: true, syncPeriod: 1s, minSyncPeriod: 1s}
winkernel: {networkName: n, sourceVip: s, enableDSR: true, rootHnsEndpointName: r, forwardHealthCheckVip: true}
hostnameOverride: ' Node-A '
bindAddress: 192.0.2.1
healthzBindAddress: 192.0.2.1
metricsBindAddress: '[2001:db8::1]:9'
bindAddressHardFail: true
enableProfiling: yes
showHiddenMetricsForVersion: '1.35'
iptables: {masqueradeBit: 0, masqueradeAll: true, localhostNodePorts: false, syncPeriod: 1s}
ipvs: {syncPeriod: 1m, minSyncPeriod: 2s, scheduler: wrr, excludeCIDRs: [10.0.0.0/8], strictARP: true,
  tcpTimeout: 15m, tcpFinTimeout: 30.9s, udpTimeout: 1m}
detectLocalMode: InterfaceNamePrefix
detectLocal: {interfaceNamePrefix: veth}
clusterCIDR: ignored in this mode
nodePortAddresses: [10.0.0.0/8, 'fd00::/8']
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 1s, tcpBeLiberal: true,
  udpTimeout: 2s, udpStreamTimeout: 3s}
configSyncPeriod: 1h
portRange: 1-2
windowsRunAsService: false
",
    )
    .unwrap();
    assert_eq!(&*config.node_name, "node-a");
    assert!(matches!(&config.source, Source::ApiServer { pace, .. } if pace.qps == 7.5));
    assert_eq!((config.logging.format, config.logging.verbosity), (LogFormat::Json, 4));
    assert_eq!(config.logging.flush_frequency, Duration::from_secs(1));
    assert_eq!(config.serving.healthz.unwrap().to_string(), "192.0.2.1:10256");
    assert_eq!(config.serving.metrics.to_string(), "[2001:db8::1]:9");
    assert!(config.serving.hard_fail && config.serving.profiling);
    assert!(config.serving.show_hidden_metrics);
    assert_eq!((config.masquerade_bit, config.masquerade_all), (0, true));
    assert_eq!(config.ipvs.sync_period, Duration::from_secs(60));
    assert_eq!(config.ipvs.scheduler, "wrr");
    assert_eq!(config.ipvs.exclude_cidrs, ["10.0.0.0/8".parse().unwrap()]);
    let ipvs = &config.ipvs;
    assert!(ipvs.strict_arp);
    assert_eq!((ipvs.tcp_timeout, ipvs.tcp_fin_timeout, ipvs.udp_timeout), (900, 30, 60));
    assert_eq!(config.detect_local, DetectLocal::InterfaceNamePrefix("veth".to_owned()));
    let nets = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    assert_eq!(config.node_port_addresses, NodePortAddresses::Nets(nets));
    assert_eq!(config.oom_score_adj, 0);
    assert_eq!((config.conntrack.max_per_core, config.conntrack.min), (0, 0));
    assert_eq!(config.conntrack.tcp_established_timeout, Duration::ZERO);
    assert_eq!(config.conntrack.udp_stream_timeout, Duration::from_secs(3));
    assert_eq!(config.config_sync_period, Duration::from_secs(3600));
}

#[test]
fn cluster_cidrs_are_one_for_each_family() {
    let both = from_flags(&["--cluster-cidr=fd00::/56,10.0.0.0/8"]).unwrap();
    let DetectLocal::ClusterCidr(nets) = both.detect_local else { panic!() };
    assert_eq!(nets.v4.unwrap().to_string(), "10.0.0.0/8");
    assert_eq!(nets.v6.unwrap().to_string(), "fd00::/56");
    for bad in ["10.0.0.0/8,11.0.0.0/8", "10.0.0.0/8, fd00::/8", "10.0.0.0", "a,b,c", ","] {
        let message = from_flags(&[&format!("--cluster-cidr={bad}")]).unwrap_err();
        assert!(message.contains("KubeProxyConfiguration.ClusterCIDR"), "{message}");
    }
}

#[test]
fn three_mistakes_are_three_problems() {
    let message = from_file(
        "oomScoreAdj: 5000\nipvs: {excludeCIDRs: [10.0.0.0/8, nonsense], syncPeriod: -1s}\n",
    )
    .unwrap_err();
    for field in [
        "KubeProxyConfiguration.OOMScoreAdj: Invalid value: \"5000\"",
        "KubeProxyConfiguration.KubeProxyIPVSConfiguration.ExcludeCidrs[1]",
        "KubeProxyConfiguration.KubeProxyIPVSConfiguration.SyncPeriod: Invalid value: \"-1s\"",
    ] {
        assert!(message.contains(field), "{field}\n{message}");
    }
    assert_eq!(message.matches("KubeProxyConfiguration.").count(), 3, "{message}");
}

#[test]
fn every_check_names_its_field() {
    for (text, field) in [
        ("mode: iptables", "Mode"),
        ("mode: nftables", "Mode"),
        ("iptables: {masqueradeBit: 32}", "KubeProxyIPTablesConfiguration.MasqueradeBit"),
        ("iptables: {masqueradeBit: -1}", "KubeProxyIPTablesConfiguration.MasqueradeBit"),
        ("ipvs: {minSyncPeriod: 1h}", "KubeProxyIPVSConfiguration.SyncPeriod"),
        ("ipvs: {minSyncPeriod: -1s}", "KubeProxyIPVSConfiguration.MinSyncPeriod"),
        ("ipvs: {tcpTimeout: -1s}", "KubeProxyIPVSConfiguration.TCPTimeout"),
        ("ipvs: {tcpFinTimeout: -1s}", "KubeProxyIPVSConfiguration.TCPFinTimeout"),
        ("ipvs: {udpTimeout: -1000000h}", "KubeProxyIPVSConfiguration.UDPTimeout"),
        ("conntrack: {maxPerCore: -1}", "KubeProxyConntrackConfiguration.MaxPerCore"),
        ("conntrack: {min: -1}", "KubeProxyConntrackConfiguration.Min"),
        ("conntrack: {udpTimeout: -1s}", "KubeProxyConntrackConfiguration.UDPTimeout"),
        ("clientConnection: {burst: -1}", "ClientConnection.Burst"),
        ("configSyncPeriod: -1s", "ConfigSyncPeriod"),
        ("bindAddress: localhost", "BindAddress"),
        ("healthzBindAddress: ':10256'", "HealthzBindAddress"),
        ("metricsBindAddress: 127.0.0.1:0", "MetricsBindAddress"),
        ("metricsBindAddress: 127.0.0.1:65536", "MetricsBindAddress"),
        ("nodePortAddresses: [primary, 10.0.0.0/8]", "NodePortAddresses"),
        ("nodePortAddresses: [10.0.0.0]", "NodePortAddresses[0]"),
        ("detectLocalMode: Guess", "DetectLocalMode"),
        ("detectLocalMode: BridgeInterface", "DetectLocal.BridgeInterface"),
        ("detectLocalMode: InterfaceNamePrefix", "DetectLocal.InterfaceNamePrefix"),
        ("logging: {format: xml}", "Logging.Format"),
        ("logging: {verbosity: 2147483648}", "Logging.Verbosity"),
        ("logging: {vmodule: [{filePattern: '', verbosity: 1}]}", "Logging.VModule[0].FilePattern"),
        (
            "logging: {vmodule: [{filePattern: 'a=b', verbosity: 1}]}",
            "Logging.VModule[0].FilePattern",
        ),
        (
            "logging: {format: json, vmodule: [{filePattern: a, verbosity: 1}]}",
            "Logging.VModule[0]",
        ),
        ("logging: {options: {text: {splitStream: true}}}", "Logging.Options.Text.SplitStream"),
        (
            "featureGates: {MultiCIDRServiceAllocator: false}",
            "FeatureGates[MultiCIDRServiceAllocator]",
        ),
        ("mode: nfs", "Mode"),
        ("showHiddenMetricsForVersion: '1.30'", "ShowHiddenMetricsForVersion"),
    ] {
        let message = from_file(text).expect_err(text);
        let expected = format!(": KubeProxyConfiguration.{field}: Invalid value: ");
        assert!(message.starts_with("invalid configuration /"), "the file is named: {message}");
        assert!(message.contains(&expected), "{text}: {message}");
        assert!(!message.contains('\n') && !message.contains(';'), "{message}");
    }
}

#[test]
fn what_is_no_configuration_is_refused_with_line_and_field() {
    for (text, line, column, field) in [
        ("ipvs:\n  syncPeriod: 30\n", 4, 15, "ipvs.syncPeriod"),
        ("ipvs:\n  strictARP: perhaps\n", 4, 14, "ipvs.strictARP"),
        ("oomScoreAdj: many\n", 3, 14, "oomScoreAdj"),
        ("nodePortAddresses: 10.0.0.0/8\n", 3, 20, "nodePortAddresses"),
        ("enableProfiling: \"true\"\n", 3, 18, "enableProfiling"),
        ("oomScoreAdj: '5'\n", 3, 14, "oomScoreAdj"),
        ("logging: {verbosity: '3'}\n", 3, 22, "logging.verbosity"),
        ("clientConnection: {qps: '3'}\n", 3, 25, "clientConnection.qps"),
        ("featureGates: {A: 'true'}\n", 3, 19, "featureGates.A"),
        (
            "logging: {vmodule: [{filePattern: a, verbosity: '3'}]}\n",
            3,
            49,
            "logging.vmodule[0].verbosity",
        ),
    ] {
        let message = from_file(text).expect_err(text);
        let expected = format!(": line {line}, column {column}: KubeProxyConfiguration.{field}: ");
        assert!(message.contains(&expected), "{text:?}: {message}");
        assert!(message.starts_with("invalid configuration /"), "{message}");
        assert!(!message.contains('\n') && !message.contains(';'), "{message:?}");
    }
    let message = from_file("ipvs: [\n").unwrap_err();
    assert!(message.starts_with("configuration file /") && message.contains("line "), "{message}");
}

#[test]
fn scalars_without_quotes_are_what_their_field_is() {
    let text = "hostnameOverride: 123\nshowHiddenMetricsForVersion: 1.35\nenableProfiling: yes\n\
                featureGates: {AllowServiceExternalIPs: null}\noomScoreAdj: 0x5\nmode: null\n";
    let config = from_file(text).unwrap();
    assert_eq!((&*config.node_name, config.oom_score_adj), ("123", 5));
    assert!(config.serving.show_hidden_metrics && config.serving.profiling);
    assert!(!config.gates.is_on(gates::EXTERNAL_IPS), "a null in a map is false");
}

#[test]
fn numbers_are_what_kube_proxys_decoder_takes_for_them() {
    let text = "oomScoreAdj: 0100\niptables: {masqueradeBit: 02}\n\
                conntrack: {maxPerCore: 1e3, min: 131072.0}\nclientConnection: {qps: 1_000, burst: 1_0}\n\
                logging: {verbosity: 010}\n";
    let config = from_file(text).unwrap();
    assert_eq!((config.oom_score_adj, config.masquerade_bit), (64, 2));
    assert_eq!((config.conntrack.max_per_core, config.conntrack.min), (1000, 131_072));
    assert_eq!(config.logging.verbosity, 8);
    for (text, told) in [
        (
            "oomScoreAdj: 1.5\n",
            "line 3, column 14: KubeProxyConfiguration.oomScoreAdj: must be a whole",
        ),
        ("conntrack: {min: 1.0}\noomScoreAdj: x\n", "line 4, column 14: "),
        ("conntrack: []\n", "KubeProxyConfiguration.conntrack: a mapping is expected"),
        ("nodePortAddresses: x\n", "KubeProxyConfiguration.nodePortAddresses: a list is expected"),
        ("oomScoreAdj: '0100'\n", "text in quotes where a number is expected"),
        ("mode: [x]\n", "KubeProxyConfiguration.mode: a single value is expected"),
    ] {
        let message = from_file(text).expect_err(text);
        assert!(message.contains(told), "{text}: {message}");
    }
    assert_eq!(from_flags(&["--iptables-masquerade-bit=1_4"]).unwrap().masquerade_bit, 14);
}

/// kube-proxy 1.36.2 accepts each of these. It checks only the settings of the mode in force.
#[test]
fn what_kube_proxy_takes_is_taken() {
    for text in [
        "mode: ipvs\nnftables: {masqueradeBit: 99, syncPeriod: -1s, minSyncPeriod: -1s}\n",
        "nftables: {masqueradeBit: -1}\n",
        "iptables: {syncPeriod: -1s, minSyncPeriod: -2s}\n",
        "winkernel: {sourceVip: nonsense}\n",
        "portRange: nonsense\n",
        "ipvs: {tcpTimeout: 1000000h}\n",
        "detectLocalMode: NodeCIDR\nclusterCIDR: nonsense\n",
        "detectLocal: {bridgeInterface: a-name-that-is-much-too-long}\n",
    ] {
        let (_, warnings) = from_file_and(text, &[]).expect(text);
        assert_eq!(warnings, [""; 0], "{text}");
    }
}

#[test]
fn addresses_and_networks_are_read_in_every_spelling_that_kube_proxy_reads_and_told_once_each() {
    let net = |text: &str| -> Net { text.parse().unwrap() };
    let arguments = [
        "--cluster-cidr=010.0.0.0/8,FD00::/056",
        "--ipvs-exclude-cidrs=010.1.0.0/16,::ffff:10.2.0.0/112",
        "--nodeport-addresses=192.000.002.000/24",
        "--bind-address=010.0.0.1",
        "--healthz-bind-address=127.000.0.1",
        "--metrics-bind-address=[::ffff:127.0.0.1]:0080",
    ];
    let (config, warnings) = load(&flags(&arguments)).unwrap();
    let DetectLocal::ClusterCidr(local) = &config.detect_local else { panic!("{config:?}") };
    assert_eq!((local.v4, local.v6), (Some(net("10.0.0.0/8")), Some(net("fd00::/56"))));
    assert_eq!(config.ipvs.exclude_cidrs, [net("10.1.0.0/16"), net("10.2.0.0/16")]);
    assert_eq!(config.node_port_addresses, NodePortAddresses::Nets(vec![net("192.0.2.0/24")]));
    assert_eq!(config.serving.bind_address.to_string(), "10.0.0.1");
    assert_eq!(config.serving.healthz.unwrap().to_string(), "127.0.0.1:10256");
    assert_eq!(config.serving.metrics.to_string(), "127.0.0.1:80");
    assert_eq!(warnings.len(), 8, "{warnings:#?}");
    for told in [
        r#"ClusterCIDR: "010.0.0.0/8" is read as 10.0.0.0/8, as kube-proxy does"#,
        r#"KubeProxyIPVSConfiguration.ExcludeCidrs[1]: "::ffff:10.2.0.0/112" is read as 10.2.0.0/16"#,
        r#"BindAddress: "010.0.0.1" is read as 10.0.0.1"#,
    ] {
        let told = format!("KubeProxyConfiguration.{told}");
        assert_eq!(
            warnings.iter().filter(|text| text.starts_with(&told)).count(),
            1,
            "{told}: {warnings:#?}"
        );
    }
    let (config, _) =
        from_file_and("clusterCIDR: 010.0.0.0/8\nbindAddress: '::ffff:010.0.0.1'\n", &[]).unwrap();
    let DetectLocal::ClusterCidr(local) = &config.detect_local else { panic!("{config:?}") };
    assert_eq!(local.v4, Some(net("10.0.0.0/8")));
    // Listeners follow the family of the parsed address.
    assert_eq!(config.serving.metrics.to_string(), "127.0.0.1:10249");
    // The address is written as it was given.
    let written = written(&[&arguments[..], &["--healthz-bind-address=::ffff:127.0.0.1"]].concat());
    assert_eq!(written["clusterCIDR"], "010.0.0.0/8,FD00::/056");
    assert_eq!(written["bindAddress"], "010.0.0.1");
    assert_eq!(written["healthzBindAddress"], "[::ffff:127.0.0.1]:10256");
}

#[test]
fn a_name_that_no_interface_can_have_detects_nothing_and_is_warned_about() {
    for (mode, flag) in [
        ("BridgeInterface", "--pod-bridge-interface"),
        ("InterfaceNamePrefix", "--pod-interface-name-prefix"),
    ] {
        let mode = format!("--detect-local-mode={mode}");
        for (name, is_warned) in
            [("cbr0", false), ("fifteen-bytes-x", false), ("sixteen-bytes-xy", true)]
        {
            let (_, warnings) = load(&flags(&[&mode, &format!("{flag}={name}")])).unwrap();
            assert_eq!(warnings.len(), usize::from(is_warned), "{name}: {warnings:?}");
        }
    }
}

#[test]
fn networks_that_are_none_are_refused() {
    for (flag, told) in [
        ("--ipvs-exclude-cidrs=10.0.0.0/8,", "ExcludeCidrs[1]: Invalid value: \"\""),
        ("--ipvs-exclude-cidrs=10.0.0.0/8,,11.0.0.0/8", "ExcludeCidrs[1]: Invalid value: \"\""),
        ("--cluster-cidr=10.0.0.0", "ClusterCIDR: Invalid value: \"10.0.0.0\""),
        ("--cluster-cidr=10.0.0.0/33", "ClusterCIDR: Invalid value: \"10.0.0.0/33\""),
        (
            "--cluster-cidr=10.0.0.0/8,::ffff:10.1.0.0/112",
            "must be one CIDR, or one of each IP family",
        ),
    ] {
        let message = from_flags(&[flag]).expect_err(flag);
        assert!(message.contains(told), "{flag}: {message}");
    }
    assert!(from_flags(&["--ipvs-exclude-cidrs="]).unwrap().ipvs.exclude_cidrs.is_empty());
}

#[test]
fn fields_of_a_wrong_type_are_told_together_with_values_that_cannot_be() {
    let own = format!("{OWN}serviceMetrics: [1]\ngracefulTerminationTimeout: -1s\n");
    let message = from_file(&format!(
        "enableProfiling: maybe\noomScoreAdj: 5000\nipvs:\n  syncPeriod: 30\n  \
         excludeCIDRs: [10.0.0.0/8, nonsense]\nnodePortAddresses:\n- {{a: b}}\n\
         conntrack: {{min: \"1\"}}\n---\n{own}"
    ))
    .unwrap_err();
    for told in [
        "line 3, column 18: KubeProxyConfiguration.enableProfiling: ",
        "line 6, column 15: KubeProxyConfiguration.ipvs.syncPeriod: ",
        "line 9, column 3: KubeProxyConfiguration.nodePortAddresses[0]: ",
        "line 10, column 18: KubeProxyConfiguration.conntrack.min: ",
        "line 14, column 17: IPVSProxyConfiguration.serviceMetrics: ",
        "KubeProxyConfiguration.OOMScoreAdj: Invalid value: \"5000\"",
        "KubeProxyConfiguration.KubeProxyIPVSConfiguration.ExcludeCidrs[1]",
        "; IPVSProxyConfiguration.gracefulTerminationTimeout: ",
    ] {
        assert_eq!(message.matches(told).count(), 1, "{told}\n{message}");
    }
    assert_eq!(message.matches("; ").count(), 7, "{message}");
}

#[test]
fn a_list_of_which_one_word_is_primary_has_its_other_mistakes_told() {
    let message = from_file("nodePortAddresses: [a, primary]\n").unwrap_err();
    assert!(message.contains("NodePortAddresses: Invalid value: \"primary\""), "{message}");
    assert!(message.contains("NodePortAddresses[0]: Invalid value: \"a\""), "{message}");
    assert_eq!(message.matches("KubeProxyConfiguration.").count(), 2, "{message}");
}

#[test]
fn a_rate_that_is_no_number_is_refused() {
    for word in ["nan", "inf"] {
        let message = from_flags(&[&format!("--kube-api-qps={word}")]).unwrap_err();
        assert!(message.contains("ClientConnection.QPS"), "{message}");
    }
}

#[test]
fn another_kind_of_file_is_refused() {
    for text in [
        "",
        "mode: ipvs\n",
        "apiVersion: v1\nkind: ConfigMap\n",
        "apiVersion: kubeproxy.config.k8s.io/v1beta1\nkind: KubeProxyConfiguration\n",
        "- a\n",
    ] {
        let file = file(text);
        let message = load(&flags(&[&format!("--config={}", file.path().display())])).unwrap_err();
        assert!(message.contains("kubeproxy.config.k8s.io/v1alpha1"), "{message}");
    }
    let message = load(&flags(&["--config=/no/such/file"])).unwrap_err();
    assert!(message.contains("/no/such/file") && message.contains("No such file"), "{message}");
}

#[test]
fn unknown_and_repeated_keys_are_warnings() {
    let (config, warnings) = from_file_and(
        "mode: iptables\nipvs: {scheduler: sh, novel: 1}\nfuture: {a: b}\nmode: ipvs\n\
         iptables: {masqueradeAll: false, masqueradeAll: true}\n---\na: b\n",
        &[],
    )
    .unwrap();
    assert_eq!(config.ipvs.scheduler, "sh");
    let has =
        |word: &str| assert!(warnings.iter().any(|w| w.contains(word)), "{word}: {warnings:?}");
    assert!(config.masquerade_all);
    has("line 6, column 1: mode: ");
    has("line 7, column 34: iptables.masqueradeAll: ");
    has("ipvs.novel");
    has("future: unknown field");
    has("1 further document");
    assert_eq!(warnings.len(), 5, "{warnings:?}");
}

#[test]
fn json_is_read_too() {
    let file = file(
        "{\n\t\"apiVersion\": \"kubeproxy.config.k8s.io/v1alpha1\",\n\t\"kind\": \"KubeProxyConfiguration\",\n\
         \t\"ipvs\": {\"scheduler\": \"lc\"}\n}\n",
    );
    let (config, _) = load(&flags(&[&format!("--config={}", file.path().display())])).unwrap();
    assert_eq!(config.ipvs.scheduler, "lc");
}

#[test]
fn beside_a_file_only_some_flags_count() {
    let text = "hostnameOverride: file\nipvs: {scheduler: sh}\nlogging: {verbosity: 1}\n";
    let (config, _) = from_file_and(
        text,
        &[
            "--hostname-override=Flag",
            "--master=http://m",
            "--v=5",
            "--ipvs-scheduler=rr",
            "--kubeconfig=/k",
        ],
    )
    .unwrap();
    assert_eq!(&*config.node_name, "flag");
    assert_eq!(config.logging.verbosity, 5);
    assert_eq!(config.ipvs.scheduler, "sh");
    let Source::ApiServer { kubeconfig: None, master: Some(master), .. } = config.source else {
        panic!()
    };
    assert_eq!(master, "http://m");
    for nothing in [&[][..], &["--hostname-override="]] {
        let (config, _) = from_file_and(text, nothing).unwrap();
        assert_eq!((&*config.node_name, config.logging.verbosity), ("file", 1), "{nothing:?}");
    }
}

#[test]
fn a_node_without_a_name_is_refused() {
    let nobody = Environment { host_name: " ".to_owned(), pod: Pod::Outside };
    let message = config::load(&Flags::default(), None, &nobody).unwrap_err().to_string();
    assert!(message.contains("name is empty"), "{message}");
}

#[test]
fn the_source_is_chosen_by_what_is_there() {
    let outside = Environment { pod: Pod::Outside, ..here() };
    let chosen = |arguments: &[&str], manifests: Option<&str>, here: &Environment| {
        let (config, notes) =
            config::load(&flags(arguments), manifests.map(Path::new), here).unwrap();
        (config.source.to_string(), notes.len())
    };
    let source = |text: &str| (text.to_owned(), 0);
    assert_eq!(chosen(&[], None, &here()), source("the API server of this cluster"));
    assert_eq!(chosen(&[], Some("/m"), &here()), source("the manifests in /m"));
    assert_eq!(chosen(&["--kubeconfig=/k"], Some("/m"), &here()), source("the manifests in /m"));
    assert_eq!(chosen(&["--kubeconfig=/k"], None, &here()), source("the API server of /k"));
    assert_eq!(
        chosen(&["--kubeconfig=/k", "--master=http://m"], None, &outside),
        source("the API server http://m of /k")
    );
    let default = ("the manifests in /etc/ipvs-proxy/manifests".to_owned(), 1);
    assert_eq!(chosen(&[], None, &outside), default, "and a note says why");
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    for (url, shown) in [
        ("https://user:secret@10.0.0.1:6443/path", "https://10.0.0.1:6443/path"),
        ("https://user:sec/ret?#@10.0.0.1:6443/path", "https://10.0.0.1:6443/path"),
        ("user:se@cret@host:80", "host:80"),
        ("user:se://cret@host:80", "host:80"),
        ("user:se/cret@host:80", "host:80"),
        ("https://host/a", "https://host/a"),
        ("host:80", "host:80"),
    ] {
        assert_eq!(config::without_password(url), shown);
        // The two rules differ only in what replaces the secret.
        let hidden = config::with_password_hidden(url);
        assert_eq!(hidden.replace("xxxxx@", ""), shown);
        assert_eq!(hidden.contains("xxxxx@"), url != shown, "{hidden}");
    }
    let master = from_flags(&["--master=http://user:secret@host"]).unwrap().source.to_string();
    assert_eq!(master, "the API server http://host");
}

#[test]
fn listeners_follow_the_bind_address_of_a_file_but_not_of_a_flag() {
    let file = from_file("bindAddress: '::'").unwrap().serving;
    assert_eq!(file.healthz.unwrap().to_string(), "[::]:10256");
    assert_eq!(file.metrics.to_string(), "[::1]:10249");
    let flag = from_flags(&["--bind-address=::"]).unwrap().serving;
    assert_eq!(flag.healthz.unwrap().to_string(), "0.0.0.0:10256");
    assert_eq!(flag.metrics.to_string(), "127.0.0.1:10249");
}

#[test]
fn deprecated_ports_complete_addresses_or_switch_off() {
    let serving = |arguments| from_flags(arguments).map(|config| config.serving);
    let healthz = |arguments| serving(arguments).unwrap().healthz.map(|a| a.to_string());
    assert_eq!(healthz(&["--healthz-port=0"]), None);
    assert_eq!(healthz(&["--healthz-bind-address=::1", "--healthz-port=7"]).unwrap(), "[::1]:7");
    assert_eq!(
        healthz(&["--healthz-bind-address=1.2.3.4:5", "--healthz-port=7"]).unwrap(),
        "1.2.3.4:5"
    );
    assert_eq!(healthz(&["--healthz-bind-address="]).unwrap(), "0.0.0.0:10256");
    assert!(serving(&["--metrics-port=0"]).unwrap_err().contains("MetricsBindAddress"));
}

#[test]
fn zero_periods_are_refused_as_flags() {
    assert!(from_flags(&["--config-sync-period=0s"]).unwrap_err().contains("ConfigSyncPeriod"));
    assert!(from_flags(&["--ipvs-sync-period=0"]).unwrap_err().contains(".SyncPeriod"));
}

const OWN: &str = "apiVersion: ipvs-proxy.io/v1alpha1\nkind: IPVSProxyConfiguration\n";

/// Loads these files with these further flags.
fn loaded(
    config: &str,
    extra: Option<&str>,
    flags: &[&str],
) -> Result<(Config, Vec<String>), String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let mut arguments =
        vec!["ipvs-proxy".to_owned(), format!("--config={}", write("config", config))];
    arguments.extend(extra.map(|text| format!("--extra-config={}", write("extra", text))));
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let Ok(Command::Run(run)) = cli::parse(arguments) else { panic!("flags of the proxy") };
    config::load(&run.flags, None, &here()).map_err(|error| error.to_string())
}

#[test]
fn the_proxys_own_document_stands_before_or_after_kube_proxys_or_in_another_file() {
    let own = format!("{OWN}strictTrafficPolicies: true\ngracefulTerminationTimeout: 1m30s\n");
    for (config, extra) in [
        (format!("{HEAD}---\n{own}"), None),
        (format!("{own}---\n{HEAD}"), None),
        (HEAD.to_owned(), Some(own.as_str())),
    ] {
        let (found, warnings) = loaded(&config, extra, &[]).unwrap();
        assert_eq!(found.policy, proxier::plan::Compatibility::Strict);
        assert_eq!(found.drain.usual, Some(Duration::from_secs(90)));
        assert_eq!(found.drain.dead_node, None);
        assert!(!warnings.iter().any(|warning| warning.contains("ignored")), "{warnings:?}");
    }
    let (plain, _) = loaded(HEAD, None, &[]).unwrap();
    assert_eq!(plain.policy, proxier::plan::Compatibility::AsUpstream);
    assert_eq!(plain.drain, proxier::plan::DrainLimits::default());
    let twice = loaded(&format!("{HEAD}---\n{own}"), Some(&own), &[]).unwrap_err();
    assert!(twice.contains("more than one IPVSProxyConfiguration"), "{twice}");
}

#[test]
fn an_own_document_of_another_version_is_refused_and_not_passed_over() {
    let later = "apiVersion: ipvs-proxy.io/v2\nkind: IPVSProxyConfiguration\n";
    let other = "apiVersion: ipvs-proxy.io/v1alpha1\nkind: Other\n";
    let misplaced = "apiVersion: example.com/v1alpha1\nkind: IPVSProxyConfiguration\n";
    for (own, found) in [
        (later, "found apiVersion \"ipvs-proxy.io/v2\" and kind \"IPVSProxyConfiguration\""),
        (other, "found apiVersion \"ipvs-proxy.io/v1alpha1\" and kind \"Other\""),
        (misplaced, "found apiVersion \"example.com/v1alpha1\""),
    ] {
        for (config, extra) in [
            (format!("{HEAD}---\n{own}"), None),
            (format!("{own}---\n{HEAD}"), None),
            (own.to_owned(), None),
            (HEAD.to_owned(), Some(own)),
        ] {
            let message = loaded(&config, extra, &[]).unwrap_err();
            assert!(message.contains(found), "{config}: {message}");
        }
    }
    let alone = loaded(OWN, None, &[]).unwrap_err();
    assert!(
        alone.contains("kind KubeProxyConfiguration, found apiVersion \"ipvs-proxy"),
        "{alone}"
    );
    let two = loaded(HEAD, Some(&format!("{OWN}---\n{OWN}")), &[]).unwrap_err();
    assert!(two.contains("expected one document") && two.ends_with("found 2"), "{two}");
}

#[test]
fn who_cleans_up_is_told_of_a_configuration_that_cannot_be_but_may_come_from_any_mode() {
    let excluded = |arguments: &[&str]| {
        let arguments = [&["ipvs-proxy", "--cleanup"], arguments].concat();
        let Ok(Command::Cleanup(cleanup)) = cli::parse(arguments) else { panic!() };
        config::exclude_cidrs(&cleanup.flags()).map_err(|error| error.to_string())
    };
    for mode in ["", "ipvs", "iptables", "nftables"] {
        let nets = excluded(&[&format!("--proxy-mode={mode}"), "--ipvs-exclude-cidrs=10.0.0.0/8"]);
        assert_eq!(nets.unwrap().len(), 1, "{mode}");
    }
    for (flag, field) in [
        ("--proxy-mode=bogus", ".Mode: "),
        ("--oom-score-adj=9999", ".OOMScoreAdj: "),
        ("--ipvs-exclude-cidrs=x", ".ExcludeCidrs[0]: "),
    ] {
        let message = excluded(&[flag]).unwrap_err();
        assert!(message.contains(field) && !message.contains(';'), "{message}");
    }
    let file = file(&format!("{HEAD}mode: iptables\noomScoreAdj: 9999\n"));
    let config = format!("--config={}", file.path().display());
    assert!(excluded(&[&config]).unwrap_err().contains("OOMScoreAdj"));
    let Ok(Command::Cleanup(own)) = cli::parse(["ipvs-proxy", "cleanup", &config]) else {
        panic!()
    };
    assert_eq!(config::exclude_cidrs(&own.flags()).unwrap(), [], "ours asks for nothing else");
}

#[test]
fn flags_win_over_the_proxys_own_document_even_beside_a_file() {
    let own = format!("{OWN}gracefulTerminationTimeout: 1m\n");
    let flags = [
        "--ipvs-graceful-termination-timeout=5s",
        "--ipvs_unreachable_node_termination_timeout=2s",
    ];
    let (found, _) = loaded(&format!("{HEAD}---\n{own}"), None, &flags).unwrap();
    assert_eq!(found.drain.usual, Some(Duration::from_secs(5)));
    assert_eq!(found.drain.dead_node, Some(Duration::from_secs(2)));
}

#[test]
fn networks_of_balancers_that_are_proxies_come_from_the_document_or_the_flag() {
    let own = format!("---\n{OWN}ipModeProxyCIDRs: [010.0.0.0/8, 'fd00::/8']\n");
    let shown = |config: &Config| -> Vec<String> {
        config.ip_mode_proxy.iter().map(ToString::to_string).collect()
    };
    let (config, warnings) = from_file_and(&own, &[]).unwrap();
    assert_eq!(shown(&config), ["10.0.0.0/8", "fd00::/8"]);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("IPVSProxyConfiguration.ipModeProxyCIDRs[0]: "), "{warning}");
    let (config, _) = from_file_and(&own, &["--ipvs-ip-mode-proxy-cidrs=192.0.2.0/24"]).unwrap();
    assert_eq!(shown(&config), ["192.0.2.0/24"]);
    assert!(from_flags(&[]).unwrap().ip_mode_proxy.is_empty());
    let error = from_flags(&["--ipvs-ip-mode-proxy-cidrs=192.0.2.0"]).unwrap_err();
    assert!(error.contains("IPVSProxyConfiguration.ipModeProxyCIDRs[0]: Invalid value"), "{error}");
}

#[test]
fn problems_of_both_documents_are_told_together_with_their_fields() {
    let text = format!(
        "{HEAD}oomScoreAdj: 2000\n---\n{OWN}gracefulTerminationTimeout: -1s\nsurprise: 1\n"
    );
    let error = loaded(&text, None, &[]).unwrap_err();
    assert!(error.contains("KubeProxyConfiguration.OOMScoreAdj"), "{error}");
    assert!(error.contains("; IPVSProxyConfiguration.gracefulTerminationTimeout: "), "{error}");
    let unknown = text.replace("2000", "0").replace("-1s", "1s");
    let (_, warnings) = loaded(&unknown, None, &[]).unwrap();
    assert!(
        warnings.iter().any(|warning| warning.contains("surprise: unknown field")),
        "{warnings:?}"
    );
}

#[test]
fn the_gate_of_external_ips_counts_and_others_do_not() {
    let kube = |gates: &str| format!("{HEAD}featureGates: {{{gates}}}\n");
    let (off, _) =
        loaded(&kube("AllowServiceExternalIPs: false, Unheard: true"), None, &[]).unwrap();
    assert!(!off.gates.is_on(gates::EXTERNAL_IPS));
    let (on, _) = loaded(&kube("Unheard: false"), None, &[]).unwrap();
    assert!(on.gates.is_on(gates::EXTERNAL_IPS));
}
