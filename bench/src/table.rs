//! The figures, their aims, and how they are shown.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Number, Value};

use crate::figure::Figures;

/// One figure.
pub struct Figure {
    key: &'static str,
    says: &'static str,
    unit: Unit,
    aim: Aim,
}

/// What it is measured in.
#[derive(Clone, Copy)]
pub enum Unit {
    Mib,
    Mb,
    Bytes,
    Ms,
    Us,
    PerSecond,
    CpuSeconds,
    Seconds,
    Frames,
}

/// What a figure is to be.
#[derive(Clone, Copy)]
pub enum Aim {
    None,
    AtMost(f64),
    Under(f64),
    AtLeast(f64),
    /// At most so many times another figure of the same run.
    AtMostTimes(f64, &'static str),
}

/// Bytes.
pub const MIB: f64 = 1024.0 * 1024.0;

/// One of a list.
pub const fn figure(key: &'static str, says: &'static str, unit: Unit, aim: Aim) -> Figure {
    Figure { key, says, unit, aim }
}

/// Those of a node, in the order in which they are shown.
pub const NODE: [Figure; 16] = [
    figure("binary_bytes_aarch64", "size of the Pi's binary", Unit::Mb, Aim::AtMost(8e6)),
    figure("rss_bytes", "memory after 10 min with 10 peers", Unit::Mib, Aim::AtMost(12.0 * MIB)),
    figure("rss_flood_bytes", "memory after a flood by one author", Unit::Mib, Aim::AtMost(24.0 * MIB)),
    figure("rss_admitted_bytes", "memory after 100,000 admitted frames", Unit::Mib, Aim::None),
    figure("start_to_first_reading_ms", "start to first reading at a subscriber", Unit::Ms, Aim::Under(100.0)),
    figure("latency_us_p50", "latency at 20 frames/s, median", Unit::Us, Aim::AtMostTimes(1.5, "floor_us_p50")),
    figure(
        "latency_us_p99",
        "latency at 20 frames/s, 99th percentile",
        Unit::Us,
        Aim::AtMostTimes(1.5, "floor_us_p99"),
    ),
    figure("floor_us_p50", "  plain rust-libp2p, median", Unit::Us, Aim::None),
    figure("floor_us_p99", "  plain rust-libp2p, 99th percentile", Unit::Us, Aim::None),
    figure("frames_per_s", "flat out, no loss", Unit::PerSecond, Aim::AtLeast(8000.0)),
    figure("floor_msgs_per_s", "  plain rust-libp2p", Unit::PerSecond, Aim::None),
    figure("fan10_frames_per_s", "one node to ten subscribers, no loss", Unit::PerSecond, Aim::None),
    figure("wire_bytes_per_reading", "on the wire per reading", Unit::Bytes, Aim::AtMost(75.0)),
    figure("disk_bytes_per_reading", "to the disk per reading, one frame in 10 s", Unit::Bytes, Aim::AtMost(200.0)),
    figure("cpu_s_per_1000_frames", "CPU for 1,000 frames at 20/s, both ends", Unit::CpuSeconds, Aim::None),
    figure("floor_cpu_s_per_1000", "  plain rust-libp2p", Unit::CpuSeconds, Aim::None),
];

/// What was measured so far.
pub struct Table {
    figures: &'static [Figure],
    measured: BTreeMap<&'static str, f64>,
}

impl Table {
    /// A table of these figures, with nothing measured yet.
    pub fn new(figures: &'static [Figure]) -> Self {
        Self { figures, measured: BTreeMap::new() }
    }

    /// Takes figures in.
    pub fn add(&mut self, figures: Figures) -> Result<()> {
        for (key, value) in figures {
            ensure!(self.figures.iter().any(|figure| figure.key == key), "{key} is no figure's key");
            ensure!(value.is_finite(), "{key} is {value}");
            self.measured.insert(key, value);
        }
        Ok(())
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        self.lines().iter().map(|line| format!("{line}\n")).collect()
    }

    /// For `docs/performance.md`.
    pub fn markdown(&self) -> String {
        let rows = self.figures.iter().filter_map(|figure| {
            let value = *self.measured.get(figure.key)?;
            let aim = match self.judge(figure, value) {
                (aim, "") => aim,
                (aim, verdict) => format!("{aim}: {verdict}"),
            };
            Some(format!("| {} | `{}` | {} | {aim} |\n", figure.says.trim_start(), figure.key, figure.unit.show(value)))
        });
        "| figure | key | measured | aim |\n|-|-|-:|-|\n".to_owned() + &rows.collect::<String>()
    }

    fn lines(&self) -> Vec<String> {
        let rows = self.figures.iter().filter_map(|figure| {
            let value = *self.measured.get(figure.key)?;
            let (aim, verdict) = self.judge(figure, value);
            Some(
                format!("{:<44}{:>14}   {aim:<26}{verdict}", figure.says, figure.unit.show(value))
                    .trim_end()
                    .to_owned(),
            )
        });
        rows.collect()
    }

