//! Every change between two recorded steps.

use super::kept::{By, State, keeps_all};
use crate::case::Case;

/// A test for each case of several steps, with the least number of pairs that are kept over all its changes.
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
    affinity: 1
    endpoints_change: 1
    hints_zone: 1
    internal_local: 1
    lb_local: 1
    lb_source_ranges: 1
    node_labels_change: 1
    nodeport_local: 1
    random_001: 1
    random_002: 1
    random_003: 1
    random_004: 1
    random_005: 1
    random_006: 1
    readiness: 1
    service_change: 1
    shared_vip: 1
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
