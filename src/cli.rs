//! The command line as types.
//!
//! Takes the arguments of the process. Returns a [`Command`], or a [`UsageError`] of one line. Without a subcommand the
//! proxy runs, so that the binary can replace kube-proxy's. Flags follow kube-proxy's rules: `_` counts as `-`; a
//! boolean may stand alone or with `=false`; the last value wins; lists are split at commas; an empty path counts as
//! unset. Does not read files, except in [`addresses`]. Does not exit the process.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::addresses::{AddressesError, addresses};
pub use self::cleanup::CleanupArgs;
pub use self::dump::{DumpArgs, Form};
pub use self::flagz::flagz;
pub use self::ready::ReadyArgs;
use crate::config::Flags;
use crate::config::flags::{Api, Process, boolean, named};
use crate::version;

mod addresses;
mod cleanup;
mod dump;
mod flagz;
mod ready;

/// The command that the arguments ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run the proxy, or do what `--write-config-to` or `--init-only` asks for.
    Run(Box<RunArgs>),
    /// Print what would be programmed.
    Plan(PlanArgs),
    /// Remove everything of this proxy from the kernel.
    Cleanup(CleanupArgs),
    /// Print what the kernel holds.
    Dump(DumpArgs),
    /// Say whether the running proxy is ready.
    Ready(ReadyArgs),
    /// Print this text, the help or the version, and succeed.
    Print(String),
}

/// The arguments of `run`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct RunArgs {
    /// Every flag of kube-proxy.
    #[command(flatten)]
    pub flags: Flags,
    /// Take objects from the YAML and JSON files in this folder, and follow them live
    #[arg(long, value_name = "DIR", help_heading = "API server")]
    pub manifests: Option<PathBuf>,
}

/// The arguments of `plan`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct PlanArgs {
    /// Take objects from this YAML or JSON file, or from those in this folder
    #[arg(long, value_name = "FILE_OR_DIR")]
    pub manifests: PathBuf,
    /// Read settings from this KubeProxyConfiguration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read the proxy's own settings (IPVSProxyConfiguration) from this file
    #[arg(long, value_name = "FILE")]
    pub extra_config: Option<PathBuf>,
    /// Name of the node to plan for [default: the file's, then the host's name]
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// The node's interface addresses, one `DEVICE ADDRESS/PREFIX` a line; node ports are planned at them
    #[arg(long, value_name = "FILE")]
    pub addresses: Option<PathBuf>,
    /// Warn of Services that have the address of the API server that this kubeconfig names
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Warn of Services that have the address of this API server; wins over kubeconfig and file
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Write ipvs.txt, ipset.txt, iptables.txt, ip6tables.txt and addrs.txt into this folder
    /// instead of printing them
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

impl PlanArgs {
    /// Refuses an empty `--manifests`, and unsets other paths that are empty.
    fn checked(mut self) -> Result<Self, UsageError> {
        if self.manifests.as_os_str().is_empty() {
            return Err(UsageError("--manifests <FILE_OR_DIR> is required".to_owned()));
        }
        self.addresses = named(&self.addresses);
        self.output = named(&self.output);
        Ok(self)
    }

    /// Returns these arguments as flags of the proxy.
    pub fn flags(&self) -> Flags {
        Flags {
            process: Process {
                config: named(&self.config),
                extra_config: named(&self.extra_config),
                hostname_override: self.hostname_override.clone(),
                ..Process::default()
            },
            api: Api {
                kubeconfig: self.kubeconfig.clone(),
                master: self.master.clone(),
                ..Api::default()
            },
            ..Flags::default()
        }
    }
}

/// The error for arguments that make no sense. The process should print it and exit with [`UsageError::EXIT_CODE`].
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
    #[command(flatten)]
    running: RunLine,
    #[command(subcommand)]
    command: Option<Verb>,
}

/// The command line without a command.
#[derive(Parser)]
#[command(name = "ipvs-proxy", disable_version_flag = true, args_override_self = true)]
struct RunLine {
    /// Print the version and exit; `raw` prints all that is known of it
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    version: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// Print the kernel state that would be programmed; needs no privileges and no kernel support
    #[command(args_override_self = true)]
    Plan(PlanArgs),
    /// Remove everything that this proxy or kube-proxy has put into the kernel, and nothing else
    #[command(args_override_self = true)]
    Cleanup(CleanupArgs),
    /// Print what the kernel holds, with the names of Services; needs CAP_NET_ADMIN and CAP_NET_RAW
    #[command(args_override_self = true)]
    Dump(DumpArgs),
    /// Succeed if the running proxy has synced once; for readiness probes
    #[command(args_override_self = true)]
    Ready(ReadyArgs),
}

