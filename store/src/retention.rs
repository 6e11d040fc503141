//! What leaves when the store is full: the oldest first, run by run.
//!
//! Age is the order of arrival, since no clock can be trusted: the run whose first frame has been here longest gives some of its
//! frames, then the next, and so on. Announcements stay as long as a frame of their run that is still there may refer to them.
//! A clock fix needs no such care: what it dates came before it, and leaves before it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use reading::{Payload, Verifier};
use rusqlite::{Connection, OptionalExtension, params};

use crate::file::PAGE_BYTES;
use crate::run::{MAX_SEQ, Run, SEQ_BITS, count};

/// When the store is full, this part of it is emptied at once, so that most appends empty nothing.
const SLICE: u64 = 64;
/// A store keeps at least this much, whatever it is told: below that, a run's announcement might leave before its first readings come.
const MIN_BYTES: u64 = 64 * 1024;
/// Frames that one append removes at least, when there are that many to remove; it never removes more than four times what it
/// adds beyond that, so that a store that was made smaller shrinks bit by bit.
pub(crate) const MIN_REMOVED: u64 = 256;
/// Frames of one run that leave together.
const CHUNK: u32 = 32;
/// A readings frame refers to the announcement in force. Some may have been made just before it changed: so many frames are looked at.
const LOOKAHEAD: u32 = 16;
/// Runs with nothing left of them whose last seq is still remembered, at most.
const MAX_EMPTY_RUNS: u32 = 10_000;

/// Removes frames if they take more than `max_bytes`, after `added` came; returns how many were removed.
pub(crate) fn retain(db: &Connection, max_bytes: u64, added: usize) -> rusqlite::Result<u64> {
    let max_bytes = max_bytes.max(MIN_BYTES);
    if used_bytes(db)? <= max_bytes {
        return Ok(0);
    }
    let wanted = max_bytes - max_bytes / SLICE;
    let at_most = MIN_REMOVED + 4 * added as u64;
    let mut heads = heads(db)?;
    let mut removed = 0;
    while removed < at_most && used_bytes(db)? > wanted {
        let Some(Reverse((_, id))) = heads.pop() else { break };
        removed += remove_some(db, id)?;
        if let Some(arrived) = head(db, id)? {
            heads.push(Reverse((arrived, id)));
        }
    }
    forget_empty_runs(db)?;
    Ok(removed)
}

/// Bytes of the pages in use.
pub(crate) fn used_bytes(db: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| -> rusqlite::Result<u64> {
        db.prepare_cached(&format!("PRAGMA {name}"))?.query_row([], |row| row.get(0))
    };
    Ok(pragma("page_count")?.saturating_sub(pragma("freelist_count")?) * PAGE_BYTES)
}

/// Each run with the arrival of its first frame: the earliest is the first to give some.
fn heads(db: &Connection) -> rusqlite::Result<BinaryHeap<Reverse<(i64, i64)>>> {
    let ids: Vec<i64> =
        db.prepare_cached("SELECT id FROM run")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut heads = BinaryHeap::with_capacity(ids.len());
    for id in ids {
        if let Some(arrived) = head(db, id)? {
            heads.push(Reverse((arrived, id)));
        }
    }
    Ok(heads)
}

/// The arrival of a run's first frame; of its newest announcement where it has nothing else, since that may have just begun.
fn head(db: &Connection, id: i64) -> rusqlite::Result<Option<i64>> {
    let (from, to) = keys(id);
    let first = db
        .prepare_cached("SELECT arrived FROM frame WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1")?
        .query_row([from, to], |row| row.get(0))
        .optional()?;
    if first.is_some() {
        return Ok(first);
    }
    db.prepare_cached("SELECT arrived FROM announcement WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1")?
        .query_row([from, to], |row| row.get(0))
        .optional()
}

/// The key of the last one of the frames of a run that leave together; `None` where there are none.
pub(crate) fn last_of_chunk(db: &Connection, id: i64) -> rusqlite::Result<Option<i64>> {
    let (from, to) = keys(id);
    db.prepare_cached(&format!(
        "SELECT MAX(key) FROM (SELECT key FROM frame WHERE key BETWEEN ? AND ? ORDER BY key LIMIT {CHUNK})"
    ))?
    .query_row([from, to], |row| row.get(0))
}

