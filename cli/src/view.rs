//! The demo's live view: a table on a terminal, lines elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use mesh::{Events, MeshEvent};
use reading::{Flag, Quantity};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::feed::{Described, Feed};
use crate::line::{Line, now_us};
use crate::output;

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(250);

/// Prints a line a reading until told to stop.
pub async fn lines(mut events: Events, stop: &CancellationToken) -> io::Result<()> {
    let mut feed = Feed::default();
    let colour = output::has_colour();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = events.next() => event,
        };
        match event {
            Some(MeshEvent::Frame { frame, .. }) => {
                for described in feed.take(frame) {
                    for reading in &described.readings {
                        let line = Line::signed(&described.frame, &described.announcement, reading, now_us());
                        output::line(&line.human(colour))?;
                    }
                }
            }
            Some(_) => {}
            None => return Err(io::Error::other("the mesh stopped")),
        }
    }
}

/// Keeps a table up to date until told to stop.
pub async fn table(mut events: Events, mut table: Table, stop: &CancellationToken) -> io::Result<()> {
    let mut feed = Feed::default();
    let mut redraw = tokio::time::interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // The last table stays on the screen.
            () = stop.cancelled() => return table.draw(),
            event = events.next() => match event {
                Some(MeshEvent::Frame { frame, .. }) => feed.take(frame).iter().for_each(|described| table.take(described)),
                Some(_) => {}
                None => return Err(io::Error::other("the mesh stopped")),
            },
            _ = redraw.tick() => table.draw()?,
        }
    }
}

/// What the table's columns show: quantity, heading, factor, decimals.
const COLUMNS: [(Quantity, &str, f64, usize); 5] = [
    (Quantity::TEMPERATURE, "°C", 1.0, 2),
    (Quantity::HUMIDITY, "%RH", 1.0, 1),
    (Quantity::PRESSURE, "hPa", 0.01, 1),
    (Quantity::PM2_5, "PM2.5 µg/m³", 1.0, 0),
    (Quantity::CO2, "CO2 ppm", 1.0, 0),
];

/// The newest values of every node.
pub struct Table {
    hint: String,
    rows: BTreeMap<String, Row>,
}

struct Row {
    values: BTreeMap<Quantity, (f32, Flag)>,
    frames: u64,
    last: Instant,
}

impl Table {
    /// An empty table; `hint` is what to type in a second terminal.
    pub fn new(hint: String) -> Self {
        Self { hint, rows: BTreeMap::new() }
    }

    fn take(&mut self, described: &Described) {
        let row = self.rows.entry(described.announcement.place.to_string()).or_insert_with(|| Row {
            values: BTreeMap::new(),
            frames: 0,
            last: Instant::now(),
        });
        row.frames += 1;
        row.last = Instant::now();
        for quantity in described.readings.iter().map(|reading| reading.quantity) {
            // Of two sensors for one quantity the first that has a value is shown.
            let mut values = described.readings.iter().filter(|reading| reading.quantity == quantity);
            match values.find_map(|reading| reading.value.map(|value| (value, reading.flag))) {
                Some(value) => row.values.insert(quantity, value),
                None => row.values.remove(&quantity),
            };
        }
    }

    fn draw(&self) -> io::Result<()> {
        // Home, each line cleared to its end, then all below: no flicker, and nothing of an older and longer table stays.
        let mut text = String::from("\x1b[H");
        let mut line = |words: &str| {
            text.push_str(words);
            text.push_str("\x1b[K\r\n");
        };
        line("Magpie: five simulated nodes in this process. Ctrl-C ends it.");
        line(&format!("In a second terminal: {}", self.hint));
        line("");
        let mut heading = format!("{:<24}", "node");
        for (_, name, _, _) in COLUMNS {
            let _ = write!(heading, "{name:>13}");
        }
        line(&format!("\x1b[1m{heading}{:>9}{:>7}\x1b[0m", "frames", "age"));
        for (place, row) in &self.rows {
            let mut cells = format!("{place:<24}");
            for (quantity, _, factor, decimals) in COLUMNS {
                match row.values.get(&quantity) {
                    Some((value, Flag::GOOD)) => {
                        let _ = write!(cells, "{:>13.decimals$}", f64::from(*value) * factor);
                    }
                    Some((value, _)) => {
                        let _ = write!(cells, "\x1b[33m{:>13.decimals$}\x1b[0m", f64::from(*value) * factor);
                    }
                    None => cells.push_str(&format!("{:>13}", "")),
                }
            }
            line(&format!("{cells}{:>9}{:>6}s", row.frames, row.last.elapsed().as_secs()));
        }
        line("");
        line("Yellow: suspect, for instance a particle sensor that is still warming up.");
        text.push_str("\x1b[J");
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

/// Whether the program ended because the reader of its output has gone.
pub fn is_closed_pipe(ended: &service::Ended) -> bool {
    ended.failures.iter().any(|failure| match &failure.cause {
        service::tasks::FailureCause::Error(error) => {
            error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        }
        _ => false,
    })
}
