//! Reading: ranges, epochs, times.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use reading::{BootId, ClockState, Epoch, EpochRange, Frame, FrameId, NodeId, Verifier};
use rusqlite::{OptionalExtension, params};

use crate::StoreError;
use crate::packed::Damage;
use crate::run::{MAX_SEQ, Run, count};
use crate::store::Store;

/// Rows of a run in the order of their seq, from both tables. Both are read in the order of their keys: nothing is sorted.
const ROWS: &str = "SELECT key, bytes FROM frame WHERE key BETWEEN ?1 AND ?2
    UNION ALL SELECT key, bytes FROM announcement WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
const FIRST_ROW: &str = "SELECT MIN(a) FROM (SELECT MIN(key) AS a FROM frame WHERE key BETWEEN ?1 AND ?2
    UNION ALL SELECT MIN(key) FROM announcement WHERE key BETWEEN ?1 AND ?2)";
const LAST_ROW: &str = "SELECT MAX(a) FROM (SELECT MAX(key) AS a FROM frame WHERE key BETWEEN ?1 AND ?2
    UNION ALL SELECT MAX(key) FROM announcement WHERE key BETWEEN ?1 AND ?2)";

/// Some frames of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The frames, by seq.
    pub frames: Vec<Frame>,
    /// There are more; ask again from [`next_seq`](Self::next_seq).
    pub more: bool,
    /// The first seq that was not looked at.
    pub next_seq: u64,
    /// Frames that are there, but damaged.
    pub damaged: Vec<FrameId>,
}

impl Store {
    /// The highest seq stored of that run, 0 where there is none.
    pub fn last_seq(&self, node: NodeId, epoch: Epoch) -> Result<u64, StoreError> {
        let run = self.run(node, epoch)?;
        run.map_or(Ok(0), |run| self.last_of(&run))
    }

    /// The seq after [`last_seq`](Self::last_seq).
    pub fn next_seq(&self, node: NodeId, epoch: Epoch) -> Result<u64, StoreError> {
        self.last_seq(node, epoch).map(|last| last + 1)
    }

    /// Every node of which there is a run.
    pub fn nodes(&self) -> Result<Vec<NodeId>, StoreError> {
        self.read(|| {
            self.file
                .db
                .prepare_cached("SELECT DISTINCT node FROM run")?
                .query_map([], |row| row.get(0).map(NodeId))?
                .collect()
        })
    }

    /// What there is of each run of `node`, in the order in which the runs came to the store.
    pub fn epochs(&self, node: NodeId) -> Result<Vec<EpochRange>, StoreError> {
        let mut ranges = Vec::new();
        for run in self.runs(node)? {
            let Some((first, last)) = self.bounds(&run)? else { continue };
            let frames = self.read(|| {
                let announcements: u64 = self
                    .file
                    .db
                    .prepare_cached("SELECT COUNT(*) FROM announcement WHERE key BETWEEN ? AND ?")?
                    .query_row(params![run.key(0), run.key(MAX_SEQ)], |row| row.get(0))?;
                Ok(announcements + run.counted + count(&self.file.db, &run, run.counted_to, MAX_SEQ)?)
            })?;
            let epoch = run.beginning.epoch;
            ranges.push(EpochRange { epoch, first_seq: first, last_seq: last, frames, gone_to: run.gone_to });
        }
        Ok(ranges)
    }

    /// The run of `node` that came to the store last, and its highest seq ever stored: what the next run's announcement calls previous.
    pub fn latest_epoch(&self, node: NodeId) -> Result<Option<(Epoch, u64)>, StoreError> {
        let latest = self.runs(node)?.pop();
        latest.map(|run| Ok((run.beginning.epoch, self.last_of(&run)?.max(run.gone_to)))).transpose()
    }

    /// One frame. A damaged one is named in the log, counted, and as good as absent.
    pub fn get(&self, id: FrameId) -> Result<Option<Frame>, StoreError> {
        if id.seq > MAX_SEQ {
            return Ok(None);
        }
        Ok(self.range(id.node, id.epoch, id.seq..=id.seq, 0)?.frames.pop())
    }