/// Parses the arguments. The first one is the name of the program.
pub fn parse<I, T>(arguments: I) -> Result<Command, UsageError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let arguments = plain_help(hyphenated(arguments))?;
    let program = program(arguments.first());
    // A command is the first argument. All others are flags, as with kube-proxy, which has no commands.
    let command = arguments.get(1).and_then(|word| word.to_str());
    if command.is_some_and(|word| Line::command().find_subcommand(word).is_some()) {
        return verb(arguments);
    }
    let words = arguments.clone();
    let mut command = run_command();
    let line = command.try_get_matches_from_mut(arguments).and_then(|matches| {
        let mut line = RunLine::from_arg_matches(&matches)?;
        line.run.flags.given = given(&command, &matches);
        line.run.flags.process.forget_empty();
        line.run.manifests = named(&line.run.manifests);
        Ok((line, stray(&matches)))
    });
    let line = match line {
        Ok((line, stray)) if stray.is_empty() => line,
        Ok((_, stray)) => return Err(refuse_stray(&stray, &words)),
        // Only the help of the whole line lists the commands.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return verb(vec![words.into_iter().next().unwrap_or_default(), "--help".into()]);
        }
        Err(error) => return Err(one_line(&error)),
    };
    if let Some(text) = asked_version(line.version.as_deref(), &program)? {
        return Ok(Command::Print(text));
    }
    // `--write-config-to` takes precedence over `--cleanup` and ends the process (spec 12.1).
    let process = &line.run.flags.process;
    if process.cleanup == Some(true) && process.write_config_to.is_none() {
        return Ok(Command::Cleanup(CleanupArgs::of(line.run.flags)));
    }
    Ok(Command::Run(Box::new(line.run)))
}

/// Parses a command line that begins with a command.
fn verb(arguments: Vec<OsString>) -> Result<Command, UsageError> {
    let words = arguments.clone();
    let matches = pflag(Line::command()).mut_subcommands(pflag).try_get_matches_from(arguments);
    match matches.and_then(|matches| Line::from_arg_matches(&matches)) {
        Ok(Line { command: Some(Verb::Plan(plan)), .. }) => plan.checked().map(Command::Plan),
        Ok(Line { command: Some(Verb::Cleanup(cleanup)), .. }) => Ok(Command::Cleanup(cleanup)),
        Ok(Line { command: Some(Verb::Dump(dump)), .. }) => Ok(Command::Dump(dump.checked())),
        Ok(Line { command: Some(Verb::Ready(ready)), .. }) => Ok(Command::Ready(ready.checked())),
        Ok(Line { command: None, .. }) => Err(UsageError("a command is missing".to_owned())),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Ok(Command::Print(error.to_string()))
        }
        Err(error) => Err(separate_value_error(&error, &words).unwrap_or_else(|| one_line(&error))),
    }
}

