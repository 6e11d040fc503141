//! Frames as lines on stdout.

use std::collections::HashMap;

use mesh::MeshEvent;
use reading::{Dating, Epoch, Frame, NodeId, PlainMessage, Quantity, Reading, Selector};

use crate::args::SubArgs;
use crate::feed::{Described, Feed};
use crate::line::{Line, now_us};
use crate::{meeting, output};

/// One thing that is measured: by which node's which sensor.
type Series = (NodeId, u8, Quantity);

/// Turns events into lines on stdout.
pub struct Printer {
    selectors: Vec<Selector>,
    json: bool,
    colour: bool,
    most: u64,
    /// What is known to be older is left out.
    since_us: Option<i64>,
    feed: Feed,
    pub dating: Dating,
    /// Lines that were printed.
    pub lines: u64,
    /// Of every series, the newest frame that was printed, where last values may come that were printed already.
    shown: Option<HashMap<Series, (Epoch, u64)>>,
    lagged: u64,
    unreadable: HashMap<String, u64>,
}

impl Printer {
    pub fn new(args: &SubArgs) -> Self {
        Self {
            selectors: args.selectors.clone(),
            json: args.json,
            colour: output::has_colour(),
            most: args.count.unwrap_or(u64::MAX),
            since_us: args.since,
            feed: Feed::default(),
            dating: Dating::default(),
            lines: 0,
            shown: args.last.then(HashMap::new),
            lagged: 0,
            unreadable: HashMap::new(),
        }
    }

    /// Takes what happens on the mesh. Whether a line was printed.
    pub fn take(&mut self, event: MeshEvent) -> anyhow::Result<bool> {
        match event {
            MeshEvent::Frame { frame, .. } => return self.show(frame),
            MeshEvent::Plain { topic, source, data } => match PlainMessage::parse(&data) {
                Some(message) => return self.print(&Line::unsigned(&topic, source, message, now_us())),
                None => *self.unreadable.entry(topic).or_default() += 1,
            },
            MeshEvent::Lagged { dropped } => self.lagged += dropped,
            event => meeting::tell(&event),
        }
        Ok(false)
    }

    /// Shows a frame, and those that waited for it. Whether a line was printed.
    pub fn show(&mut self, frame: Frame) -> anyhow::Result<bool> {
        self.dating.learn(&frame);
        let before = self.lines;
        for described in self.feed.take(frame) {
            let time_us = self.dating.time_us(&described.frame);
            if time_us.zip(self.since_us).is_none_or(|(time, since)| time >= since) {
                for reading in &described.readings {
                    self.show_reading(&described, reading, time_us)?;
                }
            }
        }
        Ok(self.lines > before)
    }

    /// Shows the newest value of each series in these frames of one run, where nothing as new was shown.
    pub fn show_last(&mut self, mut frames: Vec<Frame>) -> anyhow::Result<bool> {
        let before = self.lines;
        frames.sort_by_key(Frame::seq);
        let mut newest = HashMap::<(u8, Quantity), (Described, Reading)>::new();
        for frame in frames {
            self.dating.learn(&frame);
            for Described { frame, announcement, readings } in self.feed.take(frame) {
                for reading in readings {
                    let described =
                        Described { frame: frame.clone(), announcement: announcement.clone(), readings: Vec::new() };
                    newest.insert((reading.sensor, reading.quantity), (described, reading));
                }
            }
        }
        let mut newest: Vec<_> = newest.into_values().collect();
        newest.sort_by_key(|(described, reading)| (described.frame.seq(), reading.sensor, reading.quantity));
        for (described, reading) in newest {
            // Of a run that is heard live already, this is older, or the same.
            let series = (described.frame.node(), reading.sensor, reading.quantity);
            if self.shown.as_ref().is_none_or(|shown| !shown.contains_key(&series)) {
                let time_us = self.dating.time_us(&described.frame);
                self.show_reading(&described, &reading, time_us)?;
            }
        }
        Ok(self.lines > before)
    }

    fn show_reading(&mut self, described: &Described, reading: &Reading, time_us: Option<i64>) -> anyhow::Result<()> {
        let (frame, announcement) = (&described.frame, &described.announcement);
        if !self.selectors.iter().any(|selector| selector.matches(&announcement.place, reading.quantity)) {
            return Ok(());
        }
        if let Some(shown) = &mut self.shown {
            let series = (frame.node(), reading.sensor, reading.quantity);
            let repeated = |&(epoch, seq): &(Epoch, u64)| epoch == frame.epoch() && seq >= frame.seq();
            if shown.get(&series).is_some_and(repeated) {
                return Ok(());
            }
            shown.insert(series, (frame.epoch(), frame.seq()));
        }
        let line = Line::signed(frame, announcement, reading, now_us()).dated(frame, time_us);
        self.print(&line).map(drop)
    }

    fn print(&mut self, line: &Line) -> anyhow::Result<bool> {
        if self.lines >= self.most {
            return Ok(false);
        }
        output::line(&if self.json { line.json() } else { line.human(self.colour) })?;
        self.lines += 1;
        Ok(true)
    }

    /// What a person has to know about the lines above. What was lost on the way is fetched in a replay.
    pub fn close(&self, lost_is_lost: bool) {
        if self.lagged > 0 && lost_is_lost {
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
