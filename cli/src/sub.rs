//! `magpie sub`: print readings as they come.

use std::collections::HashMap;
use std::time::Duration;

use mesh::MeshEvent;
use reading::{PlainMessage, Selector};
use tokio::time::Instant;

use crate::args::SubArgs;
use crate::exit::Exit;
use crate::feed::Feed;
use crate::line::{Line, now_us};
use crate::{meeting, output};

/// A person who sees nothing for this long is told where was searched.
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(args: SubArgs) -> anyhow::Result<Exit> {
    let (mesh, mut events) = meeting::join(&args.meet, args.selectors.clone(), args.plain.clone()).await?;
    let started = Instant::now();
    let end = args.timeout.map(|timeout| started + timeout);
    let mut hint = Some(started + PATIENCE);
    let mut interrupted = std::pin::pin!(service::stop_requested());
    let mut printer = Printer::new(&args);
    let exit = loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { anyhow::bail!("the mesh stopped") };
                if printer.take(event)? {
                    hint = None;
                }
                if args.count.is_some_and(|count| printer.lines >= count) {
                    break Exit::Done;
                }
            }
            () = until(end) => break if args.count.is_none() && printer.lines > 0 { Exit::Done } else { Exit::TimeRanOut },
            () = until(hint) => {
                hint = None;
                output::complain(&format!("magpie: {}", meeting::where_searched(&args.meet)));
            }
            _ = &mut interrupted => break Exit::Done,
        }
    };
    meeting::leave(mesh).await;
    printer.close();
    if exit == Exit::TimeRanOut {
        output::complain(&match printer.lines {
            0 => format!("magpie: time ran out; {}", meeting::where_searched(&args.meet)),
            lines => format!("magpie: time ran out after {lines} lines"),
        });
    }
    Ok(exit)
}

/// Turns events into lines on stdout.
struct Printer {
    selectors: Vec<Selector>,
    json: bool,
    colour: bool,
    most: u64,
    feed: Feed,
    lines: u64,
    lagged: u64,
    unreadable: HashMap<String, u64>,
}

impl Printer {
    fn new(args: &SubArgs) -> Self {
        Self {
            selectors: args.selectors.clone(),
            json: args.json,
            colour: output::has_colour(),
            most: args.count.unwrap_or(u64::MAX),
            feed: Feed::default(),
            lines: 0,
            lagged: 0,
            unreadable: HashMap::new(),
        }
    }

    /// Whether a line was printed.
    fn take(&mut self, event: MeshEvent) -> anyhow::Result<bool> {
        let before = self.lines;
        match event {
            MeshEvent::Frame { frame, .. } => {
                for described in self.feed.take(frame) {
                    let place = &described.announcement.place;
                    for reading in &described.readings {
                        if self.selectors.iter().any(|selector| selector.matches(place, reading.quantity)) {
                            self.print(&Line::signed(&described.frame, &described.announcement, reading, now_us()))?;
                        }
                    }
                }
            }
            MeshEvent::Plain { topic, source, data } => match PlainMessage::parse(&data) {
                Some(message) => self.print(&Line::unsigned(&topic, source, message, now_us()))?,
                None => *self.unreadable.entry(topic).or_default() += 1,
            },
            MeshEvent::Lagged { dropped } => self.lagged += dropped,
            MeshEvent::Unreachable { address, problem } => {
                output::complain(&format!("magpie: {address} cannot be reached: {problem}; trying again"));
            }
            MeshEvent::AreasLeftOut { topics } => output::complain(&format!(
                "magpie: {topics} areas more than one program can follow match; name fewer cities or areas"
            )),
            _ => {}
        }
        Ok(self.lines > before)
    }

    fn print(&mut self, line: &Line) -> anyhow::Result<()> {
        if self.lines >= self.most {
            return Ok(());
        }
        output::line(&if self.json { line.json() } else { line.human(self.colour) })?;
        self.lines += 1;
        Ok(())
    }

    /// What a person has to know about the lines above.
    fn close(&self) {
        if self.lagged > 0 {
            output::complain(&format!(
                "magpie: {} messages came faster than they could be printed and were lost",
                self.lagged
            ));
        }
        let given_up = self.feed.given_up();
        if given_up > 0 {
            output::complain(&format!(
                "magpie: {given_up} frames were not shown: the announcement that explains them never came"
            ));
        }
        for (topic, count) in &self.unreadable {
            output::complain(&format!(
                "magpie: {count} messages on the plain topic {topic} were neither a number nor a Magpie line"
            ));
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
