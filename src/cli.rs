//! The command line as types.
//!
//! In: the arguments of the process. Out: a [`Command`], or a [`UsageError`] of one line. Without a
//! subcommand the proxy runs, so that the binary takes kube-proxy's place; flags follow kube-proxy's
//! rules: `_` is `-`, a boolean may stand alone or with `=false`, the last one wins, lists split at
//! commas. Never: files, except [`addresses`], and never the process' exit.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::addresses::{AddressesError, addresses};
use crate::config::Flags;
use crate::config::flags::{Process, boolean};

mod addresses;

/// What the process is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run the proxy.
    Run(Box<RunArgs>),
    /// Print what would be programmed.
    Plan(PlanArgs),
    /// Print this text and succeed: help, or the version.
    Print(String),
}

/// How to run the proxy.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct RunArgs {
    /// Every flag of kube-proxy.
    #[command(flatten)]
    pub flags: Flags,
    /// Take objects from the YAML and JSON files in this folder, and follow them live
    #[arg(long, value_name = "DIR", help_heading = "API server")]
    pub manifests: Option<PathBuf>,
}

/// What to plan and from what.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct PlanArgs {
    /// Take objects from this YAML or JSON file, or from those in this folder
    #[arg(long, value_name = "FILE_OR_DIR")]
    pub manifests: PathBuf,
    /// Read settings from this KubeProxyConfiguration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of the node to plan for [default: the file's, then the host's name]
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// The node's interface addresses, one `DEVICE ADDRESS/PREFIX` a line
    #[arg(long, value_name = "FILE")]
    pub addresses: Option<PathBuf>,
    /// Write ipvs.txt, ipset.txt, iptables.txt, ip6tables.txt and addrs.txt into this folder
    /// instead of printing them
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

impl PlanArgs {
    /// The same as flags of the proxy.
    pub fn flags(&self) -> Flags {
        Flags {
            process: Process {
                config: self.config.clone(),
                hostname_override: self.hostname_override.clone(),
                ..Process::default()
            },
            ..Flags::default()
        }
    }
}

/// The arguments make no sense; the process should print this and exit with
/// [`UsageError::EXIT_CODE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// The exit code of a usage error.
    pub const EXIT_CODE: u8 = 2;
}

/// kube-proxy's IPVS mode: Services and EndpointSlices in, a load-balancing kernel out
#[derive(Parser)]
#[command(
    name = "ipvs-proxy",
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    subcommand_help_heading = "Commands (none: run the proxy)"
)]
struct Line {
    /// Print the version and exit
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    version: Option<String>,
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Print the kernel state that would be programmed; needs no privileges and no kernel support
    #[command(args_override_self = true)]
    Plan(PlanArgs),
}

/// Reads the arguments; the first is the name of the program.
pub fn parse<I, T>(arguments: I) -> Result<Command, UsageError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let command = pflag(Line::command()).mut_subcommand("plan", pflag);
    let line = command
        .try_get_matches_from(hyphenated(arguments))
        .and_then(|matches| Line::from_arg_matches(&matches));
    let line = match line {
        Ok(line) => line,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Command::Print(error.to_string()));
        }
        Err(error) => return Err(one_line(&error)),
    };
    if let Some(Verb::Plan(plan)) = line.command {
        return Ok(Command::Plan(plan));
    }
    if line.version.is_some_and(|form| boolean(&form) != Ok(false)) {
        return Ok(Command::Print(format!("ipvs-proxy v{}\n", env!("CARGO_PKG_VERSION"))));
    }
    let process = &line.run.flags.process;
    for (flag, asked) in [
        ("--cleanup", process.cleanup == Some(true)),
        ("--init-only", process.init_only == Some(true)),
        ("--write-config-to", process.write_config_to.is_some()),
    ] {
        if asked {
            return Err(UsageError(format!("{flag} is not available in this version")));
        }
    }
    Ok(Command::Run(Box::new(line.run)))
}

/// Gives every option the manners of Go's pflag: a boolean's value follows `=` or is left out;
/// any other value may begin with a hyphen.
fn pflag(command: clap::Command) -> clap::Command {
    command.mut_args(|argument: Arg| {
        if !argument.get_action().takes_values() || argument.get_id() == "version" {
            argument
        } else if argument.get_value_parser().type_id() == TypeId::of::<bool>() {
            argument
                .value_parser(ValueParser::new(boolean))
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        } else {
            argument.allow_hyphen_values(true)
        }
    })
}

/// Replaces `_` by `-` in the names of long flags, up to a lone `--`.
fn hyphenated<I, T>(arguments: I) -> Vec<OsString>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let mut flags = true;
    let rewrite = |argument: T| {
        let argument = argument.into();
        flags &= argument != "--";
        match argument.to_str() {
            Some(text) if flags && text.starts_with("--") => match text.split_once('=') {
                Some((name, value)) => format!("{}={value}", name.replace('_', "-")).into(),
                None => text.replace('_', "-").into(),
            },
            _ => argument,
        }
    };
    arguments.into_iter().map(rewrite).collect()
}

/// What clap says without its advice: the first paragraph, and a similar flag if there is one.
fn one_line(error: &clap::Error) -> UsageError {
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = words(paragraphs.next().unwrap_or_default());
    if let Some(tip) = text.lines().find_map(|line| line.trim().strip_prefix("tip: "))
        && tip.contains("similar")
    {
        line = format!("{line}; {tip}");
    }
    UsageError(line.trim_start_matches("error: ").to_owned())
}
