//! The file and its one owner: appending, syncing, and what keeps the books.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reading::Frame;
use rusqlite::{Connection, params};

use crate::age::Ages;
use crate::file::OpenFile;
use crate::retention::retain;
use crate::run::{MAX_SEQ, Run, insert};
use crate::tail::Tail;
use crate::{StoreError, file};

/// Runs whose latest frames are counted when the file is opened; of older ones those that `COUNT_STEP` left are not in
/// [`Store::frames`].
const COUNTED_AT_OPEN: u32 = 256;

/// How much a store keeps, and how much a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes that frames may take in the file, at least 64 KiB; the oldest leave when there are more. The file itself has at most the write-ahead log
    /// (about 270 KB) on top, and never shrinks: its room is used again. One MiB more is kept ready for both, as far as the disk gives it.
    pub max_bytes: u64,
    /// A power cut costs the frames of at most this time. Kept by [`StoreHandle`](crate::StoreHandle); who uses a [`Store`] calls
    /// [`sync`](Store::sync) itself.
    pub sync_interval: Duration,
}

impl Default for Options {
    /// 256 MiB: half a year of one frame of seven readings in ten seconds. Two minutes: see the table in the crate's
    /// documentation.
    fn default() -> Self {
        Self { max_bytes: 256 * 1024 * 1024, sync_interval: Duration::from_secs(120) }
    }
}

/// The file, used by its one owner. See the [crate's documentation](crate).
#[derive(Debug)]
pub struct Store {
    pub(crate) file: OpenFile,
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    /// What is older leaves.
    pub(crate) max_age: Option<Duration>,
    ages: Ages,
    /// What the open transaction has, where the death of the process does not reach it. Without a tail no transaction stays open.
    pub(crate) tail: Option<Tail>,
    /// The open transaction included.
    books: Books,
    /// As they were at the last commit.
    committed: Books,
    /// Why the log could not be carried over when it was full.
    stuck: Option<StoreError>,
    /// Damaged frames met while reading.
    pub(crate) damaged: Cell<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Books {
    /// The number of the newest append, see `file::TABLES`.
    arrived: i64,
    /// Rows of both tables.
    frames: u64,
    /// Frames since the last sync.
    unsynced: u64,
}

impl Store {
    /// Opens the store at `path`, or creates it. What is no store, or a damaged one, is refused and left as it is.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let file = file::open(path)?;
        let books = read_books(&file.db).map_err(|error| StoreError::sqlite(path, "open", &error))?;
        let (path, damaged) = (path.to_path_buf(), Cell::new(0));
        Ok(Self {
            file,
            path,
            options,
            max_age: None,
            ages: Ages::default(),
            tail: None,
            books,
            committed: books,
            stuck: None,
            damaged,
        })
    }

    /// From now on keeps what was appended since the last sync in a file in `directory`, which must be on a tmpfs, and spares the
    /// disk. What the death of a process left in it is stored first.
    ///
    /// The directory must outlive the process. On any error the store is as good as without a tail.
    pub fn keep_tail(&mut self, directory: &Path) -> Result<(), StoreError> {
        self.take_tail(Tail::open(directory, &self.path)?);
        Ok(())
    }

    pub(crate) fn take_tail(&mut self, tail: Tail) {
        let left = !tail.is_empty();
        self.tail = Some(tail);
        if left && let Err(error) = self.sync() {
            tracing::error!(%error, "what was left in the tail is not on the disk yet: it is kept, and tried again");
        }
    }

    /// From now on a node's frames leave when they are older than `max_age`, some tens of frames and a 64th of that later, by the time that the
    /// node's newest frame with a synced clock says. Those of a node that has fallen silent stay while there is room.
    pub fn limit_age(&mut self, max_age: Duration) {
        self.max_age = Some(max_age);
    }

    /// Stores frames, all or none, and says how many were new. They survive the death of the process when this returns, and a
    /// power cut after the next [`sync`](Self::sync). A frame that is there already is not stored again; neither is one older than
    /// what retention took.
    pub fn append(&mut self, frames: &[Frame]) -> Result<usize, StoreError> {
        self.append_batches(&[frames]).map(|new| new.iter().sum())
    }

