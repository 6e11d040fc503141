//! `magpie sub`: print readings as they come, and on demand what was measured before.

mod last;
mod printer;
mod replay;
mod undated;

use mesh::MeshEvent;
use reading::{Frame, Payload};
use tokio::time::Instant;

use self::last::LastValues;
use self::printer::Printer;
use crate::args::SubArgs;
use crate::exit::Exit;
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
                output::complain(&format!("magpie: {}", meeting::where_searched(&args.meet)));
            }
            _ = &mut interrupted => break Ending::Interrupted,
        }
        if args.count.is_some_and(|count| printer.lines >= count) {
            break Ending::Count;
        }
    };
    meeting::leave(mesh).await;
    printer.close(true);
    ending.tell(&args, printer.lines);
    Ok(ending.exit(&args, printer.lines))
}

/// Whether it announces a node that is meant.
fn is_wanted(args: &SubArgs, frame: &Frame) -> bool {
    let Ok(Payload::Announcement(announcement)) = frame.payload() else { return false };
    args.selectors.iter().any(|selector| selector.matches_place(&announcement.place))
}

impl Ending {
    fn exit(self, args: &SubArgs, lines: u64) -> Exit {
        match self {
            Self::Timeout if args.count.is_some() || lines == 0 => Exit::TimeRanOut,
            _ => Exit::Done,
        }
    }

    fn tell(self, args: &SubArgs, lines: u64) {
        if self.exit(args, lines) == Exit::TimeRanOut {
            output::complain(&match lines {
                0 => format!("magpie: time ran out; {}", meeting::where_searched(&args.meet)),
                lines => format!("magpie: time ran out after {lines} lines"),
            });
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
