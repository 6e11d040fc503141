//! What the kernel shows of itself in files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The files of a machine, below a root.
pub struct Sys(PathBuf);

impl Sys {
    pub fn of_this_machine() -> Self {
        Self(PathBuf::from("/"))
    }

    #[cfg(test)]
    pub fn below(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// Where `path`, without its first slash, is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A short text without its line end and the NUL that the device tree puts there; `None` where it cannot be read.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim_end_matches(['\0', '\n']).to_owned())
    }

    pub fn bytes(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        fs::read(self.path(path))
    }

    /// The names in a directory, sorted; none where there is no such directory.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(directory)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}
