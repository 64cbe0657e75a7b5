//! This proxy's chains and jumps, through `iptables-save` and `iptables-restore`.
//!
//! Takes the planned rules of one family. Gives the standing rules. Does not start a program for each rule or
//! flush chains of others. Does not choose between the nft and legacy flavours: it uses the programs in the
//! PATH, as upstream does.

use std::process::Output;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxier::diff::{RulesStep, StandingTable};
use proxier::model::Family;
use proxier::plan::{Rules, Table};

use self::legacy_rules::Whose;
use super::program::{self, PROGRAM_TIMEOUT};

mod legacy_rules;
mod messages;
mod text;
mod version;

pub use self::messages::{Error, Reason};
pub use self::version::Version;

/// The chain in which rules are tried. A chain that a killed process has left is used again.
const PROBE: &str = "KUBE-IPVS-PROXY-PROBE";

/// The presence of rules of another mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyRules {
    /// There are none.
    Nothing,
    /// There are some.
    Something,
}

/// The iptables programs of one family. Clones share what they have learned about spelling.
#[derive(Clone, Debug)]
pub struct Iptables {
    family: Family,
    version: Version,
    spelled: Arc<Mutex<Option<Spelled>>>,
}

/// Rules as a program prints them, if it spells them differently from this proxy.
#[derive(Debug)]
struct Spelled {
    ours: Rules,
    theirs: Rules,
}

impl Iptables {
    /// Asks the program for its version.
    ///
    /// # Errors
    /// Fails if the program of this family cannot be run.
    pub fn probe(family: Family) -> Result<Self, Error> {
        let output = run(&program(family, ""), &["--version"], None)?;
        let version = Version::parse(&String::from_utf8_lossy(&output.stdout));
        Ok(Self { family, version, spelled: Arc::default() })
    }

    /// Lists a chain that every `nat` table has.
    ///
    /// # Errors
    /// Fails if this family cannot do NAT.
    pub fn try_nat(&self) -> Result<(), Error> {
        run(&program(self.family, ""), &["-t", "nat", "-S", "POSTROUTING"], None).map(drop)
    }

    /// The family of the programs.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The version of the programs.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Reads the rules in this proxy's chains and its jumps, and looks for rules of iptables mode.
    ///
    /// # Errors
    /// Fails if the rules cannot be listed.
    pub fn observe(&self) -> Result<(Rules, LegacyRules), Error> {
        let listing = self.save()?;
        let standing = text::parse(&listing);
        let rules = match &*self.spelled() {
            Some(spelled) if spelled.theirs == standing => spelled.ours.clone(),
            Some(_) | None => standing,
        };
        let none = legacy_rules::find(&listing, Whose::IptablesMode, self.family).is_empty();
        Ok((rules, if none { LegacyRules::Nothing } else { LegacyRules::Something }))
    }

    /// Removes the rules of iptables mode.
    ///
    /// # Errors
    /// Fails if the rules cannot be listed, or `iptables-restore` refuses.
    pub fn remove_legacy_rules(&self) -> Result<(), Error> {
        let found = legacy_rules::find(&self.save()?, Whose::IptablesMode, self.family);
        for chain in found.iter().flat_map(|table| &table.kept) {
            tracing::warn!(
                "could not remove {chain} of iptables mode: rules of others jump to it; it is empty now"
            );
        }
        match found.is_empty() {
            true => Ok(()),
            false => {
                self.restore(&found.into_iter().map(|table| table.removal).collect::<String>())
            }
        }
    }

    /// Finds the rules of all modes of kube-proxy, by table.
    ///
    /// # Errors
    /// Fails if the rules cannot be listed.
    pub fn standing_tables(&self) -> Result<Vec<StandingTable>, Error> {
        Ok(legacy_rules::find(&self.save()?, Whose::EveryMode, self.family))
    }

    /// Removes the rules found in one table, in one transaction.
    ///
    /// # Errors
    /// Fails if `iptables-restore` refuses. The table is then as before.
    pub fn remove(&self, found: &StandingTable) -> Result<(), Error> {
        self.restore(&found.removal)
    }

    /// Tries rules by adding them to a chain to which no rule jumps. The chain stays until
    /// [`forget_tried`](Self::forget_tried).
    ///
    /// # Errors
    /// The reason why they are refused.
    pub fn try_rules(&self, rules: &[(Table, String)]) -> Result<(), Error> {
        self.restore(&trial(rules)).map(drop)
    }

