//! `magpie sub --since`: the past of each node in order, then live, and what is missing of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use mesh::{Account, Next, Replay, ReplayConfig, Since};
use reading::{Epoch, NodeId};
use tokio::time::{Instant, MissedTickBehavior};

use super::printer::Printer;
use super::undated::Undated;
use super::{Ending, until};
use crate::args::SubArgs;
use crate::exit::Exit;
use crate::{meeting, output};

/// How often it is looked whose past is here.
const LOOK: Duration = Duration::from_secs(1);
/// Ranges that are told one by one; of more it is told how many.
const MAX_TOLD: usize = 20;

pub async fn run(args: SubArgs, since_us: i64) -> anyhow::Result<Exit> {
    let (mesh, events) = meeting::join(&args.meet, args.selectors.clone(), args.plain.clone()).await?;
    let config = ReplayConfig {
        selectors: args.selectors.clone(),
        since: Since::Time { time_us: since_us },
        seed: since_us.cast_unsigned(),
        ..ReplayConfig::default()
    };
    let mut replay = Replay::new(mesh, events, config);
    let mut printer = Printer::new(&args);
    let ending = follow(&args, &mut replay, &mut printer).await?;
    let told = Told::of(replay.accounts(), replay.repeats(), ending == Ending::Count);
    meeting::leave(replay.into_mesh()).await;
    printer.close(false);
    ending.tell(&args, printer.lines);
    output::complain(&format!("magpie: {}", told.words()));
    Ok(match ending.exit(&args, printer.lines) {
        Exit::Done if told.is_incomplete() => Exit::Incomplete,
        exit => exit,
    })
}

async fn follow(args: &SubArgs, replay: &mut Replay, printer: &mut Printer) -> anyhow::Result<Ending> {
    let started = Instant::now();
    let end = args.timeout.map(|timeout| started + timeout);
    let mut hint = Some(started + meeting::PATIENCE);
    let mut interrupted = std::pin::pin!(service::stop_requested());
    let mut undated = Undated::default();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (mut printed, mut settled) = (false, false);
        tokio::select! {
            next = replay.next() => match next? {
                Next::Frame { frame, .. } => {
                    printer.dating.learn(&frame);
                    let past = !replay.is_settled(&frame.node());
                    for frame in undated.take(frame, past, &printer.dating) {
                        printed |= printer.show(frame)?;
                    }
                }
                Next::Settled => settled = true,
                Next::Event(event) => printed = printer.take(event)?,
            },
            _ = look.tick() => {}
            () = until(end) => return Ok(Ending::Timeout),
            () = until(hint) => {
                hint = None;
                output::complain(&format!("magpie: {}", meeting::where_searched(&args.meet)));
            }
            _ = &mut interrupted => return Ok(Ending::Interrupted),
        }
        let ends = |node: &&NodeId| settled || replay.is_settled(node);
        for node in undated.nodes().filter(ends).copied().collect::<Vec<_>>() {
            for frame in undated.end(node) {
                printed |= printer.show(frame)?;
            }
        }
        if printed {
            hint = None;
        }
        if args.count.is_some_and(|count| printer.lines >= count) {
            return Ok(Ending::Count);
        }
        if settled && args.no_follow {
            return Ok(Ending::Settled);
        }
    }
}

/// What came, and what did not.
#[derive(Debug, Default)]
struct Told {
    nodes: usize,
    frames: u64,
    late: u64,
    repeats: u64,
    missing: Ranges,
    dropped: Ranges,
    lost: Ranges,
    given_up: u64,
    unconfirmed: usize,
}

/// Ranges of several nodes.
#[derive(Debug, Default)]
struct Ranges {
    frames: u64,
    ranges: usize,
    /// The first few.
    told: BTreeMap<(NodeId, Epoch), Vec<RangeInclusive<u64>>>,
}

impl Told {
    /// `early` says that it was ended before all was there: what had not come yet is not missing then, but what was passed over.
    fn of(accounts: impl Iterator<Item = (NodeId, Account)>, repeats: u64, early: bool) -> Self {
        let mut told = Self { repeats, ..Self::default() };
        for (node, account) in accounts {
            told.nodes += 1;
            told.frames += account.frames;
            told.late += account.late;
            told.given_up += account.given_up;
            told.unconfirmed += usize::from(!account.confirmed);
            for (epoch, seqs) in account.missing {
                let passed = account.last.is_some_and(|(last, seq)| last == epoch && *seqs.end() < seq);
                if passed || !early {
                    told.missing.add(node, epoch, seqs);
                }
            }
            for gone in account.gone {
                let ranges = if gone.by_retention { &mut told.dropped } else { &mut told.lost };
                ranges.add(node, gone.epoch, gone.seqs);
            }
        }
        told
    }

