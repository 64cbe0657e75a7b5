//! Checks the structure of the code: layers, dependencies, module docs, file length.
//!
//! Takes the sources as text. Fails with the file and the rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest number of production lines in a file.
const LONGEST: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let tops = [
        "src",
        "proxier",
        "netlink-batch",
        "ipvs-netlink",
        "ipset-netlink",
        "conntrack-netlink",
        "tests",
        "benches",
    ];
    let mut open: Vec<_> = tops.iter().map(|top| root().join(top)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 60, "only {} files found", files.len());
    files
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a readable file")
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_file_begins_with_a_sentence_about_itself() {
    let bare: Vec<_> = rust_files()
        .iter()
        .filter(|path| !has_summary(&text(path)))
        .map(|path| name(path))
        .collect();
    none(&bare);
}

/// True if the text begins with a module doc whose first paragraph is a sentence with a period at its end.
fn has_summary(text: &str) -> bool {
    let doc = text.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<_> = doc.take_while(|line| !line.trim().is_empty()).collect();
    let begins_as_text = lines.first().is_some_and(|line| line.starts_with(' '));
    begins_as_text && lines.last().is_some_and(|line| line.ends_with('.'))
}

#[test]
fn a_summary_is_a_sentence() {
    assert!(has_summary("//! One sentence.\n\nuse std;\n"));
    assert!(has_summary("//! A sentence of\n//! two lines.\n//!\n//! More\n"));
    for bare in [
        "",
        "use std;\n",
        "//!\n//! Late.\n",
        "//! No period\n",
        "//! No\n//! period\n//!\n//! here.\n",
    ] {
        assert!(!has_summary(bare), "{bare:?}");
    }
}

#[test]
fn no_file_is_longer_than_the_limit() {
    let long: Vec<_> = rust_files()
        .iter()
        .filter(|path| !name(path).contains("tests"))
        .filter_map(|path| {
            let text = text(path);
            let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let lines = body.lines().count();
            (lines > LONGEST).then(|| format!("{}: {lines} lines", name(path)))
        })
        .collect();
    none(&long);
}

#[test]
fn modules_have_names_of_their_own() {
    let mods: Vec<_> = rust_files()
        .iter()
        .filter(|path| path.file_name().is_some_and(|file| file == "mod.rs"))
        .map(|path| name(path))
        .collect();
    none(&mods);
}

/// Returns the lines of a folder's files that name one of the paths. Tests may use any module.
fn mentions(folder: &str, paths: &[&str]) -> Vec<String> {
    let files = rust_files();
    let files = files.iter().map(|path| (name(path), text(path)));
    files
        .filter(|(name, _)| name.starts_with(folder) && !name.contains("tests"))
        .flat_map(|(name, text)| {
            let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let found = mentioned(&name, body, paths).into_iter();
            found.map(|what| format!("{name}: {what}")).collect::<Vec<_>>()
        })
        .collect()
}

/// The lines of a file that have one of the paths in them, and the imports that do when they are written out.
fn mentioned(file: &str, text: &str, paths: &[&str]) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let lines = code.filter(|line| paths.iter().any(|path| has_path(line, path)));
    let mut found: Vec<_> = lines.map(|line| line.trim().to_owned()).collect();
    let is_named = |import: &String| {
        let import = format!("::{import}::");
        paths.iter().any(|path| import.contains(&format!("::{}::", path.trim_end_matches("::"))))
    };
    found.extend(imports(file, text).into_iter().filter(is_named));
    found
}

/// True if the path stands in the line, and not only the beginning or end of a name.
fn has_path(line: &str, path: &str) -> bool {
    let is_in_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(path).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + path.len()..]);
        let is_whole = path.ends_with("::") || !after.starts_with(is_in_name);
        is_whole && !before.ends_with(is_in_name)
    })
}

/// The paths that a file imports, each written out: without braces, and from the root of the package.
fn imports(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(line) = rest.lines().next() {
        let is_import = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "]
            .iter()
            .any(|word| line.trim_start().starts_with(word));
        let end = if is_import { rest.find(';').unwrap_or(rest.len()) } else { line.len() };
        let (statement, after) = rest.split_at(end);
        if let (true, Some((_, tree))) = (is_import, statement.split_once("use ")) {
            write_out("", tree, &mut found);
        }
        rest = after.strip_prefix(';').unwrap_or(after);
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    found.into_iter().map(|path| from_root(file, &path)).collect()
}

/// The paths of an import, whose braces may be nested.
fn write_out(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        found.extend((!path.is_empty()).then(|| format!("{prefix}{path}")));
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut begin) = (0, 0);
    for (at, letter) in group.char_indices().chain([(group.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                write_out(&prefix, &group[begin..at], found);
                begin = (at + 1).min(group.len());
            }
            _ => {}
        }
    }
}

