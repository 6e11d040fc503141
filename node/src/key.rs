//! The node's secret key: 32 bytes in a file that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use reading::NodeKey;

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
        "{} is no key: {length} bytes where 32 are wanted. Put the right file back, or move this one away and the node \
         gets a new identity", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
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
            write_new(path, &seed).map_err(failed("write the key"))?;
            Ok(NodeKey::from_seed(seed))
        }
        Err(error) => Err(failed("read the key")(error)),
    }
}

fn load(mut file: File, path: &Path) -> Result<NodeKey, KeyError> {
    let failed = |source| KeyError::Io { what: "read the key", path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { path: path.to_owned(), mode });
    }
    let length = metadata.len();
    let mut seed = [0; 32];
    if length != 32 {
        return Err(KeyError::Foreign { path: path.to_owned(), length });
    }
    file.read_exact(&mut seed).map_err(failed)?;
    Ok(NodeKey::from_seed(seed))
}

/// Written beside and linked into place once it is on the disk: a power cut leaves a whole key or none, and an identity that was
/// announced is never lost to it.
fn write_new(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(seed)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
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
        assert!(error.contains("35 bytes where 32 are wanted"), "{error}");
        assert_eq!(fs::read(&path).unwrap().len(), 35);
    }
}
