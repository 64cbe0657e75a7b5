//! Tests the binary as a process: exit codes, the one line of an error, and the output of `plan`.
//!
//! Takes command lines. Returns the status and both outputs. Does not need a kernel: tests that do
//! are in `tests/netns`.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipvs-proxy")).args(arguments).output().expect("it runs")
}

/// Checks that the process fails with this code and one line on standard error. Returns the line.
fn refusal(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(output.stdout.is_empty());
    said
}

const MANIFESTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: bad, namespace: shop}
spec: {clusterIP: 10.96.0.300, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: good, namespace: shop}
spec:
  clusterIP: 10.96.0.3
  ports: [{port: 0, name: a}, {port: 80, protocol: ICMP, name: b}, {port: 443, name: c}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: good-1, namespace: shop, labels: {kubernetes.io/service-name: good}}
addressType: IPv4
ports: [{name: c, port: 8443}]
endpoints: [{addresses: ['fd00::1']}, {addresses: null}, {addresses: [10.0.0.4]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: good-2, namespace: shop, labels: {kubernetes.io/service-name: good}}
addressType: IPv4
ports: null
endpoints: null
";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    fs::write(file.path(), text).expect("it is written");
    file
}

#[test]
fn nobody_needs_to_read_what_is_printed() {
    let full = || File::options().write(true).open("/dev/full").expect("a device");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipvs-proxy"));
    let status = command.arg("--bogus").stderr(full()).status().expect("it runs");
    assert_eq!(status.code(), Some(2));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipvs-proxy"));
    let output = command.arg("--help").stdout(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipvs-proxy"));
    let output = command.arg("--help").stdout(writer).output().expect("it runs");
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}

#[test]
fn arguments_that_make_no_sense_exit_with_2() {
    assert!(refusal(2, &["--bogus"]).contains("--bogus"));
    assert!(refusal(2, &["plan"]).contains("--manifests"));
    assert!(refusal(2, &["somewhere"]).contains("somewhere"));
}

#[test]
fn an_unreadable_configuration_exits_with_1_and_names_the_file() {
    let missing = refusal(1, &["--config", "/nowhere/config.yaml"]);
    assert_eq!(
        missing,
        "ipvs-proxy: configuration file /nowhere/config.yaml: No such file or directory (os error 2)"
    );
    let broken = file("kind: [");
    let said = refusal(1, &["--config", &broken.path().to_string_lossy()]);
    assert!(said.contains("line 1") && said.contains(&*broken.path().to_string_lossy()), "{said}");
    assert_eq!(said.matches("unclosed").count(), 1, "{said}");
}

#[test]
fn a_source_that_is_not_there_exits_with_1_before_the_kernel_is_looked_at() {
    assert!(refusal(1, &["--kubeconfig", "/nowhere/kubeconfig"]).contains("/nowhere/kubeconfig"));
    assert!(refusal(1, &["--manifests", "/nowhere/manifests"]).contains("/nowhere/manifests"));
}

#[test]
fn another_proxy_mode_is_refused() {
    for mode in ["nftables", "iptables"] {
        let said = refusal(1, &[&format!("--proxy-mode={mode}")]);
        let instead = format!("for {mode} run kube-proxy itself with --proxy-mode={mode}");
        assert!(said.contains(&instead), "{said}");
    }
    assert!(refusal(1, &["--proxy-mode=userspace"]).contains("must be ipvs"));
}

#[test]
fn a_plan_reports_each_bad_object_once_with_its_field_and_keeps_the_rest() {
    let manifests = file(MANIFESTS);
    let output = run(&["plan", "--manifests", &manifests.path().to_string_lossy()]);
    assert!(output.status.success());
    let planned = String::from_utf8_lossy(&output.stdout);
    assert!(planned.contains("-a -t 10.96.0.3:443 -r 10.0.0.4:8443 -m -w 1"), "{planned}");
    assert_eq!(planned.matches("\n-A -t").count(), 1, "{planned}");
    let said = String::from_utf8_lossy(&output.stderr).replace("\\\"", "\"");
    for report in [
        "Service shop/bad: spec.clusterIP: ",
        "Service shop/good: spec.ports[0].port: 0 is not a port",
        "Service shop/good: spec.ports[1].protocol: \"ICMP\"",
        "EndpointSlice shop/good-1: endpoints[0].addresses[0]: \"fd00::1\"",
    ] {
        assert_eq!(said.matches(report).count(), 1, "{report}: {said}");
    }
}

/// Returns the plan of these manifests, and the log.
fn planned(manifests: &str) -> (String, String) {
    let manifests = file(manifests);
    let output = run(&["plan", "--manifests", &manifests.path().to_string_lossy()]);
    assert!(output.status.success(), "{output:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\\\"", "\"");
    (text(&output.stdout), text(&output.stderr))
}

/// Returns a Service with a load balancer's address in both families and these source ranges.
fn balanced(ranges: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: shop}}\nspec:\n  type: LoadBalancer\n  \
         clusterIP: 10.96.0.81\n  clusterIPs: [10.96.0.81, 'fd00::81']\n  ipFamilies: [IPv4, IPv6]\n  \
         loadBalancerSourceRanges: {ranges}\n  ports: [{{name: http, port: 80}}]\n\
         status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}, {{ip: '2001:db8::1'}}]}}}}\n"
    )
}