    /// Frames of one run, by seq, of `max_bytes` together; the first comes whatever its size, so that asking again always gets on.
    pub fn range(
        &self,
        node: NodeId,
        epoch: Epoch,
        seqs: RangeInclusive<u64>,
        max_bytes: usize,
    ) -> Result<Batch, StoreError> {
        let (from, to) = seqs.into_inner();
        let mut batch = Batch { next_seq: to.saturating_add(1), ..Batch::default() };
        let Some(run) = self.run(node, epoch)?.filter(|_| from <= to && from <= MAX_SEQ) else { return Ok(batch) };
        let (mut bytes, mut verifier) = (0, Verifier::default());
        self.read(|| {
            let mut statement = self.file.db.prepare_cached(ROWS)?;
            let mut rows = statement.query(params![run.key(from), run.key(to)])?;
            while let Some(row) = rows.next()? {
                let seq = Run::seq(row.get(0)?);
                // What is no blob is as damaged as a blob of the wrong bytes.
                let packed = row.get_ref(1)?.as_blob().unwrap_or_default();
                match self.undamaged(FrameId { node, epoch, seq }, run.beginning.unpack(seq, packed, &mut verifier)) {
                    None => batch.damaged.push(FrameId { node, epoch, seq }),
                    Some(frame) if bytes > 0 && bytes + frame.bytes().len() > max_bytes => {
                        (batch.more, batch.next_seq) = (true, seq);
                        break;
                    }
                    Some(frame) => {
                        bytes += frame.bytes().len();
                        batch.frames.push(frame);
                    }
                }
            }
            Ok(())
        })?;
        Ok(batch)
    }

    /// The first frame of `node` at or after `time_us` (us since 1970), over all its runs.
    ///
    /// Within a boot uptime only grows; a run's newest frame, whose clock is the best known, says what wall time that is. Where it does not
    /// know either, a later run of the same boot says it. A run of a boot whose clock was never set counts as just before the run
    /// that came to the store after it, so that asking for what came since a time gives too much rather than too little.
    pub fn first_at_or_after(&self, node: NodeId, time_us: i64) -> Result<Option<FrameId>, StoreError> {
        let mut runs = Vec::new();
        for run in self.runs(node)? {
            runs.extend(self.ends(run)?);
        }
        let boots: HashMap<BootId, i64> =
            runs.iter().filter_map(|ends| Some((ends.run.beginning.boot, boot_us(&ends.newest)?))).collect();
        let mut best: Option<(i64, FrameId)> = None;
        let mut later_start = i64::MAX;
        for ends in runs.iter().rev() {
            let boot_us = boot_us(&ends.newest).or_else(|| boots.get(&ends.run.beginning.boot).copied());
            let found = match boot_us {
                None => (later_start >= time_us).then_some(ends.oldest.id()),
                Some(boot_us) => {
                    later_start = boot_us.saturating_add(uptime_us(&ends.oldest));
                    self.first_in_run(ends, boot_us, time_us)?
                }
            };
            if let Some(id) = found
                && best.is_none_or(|(best_start, _)| later_start <= best_start)
            {
                best = Some((later_start, id));
            }
        }
        Ok(best.map(|(_, id)| id))
    }