/// Removes a run's first frames, and the announcements that nothing needs any more.
pub(crate) fn remove_some(db: &Connection, id: i64) -> rusqlite::Result<u64> {
    let run = db
        .prepare_cached("SELECT id, node, epoch, boot, gone_to, counted_to, counted FROM run WHERE id = ?")?
        .query_row([id], Run::of_row)?;
    let (from, to) = keys(id);
    let last = last_of_chunk(db, id)?;
    let gone_to = match last {
        Some(last) => Run::seq(last),
        // Only announcements are left: none of them is needed.
        None => newest_announcement(db, &run, MAX_SEQ)?.unwrap_or(0),
    };
    let counted = count(db, &run, 0, gone_to.min(run.counted_to))?;
    let frames =
        db.prepare_cached("DELETE FROM frame WHERE key BETWEEN ? AND ?")?.execute(params![from, run.key(gone_to)])?;
    let announcements = match last {
        Some(_) => remove_announcements(db, &run, gone_to)?,
        None => db.prepare_cached("DELETE FROM announcement WHERE key BETWEEN ? AND ?")?.execute([from, to])?,
    };
    db.prepare_cached("UPDATE run SET gone_to = MAX(gone_to, ?), counted = counted - ? WHERE id = ?")?
        .execute(params![gone_to, counted, id])?;
    Ok((frames + announcements) as u64)
}

/// Removes the announcements before `gone_to` that none of the run's remaining frames refers to.
fn remove_announcements(db: &Connection, run: &Run, gone_to: u64) -> rusqlite::Result<usize> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT key, bytes FROM frame WHERE key BETWEEN ? AND ? ORDER BY key LIMIT {LOOKAHEAD}"
    ))?;
    let mut rows = statement.query(params![run.key(gone_to), run.key(MAX_SEQ)])?;
    let mut needed = MAX_SEQ;
    let mut any = false;
    let mut verifier = Verifier::default();
    while let Some(row) = rows.next()? {
        let seq = Run::seq(row.get(0)?);
        if !any {
            // What says nothing of announcements is still described by the one in force.
            needed = newest_announcement(db, run, seq)?.unwrap_or(0);
            any = true;
        }
        let bytes: Vec<u8> = row.get(1)?;
        let frame = run.beginning.unpack(seq, &bytes, &mut verifier);
        if let Ok(Ok(Payload::Readings(readings))) = frame.map(|frame| frame.payload()) {
            needed = needed.min(readings.announcement);
        }
    }
    if !any {
        // The run may go on: what comes next is described by its newest announcement.
        needed = newest_announcement(db, run, MAX_SEQ)?.unwrap_or(0);
    }
    db.prepare_cached("DELETE FROM announcement WHERE key >= ? AND key < ?")?.execute([run.key(0), run.key(needed)])
}

/// The seq of the run's newest announcement up to `seq`.
fn newest_announcement(db: &Connection, run: &Run, seq: u64) -> rusqlite::Result<Option<u64>> {
    let key: Option<i64> = db
        .prepare_cached("SELECT MAX(key) FROM announcement WHERE key BETWEEN ? AND ?")?
        .query_row([run.key(0), run.key(seq)], |row| row.get(0))?;
    Ok(key.map(Run::seq))
}

/// Forgets runs of which nothing is left, but for each node's latest: the next run's announcement names it.
pub(crate) fn forget_empty_runs(db: &Connection) -> rusqlite::Result<()> {
    let keys = format!("BETWEEN run.id << {SEQ_BITS} AND (run.id << {SEQ_BITS}) + {MAX_SEQ}");
    let empty = format!(
        "gone_to > 0 AND NOT EXISTS (SELECT 1 FROM frame WHERE key {keys})
            AND NOT EXISTS (SELECT 1 FROM announcement WHERE key {keys})"
    );
    db.prepare_cached(&format!(
        "DELETE FROM run WHERE {empty} AND EXISTS (SELECT 1 FROM run AS later WHERE later.node = run.node AND later.id > run.id)"
    ))?
    .execute([])?;
    db.prepare_cached(&format!(
        "DELETE FROM run WHERE id IN (SELECT id FROM run WHERE {empty} ORDER BY id DESC LIMIT -1 OFFSET {MAX_EMPTY_RUNS})"
    ))?
    .execute([])?;
    Ok(())
}

/// The keys of every frame that the run may have.
fn keys(id: i64) -> (i64, i64) {
    (id << SEQ_BITS, (id << SEQ_BITS) | MAX_SEQ as i64)
}