/// A path that begins at the module of a file, or above it, from the root of the package.
fn from_root(file: &str, path: &str) -> String {
    let (_, module) = file.rsplit_once("src/").unwrap_or(("", file));
    let mut module: Vec<_> = module.trim_end_matches(".rs").split('/').collect();
    let (mut rest, mut is_relative) = (path, false);
    while let Some((first @ ("self" | "super"), after)) = rest.split_once("::") {
        if first == "super" {
            module.pop();
        }
        (rest, is_relative) = (after, true);
    }
    let parts = if is_relative { [vec!["crate"], module, vec![rest]].concat() } else { vec![rest] };
    parts.join("::")
}

#[test]
fn an_import_is_seen_in_whatever_form_it_is_written() {
    let text = "use {\n    kube,\n    crate::{model::Name, plan::{self, Rules as Wished}},\n};\n\
                pub(crate) use super::super::diff::Change;\nlet it = nothings; // use\n\
                use k8s_openapi::api::core::v1::{Service,\n    Node};\n";
    let written_out = [
        "kube",
        "crate::model::Name",
        "crate::plan::self",
        "crate::plan::Rules",
        "crate::diff::Change",
        "k8s_openapi::api::core::v1::Service",
        "k8s_openapi::api::core::v1::Node",
    ];
    let file = "proxier/src/model/store.rs";
    assert_eq!(imports(file, text), written_out);
    for path in ["kube::", "crate::plan", "crate::diff", "k8s_openapi", "v1::Node"] {
        assert!(!mentioned(file, text, &[path]).is_empty(), "{path} is overlooked");
    }
    for path in ["crate::apply", "crate::pla", "ube::", "v1::Nod", "nothing"] {
        assert_eq!(mentioned(file, text, &[path]), [""; 0], "{path}");
    }
}

#[test]
fn rooms_look_only_upstream() {
    none(&mentions(
        "proxier/src/model",
        &["crate::plan", "crate::diff", "crate::apply", "crate::round"],
    ));
    none(&mentions("proxier/src/plan", &["crate::diff", "crate::apply", "crate::round"]));
    none(&mentions("proxier/src/diff", &["crate::apply", "crate::round"]));
    none(&mentions("proxier/src/apply", &["crate::round", "Proxier"]));
}

/// The packages that speak netlink.
const WIRE: [&str; 7] = [
    "ipvs_netlink",
    "ipset_netlink",
    "conntrack_netlink",
    "netlink_batch",
    "netlink_packet_core",
    "netlink_packet_route",
    "netlink_sys",
];

#[test]
fn doors_do_not_know_each_other() {
    none(&mentions("src/kernel", &["crate::watch", "crate::folder", "crate::objects", "kube::"]));
    none(&mentions("src/kernel", &["model::Service", "model::Endpoint", "model::Slice"]));
    none(&mentions(
        "src/watch",
        &["crate::kernel", "crate::sync", "ipvs_netlink", "ipset_netlink"],
    ));
    none(&mentions("src/folder", &["crate::kernel", "crate::sync", "crate::watch"]));
    none(&mentions(
        "src/objects",
        &["crate::kernel", "crate::sync", "crate::watch", "crate::folder"],
    ));
    none(&mentions("src/sync", &["crate::watch", "crate::folder", "crate::objects"]));
    none(&mentions("src/sync", &WIRE));
}

#[test]
fn kubernetes_types_stay_at_the_door() {
    let found: Vec<_> = mentions("src", &["k8s_openapi", "kube::"])
        .into_iter()
        .filter(|line| !line.starts_with("src/watch") && !line.starts_with("src/objects"))
        .collect();
    none(&found);
    let found = mentions("src/watch", &["k8s_openapi", "kube::"]);
    assert!(!found.is_empty(), "the search finds nothing where they are");
}