    /// The first frame of a run at or after `time_us`, where its boot was at `boot_us`.
    fn first_in_run(&self, ends: &Ends, boot_us: i64, time_us: i64) -> Result<Option<FrameId>, StoreError> {
        let time_of = |frame: &Frame| boot_us.saturating_add(uptime_us(frame));
        if time_of(&ends.newest) < time_us {
            return Ok(None);
        }
        // The frame sought is the first from `low` on, and none that is too early has a seq of `high` or more.
        let (mut low, mut high) = (ends.oldest.seq(), ends.newest.seq());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(frame) = self.at_or_after(&ends.run, middle)? else { break };
            if time_of(&frame) < time_us {
                low = frame.seq() + 1;
            } else {
                high = middle;
            }
        }
        Ok(self.at_or_after(&ends.run, low)?.map(|frame| frame.id()))
    }

    /// The first and the last sound frame of a run, if it has any.
    fn ends(&self, run: Run) -> Result<Option<Ends>, StoreError> {
        let Some((first, last)) = self.bounds(&run)? else { return Ok(None) };
        let ends = self.at_or_after(&run, first)?.zip(self.at_or_before(&run, last)?);
        Ok(ends.map(|(oldest, newest)| Ends { run, oldest, newest }))
    }

    /// The first sound frame from `seq` on.
    fn at_or_after(&self, run: &Run, seq: u64) -> Result<Option<Frame>, StoreError> {
        let mut from = seq;
        loop {
            let batch = self.range(run.beginning.node, run.beginning.epoch, from..=MAX_SEQ, 0)?;
            match batch.frames.into_iter().next() {
                Some(frame) => return Ok(Some(frame)),
                None if batch.more => from = batch.next_seq,
                None => return Ok(None),
            }
        }
    }

    /// The last sound frame up to `seq`.
    fn at_or_before(&self, run: &Run, seq: u64) -> Result<Option<Frame>, StoreError> {
        let mut to = seq;
        loop {
            let batch = self.range(run.beginning.node, run.beginning.epoch, to..=to, 0)?;
            if let Some(frame) = batch.frames.into_iter().next() {
                return Ok(Some(frame));
            }
            match self.row(LAST_ROW, run, 0, to.saturating_sub(1))? {
                Some(before) if before > 0 => to = before,
                _ => return Ok(None),
            }
        }
    }

    fn undamaged(&self, id: FrameId, unpacked: Result<Frame, Damage>) -> Option<Frame> {
        let problem = match unpacked {
            Ok(frame) => return Some(frame),
            Err(damage) => damage,
        };
        self.damaged.set(self.damaged.get() + 1);
        tracing::error!(frame = %id, store = %self.path.display(), %problem, "stored frame is damaged");
        None
    }

    fn run(&self, node: NodeId, epoch: Epoch) -> Result<Option<Run>, StoreError> {
        self.read(|| Run::find(&self.file.db, node, epoch))
    }

    fn runs(&self, node: NodeId) -> Result<Vec<Run>, StoreError> {
        self.read(|| Run::all_of(&self.file.db, node))
    }

    fn bounds(&self, run: &Run) -> Result<Option<(u64, u64)>, StoreError> {
        let first = self.row(FIRST_ROW, run, 0, MAX_SEQ)?;
        let last = self.row(LAST_ROW, run, 0, MAX_SEQ)?;
        Ok(first.zip(last))
    }

    fn last_of(&self, run: &Run) -> Result<u64, StoreError> {
        Ok(self.row(LAST_ROW, run, 0, MAX_SEQ)?.unwrap_or(0))
    }

    fn row(&self, query: &str, run: &Run, from: u64, to: u64) -> Result<Option<u64>, StoreError> {
        let key: Option<i64> = self.read(|| {
            self.file
                .db
                .prepare_cached(query)?
                .query_row(params![run.key(from), run.key(to)], |row| row.get(0))
                .optional()
                .map(Option::flatten)
        })?;
        Ok(key.map(Run::seq))
    }

    fn read<T>(&self, query: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, StoreError> {
        query().map_err(|error| self.failed("read", error))
    }
}

/// A run by its first and its last sound frame.
struct Ends {
    run: Run,
    oldest: Frame,
    newest: Frame,
}

fn uptime_us(frame: &Frame) -> i64 {
    i64::try_from(frame.stamp().uptime_ms).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// Wall time at uptime 0, by a frame whose clock knew it.
fn boot_us(frame: &Frame) -> Option<i64> {
    let stamp = frame.stamp();
    (stamp.clock != ClockState::UNKNOWN).then(|| stamp.time_us.saturating_sub(uptime_us(frame)))
}
