//! What one run of so many nodes comes to.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bench::tally::percentile;
use serde::Serialize;
use serde_json::{Value, json};

use crate::figure::median;
use crate::member::Share;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Nodes, each hearing all the others.
    nodes: usize,
    /// Frames that all of them published together.
    frames: u64,
    /// How often a frame was to be heard by a node that had not made it.
    expected: u64,
    /// How often it was.
    delivered: u64,
    /// From the making of a frame to the last node's hearing it: the median, us. Of frames that everybody heard.
    last_us_p50: i64,
    /// The 99th percentile.
    last_us_p99: i64,
    /// CPU seconds of a node in a minute, everything it does for the mesh included; the mean.
    cpu_s_per_node_minute: f64,
    /// CPU seconds of all nodes for 1,000 deliveries.
    cpu_s_per_1000_deliveries: f64,
    /// Resident memory of a node at the end, the median.
    rss_bytes: u64,
    /// Connections of a node, the median.
    connections: f64,
}

impl Row {
    /// Of what each node had of it.
    pub fn of(shares: &[Share], frames: u64) -> Result<Self> {
        let others = shares.len() - 1;
        // How often each frame was heard, and how late at the last.
        let mut heard: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
        for (frame, latency_us) in shares.iter().flat_map(|share| &share.latencies_us) {
            let (times, last_us) = heard.entry(frame).or_default();
            *times += 1;
            *last_us = (*last_us).max(*latency_us);
        }
        let (expected, delivered) = (frames * others as u64, heard.values().map(|(times, _)| *times as u64).sum());
        ensure!(delivered <= expected, "{delivered} deliveries of {expected}: frames of another run were counted");
        let mut last_us: Vec<i64> =
            heard.values().filter(|(times, _)| *times == others).map(|(_, last_us)| *last_us).collect();
        ensure!(!last_us.is_empty(), "no frame reached everybody: {delivered} deliveries of {expected}");
        last_us.sort_unstable();
        let cpu_s: f64 = shares.iter().map(|share| share.cpu_s).sum();
        let minutes = shares.iter().map(|share| share.seconds).sum::<f64>() / 60.0;
        Ok(Self {
            nodes: shares.len(),
            frames,
            expected,
            delivered,
            last_us_p50: percentile(&last_us, 50),
            last_us_p99: percentile(&last_us, 99),
            cpu_s_per_node_minute: cpu_s / minutes,
            cpu_s_per_1000_deliveries: cpu_s * 1000.0 / delivered as f64,
            rss_bytes: median(shares.iter().map(|share| share.rss_bytes as f64).collect())? as u64,
            connections: median(shares.iter().map(|share| share.connections as f64).collect())?,
        })
    }

    fn cells(&self) -> [String; 9] {
        [
            self.nodes.to_string(),
            self.frames.to_string(),
            format!("{} of {}", self.delivered, self.expected),
            format!("{:.1} ms", self.last_us_p50 as f64 * 1e-3),
            format!("{:.1} ms", self.last_us_p99 as f64 * 1e-3),
            format!("{:.2} s", self.cpu_s_per_node_minute),
            format!("{:.2} s", self.cpu_s_per_1000_deliveries),
            format!("{:.1} MiB", self.rss_bytes as f64 / f64::from(1 << 20)),
            self.connections.to_string(),
        ]
    }
}

const HEADINGS: [&str; 9] = [
    "nodes",
    "frames",
    "delivered",
    "at the last node, p50",
    "p99",
    "CPU, a node and minute",
    "CPU, 1,000 deliveries",
    "memory, a node",
    "connections, a node",
];

/// For `docs/performance.md`, and readable on a terminal.
pub fn markdown(rows: &[Row]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head = line(&HEADINGS.map(str::to_owned)) + &"|-:".repeat(HEADINGS.len()) + "|\n";
    head + &rows.iter().map(|row| line(&row.cells())).collect::<String>()
}

/// The same for programs.
pub fn json(rows: &[Row], quick: bool) -> Result<String> {
    let mut growth = json!({ "growth": rows });
    if quick {
        growth.as_object_mut().context("an object")?.insert("quick".to_owned(), Value::Bool(true));
    }
    Ok(serde_json::to_string_pretty(&growth)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(heard: &[(&str, i64)]) -> Share {
        Share {
            latencies_us: heard.iter().map(|(frame, latency_us)| ((*frame).to_owned(), *latency_us)).collect(),
            cpu_s: 0.5,
            seconds: 30.0,
            rss_bytes: 8 << 20,
            connections: 2,
        }
    }

    #[test]
    fn a_frame_is_as_late_as_at_its_last_node_and_missing_where_one_node_lacks_it() {
        let shares =
            [share(&[("b/1", 900), ("c/1", 700)]), share(&[("a/1", 400), ("c/1", 2000)]), share(&[("a/1", 500)])];
        let row = Row::of(&shares, 3).unwrap();
        assert_eq!((row.delivered, row.expected), (5, 6), "the third node lacks b/1");
        assert_eq!((row.last_us_p50, row.last_us_p99), (500, 2000), "b/1 has no last node");
        assert_eq!((row.cpu_s_per_node_minute, row.cpu_s_per_1000_deliveries), (1.0, 300.0));
        let table = markdown(&[row]);
        let line = "| 3 | 3 | 5 of 6 | 0.5 ms | 2.0 ms | 1.00 s | 300.00 s | 8.0 MiB | 2 |";
        assert_eq!(table.lines().last(), Some(line));
        assert!(Row::of(&shares, 2).is_err(), "more was heard than sent");
    }
}