/// The file name of the program.
fn program(argument: Option<&OsString>) -> String {
    let name = argument.and_then(|argument| Path::new(argument).file_name());
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the version to print, if any. `--version=v...` is accepted as kube-proxy does, but has no effect.
fn asked_version(form: Option<&str>, program: &str) -> Result<Option<String>, UsageError> {
    match form {
        None => Ok(None),
        Some("raw") => Ok(Some(version::raw())),
        Some(form) if form.starts_with('v') => Ok(None),
        Some(form) => match boolean(form) {
            Ok(true) => Ok(Some(version::line(program))),
            Ok(false) => Ok(None),
            Err(_) => Err(UsageError(format!(
                "invalid value '{form}' for '--version[=<FORM>]': expected true, false, raw or v..."
            ))),
        },
    }
}

/// The long names of the flags that the command line gives.
fn given(command: &clap::Command, matches: &ArgMatches) -> Vec<String> {
    let is_given = |argument: &&Arg| {
        matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let given = command.get_arguments().filter(is_given);
    given.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

/// The name of the argument that takes every word that is neither a flag nor a flag's value.
const STRAY: &str = "stray";

/// The command line without a command, with pflag's rules.
fn run_command() -> clap::Command {
    let stray = Arg::new(STRAY).num_args(0..).action(ArgAction::Append).hide(true);
    pflag(RunLine::command().arg(stray.value_parser(OsStringValueParser::new())))
}

/// The arguments that kube-proxy refuses because they are not flags. An empty argument does not count: templates and
/// systemd units (`${VARIABLE}`) may produce one.
fn stray(matches: &ArgMatches) -> Vec<String> {
    let words = matches.get_many::<OsString>(STRAY).into_iter().flatten();
    let words = words.filter(|word| !word.is_empty());
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

fn refuse_stray(stray: &[String], words: &[OsString]) -> UsageError {
    let is_stray = |value: &str| stray.iter().any(|word| word == value);
    if let Some(error) = value_apart(words, is_stray) {
        return error;
    }
    let named: Vec<_> = stray.iter().map(|word| format!("{word:?}")).collect();
    let many = if stray.len() == 1 { "" } else { "s" };
    let command = stray.iter().find(|word| Line::command().find_subcommand(word).is_some());
    let advice = command.map_or("only flags are taken".to_owned(), |command| {
        format!("the command {command} has to be the first argument")
    });
    UsageError(format!("unexpected argument{many} {}: {advice}", named.join(" ")))
}

/// Gives every option the rules of Go's pflag. The value of a boolean follows `=` or is left out; any other value may
/// begin with a hyphen.
fn pflag(command: clap::Command) -> clap::Command {
    command.mut_args(|argument: Arg| {
        let is_plain = argument.get_id() == "version" || argument.get_id() == STRAY;
        if !argument.get_action().takes_values() || is_plain {
            argument
        } else if argument.get_value_parser().type_id() == TypeId::of::<bool>() {
            argument
                .value_parser(ValueParser::new(boolean))
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        } else if argument.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
            // Unlike clap's parser for paths, this one accepts an empty path.
            argument
                .value_parser(OsStringValueParser::new().map(PathBuf::from))
                .allow_hyphen_values(true)
        } else {
            argument.allow_hyphen_values(true)
        }
    })
}

/// Replaces `_` by `-` in the names of long flags before a lone `--`.
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

/// Replaces `--help=true` by `--help`, and removes `--help=false`, before a lone `--`.
fn plain_help(arguments: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    let value = |text: &str| {
        let value = text.strip_prefix("--help=").or_else(|| text.strip_prefix("-h="));
        value.map(boolean)
    };
    let flags = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let mut kept = Vec::with_capacity(arguments.len());
    for (at, argument) in arguments.into_iter().enumerate() {
        match argument.to_str().filter(|_| at < flags).and_then(value) {
            None => kept.push(argument),
            Some(Ok(true)) => kept.push("--help".into()),
            Some(Ok(false)) => {}
            Some(Err(reason)) => {
                return Err(UsageError(format!("invalid value for '--help': {reason}")));
            }
        }
    }
    Ok(kept)
}

/// The error for a boolean's value that stands apart from its flag, which pflag does not accept either.
fn separate_value_error(error: &clap::Error, words: &[OsString]) -> Option<UsageError> {
    let kinds =
        [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand, ErrorKind::ArgumentConflict];
    if !kinds.contains(&error.kind()) {
        return None;
    }
    let text = error.to_string();
    value_apart(words, |value| text.contains(&format!("'{value}'")))
}

/// The error for the first boolean value that follows its flag as an argument of its own. `None` if there is none.
fn value_apart(words: &[OsString], is_unexpected: impl Fn(&str) -> bool) -> Option<UsageError> {
    let pairs = words.windows(2).filter_map(|pair| match pair {
        [flag, value] => Some((flag.to_str()?, value.to_str()?)),
        _ => None,
    });
    let mut pairs = pairs.filter(|(flag, value)| {
        let is_flag = flag.starts_with("--") && !flag.contains('=');
        is_flag && boolean(value).is_ok() && is_unexpected(value)
    });
    let (flag, value) = pairs.next()?;
    Some(UsageError(format!("unexpected argument {value:?} (write {flag}={value})")))
}

/// clap's error without its advice: the first paragraph, and a similar flag if clap suggests one.
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
