//! What one connected peer has of one node, as far as it said.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use reading::{Epoch, EpochRange};

use super::Since;
use super::ranges::{Ranges, first_in_none};
use crate::history::Summary;

/// Numbers asked for at once: of frames of seven readings, as many as one answer holds. So a second request can go out before the first is
/// answered.
const SPAN: u64 = 300;
/// Where a holder's answer was empty, the next request to it spans so many times more: it crosses any hole in a few steps.
const SPAN_GROWTH: u64 = 16;
/// Ranges that one peer lacks of one run, remembered; beyond, it is not asked for what lies below the last of them.
const MAX_LACKS: usize = 64;

/// What one peer has of one node.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    /// Whether the peer is the node itself.
    pub(crate) is_author: bool,
    /// When it was last asked for a summary; `None` before the first time.
    pub(crate) asked_at: Option<Duration>,
    pub(crate) answered: bool,
    /// By how much its pauses are longer or shorter than usual.
    pub(crate) stretch: f64,
    /// How often in a row its summary said nothing new.
    pub(crate) quiet: u32,
    pub(crate) claims: BTreeMap<Epoch, Claim>,
}

/// What it says it has of one run.
#[derive(Debug)]
pub(crate) struct Claim {
    /// From where on the frames are wanted, by what this holder says.
    pub(crate) from: u64,
    first: u64,
    last: u64,
    frames: u64,
    lacks: Ranges,
    span: u64,
}

impl Holder {
    /// Takes a summary in, and from where on each run is wanted ([`starts`]): at most `room` runs, the newest first, and of those only what
    /// `admits` lets in.
    pub(crate) fn tell(
        &mut self,
        summary: &Summary,
        starts: &[Option<u64>],
        room: usize,
        admits: impl Fn(&Epoch) -> bool,
    ) {
        self.answered = true;
        let mut before = std::mem::take(&mut self.claims);
        let mut news = false;
        for (run, from) in summary.runs.iter().zip(starts).rev() {
            if self.claims.len() >= room {
                break;
            }
            let Some(from) = from.filter(|_| run.first_seq <= run.last_seq && admits(&run.epoch)) else { continue };
            let mut claim = Claim::new(run, from);
            match before.remove(&run.epoch) {
                // It has no more than before: what it lacked it lacks.
                Some(old) if run.frames <= old.frames && run.last_seq <= old.last => {
                    (claim.lacks, claim.span) = (old.lacks, old.span);
                }
                _ => news = true,
            }
            self.claims.insert(run.epoch, claim);
        }
        self.quiet = if news { 0 } else { self.quiet.saturating_add(1) };
    }

    /// Ranges and claims that it takes memory for.
    pub(crate) fn weight(&self) -> usize {
        self.claims.values().map(|claim| 1 + claim.lacks.parts()).sum()
    }
}

impl Claim {
    fn new(run: &EpochRange, from: u64) -> Self {
        let EpochRange { first_seq, last_seq, frames, .. } = *run;
        Self { from, first: first_seq, last: last_seq, frames, lacks: Ranges::default(), span: SPAN }
    }

    /// The last that it has, as it says.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// What it may be asked for of what is wanted, that is not held or asked of another already.
    pub(crate) fn offers(
        &self,
        wanted: RangeInclusive<u64>,
        held: &Ranges,
        asked: &Ranges,
    ) -> Option<RangeInclusive<u64>> {
        let sought = self.first.max(*wanted.start())..=*wanted.end();
        let (first, last) = first_in_none(sought, &[held, asked, &self.lacks])?.into_inner();
        Some(first..=last.min(first.saturating_add(self.span - 1)))
    }

    /// It answered: what it lacks, and whether any frame came. True when it broke its word, since its first or last is not there.
    pub(crate) fn answered(&mut self, lacking: &[RangeInclusive<u64>], came: bool) -> bool {
        self.span = if came { SPAN } else { self.span.saturating_mul(SPAN_GROWTH) };
        lacking.iter().for_each(|part| self.lacks.insert(part.clone()));
        while self.lacks.parts() > MAX_LACKS {
            let Some(second) = self.lacks.iter().nth(1).map(|part| *part.end()) else { break };
            self.lacks.insert(0..=second);
        }
        lacking.iter().any(|part| part.contains(&self.first) || part.contains(&self.last))
    }
}

/// From which seq on each run of a summary is wanted; `None` for those before the beginning. Where it cannot be told, rather too much than
/// too little.
pub(crate) fn starts(summary: &Summary, since: Since) -> Vec<Option<u64>> {
    let runs = &summary.runs;
    let position = |epoch: Epoch| runs.iter().position(|run| run.epoch == epoch);
    // A run that is not among the holder's came before all of them.
    let (start, seq) = match since {
        Since::Beginning => (0, 1),
        Since::Frame { epoch, seq } => position(epoch).map_or((0, 1), |start| (start, seq)),
        Since::Time { .. } => match (summary.first, runs.last()) {
            (Some((epoch, seq)), _) => position(epoch).map_or((0, 1), |start| (start, seq)),
            // Nothing is as late as that but what comes next.
            (None, Some(newest)) => (runs.len() - 1, newest.last_seq.saturating_add(1)),
            (None, None) => (0, 1),
        },
    };
    // A holder whose very first frame of the run is late enough does not know whether those were that it does not have before it.
    let blind = matches!(since, Since::Time { .. }) && runs.get(start).is_some_and(|run| seq <= run.first_seq);
    let from = |(position, run): (usize, &EpochRange)| match position.cmp(&start) {
        Ordering::Less => (blind && position + 1 == start).then(|| run.last_seq.saturating_add(1)),
        Ordering::Equal => Some(if blind { 1 } else { seq }),
        Ordering::Greater => Some(1),
    };
    runs.iter().enumerate().map(from).collect()
}
