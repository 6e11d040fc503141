//! `magpie export`: what nodes measured, as a file.

mod download;
mod format;
mod selection;
mod senml;
#[cfg(test)]
mod tests;

use std::fs::Permissions;
use std::io::{BufWriter, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use reading::{Epoch, Frame, NodeId, Selector};
use store::{Options, Store, StoreError};

use self::format::Export;
use self::selection::Selection;
use crate::args::MeetArgs;
use crate::exit::Exit;
use crate::missing::{self, Missing, count};
use crate::output;
use crate::verify::audit::{Report, Run};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  magpie export --since 24h --output yesterday.jsonl            from the mesh, whoever has it
  magpie export 'seoul/+/+/pm2_5' --format csv --output pm2_5.csv
  magpie export --store /var/lib/magpie --format magpie --output roof-3.magpie
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
    /// The file to write, whole or not at all [default: stdout, as it comes].
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Ask the mesh for this long; if not all has come by then, the exit code is 3 and nothing is written.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
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
    let (store, missing, _files) = match &args.store {
        Some(path) => {
            let path = if path.is_dir() { path.join("frames.db") } else { path.clone() };
            (tokio::task::spawn_blocking(move || open(&path)).await??, Missing::default(), None)
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
        let done = export(&store, &args, &stop);
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

/// Opens a store that is there, and that no node is running on.
fn open(path: &Path) -> anyhow::Result<Store> {
    if !path.exists() {
        bail!("there is no store {}; name its file, or a node's state directory, with --store", path.display());
    }
    match Store::open(path, Options { max_bytes: u64::MAX, ..Options::default() }) {
        Err(error @ StoreError::InUse { .. }) => {
            Err(error).context("a running node gives its frames over the mesh: leave out --store")
        }
        opened => Ok(opened?),
    }
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
fn export(store: &Store, args: &ExportArgs, stop: &AtomicBool) -> anyhow::Result<Done> {
    let selection = Selection {
        selectors: args.selectors(),
        since_us: args.since,
        until_us: args.until,
        dates: args.format != Format::Magpie,
    };
    let Some(path) = &args.output else {
        return write(store, &selection, args.format, &mut BufWriter::new(std::io::stdout().lock()), stop);
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("cannot write {}", path.display());
    // Its permissions are those of any new file; it goes by itself where the export fails.
    let file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .prefix(".magpie-export-")
        .tempfile_in(folder)
        .with_context(failed)?;
    let mut out = BufWriter::new(file.as_file());
    let done = write(store, &selection, args.format, &mut out, stop)?;
    out.flush().with_context(failed)?;
    drop(out);
    file.as_file().sync_all().with_context(failed)?;
    file.persist(path).map_err(|error| error.error).with_context(failed)?;
    Ok(done)
}

fn write(
    store: &Store,
    selection: &Selection,
    format: Format,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> anyhow::Result<Done> {
    let mut export = Export::begin(format, selection, out)?;
    let gone = selection.walk(store, &mut |frame: &Frame, time_us: Option<i64>| {
        if stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(export.take(frame, time_us)?)
    })?;
    let (export, report) = export.end()?;
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
            words.push(format!("{} left out that the format has no place for", count(export.left_out, "reading")));
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
