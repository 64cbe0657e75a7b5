//! What commands print.
//!
//! In: lines, or something that writes. Out: standard output for results, standard error for complaints. Never: a
//! panic, or a failure, because nobody reads.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Context;

/// How much is written at once: a result may have a hundred thousand lines.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Prints a result. A reader that stops reading is no error.
///
/// # Errors
/// If standard output takes no more for another reason.
pub fn print(result: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, io::stdout().lock());
    match result(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a line of a result as soon as it is known, for who watches.
pub fn print_line(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Says in one line what went wrong.
pub fn print_error<T: Display>(what: T) {
    let _ = writeln!(io::stderr(), "ipvs-proxy: {what}");
}
