//! Who has frames, and who only says so.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::{Ranges, Since, Summary};
use reading::{Epoch, EpochRange, NodeId};

/// Frames of one node that somebody has, run by run in the order of the runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) runs: Vec<(Epoch, Ranges, u64)>,
}

/// How a peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Says that it has everything, and runs that never were, and has nothing.
    Promises,
    /// Says that it has everything, and sends other frames.
    Forges,
    /// Says that it has everything, and then says nothing.
    Silent,
    /// Has no time, ever.
    Busy,
    /// Does not know the protocol.
    Foreign,
}

pub(crate) const LIARS: [Manner; 5] = [Manner::Promises, Manner::Forges, Manner::Silent, Manner::Busy, Manner::Foreign];

/// A peer with frames.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) manner: Manner,
    pub(crate) shelves: BTreeMap<NodeId, Shelf>,
}

impl Shelf {
    pub(crate) fn keep(&mut self, epoch: Epoch, seq: u64) {
        match self.runs.iter_mut().find(|run| run.0 == epoch) {
            Some(run) => run.1.insert(seq..=seq),
            None => {
                let mut held = Ranges::default();
                held.insert(seq..=seq);
                self.runs.push((epoch, held, 0));
            }
        }
    }

    pub(crate) fn held(&self, epoch: Epoch) -> Option<&Ranges> {
        self.runs.iter().find(|run| run.0 == epoch).map(|run| &run.1)
    }

    /// Retention takes the oldest run's first frames up to `seq`.
    pub(crate) fn drop_oldest(&mut self, count: u64) {
        if let Some(run) = self.runs.iter_mut().find(|run| !run.1.is_empty()) {
            let first = run.1.iter().next().map_or(0, |part| *part.start());
            run.1.remove(0..=first + count - 1);
            run.2 = first + count - 1;
        }
    }

    /// A power cut takes the newest run's last frames.
    pub(crate) fn lose_last(&mut self, count: u64) {
        if let Some(run) = self.runs.last_mut() {
            let last = run.1.iter().next_back().map_or(0, |part| *part.end());
            run.1.remove(last.saturating_sub(count).max(1) + 1..=u64::MAX);
        }
    }

    pub(crate) fn summary(&self, since: Since, starts: impl Fn(Epoch, u64) -> Duration) -> Summary {
        let filled = self.runs.iter().filter(|run| !run.1.is_empty());
        let runs = filled.clone().map(|(epoch, held, gone_to)| EpochRange {
            epoch: *epoch,
            first_seq: *held.iter().next().unwrap().start(),
            last_seq: *held.iter().next_back().unwrap().end(),
            frames: held.count(),
            gone_to: *gone_to,
        });
        let first = match since {
            Since::Time { time_us } => {
                let time = Duration::from_micros(u64::try_from(time_us).unwrap());
                let mut frames = filled.flat_map(|(epoch, held, _)| held.iter().flatten().map(|seq| (*epoch, seq)));
                frames.find(|(epoch, seq)| starts(*epoch, *seq) >= time)
            }
            _ => None,
        };
        Summary { first, runs: runs.collect(), older: false }
    }
}

/// What a liar says that it has: every run that there is, to the end of the numbers, and some that never were.
pub(crate) fn boast(runs: &[Epoch], random: &mut crate::weather::Random) -> Summary {
    let invented: Vec<Epoch> = (0..3).map(|_| Epoch(random.next().to_le_bytes())).collect();
    let all = runs.iter().copied().chain(invented).map(|epoch| EpochRange {
        epoch,
        first_seq: 1,
        last_seq: [5_000, u64::MAX][random.below(2) as usize],
        frames: random.below(100_000),
        gone_to: 0,
    });
    Summary { first: runs.first().map(|epoch| (*epoch, 1)), runs: all.collect(), older: false }
}