    /// Several [`append`](Self::append)s at once: all are stored, or none.
    pub fn append_batches(&mut self, batches: &[&[Frame]]) -> Result<Vec<usize>, StoreError> {
        if let Some(frame) = batches.iter().copied().flatten().find(|frame| frame.seq() > MAX_SEQ) {
            return Err(StoreError::SeqTooLarge(frame.id()));
        }
        self.check_that_the_log_may_grow()?;
        self.with_room_made(|store| store.try_append(batches))
    }

    fn try_append(&mut self, batches: &[&[Frame]]) -> Result<Vec<usize>, StoreError> {
        let stored = self.begin().and_then(|()| {
            let new = self.insert(batches).map_err(|error| self.failed("append", error))?;
            let nothing_new = new.iter().all(|new| *new == 0);
            if !self.tail.as_mut().is_some_and(|tail| nothing_new || tail.takes(batches)) {
                self.commit()?;
                self.empty_tail();
            }
            Ok(new)
        });
        if stored.is_err() {
            self.roll_back();
        }
        stored
    }

    /// Makes everything stored so far survive a power cut.
    ///
    /// Only the write-ahead log is synced, which is one write in sequence; it is carried over into the file when it is full. An error
    /// may also be that it cannot be carried over, whatever was synced. [`StoreError::Gone`] says that nobody can find the file any
    /// more: drop the store, and open it when its file is back. What is in the tail is put back then, nothing else that came after
    /// the last sync.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let nothing_to_write = self.books.unsynced == 0 && self.tail.as_ref().is_none_or(Tail::is_empty);
        if nothing_to_write && self.stuck.is_none() && !self.file.log.is_distrusted() {
            return Ok(());
        }
        self.file.check_that_it_is_found(&self.path)?;
        self.with_room_made(|store| {
            let committed = store.begin().and_then(|()| store.commit());
            if committed.is_err() {
                store.roll_back();
            }
            committed
        })?;
        self.file.log.sync().map_err(|error| StoreError::io(&self.path, "sync", &error))?;
        self.books.unsynced = 0;
        self.committed = self.books;
        self.empty_tail();
        if self.stuck.is_some() {
            self.carry_over();
        }
        self.stuck.clone().map_or(Ok(()), Err)
    }

    /// Syncs, and lets go of the file.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.sync()?;
        let Self { file, path, tail, .. } = self;
        if let Some(tail) = tail {
            tail.remove();
        }
        file.db.close().map_err(|(_, error)| StoreError::sqlite(&path, "close", &error))
    }

    /// Frames stored. Exact but after a crash with more than 256 runs in the file.
    pub fn frames(&self) -> u64 {
        self.books.frames
    }

    /// Frames that a power cut would take now.
    pub fn unsynced(&self) -> u64 {
        self.books.unsynced
    }

    /// Damaged frames met so far. Each was named in the log.
    pub fn damaged(&self) -> u64 {
        self.damaged.get()
    }

    /// Bytes on disk: the file and its log.
    pub fn bytes_on_disk(&self) -> u64 {
        [self.path.clone(), file::wal_path(&self.path)]
            .iter()
            .map(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len()))
            .sum()
    }

    /// How much it keeps, and what a power cut may take.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the transaction, with what the tail has: an earlier process or an earlier transaction had it and was lost.
    fn begin(&mut self) -> Result<(), StoreError> {
        if !self.file.db.is_autocommit() {
            return Ok(());
        }
        let lost = match &self.tail {
            Some(tail) => tail.frames().map_err(|error| StoreError::io(tail.path(), "read", &error))?,
            None => Vec::new(),
        };
        let begun = self.file.db.execute_batch("BEGIN IMMEDIATE").and_then(|()| match lost.as_slice() {
            [] => Ok(()),
            lost => self.insert(&[lost]).map(drop),
        });
        begun.map_err(|error| {
            self.abandon();
            self.failed("append", error)
        })
    }

    fn insert(&mut self, batches: &[&[Frame]]) -> rusqlite::Result<Vec<usize>> {
        let arrived = self.books.arrived + 1;
        let new = batches.iter().map(|batch| insert(&self.file.db, batch, arrived)).collect::<Result<Vec<_>, _>>()?;
        let added: usize = new.iter().sum();
        let max_bytes =
            self.file.room.limit().map_or(self.options.max_bytes, |limit| limit.min(self.options.max_bytes));
        let mut removed = 0;
        if added > 0 {
            if let Some(max_age) = self.max_age {
                removed += self.ages.expire(&self.file.db, max_age, batches)?;
            }
            removed += retain(&self.file.db, max_bytes, added)?;
        }
        self.books.arrived = arrived;
        self.books.frames = (self.books.frames + added as u64).saturating_sub(removed);
        self.books.unsynced += added as u64;
        Ok(new)
    }

    /// Ends the transaction: the log has it, which the kernel keeps when the process dies.
    fn commit(&mut self) -> Result<(), StoreError> {
        self.file.db.execute_batch("COMMIT").map_err(|error| self.failed("append", error))?;
        self.committed = self.books;
        if self.file.log.is_full() {
            self.carry_over();
        }
        Ok(())
    }

    /// Carries the log over. What is in it is stored all the same when that fails: it is tried again at each sync, and when it has
    /// grown by as much again.
    fn carry_over(&mut self) {
        let OpenFile { db, log, room, .. } = &mut self.file;
        let carried = log.carry_over(db, &self.path).and_then(|()| {
            let pages: u64 = db
                .pragma_query_value(None, "page_count", |row| row.get(0))
                .map_err(|error| StoreError::sqlite(&self.path, "carry the log over", &error))?;
            room.prepare(pages * file::PAGE_BYTES);
            Ok(())
        });
        if let Err(error) = &carried
            && self.stuck.as_ref() != Some(error)
        {
            tracing::error!(%error, "the store's log cannot be carried over: it grows for some time, and it is tried again");
        }
        self.stuck = carried.err();
    }

    fn check_that_the_log_may_grow(&mut self) -> Result<(), StoreError> {
        if !self.file.log.is_overfull() {
            return Ok(());
        }
        // A transaction that is open stays so; the log has an end before it.
        if self.file.db.is_autocommit() {
            self.carry_over();
        }
        self.stuck.clone().map_or(Ok(()), Err)
    }

    /// Where there is no room for what is attempted, carries the log over, which makes some in it, and attempts it again.
    fn with_room_made<T>(&mut self, attempt: impl Fn(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let first = attempt(self);
        if !matches!(first, Err(StoreError::Full { .. })) {
            return first;
        }
        // With a tail, there is a transaction again.
        self.abandon();
        self.carry_over();
        if self.stuck.is_some() {
            self.roll_back();
            return first;
        }
        attempt(self)
    }

    fn empty_tail(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.clear();
        }
    }

    /// Gives the transaction up, and puts what the tail has into a new one: that was promised.
    fn roll_back(&mut self) {
        self.abandon();
        if self.tail.as_ref().is_some_and(|tail| !tail.is_empty())
            && let Err(error) = self.begin()
        {
            tracing::error!(%error, "what is in the tail cannot be read now: it is kept, and tried again");
        }
    }

    fn abandon(&mut self) {
        // SQLite has done it already where the disk was the reason.
        if !self.file.db.is_autocommit()
            && let Err(error) = self.file.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, store = %self.path.display(), "cannot roll back");
        }
        self.books = self.committed;
        self.ages = Ages::default();
    }

    pub(crate) fn failed(&self, action: &'static str, error: rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, action, &error)
    }
}

/// The books of a store that was just opened, as far as a bounded look can tell.
fn read_books(db: &Connection) -> rusqlite::Result<Books> {
    let (mut frames, mut arrived): (u64, i64) = db.query_row(
        "SELECT (SELECT COALESCE(SUM(counted), 0) FROM run) + COUNT(*), COALESCE(MAX(arrived), 0) FROM announcement",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let runs = db
        .prepare(&format!("SELECT {} FROM run ORDER BY id DESC LIMIT {COUNTED_AT_OPEN}", Run::COLUMNS))?
        .query_map([], Run::of_row)?
        .collect::<Result<Vec<_>, _>>()?;
    for run in runs {
        let (count, newest): (u64, i64) = db
            .prepare_cached(
                // The last frame counted is often the newest.
                "SELECT COUNT(*) FILTER (WHERE key > ?1), COALESCE(MAX(arrived), 0) FROM frame WHERE key >= ?1 AND key <= ?2",
            )?
            .query_row(params![run.key(run.counted_to), run.key(MAX_SEQ)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        frames += count;
        arrived = arrived.max(newest);
    }
    Ok(Books { arrived, frames, unsynced: 0 })
}
