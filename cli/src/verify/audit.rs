//! What frames that come one behind the other are evidence of: whose they are, and whether something is missing, repeated or out of place.
//!
//! Signatures were checked before. This is about what no single frame shows. `docs/wire.md`, section "Archive", says what the order is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use reading::{Announcement, BootId, ClockState, Epoch, Frame, FrameId, Kind, NodeId, Payload, Place, Previous};

/// Runs in one file, at most. Frames of further ones are not looked at, and the file does not pass for right: a program that started anew every
/// minute for a month and a half comes to that.
const MAX_RUNS: usize = 65_536;
/// Ranges of missing frames that are kept of a run; of further ones only the number of frames.
const MAX_HOLES: usize = 16;
/// Findings of one sort that are kept in words; of further ones only the number.
const MAX_FINDINGS: usize = 20;
/// Announcements of a run that are remembered, the latest. Readings refer to the latest of their time.
const ANNOUNCEMENTS: usize = 16;

/// Looks at frames, in the order in which they stand.
#[derive(Debug, Default)]
pub struct Audit {
    frames: u64,
    runs: Vec<Run>,
    index: HashMap<(NodeId, Epoch), usize>,
    current: Option<Current>,
    fixed: HashSet<(NodeId, BootId)>,
    wrong: Findings,
    missing: Findings,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// Frames that were looked at.
    pub frames: u64,
    /// The runs, as they stand.
    pub runs: Vec<Run>,
    /// What is forged, damaged, repeated or out of place.
    pub wrong: Findings,
    /// What is known to exist, and is not there.
    pub missing: Findings,
}

/// Findings of one sort.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many there are.
    pub total: u64,
    /// The first of them, in words.
    pub shown: Vec<String>,
}

/// One run of a node's program.
#[derive(Debug)]
pub struct Run {
    /// Whose.
    pub node: NodeId,
    /// Which.
    pub epoch: Epoch,
    /// Where the node says that it is.
    pub place: Option<Place>,
    /// What the run's announcement says of the run before.
    pub previous: Option<Previous>,
    /// Frames that are there.
    pub frames: u64,
    /// The lowest seq.
    pub first: u64,
    /// The highest seq.
    pub last: u64,
    /// Frames that are not there.
    pub missing: u64,
    /// Where they are missing: the first such ranges.
    pub holes: Vec<RangeInclusive<u64>>,
    /// What the node knew of its clock.
    pub clock: Clock,
    boot: BootId,
    /// There are frames besides those that only explain.
    has_body: bool,
}

/// How many frames were made with which knowledge of the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Disciplined by a time server.
    pub synced: u64,
    /// Running by itself.
    pub free_running: u64,
    /// The time was not known.
    pub unknown: u64,
    /// Of those, how many a later clock fix gives a time.
    pub dated: u64,
}

/// The run that is being looked at.
#[derive(Debug)]
struct Current {
    run: usize,
    last: FrameId,
    /// Left out since the last frame that is more than an explanation: missing only if another such frame comes.
    left_out: Vec<RangeInclusive<u64>>,
    left_out_frames: u64,
    /// By seq; without one where it is missing.
    announcements: VecDeque<(u64, Option<Arc<Announcement>>)>,
}

impl Audit {
    /// Takes the next frame.
    pub fn take(&mut self, frame: &Frame) {
        self.frames += 1;
        let Some(index) = self.run_of(frame) else { return };
        let (Some(run), Some(current)) = (self.runs.get_mut(index), &mut self.current) else { return };
        if let Some(problem) = current.follow(run, frame) {
            self.wrong.add(problem);
        }
        run.frames += 1;
        run.clock.count(frame.stamp().clock);
        match frame.payload() {
            Ok(Payload::Announcement(announcement)) => current.announced(run, frame.seq(), announcement),
            Ok(Payload::Readings(readings)) if !current.knows(readings.announcement) => {
                // Said once: what is missed is as good as known.
                current.know(readings.announcement, None);
                self.missing.add(format!(
                    "announcement {} of run {} of {}, to which frame {} refers",
                    readings.announcement,
                    run.epoch,
                    run.node,
                    frame.seq()
                ));
            }
            Ok(Payload::ClockFix(fix)) if self.fixed.len() < MAX_RUNS => {
                self.fixed.insert((frame.node(), fix.boot));
            }
            Ok(_) => {}
            Err(error) => self.wrong.add(format!("frame {} is signed, and cannot be read: {error}", frame.id())),
        }
    }

