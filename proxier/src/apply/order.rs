//! Make before break, in one table.
//!
//! In: a change. Out: the stage of a round that it belongs to. Never: a change that takes
//! something away before everything that replaces it stands.
//!
//! Growth: sets, entries and rules come first, so that no service address answers without its
//! masquerade rule and its guard; then addresses; then virtual servers together with their
//! destinations. Removal goes the other way round: an address stops being local, then its virtual
//! server goes, and its entries and rules last.

use crate::diff::{Change, Moment, RulesStep};
use crate::plan::weight;

/// A part of a round; the next one begins when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Ground,
    Entries,
    Rules,
    Addresses,
    Servers,
    Leaving,
    AddressesGone,
    ServersGone,
    EntriesGone,
    RulesGone,
    LeftoversGone,
    FlowsGone,
}

pub(super) fn stage(change: &Change) -> Stage {
    match change {
        Change::AddLink | Change::AddSet(_) | Change::GrowSet(..) => Stage::Ground,
        Change::RemoveFlow(_) => Stage::FlowsGone,
        Change::RemoveLeftovers(_) => Stage::LeftoversGone,
        Change::AddEntry(..) => Stage::Entries,
        Change::WriteRules(RulesStep { moment: Moment::BeforeGrowth, .. }) => Stage::Rules,
        Change::AddAddress(_) => Stage::Addresses,
        Change::UpdateDestination(_, _, weight::DRAINING) | Change::RemoveDestination(..) => {
            Stage::Leaving
        }
        Change::AddServer(..)
        | Change::UpdateServer(..)
        | Change::AddDestination(..)
        | Change::UpdateDestination(..) => Stage::Servers,
        Change::RemoveAddress(_) => Stage::AddressesGone,
        Change::RemoveServer(_) => Stage::ServersGone,
        Change::RemoveEntry(..) => Stage::EntriesGone,
        Change::WriteRules(RulesStep { moment: Moment::AfterRemoval, .. }) => Stage::RulesGone,
    }
}
