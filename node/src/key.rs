//! The node's secret key: 32 bytes in a file that only its owner can read.
//!
//! A key that is broken ends the start, unlike any other file of the node's. What a node said is proven by its key, and whoever follows it
//! would take a node with a new one for a stranger that claims its place: only a person can decide that. The error says how, and a
//! copy of the file brings the node back as itself. No power cut breaks it: it is written once, whole or not at all.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reading::NodeKey;

use crate::file;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file or its directory cannot be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the key.
    #[error(
        "the key {} can be read by others (mode {mode:03o}); whoever read it can sign as this node. \
         If nobody did: chmod 600 {0}. Otherwise remove it and the node gets a new identity", .path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is something else.
    #[error(
        "{} is no key: {what} where 32 bytes are wanted. Put the right file back, or move this one away and the node \
         gets a new identity", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        what: String,
    },
    /// No randomness.
    #[error("the system gives no randomness for a key: {0}")]
    Randomness(getrandom::Error),
}

/// Reads the key, or makes one where there is none. Never touches a file that is there.
pub fn load_or_create(path: &Path) -> Result<NodeKey, KeyError> {
    let failed = |what| move |source| KeyError::Io { what, path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => load(file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(KeyError::Randomness)?;
            file::replace(path, &seed, 0o600).map_err(failed("write the key"))?;
            Ok(NodeKey::from_seed(seed))
        }
        Err(error) => Err(failed("read the key")(error)),
    }
}

fn load(mut file: File, path: &Path) -> Result<NodeKey, KeyError> {
    let failed = |source| KeyError::Io { what: "read the key", path: path.to_owned(), source };
    let foreign = |what: String| KeyError::Foreign { path: path.to_owned(), what };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(foreign("a folder or the like".to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { path: path.to_owned(), mode });
    }
    let length = metadata.len();
    let mut seed = [0; 32];
    if length != 32 {
        return Err(foreign(format!("{length} bytes")));
    }
    file.read_exact(&mut seed).map_err(failed)?;
    // What a card gives that lost the sector: a key that everybody knows.
    if let lost @ ([0x00, ..] | [0xff, ..]) = &seed
        && lost.iter().all(|byte| *byte == lost[0])
    {
        return Err(foreign(format!("32 times {:#04x}", lost[0])));
    }
    Ok(NodeKey::from_seed(seed))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let made = load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap().id(), made.id());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside the key");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_and_the_error_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        fs::write(&path, [1; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("mode 644") && error.contains(&format!("chmod 600 {}", path.display())), "{error}");
    }

    #[test]
    fn a_foreign_file_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        fs::write(&path, b"-----BEGIN OPENSSH PRIVATE KEY-----").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("35 bytes where 32 bytes are wanted"), "{error}");
        assert_eq!(fs::read(&path).unwrap().len(), 35);
    }

    #[test]
    fn what_a_dying_card_leaves_is_no_key_and_makes_no_new_one() {
        for lost in [&[][..], &[0; 32], &[0xff; 32], &[7; 31]] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("node.key");
            fs::write(&path, lost).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = load_or_create(&path).unwrap_err().to_string();
            assert!(error.contains("is no key") && error.contains("Put the right file back"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), lost);
        }
        let directory = tempfile::tempdir().unwrap();
        let error = load_or_create(directory.path()).unwrap_err().to_string();
        assert!(error.contains("is no key: a folder"), "{error}");
    }
}
