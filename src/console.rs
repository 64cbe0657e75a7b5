//! Prints the output of commands.
//!
//! Takes lines, or a closure that writes. Writes results to standard output and errors to standard error. Does not
//! panic or fail because the reader has gone.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Context;

/// The size of the output buffer; a result may have a hundred thousand lines.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Prints a result. A closed pipe is not an error.
///
/// # Errors
/// If standard output cannot be written for another reason.
pub fn print(result: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, io::stdout().lock());
    match result(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints one line of a result at once, so that the operator can watch the progress.
pub fn print_line(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints an error in one line on standard error.
pub fn print_error<T: Display>(what: T) {
    let _ = writeln!(io::stderr(), "ipvs-proxy: {what}");
}
