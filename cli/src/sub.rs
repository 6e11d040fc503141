//! `magpie sub`: print readings as they come, and on demand what was measured before.

mod last;
mod printer;
mod replay;
mod undated;

use mesh::{Mesh, MeshEvent};
use reading::{Frame, Payload};
use tokio::time::Instant;

use self::last::LastValues;
use self::printer::Printer;
use crate::args::SubArgs;
use crate::exit::Exit;
use crate::missing::count;
use crate::{meeting, output};

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Enough lines were printed.
    Count,
    /// All that there was is printed.
    Settled,
    Timeout,
    Interrupted,
}

pub async fn run(args: SubArgs) -> anyhow::Result<Exit> {
    if let Some(since_us) = args.since {
        return replay::run(args, since_us).await;
    }
    let (mesh, mut events) = meeting::join(&args.meet, args.selectors.clone(), args.plain.clone()).await?;
    let started = Instant::now();
    let end = args.timeout.map(|timeout| started + timeout);
    let mut hint = Some(started + meeting::PATIENCE);
    let mut interrupted = std::pin::pin!(service::stop_requested());
    let mut printer = Printer::new(&args);
    let mut last = LastValues::default();
    let ending = loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { anyhow::bail!("the mesh stopped") };
                if let MeshEvent::Frame { frame, .. } = &event
                    && args.last
                    && is_wanted(&args, frame)
                {
                    last.want(&mesh, frame.clone());
                }
                if printer.take(event)? {
                    hint = None;
                }
            }
            frames = last.next(&mesh) => {
                if printer.show_last(frames?)? {
                    hint = None;
                }
            }
            () = until(end) => break Ending::Timeout,
            () = until(hint) => {
                hint = None;
                output::complain(&format!("magpie: {}", meeting::silence(&mesh, &args.meet, &args.selectors).await));
            }
            _ = &mut interrupted => break Ending::Interrupted,
        }
        if args.count.is_some_and(|count| printer.lines >= count) {
            break Ending::Count;
        }
    };
    let exit = ending.exit(&args, printer.lines, true);
    if exit == Exit::TimeRanOut {
        tell_time_ran_out(&mesh, &args, printer.lines).await;
    }
    meeting::leave(mesh).await;
    printer.close(true);
    Ok(exit)
}

/// Whether it announces a node that is meant.
fn is_wanted(args: &SubArgs, frame: &Frame) -> bool {
    let Ok(Payload::Announcement(announcement)) = frame.payload() else { return false };
    args.selectors.iter().any(|selector| selector.matches_place(&announcement.place))
}

impl Ending {
    /// What it means for a script; `is_whole` where nothing is known to be missing of what was printed.
    fn exit(self, args: &SubArgs, lines: u64, is_whole: bool) -> Exit {
        match self {
            Self::Timeout if args.count.is_some() || args.no_follow || lines == 0 => Exit::TimeRanOut,
            _ if is_whole => Exit::Done,
            _ => Exit::Incomplete,
        }
    }
}

async fn tell_time_ran_out(mesh: &Mesh, args: &SubArgs, lines: u64) {
    output::complain(&match lines {
        0 => format!("magpie: time ran out; {}", meeting::silence(mesh, &args.meet, &args.selectors).await),
        lines => format!("magpie: time ran out after {}", count(lines, "line")),
    });
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    #[test]
    fn a_script_can_rely_on_the_exit_code() {
        use Ending::{Count, Interrupted, Settled, Timeout};
        let exit = |ending: Ending, options: &str, lines, is_whole| {
            let words = format!("magpie sub temperature {options}");
            let Command::Sub(args) = Args::try_parse_from(words.split_whitespace()).unwrap().command else { panic!() };
            ending.exit(&args, lines, is_whole)
        };
        let past = "--since 1h --no-follow";
        assert_eq!(exit(Settled, past, 9, true), Exit::Done);
        assert_eq!(exit(Settled, past, 0, true), Exit::Done, "nothing was measured since then");
        assert_eq!(exit(Settled, past, 9, false), Exit::Incomplete);
        assert_eq!(exit(Timeout, past, 9, true), Exit::TimeRanOut, "the past was still coming");
        assert_eq!(exit(Timeout, past, 9, false), Exit::TimeRanOut);
        assert_eq!(exit(Timeout, "--since 1h", 9, false), Exit::Incomplete);
        assert_eq!(exit(Interrupted, "--since 1h", 9, false), Exit::Incomplete);
        assert_eq!(exit(Count, "--since 1h --count 9", 9, true), Exit::Done);
        assert_eq!(exit(Timeout, "--count 9", 8, true), Exit::TimeRanOut);
        assert_eq!(exit(Timeout, "", 8, true), Exit::Done);
        assert_eq!(exit(Timeout, "", 0, true), Exit::TimeRanOut);
    }
}