#[test]
fn source_ranges_that_cannot_be_read_close_and_those_that_kube_proxy_reads_admit() {
    const GUARD4: &str = "add KUBE-LOAD-BALANCER-FW 203.0.113.1,tcp:80";
    const GUARD6: &str = "add KUBE-6-LOAD-BALANCER-FW 2001:db8::1,tcp:80";
    for (ranges, admitted) in [
        (
            "['::ffff:10.0.0.0/104', 'fd00::/8']",
            &["203.0.113.1,tcp:80,10.0.0.0/8", "2001:db8::1,tcp:80,fd00::/8"][..],
        ),
        (
            "['10.0.0.0/8', '::ffff:192.168.0.0/112', x]",
            &["203.0.113.1,tcp:80,10.0.0.0/8", "203.0.113.1,tcp:80,192.168.0.0/16"],
        ),
        ("[10.0.0.0]", &[]),
        ("[10.0.0.0/33]", &[]),
        ("10.0.0.0/8", &[]),
        ("[null]", &[]),
        ("{}", &[]),
    ] {
        let (text, told) = planned(&balanced(ranges));
        for guard in [GUARD4, GUARD6] {
            assert!(text.contains(guard), "{ranges}: {text}");
        }
        let is_admission = |line: &&str| {
            line.starts_with("add KUBE-LOAD-BALANCER-SOURCE-CIDR ")
                || line.starts_with("add KUBE-6-LOAD-BALANCER-SOURCE-CID ")
        };
        assert_eq!(text.lines().filter(is_admission).count(), admitted.len(), "{ranges}: {text}");
        for admitted in admitted {
            assert!(text.contains(admitted), "{ranges}: {text}");
        }
        assert!(told.contains("Service shop/a: spec.loadBalancerSourceRanges"), "{ranges}: {told}");
    }
    for ranges in ["null", "[]"] {
        let (text, told) = planned(&balanced(ranges));
        assert!(!text.contains(GUARD4) && !text.contains(GUARD6), "{ranges}: {text}");
        assert!(!told.contains("Service shop/a"), "{told}");
    }
}

#[test]
fn plan_tells_an_address_that_is_another_nodes_and_contested_ones() {
    let objects = format!(
        "{}---\napiVersion: v1\nkind: Node\nmetadata: {{name: other}}\n\
         status: {{addresses: [{{type: InternalIP, address: 203.0.113.1}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: b, namespace: shop}}\n\
         spec: {{clusterIP: 10.96.0.77, externalIPs: [203.0.113.1], ports: [{{name: p, port: 80}}]}}\n",
        balanced("null")
    );
    let (_, told) = planned(&objects);
    let warning =
        "Service shop/a: its external or load-balancer address 203.0.113.1 is the address of";
    assert!(told.contains(warning) && told.contains("other"), "{told}");
    let contested =
        "Service shop/b: 203.0.113.1:80/tcp is claimed by Service shop/a too, which has it";
    assert!(told.contains(contested), "{told}");
}

