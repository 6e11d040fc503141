//! Which frames of a store are exported, and in what order: node by node, run by run, by seq.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use reading::{BootId, ClockState, Dating, Epoch, EpochRange, Frame, FrameId, Kind, NodeId, Payload, Place, Selector};
use store::Store;

/// Bytes of frames that are read at once.
const BATCH_BYTES: usize = 256 * 1024;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Whose frames: those of every node of which a run is meant by one of these.
    pub selectors: Vec<Selector>,
    /// From this time on, us since 1970.
    pub since_us: Option<i64>,
    /// Before this time.
    pub until_us: Option<i64>,
    /// Whether it matters when each frame was made.
    pub dates: bool,
}

/// Takes a frame, and when it was made as far as that is known.
pub type Take<'a> = dyn FnMut(&Frame, Option<i64>) -> anyhow::Result<()> + 'a;

/// What came of it.
#[derive(Debug, Default)]
pub struct Walked {
    /// Nodes that are meant.
    pub nodes: usize,
    /// What the store says that it has no more, in words.
    pub gone: Vec<String>,
}

/// One run of a node, as far as its beginning tells.
#[derive(Clone, Debug)]
struct Run {
    range: EpochRange,
    boot: Option<BootId>,
    place: Option<Place>,
    previous: Option<Epoch>,
    /// Its newest frame knew the time.
    ends_dated: bool,
}

impl Selection {
    /// Whether a reading is meant that was made then, as far as that is known.
    pub fn means_time(&self, time_us: Option<i64>) -> bool {
        time_us.is_none_or(|time_us| {
            self.since_us.is_none_or(|since| time_us >= since) && self.until_us.is_none_or(|until| time_us < until)
        })
    }

    /// Gives every frame that is meant to `take`.
    ///
    /// All frames of a node between the first and the last one that are meant are given, and others where they explain them: the announcements
    /// that readings refer to, and the clock fix behind the end that dates what comes before it. What has no time is rather given than not.
    pub fn walk(&self, store: &Store, take: &mut Take<'_>) -> anyhow::Result<Walked> {
        let mut nodes = store.nodes()?;
        nodes.sort();
        let mut walked = Walked::default();
        for node in nodes {
            let runs = in_order(runs(store, node)?);
            if self.means(&runs) {
                walked.nodes += 1;
                Walk { store, node, runs, dating: Dating::default(), dated_to: 0 }.go(self, take, &mut walked.gone)?;
            }
        }
        Ok(walked)
    }

    fn means(&self, runs: &[Run]) -> bool {
        let any = |place: &Place| self.selectors.iter().any(|selector| selector.matches_place(place));
        // Where nothing says where a node is, it is meant by whoever wants all there is.
        runs.iter().any(|run| run.place.as_ref().map_or(self.selectors.contains(&Selector::ALL), any))
    }
}

/// One node's frames.
struct Walk<'a> {
    store: &'a Store,
    node: NodeId,
    runs: Vec<Run>,
    dating: Dating,
    /// Runs whose clock fixes were looked for.
    dated_to: usize,
}