    /// Asks the programs whether they accept rules, without adding them. The nft flavour accepts many rules
    /// that the kernel refuses, with a warning. The warning counts as an error here.
    ///
    /// # Errors
    /// The reason why they are not accepted.
    pub fn ask_for_rules(&self, rules: &[(Table, String)]) -> Result<(), Error> {
        let payload = trial(rules);
        let output = self.restore_with(&["--test"], &payload)?;
        let said = String::from_utf8_lossy(&output.stderr);
        Error::warned(&program(self.family, "-restore"), said.trim(), &payload).map_or(Ok(()), Err)
    }

    /// Removes the chain in which rules were tried.
    ///
    /// # Errors
    /// Fails if `iptables-restore` refuses. The chain then stays until rules are tried again or cleaned up.
    pub fn forget_tried(&self) -> Result<(), Error> {
        let of = |table: Table| format!("*{table}\n:{PROBE} - [0:0]\n-X {PROBE}\nCOMMIT\n");
        self.restore(&TABLES.map(of).concat())
    }

    /// Writes rules, in one transaction for each table.
    ///
    /// # Errors
    /// Fails if `iptables-restore` refuses. The refused table is then as before.
    pub fn write(&self, step: &RulesStep) -> Result<(), Error> {
        self.restore(&text::payload(step))?;
        self.learn_spelling(&step.rules)
    }

    fn restore(&self, payload: &str) -> Result<(), Error> {
        self.restore_with(&[], payload).map(drop)
    }

    fn restore_with(&self, more: &[&str], payload: &str) -> Result<Output, Error> {
        let mut arguments = self.version.restore_wait().to_vec();
        arguments.extend(["--noflush", "--counters"]);
        arguments.extend(more);
        run(&program(self.family, "-restore"), &arguments, Some(payload))
    }

    /// Learns how this version of iptables prints the rules that were just written, so that the spelling is
    /// not taken for a difference. Only words may differ. More or fewer rules are a change by another program
    /// in between.
    fn learn_spelling(&self, ours: &Rules) -> Result<(), Error> {
        let theirs = text::parse(&self.save()?);
        if !has_same_shape(ours, &theirs) {
            return Err(Error::Disturbed);
        }
        *self.spelled() = (theirs != *ours).then(|| {
            tracing::debug!(family = %self.family, "iptables prints our rules in other words");
            Spelled { ours: ours.clone(), theirs }
        });
        Ok(())
    }

    /// A panic while the lock was held leaves a valid value.
    fn spelled(&self) -> MutexGuard<'_, Option<Spelled>> {
        self.spelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self) -> Result<String, Error> {
        let output = run(&program(self.family, "-save"), &[], None)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The tables that this proxy writes.
const TABLES: [Table; 2] = [Table::Nat, Table::Filter];

/// Makes the input that adds rules to the chain for trials, each in its table.
fn trial(rules: &[(Table, String)]) -> String {
    let of = |table| {
        let rules: Vec<_> = rules.iter().filter(|(of, _)| *of == table).collect();
        let lines: String = rules.iter().map(|(_, rule)| format!("-A {PROBE} {rule}\n")).collect();
        let is_empty = rules.is_empty();
        (!is_empty).then(|| format!("*{table}\n:{PROBE} - [0:0]\n{lines}COMMIT\n"))
    };
    TABLES.into_iter().filter_map(of).collect()
}

/// True if both have the same jumps, and in each chain rules with the same targets in the same order.
fn has_same_shape(ours: &Rules, theirs: &Rules) -> bool {
    let target = |rule: &String| {
        rule.split("-j ").nth(1).map(|rest| rest.split(' ').next().unwrap_or_default().to_owned())
    };
    let targets = |rules: &[String]| rules.iter().map(target).collect::<Vec<_>>();
    ours.jumps == theirs.jumps
        && ours.chains.len() == theirs.chains.len()
        && ours
            .chains
            .iter()
            .zip(&theirs.chains)
            .all(|((a, ours), (b, theirs))| a == b && targets(ours) == targets(theirs))
}

/// The name of a program, such as `iptables` or `ip6tables-restore`.
fn program(family: Family, suffix: &str) -> String {
    match family {
        Family::V4 => format!("iptables{suffix}"),
        Family::V6 => format!("ip6tables{suffix}"),
    }
}

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<Output, Error> {
    let output = program::run(program, arguments, input, PROGRAM_TIMEOUT)
        .map_err(|error| Error::not_run(program, error))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::failed(program, said.trim(), input.unwrap_or_default(), output.status.code()))
}

#[cfg(test)]
mod tests;