#[test]
fn plan_knows_the_api_servers_address_by_the_settings() {
    let manifests = file(&balanced("null"));
    let kubeconfig = file(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{name: c, context: {cluster: here, user: me}}]\n\
         clusters: [{name: here, cluster: {server: 'https://203.0.113.1:6443', certificate-authority: /none}}]\n\
         users: [{name: me, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /none}}}]\n",
    );
    let path = |file: &tempfile::NamedTempFile| file.path().to_string_lossy().into_owned();
    let settings = |kubeconfig: &str| {
        file(&format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
             clientConnection: {{kubeconfig: {kubeconfig}}}\n"
        ))
    };
    let (good, absent) = (settings(&path(&kubeconfig)), settings("/none/kubeconfig"));
    let warning = "Service shop/a: its external or load-balancer address 203.0.113.1 is the address of the API server";
    let none = "kubeconfig /none/kubeconfig: ";
    for (arguments, expected) in [
        (vec!["--kubeconfig".to_owned(), path(&kubeconfig)], [1, 0]),
        (vec!["--config".to_owned(), path(&good)], [1, 0]),
        (vec!["--master=203.0.113.1:6443".to_owned()], [1, 0]),
        (vec!["--master=https://api.example.org".to_owned()], [0, 0]),
        (vec!["--config".to_owned(), path(&absent)], [0, 1]),
        (vec![], [0, 0]),
    ] {
        let manifests = path(&manifests);
        let mut line = vec!["plan", "--manifests", &manifests];
        line.extend(arguments.iter().map(String::as_str));
        let output = run(&line);
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("203.0.113.1:80"));
        let told = String::from_utf8_lossy(&output.stderr);
        let found = [warning, none].map(|text| told.matches(text).count());
        assert_eq!(found, expected, "{arguments:?}: {told}");
    }
}

/// `ipModeProxyCIDRs` is for load-balancer addresses: an external IP stays programmed, and so does its warning.
#[test]
fn plan_warns_of_an_external_ip_as_long_as_it_is_programmed() {
    let manifests = file(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n\
         spec: {type: NodePort, clusterIP: 10.96.0.9, externalIPs: [203.0.113.1], ports: [{port: 80, nodePort: 30080}]}\n",
    );
    let own = file(
        "apiVersion: ipvs-proxy.io/v1alpha1\nkind: IPVSProxyConfiguration\nipModeProxyCIDRs: [203.0.113.1/32]\n",
    );
    let gate = file(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
         featureGates: {AllowServiceExternalIPs: false}\n",
    );
    let path = |file: &tempfile::NamedTempFile| file.path().to_string_lossy().into_owned();
    for (flag, settings, is_programmed) in
        [("--extra-config", own, true), ("--config", gate, false)]
    {
        let output = run(&[
            "plan",
            "--manifests",
            &path(&manifests),
            "--master=203.0.113.1:6443",
            flag,
            &path(&settings),
        ]);
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).contains("203.0.113.1:80"),
            is_programmed
        );
        assert_eq!(told.contains("is the address of the API server"), is_programmed, "{told}");
        assert!(told.contains("node ports are not planned"), "{told}");
    }
}

