//! Finds out why an iptables program has failed.
//!
//! Takes what the program has printed on its standard error, its exit code and its input. Returns an [`Error`] with a
//! [`Reason`]. No other file looks into these words, since the exit codes say too little. Does not run programs.

use std::io;

use super::super::program;

/// An error of an iptables program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("cannot run {program}: {source} (install the package iptables)")]
    Start {
        /// The program's name.
        program: String,
        /// The reason given by the system.
        source: io::Error,
    },
    /// The node has no IPv6, or it is disabled.
    #[error("the node has no IPv6")]
    NoIpv6,
    /// The rules just written do not stand.
    #[error(
        "the rules are not as they were written a moment ago: something else changes our chains"
    )]
    Disturbed,
    /// The program failed, or did not end.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program's name.
        program: String,
        /// Its standard error, the input line to which it refers, and its exit code.
        message: String,
        /// The meaning of the message.
        reason: Reason,
    },
}

/// The reason why a program failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The node does not have the program.
    NoProgram,
    /// The kernel has no tables of this family.
    NoTables,
    /// The kernel or the program lacks a match, a target or an option.
    MissingFeature,
    /// The program lacks one of its own libraries, while the kernel lacks nothing.
    MissingLibrary,
    /// Another program was in the way, memory was short, or the program did not end. It may work the next time.
    Busy,
    /// Anything else.
    Other,
}

impl Error {
    /// Makes the error of a program that has ended with this exit code; `None` if a signal ended it.
    pub(in super::super) fn failed(
        program: &str,
        said: &str,
        input: &str,
        code: Option<i32>,
    ) -> Self {
        let message = explain(said, input) + &code.map_or_else(String::new, exited);
        Self::Failed { program: program.into(), message, reason: reason(said, code) }
    }

    /// Makes an error of a program that has succeeded, if it has warned that the kernel lacks something.
    pub(super) fn warned(program: &str, said: &str, input: &str) -> Option<Self> {
        let is_warning = said.contains(UNSUPPORTED);
        is_warning.then(|| Self::failed(program, said, input, Some(0)))
    }

    pub(super) fn not_run(program: &str, error: program::Error) -> Self {
        let program = program.into();
        match error {
            program::Error::Start(source) => Self::Start { program, source },
            hung @ program::Error::Hung(_) => {
                Self::Failed { program, message: hung.to_string(), reason: Reason::Busy }
            }
        }
    }

    /// The reason why the program failed.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Reason::NoProgram
            }
            Self::Start { .. } | Self::Disturbed => Reason::Busy,
            Self::NoIpv6 => Reason::NoTables,
            Self::Failed { reason, .. } => *reason,
        }
    }

    /// True if the kernel or the program lacks a match, a target or an option.
    pub fn is_of_missing_feature(&self) -> bool {
        matches!(self.reason(), Reason::MissingFeature | Reason::MissingLibrary)
    }

    /// True if the node lacks the program or the tables, so that waiting is of no use.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.reason(), Reason::NoProgram | Reason::NoTables)
    }
}

fn exited(code: i32) -> String {
    format!(" (exit code {code})")
}

/// The exit code if another program held the lock for too long, or if memory was short (`RESOURCE_PROBLEM` in
/// `xtables.h`). The nft flavour also has it for a missing feature.
const RESOURCE_PROBLEM: i32 = 4;

/// Messages of any flavour about a match or target that the kernel lacks.
const FEATURE: [&str; 4] = [
    KERNEL_LACKS,
    "No chain/target/match by that name",
    "RULE_APPEND failed (No such file or directory)",
    "unrecognized option",
];
const KERNEL_LACKS: &str = "missing kernel module";

/// Messages about a library that the program lacks. Without its library a target is taken for a chain, which has no
/// options.
const LIBRARY: [&str; 2] = ["Couldn't load ", "nknown option"];

/// Messages about a kernel without tables of this family, one for each flavour.
const TABLES: [&str; 2] = ["does not exist", UNSUPPORTED];
const UNSUPPORTED: &str = "not supported";

/// The message of the set match, which asks the kernel for set numbers through a raw socket.
const NO_RAW_SOCKET: &str = "socket to ipset";

fn reason(said: &str, code: Option<i32>) -> Reason {
    let says = |signs: &[&str]| signs.iter().any(|sign| said.contains(sign));
    // Old versions of the legacy flavour print only this for a missing feature.
    let is_bare = said.ends_with(" failed") && said.contains("-restore: line ");
    match code {
        None => Reason::Busy,
        Some(_) if says(&LIBRARY) && !says(&[KERNEL_LACKS]) => Reason::MissingLibrary,
        Some(_) if is_bare || says(&FEATURE) => Reason::MissingFeature,
        Some(_) if says(&TABLES) => Reason::NoTables,
        Some(RESOURCE_PROBLEM) => Reason::Busy,
        Some(_) => Reason::Other,
    }
}

/// Puts the message into one line and adds the input line to which it refers (`line N failed`, `line: N`).
fn explain(said: &str, input: &str) -> String {
    let number = said.split("line").skip(1).find_map(|rest| {
        let digits: String =
            rest.trim_start_matches([':', ' ']).chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().ok()
    });
    let mut explained = said.lines().collect::<Vec<_>>().join("; ");
    if explained.contains(NO_RAW_SOCKET) {
        explained.push_str(" CAP_NET_RAW is needed");
    }
    match number.and_then(|number| input.lines().nth(number.checked_sub(1)?)) {
        Some(line) => format!("{explained} (the line: {line})"),
        None => explained,
    }
}
