//! Frames as lines, rows, records, or as they are.

use std::io::{self, Write};

use reading::{Announcement, ArchiveWriter, Frame, Payload, Reading};

use super::selection::Selection;
use super::senml::Senml;
use super::{Exported, Format};
use crate::line::Line;
use crate::verify::audit::{Audit, Report};

/// The columns of CSV: the keys of a [`Line`].
pub const COLUMNS: [&str; 15] = [
    "path",
    "value",
    "unit",
    "raw",
    "flag",
    "reason",
    "time",
    "clock",
    "received",
    "node",
    "epoch",
    "seq",
    "sensor",
    "simulated",
    "verified",
];

/// A reading with everything that says what it is.
pub struct Described<'a> {
    /// The frame that it came in.
    pub frame: &'a Frame,
    /// Where the node is and what its sensors are.
    pub announcement: &'a Announcement,
    /// The reading.
    pub reading: &'a Reading,
    /// When it was measured, us since 1970, where that is known.
    pub time_us: Option<i64>,
}

/// Writes frames in one format, and looks at what is missing among them.
pub struct Export<'a> {
    selection: &'a Selection,
    writer: Writer<'a>,
    audit: Audit,
    exported: Exported,
}

enum Writer<'a> {
    Jsonl(&'a mut dyn Write),
    Csv(&'a mut dyn Write),
    Senml(Senml<'a>),
    Magpie(ArchiveWriter<&'a mut dyn Write>),
}

impl<'a> Export<'a> {
    /// Begins to write.
    pub fn begin(format: Format, selection: &'a Selection, out: &'a mut dyn Write) -> io::Result<Self> {
        let writer = match format {
            Format::Jsonl => Writer::Jsonl(out),
            Format::Csv => {
                writeln!(out, "{}", COLUMNS.join(","))?;
                Writer::Csv(out)
            }
            Format::Senml => Writer::Senml(Senml::begin(out)?),
            Format::Magpie => Writer::Magpie(ArchiveWriter::begin(out)?),
        };
        Ok(Self { selection, writer, audit: Audit::default(), exported: Exported::default() })
    }

    /// Takes the next frame; node by node, run by run, by seq.
    pub fn take(&mut self, frame: &Frame, time_us: Option<i64>) -> io::Result<()> {
        self.audit.take(frame);
        if let Writer::Magpie(archive) = &mut self.writer {
            return archive.write(frame);
        }
        // What cannot be read, or has no announcement, is in the audit's report.
        let Ok(Payload::Readings(readings)) = frame.payload() else { return Ok(()) };
        if !self.selection.means_time(time_us) {
            return Ok(());
        }
        let Some(announcement) = self.audit.announcement(readings.announcement) else { return Ok(()) };
        for reading in &readings.readings {
            if self.selection.selectors.iter().any(|selector| selector.matches(&announcement.place, reading.quantity)) {
                let described = Described { frame, announcement: &announcement, reading, time_us };
                if self.writer.write(&described)? {
                    self.exported.readings += 1;
                } else {
                    self.exported.left_out += 1;
                }
            }
        }
        Ok(())
    }

    /// Everything was taken.
    pub fn end(self) -> io::Result<(Exported, Report)> {
        match self.writer {
            Writer::Jsonl(out) | Writer::Csv(out) => out.flush()?,
            Writer::Senml(senml) => senml.end()?.flush()?,
            Writer::Magpie(archive) => archive.end()?.flush()?,
        }
        Ok((self.exported, self.audit.end()))
    }
}

impl Writer<'_> {
    /// Writes a reading; false where the format has no place for it.
    fn write(&mut self, described: &Described<'_>) -> io::Result<bool> {
        match self {
            Self::Jsonl(out) => writeln!(out, "{}", line(described).json())?,
            Self::Csv(out) => writeln!(out, "{}", row(&line(described)))?,
            Self::Senml(senml) => return senml.write(described),
            Self::Magpie(_) => {}
        }
        Ok(true)
    }
}

/// As `magpie sub --json` prints it; when it came to a store nobody knows.
fn line(described: &Described<'_>) -> Line {
    let Described { frame, announcement, reading, time_us } = described;
    Line { received: None, ..Line::signed(frame, announcement, reading, 0) }.dated(frame, *time_us)
}

/// RFC 4180; null is an empty field.
fn row(line: &Line) -> String {
    let line = serde_json::to_value(line).unwrap_or_default();
    let fields = COLUMNS.iter().map(|column| match line.get(column) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => quoted(text),
        Some(value) => value.to_string(),
    });
    fields.collect::<Vec<_>>().join(",")
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
