//! Answers the paths below `/debug`, which are served if profiling is on.
//!
//! Takes a path. Returns the list of profiles, the command line, or a refusal of a profile that only Go's runtime can
//! make. Shows no passwords.
//!
//! Source: spec 10.3.

use crate::config::with_password_hidden;
use http::StatusCode;

use crate::serve::listener::Answer;
use crate::serve::plain::{self, not_found};

/// The profiles of Go's runtime, in its order.
const PROFILES: [&str; 11] = [
    "allocs",
    "block",
    "cmdline",
    "goroutine",
    "goroutineleak",
    "heap",
    "mutex",
    "profile",
    "symbol",
    "threadcreate",
    "trace",
];

const NONE: &str = "this program has no Go runtime and makes no such profile; `perf record -g -p PID` \
                    does, from outside\n";

/// The page of every path below `/debug/flags/`, even of unknown flags.
const FLAGS: &str = "<html><head><title>/debug/flags/</title></head><body>/debug/flags/<br>\n\
                     <a href=\"/debug/flags/v\">v</a></body></html>\n";

/// Returns the answer at a path that no other handler has.
pub(super) fn answer(path: &str) -> Answer {
    match path {
        "/debug/pprof" => plain::moved("/debug/pprof/"),
        "/debug/pprof/" => plain::page(index()),
        "/debug/pprof/cmdline" => plain::text(StatusCode::OK, command_line()),
        "/debug/flags" => plain::page(FLAGS),
        _ if path.starts_with("/debug/flags/") => plain::page(FLAGS),
        _ => match path.strip_prefix("/debug/pprof/") {
            Some(profile) if PROFILES.contains(&profile) => {
                plain::text(StatusCode::NOT_IMPLEMENTED, NONE)
            }
            Some(profile) => {
                plain::text(StatusCode::NOT_FOUND, format!("Unknown profile {profile:?}\n"))
            }
            None => not_found(),
        },
    }
}

fn index() -> String {
    let rows = PROFILES.map(|name| format!("<li><a href='{name}?debug=1'>{name}</a></li>\n"));
    format!(
        "<html>\n<head>\n<title>/debug/pprof/</title>\n</head>\n<body>\n/debug/pprof/\n<p>{NONE}</p>\n\
         <ul>\n{}</ul>\n</body>\n</html>\n",
        rows.concat()
    )
}

/// The arguments of the process, separated by zero bytes.
fn command_line() -> Vec<u8> {
    let arguments = std::env::args_os().map(std::ffi::OsString::into_encoded_bytes);
    shown(arguments.collect()).join(&0)
}

const MASTER: &[u8] = b"--master";

/// Hides a user name and a password in the URL of `--master`, as `/flagz` does.
fn shown(mut arguments: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut is_master = false;
    for argument in &mut arguments {
        let start = match argument.strip_prefix(MASTER) {
            _ if is_master => Some(0),
            Some([b'=', ..]) => Some(MASTER.len() + 1),
            Some(_) | None => None,
        };
        is_master = !is_master && argument == MASTER;
        if let Some(start) = start {
            let url = argument.split_off(start);
            argument.extend(with_password_hidden(&String::from_utf8_lossy(&url)).into_bytes());
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn the_command_line_shows_no_password() {
        for (given, wanted) in [
            (&["--master=https://me:s3cr3t@h:1/p"][..], &["--master=https://xxxxx@h:1/p"][..]),
            (&["--master", "me:s3c@r3t@h", "-v=4"], &["--master", "xxxxx@h", "-v=4"]),
            (&["--master=https://h", "--node=a@b"], &["--master=https://h", "--node=a@b"]),
            (&["--master", "--master", "me:s@h"], &["--master", "--master", "me:s@h"]),
            (&["--master-of=a@b"], &["--master-of=a@b"]),
        ] {
            let arguments = given.iter().map(|argument| argument.as_bytes().to_owned()).collect();
            let shown = shown(arguments).into_iter().map(|shown| String::from_utf8(shown).unwrap());
            assert_eq!(shown.collect::<Vec<_>>(), wanted);
        }
    }
}
