//! One reading as a line: JSON for programs, words for people.

use std::time::SystemTime;

use reading::{Announcement, ClockState, Flag, Frame, PlainMessage, Reading, rfc3339};
use serde::Serialize;

/// A line of `magpie sub --json`. The keys and their order are part of the interface.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// `city/area/node/quantity`.
    pub path: String,
    /// Shortest decimal of the value; null where it is missing.
    pub value: Option<f64>,
    /// As in SenML.
    pub unit: String,
    /// The value before correction, where there was one.
    pub raw: Option<f64>,
    /// QARTOD's flag.
    pub flag: String,
    /// Why the flag is not good.
    pub reason: String,
    /// When it was measured, RFC 3339; null while the node does not know the time.
    pub time: Option<String>,
    /// What the node knew of its clock; `redated` where it knew nothing then, and a later clock fix of its said the time.
    pub clock: String,
    /// When it came here, RFC 3339.
    pub received: Option<String>,
    /// The node's PeerId.
    pub node: Option<String>,
    /// Which run of the node.
    pub epoch: Option<String>,
    /// Which frame of that run.
    pub seq: Option<u64>,
    /// `model@bus/address`.
    pub sensor: Option<String>,
    /// Whether a model in software made it.
    pub simulated: bool,
    /// Whether the node's signature was checked.
    pub verified: bool,
}

impl Line {
    /// The line of a signed reading.
    pub fn signed(frame: &Frame, announcement: &Announcement, reading: &Reading, received_us: i64) -> Self {
        let stamp = frame.stamp();
        let sensor = announcement.sensors.get(usize::from(reading.sensor));
        Self {
            path: format!("{}/{}", announcement.place, reading.quantity),
            value: reading.value.map(reading::shortest),
            unit: reading.quantity.unit().to_owned(),
            raw: reading.raw.map(reading::shortest),
            flag: reading.flag.to_string(),
            reason: reading.reason.to_string(),
            time: if stamp.clock == ClockState::UNKNOWN { None } else { rfc3339(stamp.time_us) },
            clock: stamp.clock.to_string(),
            received: rfc3339(received_us),
            node: Some(frame.node().to_string()),
            epoch: Some(frame.epoch().to_string()),
            seq: Some(frame.seq()),
            sensor: sensor.map(|sensor| format!("{}@{}/0x{:02x}", sensor.model, sensor.bus, sensor.address)),
            simulated: sensor.is_some_and(|sensor| sensor.simulated),
            verified: true,
        }
    }

    /// The same, dated (us since 1970) where the node did not know the time when it made the frame.
    pub fn dated(self, frame: &Frame, time_us: Option<i64>) -> Self {
        let knew = matches!(frame.stamp().clock, ClockState::SYNCED | ClockState::FREE_RUNNING);
        match time_us.filter(|_| !knew) {
            Some(time_us) => Self { time: rfc3339(time_us), clock: "redated".to_owned(), ..self },
            None => self,
        }
    }

    /// The line of what came on a plain topic: nobody signed it, and it may be anybody's.
    pub fn unsigned(topic: &str, source: Option<String>, message: PlainMessage, received_us: i64) -> Self {
        let (path, value, unit, time) = match message {
            PlainMessage::Line(line) => {
                let path = format!("{}/{}/{}/{}", line.city, line.area, line.node, line.quantity);
                (path, line.value, line.unit, line.time)
            }
            PlainMessage::Number(value) => (topic.to_owned(), value, String::new(), None),
        };
        Self {
            path: printable(&path),
            value: Some(value),
            unit: printable(&unit),
            raw: None,
            flag: Flag::NOT_EVALUATED.to_string(),
            reason: reading::Reason::NONE.to_string(),
            time: time.as_deref().map(printable),
            clock: ClockState::UNKNOWN.to_string(),
            received: rfc3339(received_us),
            node: source,
            epoch: None,
            seq: None,
            sensor: None,
            simulated: false,
            verified: false,
        }
    }

    /// For programs.
    pub fn json(&self) -> String {
        // Strings and numbers only: there is nothing in it that JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people: time of day in UTC, path, value, and what there is to say about it.
    pub fn human(&self, colour: bool) -> String {
        let time =
            self.time.as_deref().or(self.received.as_deref()).and_then(|time| time.get(11..19)).unwrap_or("--:--:--");
        let value = match self.value {
            Some(value) => format!("{value:>10.2} {}", human_unit(&self.unit)),
            None => format!("{:>10}", "-"),
        };
        let mut notes = Vec::new();
        if self.flag != "good" {
            notes.push(if self.reason == "none" {
                self.flag.clone()
            } else {
                format!("{} ({})", self.flag, self.reason)
            });
        }
        if self.verified && self.time.is_none() {
            // What is shown is when it came, which may be long after.
            notes.push("time unknown".to_owned());
        }
        if self.simulated {
            notes.push("simulated".to_owned());
        }
        if !self.verified {
            notes.push("unsigned".to_owned());
        }
        let paint = |text: &str, code: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let code = match self.flag.as_str() {
            "good" | "not_evaluated" => "2",
            "suspect" => "33",
            _ => "31",
        };
        let text = format!("{}  {:<44} {value:<17}  {}", paint(time, "2"), self.path, paint(&notes.join(", "), code));
        text.trim_end().to_owned()
    }
}

/// Units as people write them.
pub fn human_unit(unit: &str) -> &str {
    match unit {
        "Cel" => "°C",
        "%RH" => "%",
        "ug/m3" => "µg/m³",
        "1" => "",
        unit => unit,
    }
}

/// us since 1970 by this machine's clock.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What a stranger wrote must not drive the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsigned_line_cannot_drive_the_terminal() {
        let line = Line::unsigned("temp", None, PlainMessage::parse(b"21.5").unwrap(), 0);
        assert_eq!((line.path.as_str(), line.value, line.verified), ("temp", Some(21.5), false));
        let evil = r#"{"node":"\u001b[2J","city":"c","area":"a","quantity":"q","value":1,"unit":"","time":null}"#;
        let line = Line::unsigned("temp", None, PlainMessage::parse(evil.as_bytes()).unwrap(), 0);
        assert!(!line.human(false).contains('\u{1b}'), "{}", line.human(false));
        assert!(line.human(false).contains("unsigned"));
    }
}
