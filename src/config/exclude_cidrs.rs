//! Reads `ipvs.excludeCIDRs` without the rest of the configuration.
//!
//! Takes flags and the file they name, in any mode. Returns networks, or every problem. Other invalid values do not
//! matter, except beside the flag `--cleanup`, where kube-proxy checks everything (spec 12.1).

use proxier::model::Net;

use super::{Environment, Error, Flags, RawConfig, check};

/// Returns `ipvs.excludeCIDRs` of the configuration file, or without a file the flag `--ipvs-exclude-cidrs`.
///
/// # Errors
/// If the file cannot be read, or an entry is not a network. Beside `--cleanup`, if any value is invalid.
pub fn exclude_cidrs(flags: &Flags) -> Result<Vec<Net>, Error> {
    let mut given = RawConfig::read(flags)?;
    if flags.process.cleanup == Some(true) {
        given = given.check_in_any_mode(&Environment::look())?;
    }
    check::exclude_cidrs(given.exclude_cidrs())
        .map_err(|problems| given.invalid(Vec::new(), problems))
}
