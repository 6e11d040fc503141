//! The file and its one owner: appending, syncing, and what keeps the books.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reading::{BootId, Epoch, Frame, Kind, NodeId};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::packed::Beginning;
use crate::{StoreError, file};

/// Bits of a row's key that hold the seq; the run's id is above them. 2^36 frames are 54 years at 40 a second.
pub(crate) const SEQ_BITS: u32 = 36;
/// The highest seq that a row's key can hold.
pub(crate) const MAX_SEQ: u64 = (1 << SEQ_BITS) - 1;
/// Ids of runs that fit above the seq.
const MAX_RUN: i64 = (1 << (63 - SEQ_BITS)) - 1;
/// A run's row, with its count of frames, is written once per so many frames: that is also what counting reads.
const COUNT_STEP: u64 = 1024;
/// Runs whose latest frames are counted when the file is opened; of older ones those that `COUNT_STEP` left are not in
/// [`Store::frames`].
const COUNTED_AT_OPEN: u32 = 256;

/// How much a store keeps, and how much a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes that frames may take in the file, at least 64 KiB; the oldest leave when there are more. The file itself has at most the write-ahead log
    /// (about 270 KB) on top, and never shrinks: its room is used again.
    pub max_bytes: u64,
    /// A power cut costs the frames of at most this time. Kept by [`StoreHandle`](crate::StoreHandle); who uses a [`Store`] calls
    /// [`sync`](Store::sync) itself.
    pub sync_interval: Duration,
}

impl Default for Options {
    /// 256 MiB: half a year of one frame of seven readings in ten seconds. One minute: see the table in the crate's
    /// documentation.
    fn default() -> Self {
        Self { max_bytes: 256 * 1024 * 1024, sync_interval: Duration::from_secs(60) }
    }
}

/// The file, used by its one owner. See the [crate's documentation](crate).
#[derive(Debug)]
pub struct Store {
    pub(crate) db: Connection,
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    /// The number of the newest transaction, see `file::TABLES`.
    arrived: i64,
    /// Rows of both tables.
    pub(crate) frames: u64,
    /// Frames since the last sync.
    unsynced: u64,
    /// Damaged frames met while reading.
    pub(crate) damaged: Cell<u64>,
}

/// A row of the table `run`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) id: i64,
    pub(crate) beginning: Beginning,
    pub(crate) gone_to: u64,
    pub(crate) counted_to: u64,
    pub(crate) counted: u64,
}

impl Run {
    pub(crate) const COLUMNS: &str = "id, node, epoch, boot, gone_to, counted_to, counted";

    pub(crate) fn of_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            beginning: Beginning { node: NodeId(row.get(1)?), epoch: Epoch(row.get(2)?), boot: BootId(row.get(3)?) },
            gone_to: row.get(4)?,
            counted_to: row.get(5)?,
            counted: row.get(6)?,
        })
    }

    /// The key of the run's frame `seq`; of its last possible one where `seq` is beyond that.
    pub(crate) fn key(&self, seq: u64) -> i64 {
        (self.id << SEQ_BITS) | seq.min(MAX_SEQ) as i64
    }

    pub(crate) fn seq(key: i64) -> u64 {
        key as u64 & MAX_SEQ
    }

    pub(crate) fn find(db: &Connection, node: NodeId, epoch: Epoch) -> rusqlite::Result<Option<Self>> {
        db.prepare_cached(
            "SELECT id, node, epoch, boot, gone_to, counted_to, counted FROM run WHERE node = ? AND epoch = ?",
        )?
        .query_row(params![node.0, epoch.0], Self::of_row)
        .optional()
    }
}

/// Which table holds frames of this kind.
pub(crate) fn is_announcement(kind: Kind) -> bool {
    kind == Kind::ANNOUNCEMENT
}

impl Store {
    /// Opens the store at `path`, or creates it. What is no store, or a damaged one, is refused and left as it is.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let db = file::open(path)?;
        let mut store =
            Self { db, path: path.to_path_buf(), options, arrived: 0, frames: 0, unsynced: 0, damaged: Cell::new(0) };
        (store.arrived, store.frames) = read_books(&store.db).map_err(|error| store.failed("open", error))?;
        Ok(store)
    }

    /// Stores frames in one transaction, and says how many were new. They survive the death of the process when this returns, and a
    /// power cut after the next [`sync`](Self::sync). A frame that is there already is not stored again; neither is one older than
    /// what retention took.
    pub fn append(&mut self, frames: &[Frame]) -> Result<usize, StoreError> {
        self.append_batches(&[frames]).map(|new| new.iter().sum())
    }

    /// Several [`append`](Self::append)s in one transaction: all are stored, or none.
    pub fn append_batches(&mut self, batches: &[&[Frame]]) -> Result<Vec<usize>, StoreError> {
        if let Some(frame) = batches.iter().copied().flatten().find(|frame| frame.seq() > MAX_SEQ) {
            return Err(StoreError::SeqTooLarge(frame.id()));
        }
        let arrived = self.arrived + 1;
        let max_bytes = self.options.max_bytes;
        let written = (|| {
            let transaction = self.db.transaction()?;
            let new =
                batches.iter().map(|batch| insert(&transaction, batch, arrived)).collect::<Result<Vec<_>, _>>()?;
            let added: usize = new.iter().sum();
            let removed = if added > 0 { crate::retention::retain(&transaction, max_bytes, added)? } else { 0 };
            transaction.commit()?;
            Ok((new, added as u64, removed))
        })();
        let (new, added, removed) = written.map_err(|error| self.failed("append", error))?;
        self.arrived = arrived;
        self.frames = (self.frames + added).saturating_sub(removed);
        self.unsynced += added;
        Ok(new)
    }

    /// Makes everything stored so far survive a power cut.
    ///
    /// Only the write-ahead log is synced, which is one write in sequence; it is carried over into the file when it is full.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.unsynced == 0 {
            return Ok(());
        }
        // SQLite locks the file itself, never the log: opening and closing it here takes no lock away.
        File::open(file::wal_path(&self.path))
            .and_then(|log| log.sync_data())
            .map_err(|error| StoreError::io(&self.path, "sync", &error))?;
        self.unsynced = 0;
        Ok(())
    }

    /// Syncs, and lets go of the file.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.sync()?;
        let Self { db, path, .. } = self;
        db.close().map_err(|(_, error)| StoreError::sqlite(&path, "close", &error))
    }

    /// Frames stored. Exact but after a crash with more than 256 runs in the file.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames that a power cut would take now.
    pub fn unsynced(&self) -> u64 {
        self.unsynced
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

    pub(crate) fn failed(&self, action: &'static str, error: rusqlite::Error) -> StoreError {
        StoreError::sqlite(&self.path, action, &error)
    }
}

