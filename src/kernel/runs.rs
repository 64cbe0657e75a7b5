//! Splits changes into runs of neighbours that go to the same kernel interface.
//!
//! Takes changes in their order. Returns runs in the same order, each with the changes of its own kind. Does not
//! reorder anything.

use proxier::apply::Answered;
use proxier::diff::{AddressChange, Change, Flow, RulesChange, ServerChange, SetChange};

/// Neighboring changes of one kind, which one exchange can carry.
pub(super) enum Run {
    AddDevice,
    RemoveDevice,
    Addresses(Vec<AddressChange>),
    Sets(Vec<SetChange>),
    Rules(RulesChange),
    Servers(Vec<ServerChange>),
    Flows(Vec<Flow>),
}

/// Splits the changes into runs.
pub(super) fn runs(changes: Vec<Change>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for change in changes {
        match (runs.last_mut(), change) {
            (Some(Run::Addresses(run)), Change::Address(change)) => run.push(change),
            (Some(Run::Sets(run)), Change::Set(change)) => run.push(change),
            (Some(Run::Servers(run)), Change::Server(change)) => run.push(change),
            (Some(Run::Flows(run)), Change::RemoveFlow(flow)) => run.push(*flow),
            (_, change) => runs.push(Run::of(change)),
        }
    }
    runs
}

impl Run {
    fn of(change: Change) -> Self {
        match change {
            Change::AddDevice => Self::AddDevice,
            Change::RemoveDevice => Self::RemoveDevice,
            Change::Address(change) => Self::Addresses(vec![change]),
            Change::Set(change) => Self::Sets(vec![change]),
            Change::Rules(change) => Self::Rules(change),
            Change::Server(change) => Self::Servers(vec![change]),
            Change::RemoveFlow(flow) => Self::Flows(vec![*flow]),
        }
    }
}

/// Converts the answers of one kind of change into answers of changes.
pub(super) fn answered<C>(
    answers: Vec<Answered<C>>,
    change: fn(C) -> Change,
) -> impl Iterator<Item = Answered<Change>> {
    answers.into_iter().map(move |(kind, result)| (change(kind), result))
}
