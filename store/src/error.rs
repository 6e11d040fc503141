//! What can go wrong with the file, and what to do about it.

use std::path::{Path, PathBuf};

use reading::FrameId;
use rusqlite::ErrorCode;

/// Why the store did not do what it was asked to. Nothing that was stored before is lost by any of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file is something else.
    #[error("{0} is not a Magpie store ({what}); move it away and start again: mv '{0}' '{0}.old'", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        what: String,
    },
    /// The file was a store, and is damaged.
    #[error(
        "the store {0} is damaged ({problem}); keep it, what is left can be read from a copy, and start with a new one: mv '{0}' '{0}.damaged'; mv -f '{0}-wal' '{0}.damaged-wal'",
        path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A newer program wrote the file.
    #[error("the store {} has layout {version}, this program knows up to {known}: use a newer magpie, or another file", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout of the file.
        version: i64,
        /// The newest layout that this program reads.
        known: i64,
    },
    /// Another process, or another part of this one, has the file open.
    #[error("the store {} is in use by another program: stop it, or give this one another file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is no longer where it was: its disk was removed, or somebody moved or deleted it.
    #[error(
        "the store {} is gone: put its disk or the file back, and it goes on by itself; or restart the program, which begins a new one",
        path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be written.
    #[error("the store {} cannot be written ({problem}): give this user the right to write its folder", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// There is no room for it.
    #[error("no room left for the store {}: free some space on its disk", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The disk does not do what it should.
    #[error("the store {}: {action}: {problem}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        problem: String,
    },
    /// The tail cannot be used. The store can.
    #[error(
        "the store's tail {} cannot be used ({problem}); without one each frame goes to the disk by itself, which wears a memory card",
        path.display()
    )]
    Tail {
        /// The tail.
        path: PathBuf,
        /// What is wrong with it, and what to do where that is not plain.
        problem: String,
    },
    /// The number of a frame is beyond what the store can hold. Only a broken author comes that far.
    #[error("frame {0} has a number beyond what a store can hold")]
    SeqTooLarge(FrameId),
    /// The owner of the file has stopped.
    #[error("the store is closed")]
    Stopped,
}

impl StoreError {
    /// Whether trying again later may help, with nobody doing anything to the file.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::InUse { .. } | Self::Full { .. } | Self::Disk { .. } | Self::Gone { .. })
    }

    /// Whether the file is a store that no longer works, and will not by itself: what helps is
    /// [`Store::set_aside`](crate::Store::set_aside), and a new one.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Torn { .. })
    }

    /// An error of SQLite's, met while doing `action` on the store at `path`.
    pub(crate) fn sqlite(path: &Path, action: &'static str, error: &rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        let problem = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path, what: "no SQLite file".to_owned() },
            Some(ErrorCode::DatabaseCorrupt) => Self::Torn { path, problem },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, problem }
            }
            // The schema was checked when the file was opened: if it changed since, something else wrote the file.
            None if matches!(error, rusqlite::Error::InvalidColumnType(..)) => Self::Torn { path, problem },
            _ => Self::Disk { path, action, problem },
        }
    }

    /// An error of the file system's.
    pub(crate) fn io(path: &Path, action: &'static str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let path = path.to_path_buf();
        let problem = error.to_string();
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound => {
                Self::NotWritable { path, problem }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Disk { path, action, problem },
        }
    }
}