    fn is_incomplete(&self) -> bool {
        self.missing.frames + self.dropped.frames + self.lost.frames + self.given_up > 0
    }

    fn words(&self) -> String {
        let mut words =
            vec![format!("received {} of {}", count(self.frames, "frame"), count(self.nodes as u64, "node"))];
        let kinds = [
            (&self.missing, "missing"),
            (&self.dropped, "no longer kept by their node"),
            (&self.lost, "lost by their node"),
        ];
        words.extend(kinds.iter().filter(|(ranges, _)| ranges.frames > 0).map(|(ranges, what)| ranges.words(what)));
        if self.given_up > 0 {
            words.push(format!("{} given up among too many holes", self.given_up));
        }
        if !self.is_incomplete() {
            words.push("nothing is known to be missing".to_owned());
        }
        if self.unconfirmed > 0 {
            let nodes = count(self.unconfirmed as u64, "node");
            words.push(format!("{nodes} could not be asked itself, so that more may be missing"));
        }
        if self.late > 0 {
            words.push(format!("{} came late, out of order", self.late));
        }
        words.push(format!("{} dropped", count(self.repeats, "repeat")));
        words.join("; ")
    }
}

impl Ranges {
    fn add(&mut self, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>) {
        self.frames = self.frames.saturating_add((seqs.end() - seqs.start()).saturating_add(1));
        self.ranges += 1;
        if self.ranges <= MAX_TOLD {
            self.told.entry((node, epoch)).or_default().push(seqs);
        }
    }

    fn words(&self, what: &str) -> String {
        let range = |seqs: &RangeInclusive<u64>| match seqs.end() - seqs.start() {
            0 => seqs.start().to_string(),
            _ => format!("{}..{}", seqs.start(), seqs.end()),
        };
        let of_run = |((node, epoch), seqs): (&(NodeId, Epoch), &Vec<_>)| {
            format!("{node} {epoch} {}", seqs.iter().map(range).collect::<Vec<_>>().join(","))
        };
        let mut told: Vec<String> = self.told.iter().map(of_run).collect();
        if self.ranges > MAX_TOLD {
            told.push(format!("and {} ranges more", self.ranges - MAX_TOLD));
        }
        format!("{} {what} ({})", self.frames, told.join(", "))
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use mesh::Gone;

    use super::*;

    const NODE: NodeId = NodeId([7; 32]);
    const A: Epoch = Epoch([1; 8]);

    fn account() -> Account {
        Account { frames: 90, last: Some((A, 100)), confirmed: true, ..Account::default() }
    }

    #[test]
    fn what_is_whole_says_so() {
        let told = Told::of([(NODE, account())].into_iter(), 3, false);
        assert!(!told.is_incomplete());
        assert_eq!(told.words(), "received 90 frames of 1 node; nothing is known to be missing; 3 repeats dropped");
    }

    #[test]
    fn what_is_missing_is_named_and_why() {
        let mut account = account();
        account.missing = vec![(A, 20..=29), (A, 40..=40)];
        account.gone = vec![
            Gone { epoch: A, seqs: 1..=3, by_retention: true },
            Gone { epoch: A, seqs: 101..=102, by_retention: false },
        ];
        account.confirmed = false;
        let told = Told::of([(NODE, account)].into_iter(), 0, false);
        assert!(told.is_incomplete());
        let run = format!("{NODE} {A}");
        assert_eq!(
            told.words(),
            format!(
                "received 90 frames of 1 node; 11 missing ({run} 20..29,40); 3 no longer kept by their node ({run} 1..3); \
                 2 lost by their node ({run} 101..102); 1 node could not be asked itself, so that more may be missing; 0 repeats dropped"
            )
        );
    }

    #[test]
    fn of_very_many_holes_some_are_named() {
        let mut account = account();
        account.missing = (0..1000).map(|hole| (A, 2 * hole + 1..=2 * hole + 1)).collect();
        let words = Told::of([(NODE, account)].into_iter(), 0, false).words();
        assert!(
            words.contains("1000 missing") && words.contains("and 980 ranges more") && words.len() < 400,
            "{words}"
        );
    }

    #[test]
    fn who_has_had_enough_misses_only_what_was_passed_over() {
        let mut account = account();
        account.missing = vec![(A, 50..=50), (A, 101..=9000), (Epoch([2; 8]), 1..=500)];
        let told = Told::of([(NODE, account)].into_iter(), 0, true);
        assert_eq!(told.missing.frames, 1);
    }
}
