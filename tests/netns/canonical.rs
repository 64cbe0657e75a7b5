//! Dumps the state of a node's kernel in the canonical form of `tests/golden`.
//!
//! Takes a namespace, or a folder of recorded dumps. Returns the same texts for both, so that equal
//! states are equal bytes, and a diff if they are not. Does not leave out lines of other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use similar::TextDiff;

use crate::case::{Case, Step};
use crate::node::Namespace;
use crate::proxy::{PATIENCE, until_at};

/// The files of a recorded step, in the order in which differences are shown.
const FILES: [&str; 7] = [
    "ipvs.txt",
    "ipset.txt",
    "iptables.txt",
    "ip6tables.txt",
    "addrs.txt",
    "sysctls.txt",
    "timeouts.txt",
];

/// The sysctls that a proxy may set: folders below `/proc/sys/net`, and the prefixes of the names
/// in them.
const SYSCTLS: [(&str, &[&str]); 10] = [
    ("ipv4", &["ip_forward"]),
    ("ipv4/vs", &[""]),
    ("ipv4/conf/all", OF_DEVICE),
    ("ipv4/conf/default", OF_DEVICE),
    ("ipv4/conf/eth0", OF_DEVICE),
    ("ipv4/conf/lo", OF_DEVICE),
    ("ipv4/conf/kube-ipvs0", OF_DEVICE),
    ("ipv6/conf/all", &["forwarding"]),
    ("ipv6/conf/default", &["forwarding"]),
    ("netfilter", &["nf_conntrack_tcp"]),
];
const OF_DEVICE: &[&str] = &["route_localnet", "arp_ignore", "arp_announce", "rp_filter"];

/// Sysctls by their names in dots.
type Sysctls = BTreeMap<String, String>;

/// The kernel state of one namespace.
pub(crate) struct Kernel<'n> {
    node: &'n Namespace,
    /// The sysctls before the proxy ran, from which its own differ.
    before: Sysctls,
}

impl<'n> Kernel<'n> {
    /// Notes the state of the sysctls. No proxy must have run yet.
    pub(crate) fn of(node: &'n Namespace) -> Self {
        // The sysctls of IPVS and of connection tracking exist only once the modules are loaded.
        node.run("ipvsadm -L --timeout");
        Self { node, before: sysctls(node) }
    }

    /// Returns all dumps.
    pub(crate) fn dumps(&self) -> Dumps {
        Dumps(FILES.into_iter().map(|file| (file, self.dump(file))).collect())
    }

    /// Waits until the kernel has the wanted state.
    pub(crate) fn becomes(&self, wanted: &Dumps) {
        // Starting programs is what takes time: after the first difference the others are not run.
        let holds = || FILES.into_iter().all(|file| self.dump(file) == wanted.0[file]);
        if until_at(self.node, PATIENCE, || holds().then_some(())).is_none() {
            self.is(wanted);
        }
    }

    /// Fails if the kernel does not have the wanted state.
    pub(crate) fn is(&self, wanted: &Dumps) {
        if let Some(difference) = wanted.difference(&self.dumps()) {
            panic!("the kernel does not hold what is wanted:\n{difference}");
        }
    }

    /// Returns one dump. State that changes meanwhile may make a command fail.
    fn dump(&self, file: &str) -> String {
        match file {
            "ipvs.txt" => virtual_servers(&self.printed("ipvsadm -Sn")),
            "ipset.txt" => sets(&self.printed("ipset save")),
            "iptables.txt" => unordered(&rules(&self.printed("iptables-save"))),
            "ip6tables.txt" => unordered(&rules(&self.printed("ip6tables-save"))),
            "addrs.txt" => addresses(&self.printed("ip address show dev kube-ipvs0")),
            "sysctls.txt" => changed(&sysctls(self.node), &self.before),
            "timeouts.txt" => self.printed("ipvsadm -L --timeout"),
            other => panic!("no dump is called {other}"),
        }
    }

    fn printed(&self, command: &str) -> String {
        let output = self.node.attempt(&format!("exec {command}"));
        let mut text = String::from_utf8(output.stdout).unwrap();
        if !output.status.success() {
            text += &format!("{command}: {}\n", String::from_utf8_lossy(&output.stderr));
        }
        text
    }
}

fn sysctls(node: &Namespace) -> Sysctls {
    let inside = || SYSCTLS.into_iter().flat_map(|(folder, names)| read(folder, names)).collect();
    node.enter(inside)
}

fn read(folder: &str, beginnings: &[&str]) -> Sysctls {
    let path = Path::new("/proc/sys/net").join(folder);
    let names = fs::read_dir(&path).into_iter().flatten();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| beginnings.iter().any(|beginning| name.starts_with(beginning)))
        // Some sysctls can only be written.
        .filter_map(|name| Some((fs::read_to_string(path.join(&name)).ok()?, name)))
        .map(|(value, name)| {
            (format!("net.{}.{name}", folder.replace('/', ".")), value.trim().to_owned())
        })
        .collect()
}

