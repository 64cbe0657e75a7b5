//! Tests the command line: which arguments it accepts, in which spellings, and how it refuses
//! others.

use std::io::Write;

use ipvs_proxy::cli::{self, CleanupArgs, Command, RunArgs};

fn parse(arguments: &[&str]) -> Result<Command, String> {
    cli::parse([&["ipvs-proxy"], arguments].concat()).map_err(|error| error.to_string())
}

fn run(arguments: &[&str]) -> RunArgs {
    match parse(arguments) {
        Ok(Command::Run(run)) => *run,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// Every flag of kube-proxy 1.36 with a value, except --version and those that end the process.
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
    let words = proxy.nodeport_addresses.unwrap().concat();
    assert_eq!(words, ["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"]);
}

#[test]
fn words_of_a_list_may_stand_in_quotes() {
    let words = |value: &str| {
        let flags = run(&[&format!("--ipvs-exclude-cidrs={value}")]).flags;
        flags.settings().ipvs.exclude_cidrs
    };
    for value in [r#""10.0.0.0/8","fd00::/8""#, r#"10.0.0.0/8,"fd00::/8""#, "10.0.0.0/8,fd00::/8"] {
        assert_eq!(words(value).unwrap(), ["10.0.0.0/8", "fd00::/8"], "{value}");
    }
    assert_eq!(words(""), Some(Vec::new()));
    assert_eq!(
        words("10.0.0.0/8,").unwrap(),
        ["10.0.0.0/8", ""],
        "kube-proxy keeps it, and refuses it"
    );
    let message = parse(&[r#"--nodeport-addresses="10.0.0.0/8"#]).unwrap_err();
    assert!(message.contains("a quote is not closed"), "{message}");
}

#[test]
fn a_path_that_is_empty_is_none() {
    let empty = run(&["--config=", "--extra-config=", "--write-config-to=", "--manifests="]);
    let process = &empty.flags.process;
    assert_eq!((&process.config, &process.extra_config), (&None, &None));
    assert_eq!((&process.write_config_to, &empty.manifests), (&None, &None));
    assert_eq!(
        run(&["--config=/a", "--config="]).flags.process.config,
        None,
        "the last one counts"
    );
    assert_eq!(run(&["--config", ""]).flags.process.config, None);

    let Ok(Command::Cleanup(cleanup)) = parse(&["cleanup", "--config="]) else { panic!() };
    assert_eq!(cleanup.flags().process.config, None);
    let Ok(Command::Dump(dump)) = parse(&["dump", "--config=", "--socket=", "--manifests="]) else {
        panic!()
    };
    assert_eq!(dump, cli::DumpArgs::default());
    let Ok(Command::Plan(plan)) =
        parse(&["plan", "--manifests=m", "--config=", "--addresses=", "--output="])
    else {
        panic!()
    };
    assert_eq!((plan.flags().process.config, plan.addresses, plan.output), (None, None, None));
    assert!(parse(&["plan", "--manifests="]).unwrap_err().contains("--manifests"));
}

#[test]
fn what_is_to_be_written_is_written_before_anything_is_cleaned_up() {
    let both = ["--cleanup", "--write-config-to=/f"];
    assert!(matches!(parse(&both), Ok(Command::Run(_))));
    assert!(matches!(parse(&["--cleanup", "--write-config-to="]), Ok(Command::Cleanup(_))));
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
        (&["--version=newest"], "--version"),
        (&["--feature-gates=A"], "NAME=true"),
        (&["--vmodule=a"], "PATTERN=LEVEL"),
        (&["--oom-score-adj=1__0"], "whole number"),
        (&["--oom-score-adj=_1"], "whole number"),
        (&["--oom-score-adj=1_"], "whole number"),
        (&["--oom-score-adj=4294967296"], "32 bits"),
        (
            &["--masquerade-all", "false"],
            "unexpected argument \"false\" (write --masquerade-all=false)",
        ),
        (&["cleanup", "stray"], "stray"),
        (&["cleanup", "--dry-run=perhaps"], "true or false"),
    ] {
        let message = parse(arguments).unwrap_err();
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert!(!message.contains('\n'), "{message:?}");
    }
}

/// Templates and systemd units write such arguments; kube-proxy 1.36.2 starts with each of these.
#[test]
fn an_empty_argument_is_none() {
    let wanted = run(&["--proxy-mode=ipvs", "-v=2"]);
    for arguments in [
        &["--proxy-mode=ipvs", "-v=2", ""][..],
        &["", "--proxy-mode=ipvs", "-v=2"],
        &["--proxy-mode=ipvs", "", "-v=2", ""],
        &["", "", "--proxy-mode", "ipvs", "-v", "2"],
        &["--proxy-mode=ipvs", "-v=2", "--"],
        &["--proxy-mode=ipvs", "-v=2", "--", "", ""],
    ] {
        assert_eq!(run(arguments), wanted, "{arguments:?}");
    }
    assert_eq!(
        run(&["--cluster-cidr", ""]).flags.local.cluster_cidr.as_deref(),
        Some(""),
        "a flag's value"
    );
    assert!(matches!(parse(&["", "--cleanup"]), Ok(Command::Cleanup(_))));
    assert!(matches!(parse(&["--version", ""]), Ok(Command::Print(_))));
    assert_eq!(cli::flagz(["ipvs-proxy", "", "-v=2", "--", ""])["v"], "2");
}

#[test]
fn stray_arguments_are_named() {
    for (arguments, expected) in [
        (
            &["--proxy-mode=ipvs", "--cluster-cidr", "10.0.0.0/8", "10.0.0.0/8"][..],
            "unexpected argument \"10.0.0.0/8\": only flags are taken",
        ),
        (&["--proxy-mode=ipvs", "foo"], "unexpected argument \"foo\""),
        (&["foo", "--proxy-mode=ipvs"], "unexpected argument \"foo\""),
        (&["a", "", "-v=2", "b"], "unexpected arguments \"a\" \"b\""),
        (&["--", "--proxy-mode=ipvs"], "unexpected argument \"--proxy-mode=ipvs\""),
        (
            &["-v=2", "plan", "--manifests=m"],
            "unexpected argument \"plan\": the command plan has to be the first argument",
        ),
        (&["--version", "foo"], "unexpected argument \"foo\""),
        (
            &["--masquerade-all", "true"],
            "unexpected argument \"true\" (write --masquerade-all=true)",
        ),
        (&["-"], "unexpected argument \"-\""),
    ] {
        let message = parse(arguments).expect_err(&arguments.join(" "));
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert!(!message.contains("subcommand") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn help_names_every_flag_and_is_grouped() {
    let Ok(Command::Print(help)) = parse(&["--help"]) else { panic!() };
    for (flag, _) in FLAGS {
        let mut lines = help.lines().skip_while(|line| {
            !line.contains(&format!("{flag} <")) && !line.contains(&format!("{flag}[="))
        });
        let line = lines.next().unwrap_or_else(|| panic!("{flag}\n{help}"));
        let is_beside = line.trim_start().contains("  ");
        let is_below = lines.next().is_some_and(|next| next.starts_with(&" ".repeat(10)));
        assert!(is_beside || is_below, "{flag} is not described\n{help}");
    }
    assert_eq!(help.matches("(deprecated: ").count(), 2, "{help}");
    for heading in ["Process:", "API server:", "Proxy:", "Connection tracking:", "Commands"] {
        assert!(help.contains(heading), "{heading}");
    }
}

#[test]
fn the_version_is_printed_unless_refused() {
    let version = |program: &str, form: &str| match cli::parse([program, form]) {
        Ok(Command::Print(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(version("ipvs-proxy", "--version"), "ipvs-proxy v0.1.0 (as kube-proxy v1.36.2)\n");
    let as_kube_proxy = version("/usr/local/bin/kube-proxy", "--version=true");
    assert_eq!(as_kube_proxy, "Kubernetes v1.36.2 (ipvs-proxy v0.1.0)\n");
    let raw = version("ipvs-proxy", "--version=raw");
    assert!(
        raw.starts_with("version.Info{Major:\"1\", Minor:\"36\", GitVersion:\"v1.36.2\""),
        "{raw}"
    );
    for runs in ["--version=false", "--version=v1.36.9"] {
        assert!(matches!(parse(&[runs]), Ok(Command::Run(_))), "{runs}");
    }
}

#[test]
fn help_is_asked_for_by_either_name_and_shows_the_name_of_the_program() {
    for flag in ["--help", "-h"] {
        let Ok(Command::Print(help)) = cli::parse(["/bin/kube-proxy", flag]) else { panic!() };
        assert!(help.contains("Usage: kube-proxy"), "{help}");
    }
}

#[test]
fn help_may_have_a_value() {
    for flag in ["--help=true", "--help=1", "-h=true"] {
        assert!(matches!(parse(&["--v=2", flag]), Ok(Command::Print(_))), "{flag}");
    }
    assert_eq!(run(&["--help=false", "--v=2"]), run(&["--v=2"]));
    assert!(parse(&["--help=perhaps"]).unwrap_err().contains("--help"));
    assert!(parse(&["--", "--help=false"]).unwrap_err().contains("--help=false"), "positional");
    let shown = cli::flagz(["ipvs-proxy", "--help=false", "--v=2"]);
    assert_eq!(shown["v"], "2");
}

#[test]
fn whole_numbers_are_read_as_go_reads_them() {
    for (text, number) in [
        ("14", 14),
        ("0xe", 14),
        ("0o16", 14),
        ("016", 14),
        ("0b1_110", 14),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
    ] {
        let score = run(&["--oom-score-adj", text]).flags.process.oom_score_adj;
        assert_eq!(score, Some(number), "{text}");
    }
}

#[test]
fn maps_add_up_and_empty_parts_do_not_count() {
    let process =
        run(&["--feature-gates=A=true,B=false,", "--feature_gates= B=T ", "--feature-gates="])
            .flags
            .process;
    let gates: Vec<_> = process.feature_gates.unwrap().into_iter().flatten().collect();
    let gate = |name: &str, on| (name.to_owned(), on);
    assert_eq!(gates, [gate("A", true), gate("B", false), gate("B", true)], "the later one counts");
}

#[test]
fn what_was_given_is_known_by_name() {
    assert_eq!(
        run(&["--ipvs_scheduler=rr", "-v=2", "--proxy-mode=ipvs"]).flags.given,
        ["proxy-mode", "ipvs-scheduler", "v"]
    );
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

#[test]
fn cleaning_up_is_a_flag_of_kube_proxy_and_a_command_of_ours() {
    let cleanup = |arguments: &[&str]| match parse(arguments) {
        Ok(Command::Cleanup(cleanup)) => cleanup,
        other => panic!("{arguments:?}: {other:?}"),
    };
    assert_eq!(cleanup(&["cleanup"]), CleanupArgs::default());
    let beside = cleanup(&["--cleanup", "--oom-score-adj=5"]).flags();
    assert_eq!(beside.process.oom_score_adj, Some(5), "all that stands beside it is judged");
    assert_eq!(cleanup(&["cleanup", "--dry-run"]).dry_run, Some(true));
    let excluded = Some(vec!["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()]);
    let named = |arguments: &[&str]| cleanup(arguments).flags().settings().ipvs.exclude_cidrs;
    for arguments in [
        ["--cleanup", "--ipvs-exclude-cidrs=10.0.0.0/8,fd00::/8"],
        ["cleanup", "--ipvs_exclude_cidrs=10.0.0.0/8,fd00::/8"],
    ] {
        assert_eq!(named(&arguments), excluded, "{arguments:?}");
    }
    assert!(matches!(parse(&["--cleanup=false"]), Ok(Command::Run(_))));
}
