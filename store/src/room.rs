//! Room on the disk that is the store's before it needs it, so that a full disk does not stop it.
//!
//! SQLite writes to its log first and carries that over later. A disk that is full in between would leave a log that can neither
//! grow nor be carried over, and nothing could be removed any more, since that takes room in the log too. So there is always room for a
//! log, and for all that a log may add to the file. When the disk gives no more, the store knows it while it still has that:
//! from then on the oldest frames make room for new ones inside the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use crate::log::WAL_BYTES;

/// Bytes for a log of twice the size at which it is carried over: the transaction that makes it full comes on top.
const LOG_BYTES: u64 = 2 * WAL_BYTES;
/// Bytes beyond the last page that the file has ready: what two logs can add.
const AHEAD_BYTES: u64 = 512 * 1024;
/// What one transaction may add to a file that cannot grow, before retention makes room in it.
const SLACK_BYTES: u64 = 256 * 1024;

/// The room of an open store.
#[derive(Debug)]
pub(crate) struct Room {
    /// Must be closed after SQLite has closed it: closing any of a process's files gives up its locks on it (fcntl(2)).
    file: File,
    log: File,
    /// Bytes from the start that the file has ready.
    ready: u64,
    /// The disk gave no more.
    full: bool,
}

impl Room {
    /// Makes room for the store at `path`, which is open and has `used` bytes of pages.
    pub(crate) fn of(path: &Path, log: &File, used: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut room = Self { file, log: log.try_clone()?, ready: 0, full: false };
        room.prepare(used);
        Ok(room)
    }

    /// Makes room for what may come until the log is carried over again, as far as the disk gives it.
    pub(crate) fn prepare(&mut self, used: u64) {
        // SQLite cuts the file to its pages when it has carried the log over, and gives back what was ready behind them.
        self.ready = self.file.metadata().map_or(0, |metadata| metadata.len());
        let full = match give(&self.log, 0, LOG_BYTES).and_then(|()| self.extend(used + AHEAD_BYTES)) {
            Ok(()) => false,
            Err(Errno::NOSPC | Errno::DQUOT) => {
                // Some of it may be there, most of all when it was given to an earlier process.
                let _ = self.extend(used + SLACK_BYTES);
                true
            }
            // Whoever writes will meet it, and say it.
            Err(_) => return,
        };
        if full != self.full {
            if full {
                tracing::warn!("the store's disk is full: from now on the oldest frames make room for new ones");
            } else {
                tracing::info!("the store's disk has room again");
            }
            self.full = full;
        }
    }

    fn extend(&mut self, wanted: u64) -> Result<(), Errno> {
        if wanted > self.ready {
            give(&self.file, self.ready, wanted - self.ready)?;
            self.ready = wanted;
        }
        Ok(())
    }

    /// Bytes that frames may take, where the disk sets a limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.full.then(|| self.ready.saturating_sub(SLACK_BYTES))
    }
}

/// Room for `length` bytes from `from` on, behind the end of the file too, whose length stays as it is.
fn give(file: &File, from: u64, length: u64) -> Result<(), Errno> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, from, length) {
        // A file system that keeps no room can at least say how much there is.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let disk = fstatvfs(file)?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) >= length { Ok(()) } else { Err(Errno::NOSPC) }
        }
        given => given,
    }
}
