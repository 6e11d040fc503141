//! What was appended since the last commit, in memory that the death of the process does not take.
//!
//! With a tail, frames wait for the next sync in one open transaction, which is this process's memory, and in a small file on a
//! tmpfs. So the card is touched once per sync, where every commit would dirty pages that the kernel then writes back one by one.
//!
//! # Why nothing is lost and nothing is twice
//!
//! | step | open transaction | tail | log | killed after it | power cut after it |
//! |-|-|-|-|-|-|
//! | 1 insert | has it | | | not promised yet | not promised yet |
//! | 2 append to the tail | has it | has it | | put back from the tail | lost, within the sync interval |
//! | 3 commit | | has it | in the kernel | in both: put back, nothing new | lost, or there if the kernel wrote it |
//! | 4 sync | | has it | on the card | in both: put back, nothing new | there |
//! | 5 empty the tail | | | on the card | there | there |
//!
//! [`Store::append`](crate::Store::append) returns after 2. Steps 3 to 5 are [`Store::sync`](crate::Store::sync). A full tail takes
//! 3 and 5 without 4, which is what a store without a tail does with each append: the kernel has the log, and keeps it when
//! the process dies.
//!
//! - A kill inside 2 leaves a torn record, of an append that did not return: it is dropped. Inside 3, SQLite's log ends at the commit
//!   before, and the tail has the rest.
//! - Putting back is an append like any other: a frame's identity is its row's key, so what is there already stays as it is, and
//!   what retention took does not come back.
//! - When SQLite gives the transaction up (a full disk, at the commit), the tail still has what was promised, and it is put back into
//!   a new one. So the rule is: the tail has all that the open transaction has.
//! - A power cut takes the tail as a whole. What a tail has is never older than the machine's boot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use reading::Frame;

use crate::{StoreError, is_in_memory};

/// What a tail begins with; the number is that of its layout.
const MAGIC: &[u8] = b"magpie tail 1\n";
/// A tail has at most this: some 340 frames of seven readings, an hour of one in ten seconds. When it is full, they go to the log
/// before the sync.
const MAX_BYTES: u64 = 64 * 1024;
/// Bytes of the length before each frame, little-endian.
const LENGTH_BYTES: usize = 4;

/// The file. Each frame in it has its length before it; the frame's signature is its checksum.
#[derive(Debug)]
pub(crate) struct Tail {
    file: File,
    path: PathBuf,
    bytes: u64,
    given_up: bool,
}