/// The number of the newest transaction and the number of frames, as far as a bounded look can tell.
fn read_books(db: &Connection) -> rusqlite::Result<(i64, u64)> {
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
    Ok((arrived, frames))
}

/// Inserts a batch and returns how many of it were new.
fn insert(db: &Transaction<'_>, frames: &[Frame], arrived: i64) -> rusqlite::Result<usize> {
    let mut new = 0;
    let mut current: Option<RunBooks> = None;
    for frame in frames {
        let books = match &mut current {
            Some(books) if books.run.beginning.node == frame.node() && books.run.beginning.epoch == frame.epoch() => {
                books
            }
            _ => {
                if let Some(books) = current.take() {
                    books.settle(db)?;
                }
                current.insert(RunBooks::of(run_for(db, frame)?))
            }
        };
        new += usize::from(books.insert(db, frame, arrived)?);
    }
    if let Some(books) = current {
        books.settle(db)?;
    }
    Ok(new)
}

/// Finds the frame's run, or begins it.
fn run_for(db: &Connection, frame: &Frame) -> rusqlite::Result<Run> {
    if let Some(run) = Run::find(db, frame.node(), frame.epoch())? {
        return Ok(run);
    }
    let beginning = Beginning { node: frame.node(), epoch: frame.epoch(), boot: frame.boot() };
    db.prepare_cached("INSERT INTO run (node, epoch, boot) VALUES (?, ?, ?)")?.execute(params![
        beginning.node.0,
        beginning.epoch.0,
        beginning.boot.0
    ])?;
    let id = db.last_insert_rowid();
    if id > MAX_RUN {
        return Err(rusqlite::Error::ToSqlConversionFailure("more runs than a store can number".into()));
    }
    Ok(Run { id, beginning, gone_to: 0, counted_to: 0, counted: 0 })
}

/// A run while frames go into it.
struct RunBooks {
    run: Run,
    /// New rows of `frame` that the run's count covers already.
    late: u64,
    highest: u64,
}

impl RunBooks {
    fn of(run: Run) -> Self {
        Self { run, late: 0, highest: 0 }
    }

    fn insert(&mut self, db: &Transaction<'_>, frame: &Frame, arrived: i64) -> rusqlite::Result<bool> {
        let Self { run, late, highest } = self;
        let (seq, announcement) = (frame.seq(), is_announcement(frame.kind()));
        if seq <= run.gone_to {
            return Ok(false);
        }
        // The same identity in both tables would be two frames of one number.
        let mut statement = db.prepare_cached(if announcement {
            "INSERT OR IGNORE INTO announcement SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM frame WHERE key = ?1)"
        } else {
            "INSERT OR IGNORE INTO frame SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM announcement WHERE key = ?1)"
        })?;
        let new = statement.execute(params![run.key(seq), arrived, run.beginning.pack(frame)])? > 0;
        if new && !announcement {
            *late += u64::from(seq <= run.counted_to);
            *highest = seq.max(*highest);
        }
        Ok(new)
    }

    /// Writes the run's count where it must be, or has fallen far behind.
    fn settle(self, db: &Transaction<'_>) -> rusqlite::Result<()> {
        let Self { run, late, highest } = self;
        let (mut counted_to, mut counted) = (run.counted_to, run.counted + late);
        if highest >= counted_to + COUNT_STEP {
            counted += count(db, &run, counted_to, highest)?;
            counted_to = highest;
        }
        if (counted_to, counted) != (run.counted_to, run.counted) {
            db.prepare_cached("UPDATE run SET counted_to = ?, counted = ? WHERE id = ?")?
                .execute(params![counted_to, counted, run.id])?;
        }
        Ok(())
    }
}

/// Rows of `frame` with a seq in `after + 1..=to`.
pub(crate) fn count(db: &Connection, run: &Run, after: u64, to: u64) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT COUNT(*) FROM frame WHERE key > ? AND key <= ?")?
        .query_row(params![run.key(after), run.key(to)], |row| row.get(0))
}
