//! Creates folders in which no other user can replace files.
//!
//! Takes the path of a folder. Creates it if it does not exist. Returns the reason if another user can rename or remove
//! files there. Does not change a folder that exists.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::process::geteuid;

/// Creates the folder, open only to this user, unless it exists.
///
/// # Errors
/// If the folder cannot be created or looked at. If another user can replace files in it or replace the folder itself;
/// the text of that error ends with what this user could do.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // A user who can write in a folder above can replace the whole folder.
    let folder = folder.canonicalize()?;
    for folder in folder.ancestors() {
        let metadata = fs::metadata(folder)?;
        let Some(why) = unsafe_because(metadata.uid(), metadata.mode()) else { continue };
        let text = format!("the folder {} {why}, who could replace files there", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

/// Returns why another user than root and this one can rename or remove files of others in a folder, as the predicate
/// of a sentence about the folder. `None` if no other user can. The bits of the group also show an access control
/// list.
fn unsafe_because(owner: u32, mode: u32) -> Option<String> {
    const STICKY: u32 = 0o1000;
    if owner != 0 && owner != geteuid().as_raw() {
        return Some(format!("belongs to user {owner}"));
    }
    let who = match (mode & 0o002 != 0, mode & 0o020 != 0) {
        (true, _) => "everybody",
        (false, true) => "its group",
        (false, false) => return None,
    };
    (mode & STICKY == 0).then(|| format!("is writable for {who}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_user_is_unsafe_whatever_its_mode() {
        let own = geteuid().as_raw();
        for mode in [0o700, 0o1777, 0o755] {
            let why = unsafe_because(own + 1, mode);
            assert_eq!(why, Some(format!("belongs to user {}", own + 1)), "{mode:o}");
            assert_eq!(unsafe_because(own, mode), None, "{mode:o}");
        }
        assert_eq!(unsafe_because(0, 0o755), None);
    }
}
