//! What leaves because it is too old, where the owner set an age.
//!
//! This machine's clock is not asked, which may be as wrong as any: a node's frames are too old by what the same node says the time is, in the
//! newest frame that came while its clock was synced. So no node's clock takes the frames of another, and those of a node that has
//! fallen silent stay until there is no room for them.
//!
//! A frame from before its run knew the time is dated by the run's last one. Where that does not know it either, the run leaves
//! with the first one after it that does.

use std::collections::HashMap;
use std::time::Duration;

use reading::{ClockState, Frame, NodeId, Verifier};
use rusqlite::{Connection, OptionalExtension, params};

use crate::retention::{MIN_REMOVED, forget_empty_runs, last_of_chunk, remove_some};
use crate::run::{MAX_SEQ, Run};

/// A node's frames are looked at again when its time has gone on by this part of the age.
const STEPS: i64 = 64;
/// Nodes of which it is remembered when that was; with more, all are looked at once more.
const MAX_NODES: usize = 10_000;
/// Runs of a node that have nothing old in them: after so many, the later ones are taken to be young too.
const YOUNG_RUNS: usize = 16;

/// Up to when the frames of each node were removed, us since 1970.
#[derive(Debug, Default)]
pub(crate) struct Ages(HashMap<NodeId, i64>);

impl Ages {
    /// Removes what is older than `max_age`, of the nodes whose frames came; returns how many were removed. Where that is more than one append
    /// should take, the rest leaves with the next.
    pub(crate) fn expire(&mut self, db: &Connection, max_age: Duration, batches: &[&[Frame]]) -> rusqlite::Result<u64> {
        let max_age_us = i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX);
        let mut newest: HashMap<NodeId, i64> = HashMap::new();
        for frame in batches.iter().copied().flatten().filter(|frame| frame.stamp().clock == ClockState::SYNCED) {
            let time = newest.entry(frame.node()).or_insert(i64::MIN);
            *time = frame.stamp().time_us.max(*time);
        }
        let mut removed = 0;
        for (node, time) in newest {
            let oldest_us = time.saturating_sub(max_age_us);
            if self.0.get(&node).is_some_and(|done| oldest_us < done.saturating_add(max_age_us / STEPS)) {
                continue;
            }
            let taken = expire(db, node, oldest_us)?;
            removed += taken;
            if taken < MIN_REMOVED {
                if self.0.len() >= MAX_NODES {
                    self.0.clear();
                }
                self.0.insert(node, oldest_us);
            }
        }
        Ok(removed)
    }
}

/// Removes frames of `node` that were made before `oldest_us`, [`MIN_REMOVED`] of them or a few more if there are that many.
fn expire(db: &Connection, node: NodeId, oldest_us: i64) -> rusqlite::Result<u64> {
    let runs = Run::all_of(db, node)?;
    let latest = runs.last().map(|run| run.id);
    let (mut removed, mut young) = (0, 0);
    let mut undated = Vec::new();
    for run in runs {
        while removed < MIN_REMOVED {
            let Some(last) = last_of_chunk(db, run.id)? else {
                // Of the latest run, the announcement describes what comes next.
                if Some(run.id) != latest {
                    removed += remove_some(db, run.id)?;
                }
                break;
            };
            // A chunk leaves when the youngest of it is too old.
            match time_of(db, &run, last)? {
                None => {
                    undated.push(run.id);
                    break;
                }
                Some(time) if time >= oldest_us => {
                    young += 1;
                    break;
                }
                Some(_) => match undated.last() {
                    None => removed += remove_some(db, run.id)?,
                    Some(&before) => {
                        removed += remove_some(db, before)?;
                        if last_of_chunk(db, before)?.is_none() {
                            removed += remove_some(db, before)?;
                            undated.pop();
                        }
                    }
                },
            }
        }
        if young >= YOUNG_RUNS || removed >= MIN_REMOVED {
            break;
        }
    }
    forget_empty_runs(db)?;
    Ok(removed)
}

/// When the frame at `key` was made; `None` where that is not known, or the frame is damaged.
fn time_of(db: &Connection, run: &Run, key: i64) -> rusqlite::Result<Option<i64>> {
    let stamp = |key: i64| -> rusqlite::Result<_> {
        let bytes: Option<Vec<u8>> = db
            .prepare_cached("SELECT bytes FROM frame WHERE key = ?")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        let unpacked = bytes.map(|bytes| run.beginning.unpack(Run::seq(key), &bytes, &mut Verifier::default()));
        Ok(unpacked.and_then(Result::ok).map(|frame| frame.stamp()))
    };
    let Some(made) = stamp(key)? else { return Ok(None) };
    if made.clock != ClockState::UNKNOWN {
        return Ok(Some(made.time_us));
    }
    let newest: Option<i64> = db
        .prepare_cached("SELECT MAX(key) FROM frame WHERE key BETWEEN ? AND ?")?
        .query_row(params![run.key(0), run.key(MAX_SEQ)], |row| row.get(0))?;
    let Some(newest) = newest.map(stamp).transpose()?.flatten() else { return Ok(None) };
    let ago_ms = i64::try_from(newest.uptime_ms.saturating_sub(made.uptime_ms)).unwrap_or(i64::MAX);
    Ok((newest.clock != ClockState::UNKNOWN).then(|| newest.time_us.saturating_sub(ago_ms.saturating_mul(1000))))
}
