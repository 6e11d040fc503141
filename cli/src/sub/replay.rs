//! `magpie sub --since`: the past of each node in order, then live, and what is missing of it.

use std::time::Duration;

use mesh::{Mesh, Next, Replay, ReplayConfig, Since};
use reading::NodeId;
use tokio::time::{Instant, MissedTickBehavior};

use super::printer::Printer;
use super::undated::Undated;
use super::{Ending, tell_time_ran_out, until};
use crate::args::SubArgs;
use crate::exit::Exit;
use crate::missing::{self, Missing, count};
use crate::{meeting, output};

/// How often it is looked whose past is here.
const LOOK: Duration = Duration::from_secs(1);

pub async fn run(args: SubArgs, since_us: i64) -> anyhow::Result<Exit> {
    let (mesh, events) = meeting::join(&args.meet, args.selectors.clone(), args.plain.clone()).await?;
    let config = ReplayConfig {
        selectors: args.selectors.clone(),
        since: Since::Time { time_us: since_us },
        seed: since_us.cast_unsigned(),
        ..ReplayConfig::default()
    };
    let mut replay = Replay::new(mesh.clone(), events, config);
    let mut printer = Printer::new(&args);
    let ending = follow(&args, &mesh, &mut replay, &mut printer).await?;
    let (mut nodes, mut frames, mut late) = (0, 0, 0);
    for (_, account) in replay.accounts() {
        (nodes, frames, late) = (nodes + 1, frames + account.frames, late + account.late);
    }
    let (missing, repeats) = (Missing::of(&replay), replay.repeats());
    let missing = if ending == Ending::Count { missing.passed_over() } else { missing }.words();
    let exit = ending.exit(&args, printer.lines, missing.is_empty());
    if exit == Exit::TimeRanOut {
        tell_time_ran_out(&mesh, &args, printer.lines).await;
    }
    meeting::leave(mesh).await;
    printer.close(false);
    if nodes == 0 && ending == Ending::Settled {
        return Err(meeting::nobody_meant("that were found", &args.selectors));
    }
    let mut words = vec![format!("received {} of {}", count(frames, "frame"), count(nodes, "node"))];
    words.extend_from_slice(&missing);
    if missing.is_empty() {
        words.push(missing::NOTHING.to_owned());
    }
    if late > 0 {
        words.push(format!("{late} came late, out of order"));
    }
    words.push(format!("{} dropped", count(repeats, "repeat")));
    output::complain(&format!("magpie: {}", words.join("; ")));
    Ok(exit)
}

async fn follow(args: &SubArgs, mesh: &Mesh, replay: &mut Replay, printer: &mut Printer) -> anyhow::Result<Ending> {
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
                output::complain(&format!("magpie: {}", meeting::silence(mesh, &args.meet, &args.selectors).await));
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
