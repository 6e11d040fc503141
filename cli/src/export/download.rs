//! The past out of the mesh, into a store for the time of the export.

use std::ops::RangeInclusive;

use anyhow::{Context, bail};
use mesh::{Next, Replay, ReplayConfig, Since};
use reading::{Epoch, Frame, NodeId};
use store::{Options, Store, StoreHandle};
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

use super::ExportArgs;
use crate::line::now_us;
use crate::verify::audit::{Report, Run};
use crate::{meeting, output};

/// Frames that are stored at once.
const BATCH: usize = 1024;

/// What came.
pub struct Download {
    /// The frames.
    pub store: Store,
    /// What is known of those that did not come.
    pub absent: Absent,
    /// The store's files; they go when this is dropped.
    pub files: TempDir,
}

/// What did not come.
#[derive(Debug, Default)]
pub struct Absent {
    /// What exists, and nobody who was asked has it.
    pub ranges: Vec<(NodeId, Epoch, RangeInclusive<u64>)>,
    /// The rest, in words.
    pub told: Vec<String>,
    /// Nodes that could not be asked themselves: there may be more of them.
    pub unconfirmed: u64,
}

/// Takes everything that the selectors and `since` mean and anybody has. `None` where time ran out before it was there.
pub async fn run(args: &ExportArgs) -> anyhow::Result<Option<Download>> {
    let folder = tempfile::Builder::new().prefix("magpie-export-").tempdir().context("no place for what comes")?;
    let path = folder.path().join("frames.db");
    let options = Options { max_bytes: u64::MAX, ..Options::default() };
    let store = StoreHandle::spawn(Store::open(&path, options)?)?;
    let (mesh, events) = meeting::join(&args.meet, args.selectors(), Vec::new()).await?;
    let config = ReplayConfig {
        selectors: args.selectors(),
        since: args.since.map_or(Since::Beginning, |time_us| Since::Time { time_us }),
        seed: now_us().cast_unsigned(),
        ..ReplayConfig::default()
    };
    let mut replay = Replay::new(mesh.clone(), events, config);
    let came = take(args, &mut replay, &store).await;
    let absent = Absent::of(&replay);
    meeting::leave(mesh).await;
    store.close().await?;
    Ok(match came? {
        true => Some(Download { store: Store::open(&path, options)?, absent, files: folder }),
        false => None,
    })
}

/// Stores frames until the past is there; false where time ran out before.
async fn take(args: &ExportArgs, replay: &mut Replay, store: &StoreHandle) -> anyhow::Result<bool> {
    let started = Instant::now();
    let (mut frames, mut came): (Vec<Frame>, _) = (Vec::new(), 0);
    let mut hint = true;
    let mut interrupted = std::pin::pin!(service::stop_requested());
    loop {
        tokio::select! {
            next = replay.next() => match next? {
                Next::Frame { frame, .. } => frames.push(frame),
                Next::Settled => {
                    store.append(frames).await?;
                    return Ok(true);
                }
                Next::Event(event) => meeting::tell(&event),
            },
            () = sleep_until(started + meeting::PATIENCE), if hint && came == 0 && frames.is_empty() => {
                hint = false;
                output::complain(&format!("magpie: {}", meeting::where_searched(&args.meet)));
            }
            () = sleep_until(started + args.timeout) => {
                came += frames.len();
                output::complain(&format!(
                    "magpie: time ran out; {came} frames had come, and nothing is written: give it longer with --timeout"
                ));
                return Ok(false);
            }
            () = &mut interrupted => bail!("interrupted"),
        }
        if frames.len() >= BATCH {
            came += frames.len();
            store.append(std::mem::take(&mut frames)).await?;
        }
    }
}

impl Absent {
    fn of(replay: &Replay) -> Self {
        let mut absent = Self::default();
        for (node, account) in replay.accounts() {
            absent.unconfirmed += u64::from(!account.confirmed);
            absent.ranges.extend(account.missing.into_iter().map(|(epoch, seqs)| (node, epoch, seqs)));
            for gone in account.gone {
                let why = if gone.by_retention { "retention took them" } else { "its node lost them" };
                let (first, last) = gone.seqs.into_inner();
                absent.told.push(format!("frames {first} to {last} of run {} of {node}: {why}", gone.epoch));
            }
            if account.given_up > 0 {
                absent.told.push(format!("{} frames of {node}, given up among too many holes", account.given_up));
            }
        }
        if replay.nodes_left_out() > 0 {
            absent.told.push(format!("{} nodes beyond those that one program can follow", replay.nodes_left_out()));
        }
        absent
    }

    /// Adds to the words what exists, belongs to what was wanted, and is not in the report on what was exported already. With an end, what
    /// lies behind it is not wanted.
    pub fn beside(&mut self, report: &Report, ends: bool) {
        for (node, epoch, seqs) in std::mem::take(&mut self.ranges) {
            let run = report.runs.iter().find(|run| (run.node, run.epoch) == (node, epoch));
            let is_said = |run: &Run| run.holes.iter().any(|hole| hole.contains(seqs.start()));
            let is_behind = |run: &Run| *seqs.start() > run.last;
            if run.is_some_and(is_said) || (ends && run.is_none_or(is_behind)) {
                continue;
            }
            let (first, last) = seqs.into_inner();
            self.told.push(format!("frames {first} to {last} of run {epoch} of {node}"));
        }
    }
}
