//! Tests the script that counts tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Returns the command of a stand-in for a test program. Its tests in `first` fail when all are
/// run, and those in `again` when some are named. A skipped test says so.
fn program(folder: &Path, first: &[&str], again: &[&str]) -> String {
    let script = format!(
        r#"#!/usr/bin/env bash
all=(a::one a::two a::three a::four a::five) bad=" {} "
[[ $1 == -- ]] && shift
[[ $# -eq 0 ]] || {{ all=("$@") bad=" {} "; }}
printf '\n     Running a\n\nrunning %d tests\n' "${{#all[@]}}"
failed=0
for test in "${{all[@]}}"; do
  if [[ $bad == *" $test "* ]]; then echo "test $test ... FAILED" && ((++failed)); else echo "test $test ... ok"; fi
done
printf '\nsuccesses:\n\n---- a::five stdout ----\n%s\n' "$SKIPS"
printf '\nfailures:\n'
for test in $bad; do printf '\n---- %s stdout ----\n\nthread panicked at a.rs:1:\nno %s\nstack backtrace:\n' $test $test; done
echo "test result: x. $((${{#all[@]}} - failed)) passed; $failed failed; 0 ignored"
[[ $failed -eq 0 ]]
"#,
        first.join(" "),
        again.join(" ")
    );
    let path = folder.join("tests");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Returns true if the script succeeds, and its output. Its record of unsteady tests is empty.
fn tally(command: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let folder = TempDir::new().unwrap();
    tally_with_record(&folder.path().join("unsteady"), command, environment)
}

/// Does the same with the record of unsteady tests in the given file.
fn tally_with_record(record: &Path, command: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/tally"))
        .arg(command)
        .env_remove("CI")
        .env_remove("REQUIRE_KERNEL")
        .env("SKIPS", "")
        .env("UNSTEADY", record)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap()
}

#[test]
fn tests_that_pass_are_run_once() {
    let folder = TempDir::new().unwrap();
    let (good, text) = tally(&format!("{} --", program(folder.path(), &[], &[])), &[]);
    assert!(good, "{text}");
    assert_eq!(last(&text), "5 passed, 0 failed, 0 skipped");
    assert!(!text.contains("once more"), "{text}");
}

#[test]
fn what_passes_the_second_time_counts_and_is_named() {
    let folder = TempDir::new().unwrap();
    let command = format!("{} --", program(folder.path(), &["a::one", "a::two"], &[]));
    let (good, text) = tally(&command, &[]);
    assert!(good, "{text}");
    assert_eq!(last(&text), "5 passed, 0 failed, 0 skipped");
    assert!(text.contains("passed only when run again: a::one a::two\na::one:\n"), "{text}");
    assert!(text.contains("no a::two"), "{text}");
}

#[test]
fn what_fails_twice_has_failed() {
    let folder = TempDir::new().unwrap();
    let command = format!("{} --", program(folder.path(), &["a::one", "a::two"], &["a::two"]));
    let (good, text) = tally(&command, &[]);
    assert!(!good, "{text}");
    assert_eq!(last(&text), "4 passed, 1 failed, 0 skipped");
    assert!(text.contains("passed only when run again: a::one\n"), "{text}");
}

#[test]
fn a_test_that_needs_a_second_run_twice_has_failed() {
    let folder = TempDir::new().unwrap();
    let record = folder.path().join("unsteady");
    let first = format!("{} --", program(folder.path(), &["a::one"], &[]));
    let ci = [("CI", "true")];
    assert!(tally_with_record(&record, &first, &ci).0);
    assert!(!record.exists(), "a run in CI cannot be committed");
    assert!(tally_with_record(&record, &first, &[]).0);
    assert!(fs::read_to_string(&record).unwrap().ends_with(" a::one\n"));
    for environment in [&ci[..], &[]] {
        let (good, text) = tally_with_record(&record, &first, environment);
        assert!(!good && text.contains("a::one needed a second run before"), "{text}");
        assert_eq!(last(&text), "4 passed, 1 failed, 0 skipped");
    }
    // Another test is not concerned.
    let second = format!("{} --", program(folder.path(), &["a::two"], &[]));
    assert!(tally_with_record(&record, &second, &ci).0);
}

#[test]
fn many_failures_or_a_command_that_takes_no_names_are_not_run_again() {
    let folder = TempDir::new().unwrap();
    let many = ["a::one", "a::two", "a::three", "a::four"];
    let (good, text) = tally(&format!("{} --", program(folder.path(), &many, &[])), &[]);
    assert!(!good && !text.contains("tally: once more: "), "{text}");
    assert_eq!(last(&text), "1 passed, 4 failed, 0 skipped");
    let (good, text) = tally(&program(folder.path(), &["a::one"], &[]), &[]);
    assert!(!good && !text.contains("tally: once more: "), "{text}");
    assert_eq!(last(&text), "4 passed, 1 failed, 0 skipped");
}

#[test]
fn a_command_that_fails_without_a_test_counts_as_one() {
    let (good, text) = tally("echo 'cannot build' && false --", &[]);
    assert!(!good, "{text}");
    assert_eq!(last(&text), "0 passed, 1 failed, 0 skipped");
}

#[test]
fn a_skip_is_no_success_and_fails_where_nothing_may_be_skipped() {
    let folder = TempDir::new().unwrap();
    let command = format!("{} --", program(folder.path(), &[], &[]));
    let skips = ("SKIPS", "SKIP: no kernel");
    let (good, text) = tally(&command, &[skips]);
    assert!(good && text.contains("SKIP: a::five: no kernel"), "{text}");
    assert_eq!(last(&text), "4 passed, 0 failed, 1 skipped");
    assert!(!tally(&command, &[skips, ("CI", "true")]).0);
}
