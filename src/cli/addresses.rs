//! Reads the file that lists a node's interface addresses for a plan.
//!
//! Takes lines of `DEVICE ADDRESS/PREFIX`. Ignores blank lines and comments that begin with `#`. Returns the addresses
//! as the model has them. Refuses a line that it cannot read instead of skipping it.

use std::path::Path;

use proxier::model::{InterfaceAddress, Net};

/// The reason why there are no addresses.
#[derive(Debug, thiserror::Error)]
pub enum AddressesError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file's path.
        file: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line has the wrong form.
    #[error("{file}:{line}: {reason}")]
    Line {
        /// The file's path.
        file: String,
        /// The line's number, from 1.
        line: usize,
        /// The mistake in the line.
        reason: String,
    },
}

/// Reads the addresses of the file at `path`.
pub fn addresses(path: &Path) -> Result<Vec<InterfaceAddress>, AddressesError> {
    let file = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(source) => return Err(AddressesError::Read { file, source }),
    };
    let mut found = Vec::new();
    for (number, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default();
        let words: Vec<_> = content.split_whitespace().collect();
        let address = match words.as_slice() {
            [] => continue,
            [device, address] => interface_address(device, address),
            _ => Err("expected DEVICE ADDRESS/PREFIX".to_owned()),
        };
        found.push(address.map_err(|reason| AddressesError::Line {
            file: file.clone(),
            line: number,
            reason,
        })?);
    }
    Ok(found)
}

fn interface_address(device: &str, address: &str) -> Result<InterfaceAddress, String> {
    if device.len() > 15 {
        return Err(format!("{device:?} is longer than an interface name can be (15 bytes)"));
    }
    let net: Net = address.parse().map_err(|_| format!("{address:?} is not ADDRESS/PREFIX"))?;
    Ok(InterfaceAddress { device: device.into(), address: net })
}
