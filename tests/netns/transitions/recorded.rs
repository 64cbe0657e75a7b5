//! Tests every change between two recorded steps.

use super::kept::{By, State, keeps_all};
use crate::case::Case;

/// Makes a test for each case of several steps, with the smallest number of pairs that are kept
/// over all its changes.
macro_rules! cases {
    ($($case:ident: $pairs:literal)*) => {
        const LISTED: &[&str] = &[$(stringify!($case)),*];
        $(
            #[test]
            fn $case() {
                let kept = replay(stringify!($case));
                assert!(kept >= $pairs, "{kept} pairs of a client and a frontend");
            }
        )*
    };
}

cases! {
    affinity: 4
    endpoints_change: 6
    hints_zone: 6
    internal_local: 2
    lb_local: 3
    lb_source_ranges: 20
    node_labels_change: 2
    nodeport_local: 18
    random_001: 47
    random_002: 67
    random_003: 18
    random_004: 59
    random_005: 62
    random_006: 16
    readiness: 4
    service_change: 14
    shared_vip: 8
}

#[test]
fn every_recorded_case_of_several_steps_is_replayed() {
    let several = Case::all().into_iter().filter(|case| case.steps().len() > 1);
    assert_eq!(several.map(|case| case.test_name()).collect::<Vec<_>>(), LISTED);
}

fn replay(name: &str) -> usize {
    let case = Case::of_test(name);
    let states: Vec<_> = case
        .steps()
        .iter()
        .map(|step| State { objects: step.objects(), recorded: Some(step.virtual_servers()) })
        .collect();
    keeps_all(name, case.config(), By::Change, &states)
}
