//! The command line: what it accepts, in which spellings, and how it refuses.

use std::io::Write;

use ipvs_proxy::cli::{self, Command, RunArgs};

fn parse(arguments: &[&str]) -> Result<Command, String> {
    cli::parse([&["ipvs-proxy"], arguments].concat()).map_err(|error| error.to_string())
}

fn run(arguments: &[&str]) -> RunArgs {
    match parse(arguments) {
        Ok(Command::Run(run)) => *run,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// Every flag of kube-proxy 1.36 but --version and those that end the process, with a value.
const FLAGS: &[(&str, &str)] = &[
    ("--config", "/f"),
    ("--master", "http://h:1"),
    ("--hostname-override", "n"),
    ("--v", "4"),
    ("--vmodule", "a=1,b=2"),
    ("--logging-format", "json"),
    ("--log-flush-frequency", "5s"),
    ("--log-text-split-stream", "true"),
    ("--log-text-info-buffer-size", "0"),
    ("--log-json-split-stream", "false"),
    ("--log-json-info-buffer-size", "1Mi"),
    ("--boot-id-file", "/b"),
    ("--machine-id-file", "/m"),
    ("--feature-gates", "A=true,B=false"),
    ("--kubeconfig", "/k"),
    ("--kube-api-content-type", "application/json"),
    ("--kube-api-burst", "10"),
    ("--kube-api-qps", "5.5"),
    ("--bind-address", "::"),
    ("--healthz-bind-address", "0.0.0.0:1"),
    ("--metrics-bind-address", "127.0.0.1"),
    ("--bind-address-hard-fail", "true"),
    ("--profiling", "T"),
    ("--show-hidden-metrics-for-version", "1.35"),
    ("--proxy-mode", "ipvs"),
    ("--iptables-masquerade-bit", "14"),
    ("--masquerade-all", "1"),
    ("--iptables-localhost-nodeports", "false"),
    ("--iptables-sync-period", "30s"),
    ("--iptables-min-sync-period", "1s"),
    ("--ipvs-sync-period", "30s"),
    ("--ipvs-min-sync-period", "1s"),
    ("--ipvs-scheduler", "wrr"),
    ("--ipvs-exclude-cidrs", "10.0.0.0/8,fd00::/8"),
    ("--ipvs-strict-arp", "true"),
    ("--ipvs-tcp-timeout", "15m"),
    ("--ipvs-tcpfin-timeout", "30s"),
    ("--ipvs-udp-timeout", "1m"),
    ("--detect-local-mode", "NodeCIDR"),
    ("--pod-bridge-interface", "cni0"),
    ("--pod-interface-name-prefix", "veth"),
    ("--cluster-cidr", "10.0.0.0/8,fd00::/8"),
    ("--nodeport-addresses", "10.0.0.0/8"),
    ("--oom-score-adj", "-999"),
    ("--conntrack-max-per-core", "0"),
    ("--conntrack-min", "0"),
    ("--conntrack-tcp-timeout-established", "24h"),
    ("--conntrack-tcp-timeout-close-wait", "1h"),
    ("--conntrack-tcp-be-liberal", "true"),
    ("--conntrack-udp-timeout", "0s"),
    ("--conntrack-udp-timeout-stream", "0"),
    ("--config-sync-period", "15m"),
    ("--healthz-port", "10256"),
    ("--metrics-port", "10249"),
];

#[test]
fn every_flag_of_kube_proxy_is_accepted_in_both_spellings() {
    for (flag, value) in FLAGS {
        let with_hyphens = run(&[&format!("{flag}={value}")]);
        assert_ne!(with_hyphens, RunArgs::default(), "{flag}");
        let name = flag.trim_start_matches("--").replace('-', "_");
        assert_eq!(run(&[&format!("--{name}={value}")]), with_hyphens, "{flag}");
        let is_boolean = ["true", "false", "1", "T"].contains(value);
        if !is_boolean {
            assert_eq!(run(&[flag, value]), with_hyphens, "{flag}");
        }
    }
}

#[test]
fn a_boolean_stands_alone_or_with_a_value() {
    let given = |arguments: &[&str]| run(arguments).flags.proxy.masquerade_all;
    assert_eq!(given(&["--masquerade-all"]), Some(true));
    assert_eq!(given(&["--masquerade_all=F"]), Some(false));
    assert_eq!(given(&[]), None);
    assert!(parse(&["--masquerade-all=maybe"]).unwrap_err().contains("true or false"));
    assert!(parse(&["--masquerade-all", "false"]).unwrap_err().contains("false"), "positional");
}

#[test]
fn the_last_of_several_wins_and_lists_add_up() {
    let proxy = run(&[
        "--ipvs-scheduler=rr",
        "--ipvs-scheduler",
        "sh",
        "--masquerade-all",
        "--masquerade-all=false",
        "--nodeport-addresses=10.0.0.0/8,fd00::/8",
        "--nodeport_addresses=192.0.2.0/24",
    ])
    .flags
    .proxy;
    assert_eq!(proxy.ipvs_scheduler.as_deref(), Some("sh"));
    assert_eq!(proxy.masquerade_all, Some(false));
    assert_eq!(proxy.nodeport_addresses.unwrap(), ["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"]);
}

#[test]
fn underscores_in_values_stay() {
    let args = run(&["--hostname_override=a_b", "--master", "x_y", "--manifests=/a_b"]);
    assert_eq!(args.flags.process.hostname_override.as_deref(), Some("a_b"));
    assert_eq!(args.flags.api.master.as_deref(), Some("x_y"));
    assert_eq!(args.manifests.unwrap().to_str(), Some("/a_b"));
}

#[test]
fn verbosity_has_a_short_form() {
    for arguments in [&["-v", "4"][..], &["-v=4"], &["--v=4"], &["--v", "4"], &["-v4"]] {
        assert_eq!(run(arguments).flags.logging.verbosity, Some(4), "{arguments:?}");
    }
}

#[test]
fn plan_has_its_own_arguments() {
    let arguments = [
        "plan",
        "--manifests=m",
        "--config=c",
        "--hostname_override",
        "n",
        "--addresses=a",
        "--output=o",
    ];
    let Ok(Command::Plan(plan)) = parse(&arguments) else { panic!() };
    assert_eq!(plan.manifests.to_str(), Some("m"));
    assert_eq!(plan.flags().process.config.unwrap().to_str(), Some("c"));
    assert_eq!(plan.flags().process.hostname_override.as_deref(), Some("n"));
    assert_eq!(plan.output.unwrap().to_str(), Some("o"));
}

#[test]
fn mistakes_are_one_line() {
    for (arguments, expected) in [
        (&["--ipvs-schedulr=rr"][..], "unexpected argument '--ipvs-schedulr'"),
        (&["--ipvs-schedulr=rr"], "--ipvs-scheduler"),
        (&["stray"], "stray"),
        (&["--v=4", "stray"], "stray"),
        (&["plan"], "--manifests"),
        (&["plan", "--manifests=m", "stray"], "stray"),
        (&["--ipvs-sync-period=30"], "30s"),
        (&["--oom-score-adj=x"], "--oom-score-adj"),
        (&["--config"], "--config"),
        (&["--cleanup"], "not available"),
    ] {
        let message = parse(arguments).unwrap_err();
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert!(!message.contains('\n'), "{message:?}");
    }
}

#[test]
fn help_names_every_flag_and_is_grouped() {
    let Ok(Command::Print(help)) = parse(&["--help"]) else { panic!() };
    for (flag, _) in FLAGS {
        let hidden = ["--healthz-port", "--metrics-port"].contains(flag);
        assert_eq!(
            help.contains(&format!("{flag} <")) || help.contains(&format!("{flag}[=")),
            !hidden,
            "{flag}\n{help}"
        );
    }
    for heading in ["Process:", "API server:", "Proxy:", "Connection tracking:", "Commands"] {
        assert!(help.contains(heading), "{heading}");
    }
}

#[test]
fn the_version_is_printed_unless_refused() {
    assert_eq!(parse(&["--version"]), Ok(Command::Print("ipvs-proxy v0.1.0\n".to_owned())));
    assert!(matches!(parse(&["--version=raw"]), Ok(Command::Print(_))));
    assert!(matches!(parse(&["--version=false"]), Ok(Command::Run(_))));
}

#[test]
fn addresses_are_read_line_by_line() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "# node\nlo 127.0.0.1/8\n\n  eth0\t2001:db8::1/64  # public").unwrap();
    let found = cli::addresses(file.path()).unwrap();
    let shown: Vec<_> = found.iter().map(|a| format!("{} {}", a.device, a.address)).collect();
    assert_eq!(shown, ["lo 127.0.0.1/8", "eth0 2001:db8::1/64"]);

    for bad in ["eth0", "eth0 1.2.3.4", "eth0 1.2.3.4/33", "a-name-with-17-by 1.2.3.4/8", "a b c"] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "\n{bad}").unwrap();
        let message = cli::addresses(file.path()).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}:2: ", file.path().display())), "{message}");
    }
    assert!(cli::addresses("/no/such".as_ref()).unwrap_err().to_string().contains("/no/such"));
}