/// Returns the packages that a package needs to be built, without those that only run at build
/// time.
fn dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", package, "--edges", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_core_needs_next_to_nothing() {
    let allowed = [
        "ipnet",
        "proxier",
        "thiserror",
        "thiserror-impl",
        "proc-macro2",
        "quote",
        "syn",
        "unicode-ident",
    ];
    let found: Vec<_> = dependencies("proxier")
        .into_iter()
        .filter(|name| !allowed.contains(&name.as_str()))
        .collect();
    none(&found);
}

#[test]
fn the_wire_needs_neither_kubernetes_nor_a_runtime_nor_the_core() {
    for package in ["netlink-batch", "ipvs-netlink", "ipset-netlink", "conntrack-netlink"] {
        let found: Vec<_> = dependencies(package)
            .into_iter()
            .filter(|name| {
                ["kube", "tokio", "proxier", "k8s-openapi", "serde"].contains(&name.as_str())
            })
            .map(|name| format!("{package} needs {name}"))
            .collect();
        none(&found);
    }
}

/// The project's own packages, by folder. The root package is not its own dependency.
const PACKAGES: [&str; 5] =
    ["proxier", "netlink-batch", "ipvs-netlink", "ipset-netlink", "conntrack-netlink"];

/// Returns the names in the manifests' sections of this kind, without those of the project's own
/// packages.
fn declared(kind: &str) -> BTreeSet<String> {
    let manifests = PACKAGES.iter().copied().chain([""]);
    let manifests = manifests.map(|package| text(&root().join(package).join("Cargo.toml")));
    manifests.flat_map(|manifest| names_in(&manifest, kind)).collect()
}

fn names_in(manifest: &str, kind: &str) -> Vec<String> {
    let header = format!("{kind}]");
    manifest
        .split("\n[")
        .filter(|section| section.starts_with(&header))
        .flat_map(|section| section.lines().skip(1))
        .filter(|line| !line.starts_with(['#', ' ', ']']))
        .filter_map(|line| Some(line.split_once(['=', '.'])?.0.trim().to_owned()))
        .filter(|name| !PACKAGES.contains(&name.as_str()))
        .collect()
}

/// Returns the names and reasons of the table under this heading.
fn reasons(heading: &str) -> BTreeMap<String, String> {
    let page = text(&root().join("docs/dependencies.md"));
    let heading = format!("\n## {heading}\n");
    let (_, section) = page.split_once(&heading).expect("a section of this name");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.filter_map(|row| row.split_once(" | ")).skip(2);
    rows.flat_map(|(names, reason)| {
        names.split(", ").map(|name| (name.to_owned(), reason.to_owned()))
    })
    .collect()
}

#[test]
fn every_dependency_has_its_reason_and_every_reason_its_dependency() {
    let (built, tests) = (declared("dependencies"), declared("dev-dependencies"));
    assert!(built.len() > 20 && tests.len() > 5, "{built:?} {tests:?}");
    let tests: BTreeSet<_> = tests.difference(&built).cloned().collect();
    for (heading, declared) in [("In the binary", built), ("For tests and benches", tests)] {
        let reasons = reasons(heading);
        assert_eq!(reasons.keys().cloned().collect::<BTreeSet<_>>(), declared, "{heading}");
        for (name, reason) in reasons {
            assert!(reason.split_whitespace().count() > 1, "{name}: {reason:?} is no reason");
        }
    }
}

/// Returns the first quoted text of the first line in a file that has this beginning.
fn quoted(file: &str, begins: &str) -> String {
    let text = text(&root().join(file));
    let line = text.lines().find(|line| line.starts_with(begins)).expect("a line of this kind");
    line.split('"').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn no_older_toolchain_is_claimed_than_the_one_that_builds_and_tests() {
    let pinned = quoted("rust-toolchain.toml", "channel = ");
    let minor = pinned.rsplit_once('.').expect("three numbers").0;
    assert_eq!(quoted("Cargo.toml", "rust-version = "), minor);
    for package in PACKAGES {
        let manifest = text(&root().join(package).join("Cargo.toml"));
        assert!(manifest.contains("\nrust-version.workspace = true\n"), "{package}");
    }
    let image = text(&root().join("Containerfile"));
    assert!(image.contains(&format!("FROM docker.io/library/rust:{minor}-slim-")), "{image}");
}
