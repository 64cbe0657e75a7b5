//! The command line's entry point: arguments in, an exit code out.
//!
//! Exit codes: 0 done or stopped by a signal, 1 an error, 2 arguments that make no sense. An error
//! is one line on standard error. Never: a stack trace.

use std::io::Write as _;
use std::process::ExitCode;

use ipvs_proxy::cli::{self, Command, UsageError};
use ipvs_proxy::{cmd, telemetry};

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("ipvs-proxy: {error}");
            return ExitCode::from(UsageError::EXIT_CODE);
        }
    };
    telemetry::start();
    let result = match command {
        Command::Run(arguments) => cmd::run::run(&arguments),
        Command::Plan(arguments) => cmd::plan::plan(&arguments),
        Command::Print(text) => {
            // A reader that stops reading is no error.
            let _ = write!(std::io::stdout(), "{text}");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ipvs-proxy: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each said once: many say their cause themselves.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| {
        match (line.is_empty(), line.contains(&cause)) {
            (true, _) => cause,
            (false, true) => line,
            (false, false) => format!("{line}: {cause}"),
        }
    })
}
