//! The past out of the mesh, into a store for the time of the export.

use anyhow::{Context, bail};
use mesh::{Mesh, Next, Replay, ReplayConfig, Since};
use reading::Frame;
use store::{Options, Store, StoreHandle};
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

use super::ExportArgs;
use crate::line::now_us;
use crate::missing::Missing;
use crate::{meeting, output};

/// Frames that are stored at once.
const BATCH: usize = 1024;

/// What came.
pub struct Download {
    /// The frames.
    pub store: Store,
    /// What did not come.
    pub missing: Missing,
    /// The store's files; they go when this is dropped.
    pub files: TempDir,
}

/// Takes everything that the selectors and `since` mean and anybody has. `None` where time ran out before it was there.
pub async fn run(args: &ExportArgs) -> anyhow::Result<Option<Download>> {
    let folder = tempfile::Builder::new().prefix("magpie-export-").tempdir().context("no place for what comes")?;
    let path = folder.path().join("frames.db");
    let options = Options { max_bytes: u64::MAX, ..Options::default() };
    let store = StoreHandle::spawn(Store::open(&path, options)?)?;
    let (mesh, events) = meeting::join(&args.meet, args.selectors(), Vec::new()).await?;
    let config = ReplayConfig {
        selectors: args.selectors(),
        since: args.since.map_or(Since::Beginning, |time_us| Since::Time { time_us }),
        seed: now_us().cast_unsigned(),
        ..ReplayConfig::default()
    };
    let mut replay = Replay::new(mesh.clone(), events, config);
    let came = take(args, &mesh, &mut replay, &store).await;
    let missing = Missing::of(&replay);
    meeting::leave(mesh).await;
    store.close().await?;
    if !came? {
        return Ok(None);
    }
    if missing.accounts.is_empty() {
        return Err(meeting::nobody_meant("that were found", &args.selectors()));
    }
    Ok(Some(Download { store: Store::open(&path, options)?, missing, files: folder }))
}

/// Stores frames until the past is there; false where time ran out before.
async fn take(args: &ExportArgs, mesh: &Mesh, replay: &mut Replay, store: &StoreHandle) -> anyhow::Result<bool> {
    let started = Instant::now();
    let (mut frames, mut came): (Vec<Frame>, _) = (Vec::new(), 0);
    let mut hint = true;
    let mut interrupted = std::pin::pin!(service::stop_requested());
    loop {
        tokio::select! {
            next = replay.next() => match next? {
                Next::Frame { frame, .. } => frames.push(frame),
                Next::Settled => {
                    store.append(frames).await?;
                    return Ok(true);
                }
                Next::Event(event) => meeting::tell(&event),
            },
            () = sleep_until(started + meeting::PATIENCE), if hint && came == 0 && frames.is_empty() => {
                hint = false;
                output::complain(&format!("magpie: {}", meeting::silence(mesh, &args.meet, &args.selectors()).await));
            }
            () = sleep_until(started + args.timeout) => {
                came += frames.len();
                output::complain(&format!(
                    "magpie: time ran out; {came} frames had come, and nothing is written: give it longer with --timeout"
                ));
                return Ok(false);
            }
            () = &mut interrupted => bail!("interrupted"),
        }
        if frames.len() >= BATCH {
            came += frames.len();
            store.append(std::mem::take(&mut frames)).await?;
        }
    }
}
