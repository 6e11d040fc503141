//! SQLite's write-ahead log: syncing it, carrying it over into the file, and not trusting a disk that failed at either.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use crate::StoreError;
use crate::file::{self, PAGE_BYTES};

/// The log is carried over into the file when it has this many pages: about 270 KB, which is also what opening after a
/// crash reads at most, give or take one transaction.
pub(crate) const WAL_PAGES: u32 = 512;
/// Where it cannot be carried over, it may grow to this many, 4 MiB; then appends are refused with the reason.
const MOST_PAGES: u32 = 16 * WAL_PAGES;
/// What [`WAL_PAGES`] take: 24 bytes before each page, and 32 before the first.
pub(crate) const WAL_BYTES: u64 = WAL_PAGES as u64 * (PAGE_BYTES + 24) + 32;
/// Written again by so much at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The log of an open store.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// Pages in it, as SQLite said at the last commit.
    pages: Arc<AtomicU32>,
    /// With so many it is to be carried over.
    full_at: u32,
    /// A sync failed. The kernel then takes what it could not write for written: the next sync would go well, and mean nothing.
    distrusted: bool,
}

impl Log {
    /// The log of a store that was just opened. What a killed process left in it is on the disk when this returns.
    pub(crate) fn of(db: &mut Connection, path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::io(path, "sync", &error);
        let file = OpenOptions::new().read(true).write(true).open(file::wal_path(path)).map_err(failed)?;
        let pages = Arc::new(AtomicU32::new(0));
        let noted = pages.clone();
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            noted.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(|error| StoreError::sqlite(path, "open", &error))?;
        // Nobody knows whether a sync of that process failed.
        let distrusted = file.metadata().map_err(failed)?.len() > 0;
        let mut log = Self { file, pages, full_at: WAL_PAGES, distrusted };
        if distrusted {
            log.sync().map_err(failed)?;
        }
        Ok(log)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn is_full(&self) -> bool {
        self.pages.load(Ordering::Relaxed) >= self.full_at
    }

    /// It could not be carried over for so long that it must not grow any more.
    pub(crate) fn is_overfull(&self) -> bool {
        self.pages.load(Ordering::Relaxed) >= MOST_PAGES
    }

    pub(crate) fn is_distrusted(&self) -> bool {
        self.distrusted
    }

    /// Makes what was committed survive a power cut.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.distrusted {
            self.write_again()?;
        }
        let synced = self.file.sync_data();
        self.distrusted = synced.is_err();
        synced
    }

    /// Copies it into the file, whose pages SQLite overwrites only after it has synced the log.
    pub(crate) fn carry_over(&mut self, db: &Connection, path: &Path) -> Result<(), StoreError> {
        if self.distrusted {
            self.sync().map_err(|error| StoreError::io(path, "sync", &error))?;
        }
        // Where that fails half-way, SQLite copies all again the next time.
        let carried = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        match &carried {
            Ok(()) => {
                self.pages.store(0, Ordering::Relaxed);
                self.full_at = WAL_PAGES;
            }
            Err(error) => {
                // It may have been the sync of the log.
                let code = error.sqlite_error().map(|error| error.extended_code);
                self.distrusted = code == Some(rusqlite::ffi::SQLITE_IOERR_FSYNC);
                self.full_at = self.pages.load(Ordering::Relaxed).saturating_add(WAL_PAGES);
            }
        }
        carried.map_err(|error| StoreError::sqlite(path, "carry the log over", &error))
    }

    /// The same bytes in the same places: now the kernel has something to write.
    fn write_again(&self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        loop {
            let read = self.file.read_at(&mut chunk, at)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            self.file.write_all_at(bytes, at)?;
            at += read as u64;
        }
    }
}