impl Walk<'_> {
    fn go(mut self, selection: &Selection, take: &mut Take<'_>, gone: &mut Vec<String>) -> anyhow::Result<()> {
        let at =
            |time_us: Option<i64>| time_us.map(|time_us| self.store.first_at_or_after(self.node, time_us)).transpose();
        let (start, end) = (at(selection.since_us)?, at(selection.until_us)?);
        if start == Some(None) {
            return Ok(());
        }
        let place = |id: FrameId| self.runs.iter().position(|run| run.range.epoch == id.epoch).map(|run| (run, id.seq));
        let start = start.flatten().and_then(place).unwrap_or((0, 0));
        let mut end = end.flatten().and_then(place).unwrap_or((self.runs.len(), 0));
        // To the store a run of an unknown time is as late as the one behind it. It may be earlier, and so is rather given.
        while self.runs.get(end.0).is_some_and(|run| !self.is_dated(run)) {
            end = (end.0 + 1, 0);
        }
        for index in start.0..self.runs.len().min(end.0 + 1) {
            let Some(run) = self.runs.get(index).cloned() else { break };
            let range = run.range;
            let first = if index == start.0 { start.1.max(range.first_seq) } else { range.first_seq };
            let last = if index == end.0 { end.1.saturating_sub(1) } else { range.last_seq };
            if first > last {
                continue;
            }
            if range.gone_to > 0 && first <= range.gone_to + 1 {
                gone.push(format!(
                    "missing: frames up to {} of run {} of {}: retention took them, or some of them",
                    range.gone_to, range.epoch, self.node
                ));
            }
            if selection.dates {
                self.look_ahead(index, first)?;
            }
            self.give(&run, first..=last, take)?;
        }
        Ok(())
    }

    /// Whether the store can tell when a run was: some run of its boot ended with the time known.
    fn is_dated(&self, run: &Run) -> bool {
        self.runs.iter().any(|other| other.boot == run.boot && other.ends_dated)
    }

    /// Gives some frames of a run, and what explains them.
    fn give(&mut self, run: &Run, seqs: RangeInclusive<u64>, take: &mut Take<'_>) -> anyhow::Result<()> {
        for frame in self.announced_before(run, &seqs)? {
            take(&frame, None)?;
        }
        let (mut next, mut undated) = (*seqs.start(), false);
        loop {
            let batch = self.store.range(self.node, run.range.epoch, next..=*seqs.end(), BATCH_BYTES)?;
            for frame in &batch.frames {
                self.dating.learn(frame);
                undated |= frame.stamp().clock == ClockState::UNKNOWN;
                take(frame, self.dating.time_us(frame))?;
            }
            if !batch.more {
                break;
            }
            next = batch.next_seq;
        }
        if undated && let Some(fix) = self.fix_behind(run, *seqs.end())? {
            take(&fix, None)?;
        }
        Ok(())
    }

    /// Announcements from before the range: the run's first, which names the run before, and the one that the range's readings refer to.
    fn announced_before(&self, run: &Run, seqs: &RangeInclusive<u64>) -> anyhow::Result<Vec<Frame>> {
        let range = run.range;
        if *seqs.start() == range.first_seq {
            return Ok(Vec::new());
        }
        let batch = self.store.range(self.node, range.epoch, seqs.clone(), BATCH_BYTES)?;
        let referred = batch.frames.iter().find_map(|frame| match frame.payload() {
            Ok(Payload::Readings(readings)) => Some(readings.announcement),
            _ => None,
        });
        let mut wanted = vec![range.first_seq];
        wanted.extend(referred.filter(|seq| range.first_seq < *seq && seq < seqs.start()));
        let mut frames = Vec::new();
        for seq in wanted {
            let frame = self.store.get(FrameId { node: self.node, epoch: range.epoch, seq })?;
            frames.extend(frame.filter(|frame| frame.kind() == Kind::ANNOUNCEMENT));
        }
        Ok(frames)
    }

    /// The first clock fix of the run's boot behind a seq.
    fn fix_behind(&self, run: &Run, seq: u64) -> anyhow::Result<Option<Frame>> {
        let mut next = seq.saturating_add(1);
        while next <= run.range.last_seq {
            let batch = self.store.range(self.node, run.range.epoch, next..=run.range.last_seq, BATCH_BYTES)?;
            let fixes = |frame: &Frame| frame.kind() == Kind::CLOCK_FIX && Some(frame.boot()) == run.boot;
            if let Some(fix) = batch.frames.into_iter().find(fixes) {
                return Ok(Some(fix));
            }
            next = batch.next_seq;
        }
        Ok(None)
    }

    /// Looks for the clock fix that dates a run, in it and in those of the same boot behind it. Each run is looked at once.
    fn look_ahead(&mut self, index: usize, first: u64) -> anyhow::Result<()> {
        let boot = self.runs.get(index).and_then(|run| run.boot);
        for ahead in index.max(self.dated_to)..self.runs.len() {
            let Some(run) = self.runs.get(ahead).filter(|run| run.boot == boot) else { break };
            let range = run.range;
            self.dated_to = ahead + 1;
            // A clock that was set by hand is dated by the fix before it, which may lie before what is exported.
            if (ahead == index && first > range.first_seq && self.learn(range, first)?)
                || self.learn(range, range.first_seq)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Learns the first clock fix of a run. A node says it as soon as it knows the time: behind that it is not looked for any longer than a batch.
    fn learn(&mut self, range: EpochRange, first: u64) -> anyhow::Result<bool> {
        let mut next = first;
        loop {
            let batch = self.store.range(self.node, range.epoch, next..=range.last_seq, BATCH_BYTES)?;
            if batch.frames.iter().any(|frame| self.dating.learn(frame)) {
                return Ok(true);
            }
            let is_known = batch.frames.last().is_some_and(|frame| frame.stamp().clock != ClockState::UNKNOWN);
            if is_known || !batch.more {
                return Ok(false);
            }
            next = batch.next_seq;
        }
    }
}

/// The runs of a node, in the order in which they came to the store.
fn runs(store: &Store, node: NodeId) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for range in store.epochs(node)? {
        let beginning = store.range(node, range.epoch, range.first_seq..=range.last_seq, 0)?.frames.pop();
        let is_announcement = beginning.as_ref().is_some_and(|frame| frame.kind() == Kind::ANNOUNCEMENT);
        let frames = match beginning {
            Some(frame) if is_announcement => vec![frame],
            // A neighbour's frames need not be kept from the first on.
            _ => store.range(node, range.epoch, range.first_seq..=range.last_seq, BATCH_BYTES)?.frames,
        };
        let announcement = frames.iter().find_map(|frame| match frame.payload() {
            Ok(Payload::Announcement(announcement)) => Some(announcement),
            _ => None,
        });
        let newest = store.range(node, range.epoch, range.last_seq..=range.last_seq, 0)?.frames.pop();
        runs.push(Run {
            range,
            ends_dated: newest.is_some_and(|frame| frame.stamp().clock != ClockState::UNKNOWN),
            boot: frames.first().map(Frame::boot),
            previous: announcement.as_ref().and_then(|said| said.previous).map(|previous| previous.epoch),
            place: announcement.map(|said| said.place),
        });
    }
    Ok(runs)
}

/// Each run behind the one that it calls previous, otherwise as they are.
fn in_order(runs: Vec<Run>) -> Vec<Run> {
    let index: HashMap<Epoch, usize> = runs.iter().enumerate().map(|(at, run)| (run.range.epoch, at)).collect();
    let mut followers: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (at, run) in runs.iter().enumerate() {
        let previous = run.previous.and_then(|epoch| index.get(&epoch).copied()).filter(|previous| *previous != at);
        followers.entry(previous).or_default().push(at);
    }
    let mut order = Vec::new();
    let mut waiting: Vec<usize> = followers.remove(&None).unwrap_or_default().into_iter().rev().collect();
    while let Some(at) = waiting.pop() {
        order.push(at);
        waiting.extend(followers.remove(&Some(at)).unwrap_or_default().into_iter().rev());
    }
    // Runs that name each other in a circle: only a broken node signs that.
    let mut circle: Vec<usize> = followers.into_values().flatten().collect();
    circle.sort_unstable();
    order.extend(circle);
    order.into_iter().filter_map(|at| runs.get(at).cloned()).collect()
}
