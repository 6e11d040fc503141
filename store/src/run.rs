//! A run of a node in the tables: its row, the keys of its frames, and putting frames in.

use reading::{BootId, Epoch, Frame, Kind, NodeId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::packed::Beginning;

/// Bits of a row's key that hold the seq; the run's id is above them. 2^36 frames are 54 years at 40 a second.
pub(crate) const SEQ_BITS: u32 = 36;
/// The highest seq that a row's key can hold.
pub(crate) const MAX_SEQ: u64 = (1 << SEQ_BITS) - 1;
/// Ids of runs that fit above the seq.
const MAX_RUN: i64 = (1 << (63 - SEQ_BITS)) - 1;
/// A run's row, with its count of frames, is written once per so many frames: that is also what counting reads.
const COUNT_STEP: u64 = 1024;

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

    /// The runs of `node`, in the order in which they came to the store.
    pub(crate) fn all_of(db: &Connection, node: NodeId) -> rusqlite::Result<Vec<Self>> {
        db.prepare_cached(
            "SELECT id, node, epoch, boot, gone_to, counted_to, counted FROM run WHERE node = ? ORDER BY id",
        )?
        .query_map([node.0], Self::of_row)?
        .collect()
    }
}

/// Inserts a batch and returns how many of it were new.
pub(crate) fn insert(db: &Connection, frames: &[Frame], arrived: i64) -> rusqlite::Result<usize> {
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

    fn insert(&mut self, db: &Connection, frame: &Frame, arrived: i64) -> rusqlite::Result<bool> {
        let Self { run, late, highest } = self;
        let (seq, announcement) = (frame.seq(), frame.kind() == Kind::ANNOUNCEMENT);
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
    fn settle(self, db: &Connection) -> rusqlite::Result<()> {
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