impl Tail {
    /// Opens or creates the tail of `store` in `directory`, which must be in memory.
    ///
    /// Its name is the store's path, so that no store finds the tail of another. Whoever holds the lock on the store holds the tail.
    pub(crate) fn open(directory: &Path, store: &Path) -> Result<Self, StoreError> {
        let path = directory.join(name(store).map_err(|error| StoreError::io(store, "find", &error))?);
        let refused = |problem: String| StoreError::Tail { path: path.clone(), problem };
        let failed = |error: io::Error| refused(error.to_string());
        if !is_in_memory(directory).map_err(failed)? {
            return Err(refused("its directory is on a disk: choose one on a tmpfs".to_owned()));
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut tail = Self { file, path: path.clone(), bytes, given_up: false };
        let contents = tail.contents().map_err(failed)?;
        if !contents.starts_with(MAGIC) && !MAGIC.starts_with(&contents) {
            return Err(refused("it is something else: move it away".to_owned()));
        }
        tail.drop_torn_end(&contents).map_err(failed)?;
        Ok(tail)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Takes frames, all or none; `false` when they do not fit, or cannot be written. One that failed once takes no more.
    pub(crate) fn takes(&mut self, batches: &[&[Frame]]) -> bool {
        let added: usize = batches.iter().copied().flatten().map(|frame| LENGTH_BYTES + frame.bytes().len()).sum();
        if self.given_up || self.bytes + (MAGIC.len() + added) as u64 > MAX_BYTES {
            return false;
        }
        let written = self.write(batches);
        self.give_up_on_error(&written);
        written.is_ok()
    }

    fn write(&mut self, batches: &[&[Frame]]) -> io::Result<()> {
        self.check_that_it_is_found()?;
        let mut records = if self.is_empty() { MAGIC.to_vec() } else { Vec::new() };
        for frame in batches.iter().copied().flatten() {
            records.extend((frame.bytes().len() as u32).to_le_bytes());
            records.extend(frame.bytes());
        }
        self.file.write_all_at(&records, self.bytes).inspect_err(|_| {
            // Without this too what was written in part is dropped as torn, or put back: both are right.
            let _ = self.file.set_len(self.bytes);
        })?;
        self.bytes += records.len() as u64;
        Ok(())
    }

    /// Every sound frame; one that is not is named in the log.
    pub(crate) fn frames(&self) -> io::Result<Vec<Frame>> {
        let contents = self.contents()?;
        let sound = |record| {
            Frame::verify(record)
                .inspect_err(
                    |error| tracing::error!(tail = %self.path.display(), %error, "a frame in the tail is damaged"),
                )
                .ok()
        };
        Ok(records(&contents).filter_map(sound).collect())
    }

    /// Empties it. Where that fails, what it has is put back once more than needed.
    pub(crate) fn clear(&mut self) {
        if self.is_empty() {
            return;
        }
        let cleared = self.file.set_len(0);
        self.give_up_on_error(&cleared);
        if cleared.is_ok() {
            self.bytes = 0;
        }
    }

    /// Leaves nothing behind, once it is empty and while the store is still locked. A file that stays is empty and does no harm.
    pub(crate) fn remove(self) {
        if self.is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn give_up_on_error(&mut self, outcome: &io::Result<()>) {
        if let Err(error) = outcome
            && !self.given_up
        {
            self.given_up = true;
            let tail = self.path.display();
            tracing::error!(%tail, %error, "the store's tail does not work: until a restart each frame goes to the disk by itself");
        }
    }

    fn contents(&self) -> io::Result<Vec<u8>> {
        // Nothing that this program wrote is longer.
        let mut contents = vec![0; self.bytes.min(MAX_BYTES) as usize];
        self.file.read_exact_at(&mut contents, 0)?;
        Ok(contents)
    }

    /// What comes after the last whole frame is of an append that did not return.
    fn drop_torn_end(&mut self, contents: &[u8]) -> io::Result<()> {
        let whole = records(contents).fold(MAGIC.len(), |end, record| end + LENGTH_BYTES + record.len());
        let whole = if contents.len() < MAGIC.len() { 0 } else { whole as u64 };
        if whole < self.bytes {
            let bytes = self.bytes - whole;
            tracing::warn!(tail = %self.path.display(), bytes, "the tail ended in the middle of a frame, which is dropped");
            self.file.set_len(whole)?;
            self.bytes = whole;
        }
        Ok(())
    }

    /// A file that was deleted or covered could still be written to, and the next process would not find it.
    fn check_that_it_is_found(&self) -> io::Result<()> {
        let (found, ours) = (std::fs::metadata(&self.path)?, self.file.metadata()?);
        if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "another file is in its place"))
        }
    }
}

/// The store's path in one name: `/` becomes `-`, and what would be taken for that, `%` and two digits.
fn name(store: &Path) -> io::Result<PathBuf> {
    let mut name = Vec::new();
    for &byte in store.canonicalize()?.as_os_str().as_bytes().iter().skip(1) {
        match byte {
            b'/' => name.push(b'-'),
            b'-' | b'%' => name.extend(format!("%{byte:02x}").bytes()),
            _ => name.push(byte),
        }
    }
    name.extend(b"-tail");
    Ok(std::ffi::OsString::from_vec(name).into())
}

/// The bytes of each frame, up to one that is not whole.
fn records(contents: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = contents.get(MAGIC.len()..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let (record, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = after;
        Some(record)
    })
}