    /// The announcement with this number, of the run of the frame that was taken last.
    pub fn announcement(&self, seq: u64) -> Option<Arc<Announcement>> {
        let known = &self.current.as_ref()?.announcements;
        known.iter().rev().find(|(known, _)| *known == seq).and_then(|(_, announcement)| announcement.clone())
    }

    /// Something that is wrong, and was found elsewhere.
    pub fn is_wrong(&mut self, finding: String) {
        self.wrong.add(finding);
    }

    /// Something that is missing, and was found elsewhere.
    pub fn is_missing(&mut self, finding: String) {
        self.missing.add(finding);
    }

    /// Everything was taken.
    pub fn end(mut self) -> Report {
        for index in 0..self.runs.len() {
            self.check_previous(index);
        }
        for run in &mut self.runs {
            if self.fixed.contains(&(run.node, run.boot)) {
                run.clock.dated = run.clock.unknown;
            }
            if run.missing > 0 {
                self.missing.add(run.words_of_missing());
            }
        }
        Report { frames: self.frames, runs: self.runs, wrong: self.wrong, missing: self.missing }
    }

    /// The place of the frame's run among the runs; `None` where there is no room for another.
    fn run_of(&mut self, frame: &Frame) -> Option<usize> {
        let id = frame.id();
        if let Some(current) = &self.current
            && (current.last.node, current.last.epoch) == (id.node, id.epoch)
        {
            return Some(current.run);
        }
        let last_node = self.current.as_ref().map(|current| current.last.node);
        let run = match self.index.get(&(id.node, id.epoch)) {
            Some(run) => {
                self.wrong.add(format!("frame {id} stands apart from the others of its run"));
                *run
            }
            None if self.runs.len() == MAX_RUNS => {
                self.wrong.add(format!("frame {id} is of a run beyond the first {MAX_RUNS}, and was not looked at"));
                return None;
            }
            None => {
                if last_node.is_some_and(|last| last > id.node) {
                    self.wrong.add(format!("frame {id} stands behind those of a node with a higher key"));
                }
                self.index.insert((id.node, id.epoch), self.runs.len());
                self.runs.push(Run::begin(frame));
                self.runs.len() - 1
            }
        };
        // A new run begins with whatever frame comes first; one that stands apart goes on from where it was.
        let seq = self.runs.get(run).map_or(0, |run| if run.frames == 0 { run.first - 1 } else { run.last });
        self.current = Some(Current::behind(run, FrameId { seq, ..id }));
        Some(run)
    }

    /// Compares a run with what it says of the one before. The first one of a node may continue what is not in the file.
    fn check_previous(&mut self, index: usize) {
        let Some(run) = self.runs.get(index) else { return };
        let (node, epoch, has_body) = (run.node, run.epoch, run.has_body);
        let Some(previous) = run.previous.filter(|previous| previous.epoch != epoch) else { return };
        let is_first = index.checked_sub(1).and_then(|before| self.runs.get(before)).is_none_or(|run| run.node != node);
        match self.index.get(&(node, previous.epoch)) {
            Some(&before) if before > index => {
                let Previous { epoch: earlier, .. } = previous;
                self.wrong.add(format!("run {epoch} of {node} stands before run {earlier}, which it continues"));
            }
            Some(&before) => {
                if let Some(before) = self.runs.get_mut(before)
                    && has_body
                    && before.last < previous.last_seq
                {
                    before.miss(before.last + 1..=previous.last_seq);
                }
            }
            None if is_first => {}
            None => self.missing.add(format!(
                "run {} of {node}, of {} frames, which run {epoch} continues",
                previous.epoch, previous.last_seq
            )),
        }
    }
}

impl Findings {
    /// A line for each that is kept, and one for all others.
    pub fn words(&self, what: &str) -> Vec<String> {
        let mut lines: Vec<String> = self.shown.iter().map(|finding| format!("{what}: {finding}")).collect();
        let more = self.total - self.shown.len() as u64;
        if more > 0 {
            lines.push(format!("{what}: {more} more"));
        }
        lines
    }

