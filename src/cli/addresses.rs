//! The file that lists a node's interface addresses for a plan.
//!
//! In: lines `DEVICE ADDRESS/PREFIX`; blank lines and what follows `#` do not count. Out: the
//! addresses as the model has them. Never: a line skipped because it could not be read.

use std::path::Path;

use proxier::model::{InterfaceAddress, Net};

/// Why there are no addresses.
#[derive(Debug, thiserror::Error)]
pub enum AddressesError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is not what it should be.
    #[error("{file}:{line}: {reason}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the file.
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