/// All dumps of one moment, by the name of their file.
pub(crate) struct Dumps(BTreeMap<&'static str, String>);

impl Dumps {
    /// Returns the dumps that were recorded at this step.
    pub(crate) fn recorded(step: &Step) -> Self {
        Self(FILES.into_iter().map(|file| (file, unordered(step.text(file)))).collect())
    }

    /// Returns one dump.
    pub(crate) fn text(&self, file: &str) -> &str {
        &self.0[file]
    }

    /// Returns a diff from these dumps to `found`; `None` if they are equal.
    fn difference(&self, found: &Self) -> Option<String> {
        let mut text = String::new();
        for file in FILES {
            let (wanted, found) = (&self.0[file], &found.0[file]);
            if wanted != found {
                let diff = TextDiff::from_lines(wanted.as_str(), found.as_str());
                text += &diff
                    .unified_diff()
                    .context_radius(1)
                    .header(&format!("{file}, wanted"), &format!("{file}, found"))
                    .to_string();
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Sorts the output of `ipvsadm -Sn`: virtual servers, and the destinations of each.
pub(crate) fn virtual_servers(saved: &str) -> String {
    blocks(saved, "-A ")
}

/// Sorts the output of `ipset save`: sets, and the entries of each. Removes values that the kernel
/// chose itself.
fn sets(saved: &str) -> String {
    let lines = saved.lines().map(|line| {
        let mut words = line.split_whitespace();
        let mut kept = Vec::new();
        while let Some(word) = words.next() {
            match word {
                "bucketsize" | "initval" => drop(words.next()),
                _ => kept.push(word),
            }
        }
        kept.join(" ") + "\n"
    });
    blocks(&lines.collect::<String>(), "create ")
}

/// Sorts blocks that begin with a line of this kind, and the lines in each block after the first.
fn blocks(text: &str, head: &str) -> String {
    let mut blocks: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for line in text.lines() {
        match blocks.last_mut() {
            Some((_, rest)) if !line.starts_with(head) => drop(rest.insert(line)),
            _ => blocks.push((line, BTreeSet::new())),
        }
    }
    blocks.sort_unstable();
    let lines = blocks.iter().flat_map(|(head, rest)| std::iter::once(head).chain(rest));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Sorts the output of `iptables-save`: tables that are not empty, and their chains. Keeps the
/// order of the rules in each chain.
fn rules(saved: &str) -> String {
    let mut tables: BTreeMap<&str, BTreeMap<&str, (&str, Vec<&str>)>> = BTreeMap::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(declared) = line.strip_prefix(':') {
            let (chain, policy) = declared.split_once(' ').unwrap();
            let policy = policy.split(' ').next().unwrap();
            tables.entry(table).or_default().insert(chain, (policy, Vec::new()));
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap();
            tables.get_mut(table).unwrap().get_mut(chain).unwrap().1.push(line);
        }
    }
    let holds_any = |(_, chains): &(_, BTreeMap<&str, (&str, Vec<&str>)>)| {
        chains.values().any(|(policy, rules)| *policy == "-" || !rules.is_empty())
    };
    let mut text = String::new();
    for (table, chains) in tables.into_iter().filter(holds_any) {
        text += &format!("*{table}\n");
        text.extend(chains.iter().map(|(chain, (policy, _))| format!(":{chain} {policy}\n")));
        text.extend(chains.values().flat_map(|(_, rules)| rules).map(|rule| format!("{rule}\n")));
    }
    text
}

/// Sorts the rules of the one chain in which their order is not defined.
fn unordered(text: &str) -> String {
    let is_loose = |line: &&str| line.starts_with("-A KUBE-IPVS-OUT-FILTER ");
    let mut loose: Vec<_> = text.lines().filter(is_loose).collect();
    loose.sort_unstable();
    let mut loose = loose.into_iter();
    text.lines()
        .map(|line| if is_loose(&line) { loose.next().unwrap() } else { line })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Formats the output of `ip address`: the device's flags, then its sorted addresses.
fn addresses(shown: &str) -> String {
    let mut lines = BTreeSet::new();
    let mut link = "none\n".to_owned();
    for line in shown.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let [_, name, flags, ..] = *words
            && flags.starts_with('<')
        {
            let flags = flags.trim_matches(['<', '>']);
            link = format!("link {} {flags}\n", name.trim_end_matches(':'));
        } else if let ["inet" | "inet6", address, ..] = *words {
            let scope = words.iter().skip_while(|word| **word != "scope").nth(1).unwrap();
            lines.insert(format!("{address} scope {scope}\n"));
        }
    }
    lines.into_iter().fold(link, |text, line| text + &line)
}

/// Returns the sysctls that have changed, and all of the dummy device.
fn changed(now: &Sysctls, before: &Sysctls) -> String {
    now.iter()
        .filter(|(name, value)| name.contains(".kube-ipvs0.") || before.get(*name) != Some(value))
        .map(|(name, value)| format!("{name} {value}\n"))
        .collect()
}

#[test]
fn a_recorded_step_is_in_canonical_form() {
    let case = Case::named("dualstack");
    let text = |file| case.steps()[0].text(file);
    assert_eq!(virtual_servers(text("ipvs.txt")), text("ipvs.txt"));
    assert_eq!(sets(text("ipset.txt")), text("ipset.txt"));
    assert_eq!(rules(text("iptables.txt")), text("iptables.txt"));
    assert_eq!(rules(text("ip6tables.txt")), text("ip6tables.txt"));
}