    fn add(&mut self, finding: String) {
        self.total += 1;
        if self.shown.len() < MAX_FINDINGS {
            self.shown.push(finding);
        }
    }
}

impl Run {
    fn begin(frame: &Frame) -> Self {
        Self {
            node: frame.node(),
            epoch: frame.epoch(),
            place: None,
            previous: None,
            frames: 0,
            first: frame.seq(),
            last: frame.seq(),
            missing: 0,
            holes: Vec::new(),
            clock: Clock::default(),
            boot: frame.boot(),
            has_body: false,
        }
    }

    fn words_of_missing(&self) -> String {
        let Self { node, epoch, missing, holes, .. } = self;
        match holes.as_slice() {
            [hole] if hole.start() == hole.end() => format!("frame {} of run {epoch} of {node}", hole.start()),
            holes => {
                let told = holes.iter().fold(0, |told: u64, hole| told.saturating_add(frames_in(hole)));
                let more = if told < *missing { " and more" } else { "" };
                format!("{missing} frames of run {epoch} of {node}: {}{more}", ranges(holes))
            }
        }
    }

    fn miss(&mut self, seqs: RangeInclusive<u64>) {
        self.missing = self.missing.saturating_add(frames_in(&seqs));
        if self.holes.len() < MAX_HOLES {
            self.holes.push(seqs);
        }
    }
}

impl Clock {
    fn count(&mut self, state: ClockState) {
        match state {
            ClockState::SYNCED => self.synced += 1,
            ClockState::FREE_RUNNING => self.free_running += 1,
            // A state that is not known here says no more than none.
            _ => self.unknown += 1,
        }
    }
}

impl Current {
    fn behind(run: usize, last: FrameId) -> Self {
        Self { run, last, left_out: Vec::new(), left_out_frames: 0, announcements: VecDeque::new() }
    }

    /// Compares a frame's number with the one before; gives what is wrong with it.
    fn follow(&mut self, run: &mut Run, frame: &Frame) -> Option<String> {
        let (seq, last) = (frame.seq(), self.last.seq);
        if seq <= last {
            let was_left_out = seq < run.first
                || run.holes.len() == MAX_HOLES
                || run.holes.iter().chain(&self.left_out).any(|hole| hole.contains(&seq));
            let what = if was_left_out { "stands behind" } else { "is there again, behind" };
            run.first = run.first.min(seq);
            return Some(format!("frame {} {what} frame {last} of its run", frame.id()));
        }
        if seq > last + 1 && self.left_out.len() < MAX_HOLES {
            self.left_out.push(last + 1..=seq - 1);
        }
        self.left_out_frames = self.left_out_frames.saturating_add(seq - last - 1);
        self.last.seq = seq;
        run.last = seq;
        if !matches!(frame.kind(), Kind::ANNOUNCEMENT | Kind::CLOCK_FIX) {
            self.reach(run);
        }
        None
    }

    /// A frame came that is more than an explanation: what was left out since the last such one is missing.
    fn reach(&mut self, run: &mut Run) {
        if run.has_body {
            run.missing = run.missing.saturating_add(self.left_out_frames);
            let room = MAX_HOLES.saturating_sub(run.holes.len());
            run.holes.extend(self.left_out.drain(..).take(room));
        }
        run.has_body = true;
        self.left_out.clear();
        self.left_out_frames = 0;
    }

    fn announced(&mut self, run: &mut Run, seq: u64, announcement: Announcement) {
        if run.place.is_none() {
            run.previous = announcement.previous;
        }
        run.place = Some(announcement.place.clone());
        self.know(seq, Some(announcement.into()));
    }

    fn knows(&self, seq: u64) -> bool {
        self.announcements.iter().any(|(known, _)| *known == seq)
    }

    fn know(&mut self, seq: u64, announcement: Option<Arc<Announcement>>) {
        if self.announcements.len() == ANNOUNCEMENTS {
            self.announcements.pop_front();
        }
        self.announcements.push_back((seq, announcement));
    }
}

fn frames_in(hole: &RangeInclusive<u64>) -> u64 {
    (hole.end() - hole.start()).saturating_add(1)
}

/// `5, 7-9`.
fn ranges(ranges: &[RangeInclusive<u64>]) -> String {
    let words: Vec<String> = ranges
        .iter()
        .map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        })
        .collect();
    words.join(", ")
}
