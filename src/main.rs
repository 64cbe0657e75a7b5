//! The entry point of the command line.
//!
//! Exit codes: 0 for success or a stop by a signal, 1 for an error, 2 for invalid arguments. An error is one line on
//! standard error, without a stack trace.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use ipvs_proxy::cli::{self, Command, UsageError};
use ipvs_proxy::cmd;
use ipvs_proxy::console::{print, print_error};
use ipvs_proxy::one_line::one_line;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(error) => {
            print_error(error);
            return ExitCode::from(UsageError::EXIT_CODE);
        }
    };
    // The operator finds the proxy's errors in its log, so they are written in the log's format.
    let tell: fn(&str) =
        if matches!(command, Command::Run(_)) { log } else { |error| print_error(error) };
    let result = match command {
        Command::Run(arguments) => cmd::run::run(&arguments),
        Command::Plan(arguments) => cmd::plan::plan(&arguments),
        Command::Cleanup(arguments) => cmd::cleanup::cleanup(&arguments),
        Command::Dump(arguments) => cmd::dump::dump(&arguments),
        Command::Ready(arguments) => cmd::ready::ready(&arguments),
        Command::Print(text) => print(|out| write!(out, "{text}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Logs an error. Prints it if the log has not been set up yet because there is no configuration.
fn log(error: &str) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{error}");
    } else {
        print_error(error);
    }
}
