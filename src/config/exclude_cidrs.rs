//! Which networks' virtual servers are others', when nothing else of the configuration is asked for.
//!
//! In: flags and the file they name, whatever its mode; even if other values in it cannot be, unless the
//! flag `--cleanup` asks, beside which kube-proxy judges everything (spec 12.1).
//! Out: networks, or every problem. Never: the rest of the configuration.

use proxier::model::Net;

use super::{Environment, Error, Flags, RawConfig, check};

/// `--ipvs-exclude-cidrs`, or `ipvs.excludeCIDRs` of the file, which counts alone if there is one.
///
/// # Errors
/// If the file cannot be read, or an entry is no network; beside `--cleanup`, any problem.
pub fn exclude_cidrs(flags: &Flags) -> Result<Vec<Net>, Error> {
    let mut given = RawConfig::read(flags)?;
    if flags.process.cleanup == Some(true) {
        given = given.check_in_any_mode(&Environment::look())?;
    }
    check::exclude_cidrs(given.exclude_cidrs())
        .map_err(|problems| given.invalid(Vec::new(), problems))
}
