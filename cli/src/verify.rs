//! `magpie verify`: what a `.magpie` file is evidence of, without asking anybody.

pub mod audit;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use reading::{ArchiveError, ArchiveReader, FrameError, Verifier};
use serde_json::json;

use self::audit::{Audit, Report, Run};
use crate::exit::Exit;
use crate::output;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit code is 0 where the file is whole and right, 4 where something is missing in it, and 1 where something in it is forged, damaged,
out of order or repeated.

Examples:
  magpie verify march.magpie
  magpie verify march.magpie --json | jq .verdict

That a node's frames begin or end too early, nobody can see from a file alone: the report says from where to where they go.")]
pub struct VerifyArgs {
    /// The file, as `magpie export --format magpie` writes it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: VerifyArgs) -> anyhow::Result<Exit> {
    let name = args.file.display().to_string();
    let file = File::open(&args.file).with_context(|| format!("cannot open {name}"))?;
    let report = examine(file).with_context(|| format!("cannot verify {name}"))?;
    for line in if args.json { vec![in_json(&report)] } else { in_words(&report) } {
        output::line(&line)?;
    }
    Ok(match report.verdict() {
        Verdict::Whole => Exit::Done,
        Verdict::Incomplete => Exit::Incomplete,
        Verdict::Wrong => Exit::Failed,
    })
}

/// Reads a file to its end, or as far as it can be read. An error where it is no `.magpie` file, or the disk does not give it.
pub fn examine(input: impl Read) -> Result<Report, ArchiveError> {
    let mut reader = ArchiveReader::begin(input)?;
    let (mut verifier, mut audit) = (Verifier::default(), Audit::default());
    let mut number = 0_u64;
    loop {
        match reader.next_frame() {
            Ok(Some(bytes)) => {
                number += 1;
                match verifier.verify(bytes) {
                    Ok(frame) => audit.take(&frame),
                    Err(error @ FrameError::UnknownVersion(_)) => {
                        audit.is_wrong(format!("frame number {number} of the file cannot be checked: {error}"));
                    }
                    Err(error) => audit.is_wrong(format!("frame number {number} of the file: {error}")),
                }
            }
            Ok(None) => break,
            Err(error @ ArchiveError::Read(_)) => return Err(error),
            Err(error @ ArchiveError::CutOff(_)) => audit.is_missing(format!("the end: {error}")),
            Err(ArchiveError::Count { said, found }) if said > found => {
                audit.is_missing(format!("{} frames: the file says that it has {said}, and has {found}", said - found));
            }
            Err(error) => audit.is_wrong(error.to_string()),
        }
    }
    Ok(audit.end())
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong, and nothing is missing.
    Whole,
    /// What is there is right.
    Incomplete,
    /// Something that is there is not what a node made, or not where it belongs.
    Wrong,
}

impl Report {
    /// What comes of the findings.
    pub fn verdict(&self) -> Verdict {
        match (self.wrong.total, self.missing.total) {
            (0, 0) => Verdict::Whole,
            (0, _) => Verdict::Incomplete,
            _ => Verdict::Wrong,
        }
    }

    /// The runs of each node, as they stand.
    fn nodes(&self) -> impl Iterator<Item = &[Run]> {
        self.runs.chunk_by(|one, next| one.node == next.node)
    }
}

fn in_words(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for runs in report.nodes() {
        lines.extend(runs.last().map(|run| format!("{}  {}", run.node, place(run).unwrap_or_default())));
        lines.push(format!(
            "  {:<16} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "run", "frames", "from", "to", "missing", "synced", "free", "unknown", "re-dated"
        ));
        lines.extend(runs.iter().map(|run| {
            let clock = run.clock;
            format!(
                "  {:<16} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
                run.epoch.to_string(),
                run.frames,
                run.first,
                run.last,
                run.missing,
                clock.synced,
                clock.free_running,
                clock.unknown,
                clock.dated
            )
        }));
        lines.push(String::new());
    }
    lines.extend(report.wrong.words("wrong"));
    lines.extend(report.missing.words("missing"));
    lines.extend(report.nodes().flat_map(|runs| runs.iter().skip(1)).filter(|run| run.previous.is_none()).map(|run| {
        format!(
            "unproven: run {} of {} names no run before it, so nobody can tell whether one lies between",
            run.epoch, run.node
        )
    }));
    lines.push(sentence(report));
    lines
}

fn sentence(report: &Report) -> String {
    let nodes = report.nodes().count();
    let what = format!("{} frames of {nodes} {}", report.frames, if nodes == 1 { "node" } else { "nodes" });
    match report.verdict() {
        Verdict::Whole => format!("whole and right: {what}, each signed by its node, none missing in between"),
        Verdict::Incomplete => {
            format!("right, but not whole: {what}, each signed by its node; what is missing is said above")
        }
        Verdict::Wrong => format!("not to be relied on: {what} are rightly signed; what is wrong is said above"),
    }
}

fn in_json(report: &Report) -> String {
    let nodes: Vec<_> = report
        .nodes()
        .map(|runs| {
            json!({
                "node": runs.first().map(|run| run.node.to_string()),
                "path": runs.last().and_then(place),
                "runs": runs.iter().map(run_in_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    let findings = |findings: &audit::Findings| json!({ "total": findings.total, "first": findings.shown });
    json!({
        "verdict": match report.verdict() {
            Verdict::Whole => "whole",
            Verdict::Incomplete => "incomplete",
            Verdict::Wrong => "wrong",
        },
        "frames": report.frames,
        "nodes": nodes,
        "wrong": findings(&report.wrong),
        "missing": findings(&report.missing),
    })
    .to_string()
}

fn run_in_json(run: &Run) -> serde_json::Value {
    json!({
        "epoch": run.epoch.to_string(),
        "previous": run.previous.map(|previous| json!({
            "epoch": previous.epoch.to_string(),
            "last_seq": previous.last_seq,
        })),
        "frames": run.frames,
        "first_seq": run.first,
        "last_seq": run.last,
        "missing": run.missing,
        "holes": run.holes.iter().map(|hole| [*hole.start(), *hole.end()]).collect::<Vec<_>>(),
        "clock": {
            "synced": run.clock.synced,
            "free_running": run.clock.free_running,
            "unknown": run.clock.unknown,
            "dated": run.clock.dated,
        },
    })
}

fn place(run: &Run) -> Option<String> {
    run.place.as_ref().map(ToString::to_string)
}