#[test]
fn a_load_balancers_address_that_is_the_api_servers_is_told_and_may_be_left_alone() {
    let objects = format!(
        "{}---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: kubernetes, labels: {{kubernetes.io/service-name: kubernetes}}}}\n\
         addressType: IPv4\nports: [{{name: https, port: 6443}}]\nendpoints: [{{addresses: [203.0.113.1]}}]\n",
        balanced("null")
    );
    let (text, told) = planned(&objects);
    assert!(text.contains("203.0.113.1:80"), "{text}");
    let warning = "Service shop/a: its external or load-balancer address 203.0.113.1 is the address of the API server";
    assert_eq!(told.matches(warning).count(), 1, "{told}");

    let (manifests, config) = (
        file(&objects),
        file(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n---\n\
         apiVersion: ipvs-proxy.io/v1alpha1\nkind: IPVSProxyConfiguration\nipModeProxyCIDRs: [203.0.113.0/24]\n",
        ),
    );
    let paths = [&manifests, &config].map(|file| file.path().to_string_lossy().into_owned());
    let output = run(&["plan", "--manifests", &paths[0], "--config", &paths[1]]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("[2001:db8::1]:80") && !text.contains("203.0.113.1"), "{text}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!told.contains("203.0.113.1"), "{told}");
}

/// kube-proxy 1.36.2 has programmed the same for the same objects.
#[test]
fn unusual_spellings_of_addresses_are_programmed_as_kube_proxy_does() {
    let (text, told) = planned(
        "apiVersion: v1\nkind: Service\nmetadata: {name: old, namespace: shop}\nspec:\n  \
         clusterIP: 010.096.050.001\n  externalIPs: ['192.000.002.100', '::ffff:192.0.2.101']\n  \
         ports: [{port: 80}]\nstatus: {loadBalancer: {ingress: [{ip: 203.0.113.070}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {name: old-1, namespace: shop, labels: {kubernetes.io/service-name: old}}\n\
         addressType: IPv4\nports: [{name: '', port: 8080}]\n\
         endpoints: [{addresses: ['10.244.002.001']}, {addresses: ['::ffff:10.244.2.5']}]\n",
    );
    for server in ["10.96.50.1:80", "192.0.2.100:80", "192.0.2.101:80", "203.0.113.70:80"] {
        for destination in ["10.244.2.1:8080", "10.244.2.5:8080"] {
            let line = format!("-a -t {server} -r {destination} -m -w 1");
            assert!(text.contains(&line), "{line}: {text}");
        }
    }
    assert_eq!(told.matches("as kube-proxy does; other programs may read").count(), 5, "{told}");
}

#[test]
fn a_plan_without_an_output_folder_prints_every_part_under_its_heading() {
    let manifests = file(MANIFESTS);
    let output = run(&["plan", "--manifests", &manifests.path().to_string_lossy()]);
    let planned = String::from_utf8_lossy(&output.stdout);
    let headings: Vec<_> = planned.lines().filter(|line| line.starts_with("== ")).collect();
    assert_eq!(
        headings,
        [
            "== ipvs.txt ==",
            "== ipset.txt ==",
            "== iptables.txt ==",
            "== ip6tables.txt ==",
            "== addrs.txt =="
        ]
    );
}

#[test]
fn a_node_without_a_name_cannot_be_planned_for() {
    let manifests = file(MANIFESTS);
    let path = manifests.path().to_string_lossy();
    refusal(1, &["plan", "--manifests", &path, "--hostname-override", " "]);
}

#[test]
fn an_address_file_that_makes_no_sense_is_refused_with_its_line() {
    let manifests = file(MANIFESTS);
    let addresses = file("eth0 192.0.2.1/24\neth0 nonsense\n");
    let said = refusal(
        1,
        &[
            "plan",
            "--manifests",
            &manifests.path().to_string_lossy(),
            "--addresses",
            &addresses.path().to_string_lossy(),
        ],
    );
    assert!(said.contains(":2:"), "{said}");
}

/// Each flag of kube-proxy with a value that is not its default, and the field where it is written.
const EVERY_FLAG: &[(&str, &str, &str)] = &[
    ("--bind-address", "192.0.2.1", "bindAddress"),
    ("--bind-address-hard-fail", "true", "bindAddressHardFail"),
    ("--boot-id-file", "/b", ""),
    ("--cleanup", "false", ""),
    ("--cluster-cidr", "10.0.0.0/8,fd00::/8", "clusterCIDR"),
    ("--config-sync-period", "1m0s", "configSyncPeriod"),
    ("--conntrack-max-per-core", "1", "conntrack.maxPerCore"),
    ("--conntrack-min", "2", "conntrack.min"),
    ("--conntrack-tcp-be-liberal", "true", "conntrack.tcpBeLiberal"),
    ("--conntrack-tcp-timeout-close-wait", "3s", "conntrack.tcpCloseWaitTimeout"),
    ("--conntrack-tcp-timeout-established", "4s", "conntrack.tcpEstablishedTimeout"),
    ("--conntrack-udp-timeout", "5s", "conntrack.udpTimeout"),
    ("--conntrack-udp-timeout-stream", "6s", "conntrack.udpStreamTimeout"),
    ("--detect-local-mode", "BridgeInterface", "detectLocalMode"),
    ("--feature-gates", "AllowServiceExternalIPs=false", "featureGates.AllowServiceExternalIPs"),
    ("--healthz-bind-address", "192.0.2.1:7", "healthzBindAddress"),
    ("--healthz-port", "8", ""),
    ("--hostname-override", "node7", "hostnameOverride"),
    ("--init-only", "false", ""),
    ("--iptables-localhost-nodeports", "false", "iptables.localhostNodePorts"),
    ("--iptables-masquerade-bit", "15", "iptables.masqueradeBit"),
    ("--iptables-min-sync-period", "7s", ""),
    ("--iptables-sync-period", "8s", ""),
    ("--ipvs-exclude-cidrs", "10.1.0.0/16", "ipvs.excludeCIDRs"),
    ("--ipvs-min-sync-period", "9s", "ipvs.minSyncPeriod"),
    ("--ipvs-scheduler", "lc", "ipvs.scheduler"),
    ("--ipvs-strict-arp", "true", "ipvs.strictARP"),
    ("--ipvs-sync-period", "10s", "ipvs.syncPeriod"),
    ("--ipvs-tcp-timeout", "11s", "ipvs.tcpTimeout"),
    ("--ipvs-tcpfin-timeout", "12s", "ipvs.tcpFinTimeout"),
    ("--ipvs-udp-timeout", "13s", "ipvs.udpTimeout"),
    ("--kube-api-burst", "14", "clientConnection.burst"),
    ("--kube-api-content-type", "application/json", "clientConnection.contentType"),
    ("--kube-api-qps", "15", "clientConnection.qps"),
    ("--kubeconfig", "/k", "clientConnection.kubeconfig"),
    ("--log-flush-frequency", "16s", "logging.flushFrequency"),
    ("--log-json-info-buffer-size", "0", "logging.options.json.infoBufferSize"),
    ("--log-json-split-stream", "false", ""),
    ("--log-text-info-buffer-size", "0", "logging.options.text.infoBufferSize"),
    ("--log-text-split-stream", "false", ""),
    ("--logging-format", "text", "logging.format"),
    ("--machine-id-file", "/m", ""),
    ("--masquerade-all", "true", "iptables.masqueradeAll"),
    ("--master", "https://192.0.2.2:6443", ""),
    ("--metrics-bind-address", "192.0.2.1:9", "metricsBindAddress"),
    ("--metrics-port", "17", ""),
    ("--nodeport-addresses", "192.0.2.0/24", "nodePortAddresses"),
    ("--oom-score-adj", "18", "oomScoreAdj"),
    ("--pod-bridge-interface", "cni0", "detectLocal.bridgeInterface"),
    ("--pod-interface-name-prefix", "veth", "detectLocal.interfaceNamePrefix"),
    ("--profiling", "true", "enableProfiling"),
    ("--proxy-mode", "ipvs", "mode"),
    ("--show-hidden-metrics-for-version", "1.35", "showHiddenMetricsForVersion"),
    ("--v", "4", "logging.verbosity"),
    ("--version", "false", ""),
    ("--vmodule", "sync=5", ""),
];

#[test]
fn every_flag_at_once_is_taken_in_both_spellings_and_written_where_it_belongs() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("kube-proxy");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ipvs-proxy"), &program).expect("a link");
    for separator in ["-", "_"] {
        let path = folder.path().join(format!("written{separator}"));
        let spelled = |flag: &str| format!("--{}", flag[2..].replace('-', separator));
        let mut command = Command::new(&program);
        command
            .args(EVERY_FLAG.iter().map(|(flag, value, _)| format!("{}={value}", spelled(flag))));
        let output =
            command.arg(spelled("--write-config-to")).arg(&path).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        for word in
            ["--healthz-port is deprecated", "--metrics-port is deprecated", "--boot-id-file"]
        {
            assert_eq!(said.matches(word).count(), 1, "{word}: {said}");
        }
        let written = fs::read_to_string(&path).expect("it is written");
        let written: serde_json::Value = serde_saphyr::from_str(&written).expect("it is YAML");
        for (flag, value, field) in EVERY_FLAG.iter().filter(|(_, _, field)| !field.is_empty()) {
            let found = field.split('.').fold(&written, |value, key| &value[key]);
            let found = match found {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(list) => list[0].as_str().expect("a word").to_owned(),
                other => other.to_string(),
            };
            assert_eq!(found, value.rsplit_once('=').map_or(*value, |(_, on)| on), "{flag}");
        }
        assert_eq!(written["iptables"]["syncPeriod"], "0s", "another mode's");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named_and_nothing_is_written_of_settings_that_cannot_be() {
    assert!(
        refusal(
            1,
            &["--write-config-to=/nowhere/config", "--master=http://m", "--proxy-mode=ipvs"]
        )
        .contains("/nowhere/config")
    );
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    let to = format!("--write-config-to={}", path.display());
    assert!(refusal(1, &[&to, "--oom-score-adj=2000"]).contains("OOMScoreAdj"));
    assert!(!path.exists());
}

/// Returns a kubeconfig whose credential program never ends. The program writes its process number
/// into the file `started`.
fn hanging_credentials(folder: &Path) -> PathBuf {
    let (program, started) = (folder.join("credentials"), folder.join("started"));
    let script =
        format!("#!/bin/sh\necho $$ >{0}.new\nmv {0}.new {0}\nexec sleep 300\n", started.display());
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("may run");
    let kubeconfig = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:1'}}}}]\n\
         users: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {}, \
         interactiveMode: Never}}}}}}]\n",
        program.display()
    );
    fs::write(&kubeconfig, text).expect("written");
    kubeconfig
}

#[test]
fn a_dump_ends_and_so_does_the_program_for_its_credentials_that_never_would() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = hanging_credentials(folder.path());
    let begin = Instant::now();
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let output = run(&["dump", "--socket=/nowhere/here.sock", &kubeconfig]);
    assert!(begin.elapsed() < Duration::from_secs(100), "{:?}", begin.elapsed());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not listed everything within 30s"), "{said}");
    let program = fs::read_to_string(folder.path().join("started")).expect("it was started");
    // The process that adopts it may take a moment to notice that it has ended.
    let place = Path::new("/proc").join(program.trim());
    let is_gone = || {
        let stat = fs::read_to_string(place.join("stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    let end = Instant::now() + Duration::from_secs(10);
    while !is_gone() {
        assert!(Instant::now() < end, "it still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_signal_ends_it_at_once_though_the_program_for_its_credentials_never_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = hanging_credentials(folder.path());
    let started = folder.path().join("started");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipvs-proxy"));
    command.stderr(Stdio::piped());
    let mut process = command.arg("--kubeconfig").arg(kubeconfig).spawn().expect("it runs");
    while !started.exists() {
        assert_eq!(process.try_wait().expect("it can be asked"), None, "it waits for the program");
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
    let asked = Instant::now();
    assert_eq!(process.wait().expect("it ends").code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let mut said = process.stderr.take().expect("a pipe");
    let program = fs::read_to_string(&started).expect("it was started");
    let program = program.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    // The program outlives the proxy, and holds the pipe open.
    rustix::process::kill_process(program.expect("a number"), rustix::process::Signal::KILL)
        .expect("it runs");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut said, &mut text).expect("text");
    assert!(text.lines().last().is_some_and(|line| line.contains("stopping on SIGTERM")), "{text}");
}

#[test]
fn a_proxy_in_the_environment_is_told_once_and_does_not_stop_the_start() {
    let kubeconfig = file(
        "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\n\
         clusters: [{name: c, cluster: {server: 'http://[::2]:1'}}]\n",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipvs-proxy"));
    command.env("HTTPS_PROXY", "no URL").env("HTTP_PROXY", "http://me:s3cr3t@10.9.9.9:3128");
    command.env_remove("NO_PROXY").env_remove("no_proxy").stderr(Stdio::piped());
    let mut process = command.arg("--kubeconfig").arg(kubeconfig.path()).spawn().expect("it runs");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let warning = lines.find_map(|line| line.ok().filter(|line| line.contains("_PROXY")));
    process.kill().expect("it can be ended");
    process.wait().expect("it ends");
    let rest: Vec<_> = lines.map_while(Result::ok).filter(|line| line.contains("_PROXY")).collect();
    let warning = warning.expect("a warning");
    assert!(warning.contains("HTTP_PROXY is http://10.9.9.9:3128, which is not"), "{warning}");
    assert_eq!(rest, [""; 0]);
}

#[test]
fn what_only_writes_settings_follows_no_manifests_and_a_filter_that_is_none_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipvs-proxy"));
    command.env("IPVS_PROXY_LOG", "a=b=c").env_remove("KUBERNETES_SERVICE_HOST");
    command.arg(format!("--write-config-to={}", folder.path().join("config").display()));
    let output = command.output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("following the manifests"), "{said}");
    assert_eq!(said.matches("IPVS_PROXY_LOG: ").count(), 1, "{said}");
}
