//! `magpie export`: what nodes measured, as a file.

mod download;
mod format;
mod selection;
mod senml;
mod target;
#[cfg(test)]
mod tests;

use std::io::BufWriter;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use reading::{Epoch, Frame, NodeId, Selector};
use store::{Options, Store, StoreError};

use self::format::Export;
use self::selection::{Selection, Walked};
use self::target::Target;
use crate::args::MeetArgs;
use crate::exit::Exit;
use crate::missing::{self, Missing, count};
use crate::verify::audit::{Report, Run};
use crate::{meeting, output};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  magpie export --since 24h --output yesterday.jsonl            from the mesh, whoever has it
  magpie export 'seoul/+/+/pm2_5' --format csv --output pm2_5.csv
  magpie export --store /var/lib/magpie --runtime-directory /run/magpie --format magpie --output roof-3.magpie
      signed, to be proven by `magpie verify`; no node may be running on that store
  magpie export temperature --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --format senml

The exit code is 4 where data is known to be missing, or a node could not be asked what there is of it (\"not confirmed\"); stderr says more.
SenML has no place for a flag: it gets the readings that are good, or were not tested, and have a time.")]
pub struct ExportArgs {
    /// What to export: city/area/node/quantity, with + for any level and # for all the rest [default: everything]. A .magpie file has whole frames, of the
    /// nodes that are meant.
    #[arg(value_name = "SELECTOR")]
    pub selectors: Vec<Selector>,
    /// What is written.
    #[arg(long, value_enum, default_value = "jsonl")]
    pub format: Format,
    /// From when on: a time, such as 2026-11-24T09:00:00Z, or how long ago, such as 1h.
    #[arg(long, value_name = "TIME", value_parser = crate::when::time)]
    pub since: Option<i64>,
    /// Before when, likewise.
    #[arg(long, value_name = "TIME", value_parser = crate::when::time)]
    pub until: Option<i64>,
    /// Read a store on this machine instead of asking the mesh: its file, or a node's state directory.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["connect", "no_mdns"])]
    pub store: Option<PathBuf>,
    /// With --store: the node's directory in memory, /run/magpie under systemd. What a node that was killed had not yet put into its store is
    /// there until it starts again or the power goes; it is put into the store now.
    #[arg(long, value_name = "DIR", requires = "store")]
    pub runtime_directory: Option<PathBuf>,
    /// The file to write, whole or not at all [default: stdout, as it comes].
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Ask the mesh for this long; if not all has come by then, the exit code is 3 and nothing is written.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = crate::when::duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub meet: MeetArgs,
}

impl ExportArgs {
    fn selectors(&self) -> Vec<Selector> {
        if self.selectors.is_empty() { vec![Selector::ALL] } else { self.selectors.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line, as of `magpie sub --json`.
    Jsonl,
    /// The same as a table.
    Csv,
    /// SenML in JSON (RFC 8428).
    Senml,
    /// The signed frames themselves.
    Magpie,
}

pub async fn run(args: ExportArgs) -> anyhow::Result<Exit> {
    if args.format == Format::Magpie && args.output.is_none() && output::is_terminal() {
        bail!("a .magpie file is no text: name a file with --output, or send it into a pipe");
    }
    if args.since.zip(args.until).is_some_and(|(since, until)| since >= until) {
        bail!("nothing is from --since on and before --until: --until must be the later");
    }
    let target = Target::open(args.output.as_deref())?;
    let (store, missing, _files) = match args.store.clone() {
        Some(path) => {
            let runtime = args.runtime_directory.clone();
            let store = tokio::task::spawn_blocking(move || open(&path, runtime.as_deref())).await??;
            (store, Missing::default(), None)
        }
        None => match download::run(&args).await? {
            Some(download) => (download.store, download.missing, Some(download.files)),
            None => return Ok(Exit::TimeRanOut),
        },
    };
    let stop = Arc::new(AtomicBool::new(false));
    let asked_to = Arc::clone(&stop);
    let ends = args.until.is_some();
    let mut job = tokio::task::spawn_blocking(move || {
        let done = export(&store, &args, target, &stop);
        // The error of the export says more.
        let closed = store.close();
        done.and_then(|done| closed.map(|()| done).map_err(Into::into))
    });
    let done = tokio::select! {
        done = &mut job => done,
        () = service::stop_requested() => {
            asked_to.store(true, Ordering::Relaxed);
            job.await
        }
    };
    Ok(done.context("the export stopped")??.tell(missing, ends))
}

/// Opens a store that is there, and that no node is running on, with what its node had not put into it when it was killed.
fn open(path: &Path, runtime: Option<&Path>) -> anyhow::Result<Store> {
    let path = if path.is_dir() { path.join("frames.db") } else { path.to_owned() };
    let name = path.display();
    match path.metadata() {
        Err(error) => {
            bail!("there is no store {name} ({error}); name its file, or a node's state directory, with --store")
        }
        // To the store that would be the place for a new one.
        Ok(found) if found.len() == 0 => {
            bail!("{name} is empty; name a store's file, or a node's state directory, with --store")
        }
        Ok(_) => {}
    }
    let mut store = match Store::open(&path, Options { max_bytes: u64::MAX, ..Options::default() }) {
        Err(StoreError::Foreign { what, .. }) => {
            bail!("{name} is no store ({what}); name a store's file, or a node's state directory, with --store")
        }
        Err(error @ StoreError::InUse { .. }) => {
            return Err(error).context("a running node gives its frames over the mesh: leave out --store");
        }
        opened => opened?,
    };
    match runtime {
        Some(directory) => store.keep_tail(directory)?,
        None => output::complain(
            "magpie: if the node was killed and has a directory in memory, its last minutes are there: give it as --runtime-directory",
        ),
    }
    Ok(store)
}

/// What was exported.
struct Done {
    report: Report,
    export: Exported,
    /// What the store itself knows of that it has no more.
    gone: Vec<String>,
}

/// What came of the frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exported {
    /// Lines, rows or records; none in a `.magpie` file.
    pub readings: u64,
    /// Readings that the format has no place for.
    pub left_out: u64,
}

/// Writes what is selected to where it is wanted.
fn export(store: &Store, args: &ExportArgs, mut target: Target, stop: &AtomicBool) -> anyhow::Result<Done> {
    let selection = Selection {
        selectors: args.selectors(),
        since_us: args.since,
        until_us: args.until,
        dates: args.format != Format::Magpie,
    };
    let name = target.name();
    let failed = || format!("cannot write {name}");
    let mut out = BufWriter::new(target.writer());
    let mut export = Export::begin(args.format, &selection, &mut out).with_context(failed)?;
    let Walked { nodes, gone } = selection.walk(store, &mut |frame: &Frame, time_us: Option<i64>| {
        if stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        export.take(frame, time_us).with_context(failed)
    })?;
    // Of what came out of the mesh there may be nothing, and it was told which nodes are meant.
    if nodes == 0
        && let Some(path) = &args.store
    {
        return Err(meeting::nobody_meant(&format!("in {}", path.display()), &selection.selectors));
    }
    let (export, report) = export.end().with_context(failed)?;
    drop(out);
    target.end().with_context(failed)?;
    Ok(Done { report, export, gone })
}

impl Done {
    /// Says on stderr what came of it, and what did not come out of the mesh. With an end, what lies behind it is not missing.
    fn tell(self, missing: Missing, ends: bool) -> Exit {
        let Self { report, export, gone } = self;
        let missing = besides(&report, missing, ends);
        let above = [report.missing.words("missing"), gone].concat();
        for finding in report.wrong.words("wrong in the source").iter().chain(&above) {
            output::complain(&format!("magpie: {finding}"));
        }
        let mut words = vec![format!("exported {}", count(report.frames, "frame"))];
        if export.readings > 0 {
            words.push(count(export.readings, "reading"));
        }
        if export.left_out > 0 {
            words.push(format!("{} left out for which SenML has no place", count(export.left_out, "reading")));
        }
        let is_whole = above.is_empty() && missing.is_empty();
        if is_whole {
            words.push(missing::NOTHING.to_owned());
        } else if !above.is_empty() {
            words.push("what is missing is said above".to_owned());
        }
        words.extend(missing);
        output::complain(&format!("magpie: {}", words.join("; ")));
        match (report.wrong.total, is_whole) {
            (0, true) => Exit::Done,
            (0, false) => Exit::Incomplete,
            _ => Exit::Failed,
        }
    }
}

/// What did not come out of the mesh, is wanted, and is not in the report already.
fn besides(report: &Report, missing: Missing, ends: bool) -> Vec<String> {
    let told = |node: &NodeId, epoch: &Epoch, seqs: &RangeInclusive<u64>| {
        let run = report.runs.iter().find(|run| (run.node, run.epoch) == (*node, *epoch));
        let is_hole = |run: &Run| run.holes.iter().any(|hole| hole.contains(seqs.start()));
        let is_behind = |run: &Run| *seqs.start() > run.last;
        run.is_some_and(is_hole) || (ends && run.is_none_or(is_behind))
    };
    missing.without(told).words()
}