    /// The aim in words, and whether it is met.
    fn judge(&self, figure: &Figure, value: f64) -> (String, &'static str) {
        let verdict = |met: bool| if met { "met" } else { "MISSED" };
        let unit = figure.unit;
        match figure.aim {
            Aim::None => (String::new(), ""),
            Aim::AtMost(limit) => (format!("at most {}", unit.show(limit)), verdict(value <= limit)),
            Aim::Under(limit) => (format!("under {}", unit.show(limit)), verdict(value < limit)),
            Aim::AtLeast(limit) => (format!("at least {}", unit.show(limit)), verdict(value >= limit)),
            Aim::AtMostTimes(times, other) => match self.measured.get(other) {
                Some(other) => {
                    (format!("at most {times} x, is {:.2} x", value / other), verdict(value <= times * other))
                }
                None => (String::new(), ""),
            },
        }
    }

    /// The same for programs. Every figure must be there.
    pub fn json(&self, quick: bool) -> Result<String> {
        let mut object = Map::new();
        for Figure { key, unit, .. } in self.figures {
            let value = *self.measured.get(key).with_context(|| format!("{key} was not measured"))?;
            object.insert(
                (*key).to_owned(),
                Value::Number(unit.number(value).with_context(|| format!("{key}: {value}"))?),
            );
        }
        if quick {
            object.insert("quick".to_owned(), Value::Bool(true));
        }
        Ok(serde_json::to_string_pretty(&object)? + "\n")
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Mib => format!("{:.1} MiB", value / MIB),
            Self::Mb => format!("{:.2} MB", value / 1e6),
            Self::Bytes => format!("{value:.1} B"),
            Self::Ms => format!("{value:.1} ms"),
            Self::Us => format!("{value:.0} us"),
            Self::PerSecond => format!("{value:.0} /s"),
            Self::CpuSeconds => format!("{value:.3} s"),
            Self::Seconds => format!("{value:.1} s"),
            Self::Frames => format!("{value:.0}"),
        }
    }

    /// As many digits as mean something.
    fn number(self, value: f64) -> Option<Number> {
        let decimals = match self {
            Self::Mib | Self::Mb | Self::Us | Self::PerSecond | Self::Frames => {
                return Some(Number::from(value.round() as u64));
            }
            Self::Bytes | Self::Ms => 10.0,
            Self::Seconds => 100.0,
            Self::CpuSeconds => 10_000.0,
        };
        Number::from_f64((value * decimals).round() / decimals)
    }
}

/// Tells a person on stderr. Where even that is closed there is nobody to tell.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Table {
        let mut table = Table::new(&NODE);
        table.add(NODE.iter().map(|figure| (figure.key, 100.0)).collect()).unwrap();
        table
    }

    #[test]
    fn the_file_has_the_agreed_keys() {
        let keys = "binary_bytes_aarch64 cpu_s_per_1000_frames disk_bytes_per_reading fan10_frames_per_s \
                    floor_cpu_s_per_1000 floor_msgs_per_s floor_us_p50 floor_us_p99 frames_per_s latency_us_p50 \
                    latency_us_p99 rss_admitted_bytes rss_bytes rss_flood_bytes start_to_first_reading_ms wire_bytes_per_reading";
        let file = |quick| serde_json::from_str::<BTreeMap<String, Value>>(&full().json(quick).unwrap()).unwrap();
        assert_eq!(file(false).into_keys().collect::<Vec<_>>().join(" "), keys);
        assert_eq!(file(true)["quick"], true);
        assert!(Table::new(&NODE).json(false).unwrap_err().to_string().contains("was not measured"));
    }

    #[test]
    fn each_figure_is_judged_by_its_aim() {
        let mut table = full();
        table.add(vec![("latency_us_p50", 151.0), ("latency_us_p99", 149.0), ("frames_per_s", 8000.0)]).unwrap();
        let lines = table.lines();
        let line = |says: &str| lines.iter().find(|line| line.starts_with(says)).unwrap();
        assert!(line("latency at 20 frames/s, median").ends_with("at most 1.5 x, is 1.51 x  MISSED"), "{lines:#?}");
        assert!(line("latency at 20 frames/s, 99th").ends_with("met"));
        assert!(line("flat out").ends_with("at least 8000 /s          met"));
        assert!(line("start to first").ends_with("under 100.0 ms            MISSED"));
        let page = table.markdown();
        assert!(page.contains(
            "| latency at 20 frames/s, median | `latency_us_p50` | 151 us | at most 1.5 x, is 1.51 x: MISSED |"
        ));
        assert!(page.contains("| plain rust-libp2p | `floor_msgs_per_s` | 100 /s |  |"), "{page}");
        assert!(table.add(vec![("speed", 1.0)]).is_err());
    }
}
