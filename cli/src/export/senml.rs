//! SenML in JSON (RFC 8428): one pack, record by record.
//!
//! A name is the reading's path and, behind a colon, the sensor's position in the announcement: two sensors of a node may measure the same.
//! Base name and base time hold until the next ones, so they are written where they change.

use std::io::{self, Write};

use reading::{Flag, Place, Quantity, shortest};
use serde::Serialize;

use super::format::Described;

/// RFC 9100 section 4: with secondary units (RFC 8798), of which ug/m3 and ppm are.
const VERSION: u32 = 26;

/// One pack in the making.
pub struct Senml<'a> {
    out: &'a mut dyn Write,
    place: Option<Place>,
    time_us: Option<i64>,
    is_first: bool,
}

#[derive(Serialize)]
struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    bver: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bt: Option<f64>,
    n: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<&'static str>,
    v: f64,
}

impl<'a> Senml<'a> {
    /// Begins a pack.
    pub fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(b"[")?;
        Ok(Self { out, place: None, time_us: None, is_first: true })
    }

    /// Writes a reading as a record; false for what SenML cannot say: it has no flags, and a value without a time is one of now (section 4.5.3).
    pub fn write(&mut self, described: &Described<'_>) -> io::Result<bool> {
        let Described { announcement, reading, .. } = described;
        let is_sound = matches!(reading.flag, Flag::GOOD | Flag::NOT_EVALUATED);
        let (Some(value), Some(time_us), true) = (reading.value, described.time_us, is_sound) else { return Ok(false) };
        let (u, v) = in_registered_unit(reading.quantity, shortest(value));
        let place = &announcement.place;
        let record = Record {
            bver: self.is_first.then_some(VERSION),
            bn: (self.place.as_ref() != Some(place)).then(|| format!("{place}/")),
            // us are kept: they have sixteen digits until the year 2286.
            bt: (self.time_us != Some(time_us)).then(|| time_us as f64 / 1e6),
            n: format!("{}:{}", reading.quantity, reading.sensor),
            u,
            v,
        };
        let separator = if self.is_first { "\n" } else { ",\n" };
        write!(self.out, "{separator}{}", serde_json::to_string(&record)?)?;
        (self.place, self.time_us, self.is_first) = (Some(place.clone()), Some(time_us), false);
        Ok(true)
    }

    /// Ends the pack, and gives the stream back.
    pub fn end(self) -> io::Result<&'a mut dyn Write> {
        self.out.write_all(b"\n]\n")?;
        Ok(self.out)
    }
}

/// A pure number is `/` in SenML (RFC 8428 section 12.1), and RFC 8798 has parts per million only.
fn in_registered_unit(quantity: Quantity, value: f64) -> (Option<&'static str>, f64) {
    match quantity.unit() {
        "" => (None, value),
        "1" => (Some("/"), value),
        "ppb" => (Some("ppm"), value / 1000.0),
        unit => (Some(unit), value),
    }
}
