//! What other nodes of the area said, kept for a while: their frames survive their death if anybody heard them.
//!
//! The cache is a store in the runtime directory, which is memory: it wears no card, survives a restart of the process, and goes with the power.
//! That is enough, since each author keeps its own frames on its own card.
//!
//! Only what is heard live is kept. Holes are not fetched: with n nodes that each wanted everything of everybody, every outage would be followed by
//! n² fetches that nobody asked for. Whoever wants a node's past asks the author first, and the neighbours for the rest.
//!
//! A hundred neighbours that measure each ten seconds are one transaction of ten frames a second: 0.6 ms of a PC's time, unoptimised, and 134 bytes a
//! frame, so that the default 16 MiB have their last three hours. The queue and the store's own memory are 1 MB.

mod share;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reading::{Frame, NodeId};
use store::{Options, Store, StoreError, StoreHandle};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::share::Shares;
use crate::metrics::Metrics;

/// Frames that wait to be kept, some 300 KB; beyond, they are dropped and counted. A store that is slow must not hold up the mesh.
const QUEUE: usize = 1024;
/// What is heard within this time is kept in one transaction, whether it comes from one neighbour or a hundred. A crash of the process costs
/// that much of the cache.
const COLLECT: Duration = Duration::from_secs(1);
/// The store is in memory: syncing it means nothing to the power, and only tidies its log.
const SYNC_INTERVAL: Duration = Duration::from_secs(300);

/// Where frames are handed in.
#[derive(Clone, Debug)]
pub struct Neighbours {
    queue: mpsc::Sender<Frame>,
    metrics: Arc<Metrics>,
}

/// Keeps what was handed in.
#[derive(Debug)]
pub struct Keeper {
    queue: mpsc::Receiver<Frame>,
    store: StoreHandle,
    shares: Shares,
    metrics: Arc<Metrics>,
    works: bool,
}

/// Why nothing is kept of the neighbours.
#[derive(Debug, thiserror::Error)]
pub enum Off {
    /// There is no directory in memory.
    #[error("there is no runtime directory")]
    NoDirectory,
    /// It would wear the card.
    #[error("{} is on a disk: choose a directory on a tmpfs", .0.display())]
    OnDisk(PathBuf),
    /// It cannot be looked at.
    #[error("{}: {problem}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        problem: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the cache of a node: both ends of it.
///
/// One that is damaged, or that another version wrote, is begun anew: there is nothing in it that is not elsewhere as well.
pub fn open(
    directory: Option<&Path>,
    own: NodeId,
    max_bytes: u64,
    metrics: Arc<Metrics>,
) -> Result<(Neighbours, Keeper), Off> {
    let directory = directory.ok_or(Off::NoDirectory)?;
    if !store::is_in_memory(directory).map_err(|problem| Off::Directory { path: directory.to_owned(), problem })? {
        return Err(Off::OnDisk(directory.to_owned()));
    }
    let path = directory.join(format!("{own}-neighbours.db"));
    let options = Options { max_bytes, sync_interval: SYNC_INTERVAL };
    let store = Store::open(&path, options).or_else(|error| match error {
        StoreError::InUse { .. } => Err(error),
        error => {
            warn!(%error, "what the neighbours said cannot be read and is begun anew");
            Store::delete(&path)?;
            Store::open(&path, options)
        }
    })?;
    let store = StoreHandle::spawn(store)?;
    let (sender, queue) = mpsc::channel(QUEUE);
    let neighbours = Neighbours { queue: sender, metrics: metrics.clone() };
    Ok((neighbours, Keeper { queue, store, shares: Shares::new(max_bytes), metrics, works: true }))
}

impl Neighbours {
    /// Hands in what was heard. It never waits.
    pub fn heard(&self, frame: Frame) {
        if self.queue.try_send(frame).is_err() {
            self.metrics.count_neighbours_dropped(Dropped::Behind, 1);
        }
    }
}

/// Why a neighbour's frame was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// Too many were waiting.
    Behind,
    /// Its author has had its share.
    Share,
    /// The store did not take it.
    Store,
}

impl Keeper {
    /// The store to serve from.
    pub fn store(&self) -> StoreHandle {
        self.store.clone()
    }

    /// Works until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut heard = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                count = self.queue.recv_many(&mut heard, QUEUE) => if count == 0 { break },
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(COLLECT) => {}
            }
            while heard.len() < QUEUE
                && let Ok(frame) = self.queue.try_recv()
            {
                heard.push(frame);
            }
            self.keep(std::mem::take(&mut heard)).await;
        }
        stop.cancelled().await;
        if let Err(error) = self.store.close().await {
            warn!(%error, "what the neighbours said is closed badly");
        }
        Ok(())
    }

    async fn keep(&mut self, mut heard: Vec<Frame>) {
        let (now, count) = (Instant::now(), heard.len());
        heard.retain(|frame| self.shares.take(frame.node(), frame.bytes().len() as u64, now));
        self.metrics.count_neighbours_dropped(Dropped::Share, count - heard.len());
        let count = heard.len();
        match self.store.append(heard).await {
            Ok(new) => {
                self.metrics.count_neighbours_kept(new, &self.store.stats());
                if !std::mem::replace(&mut self.works, true) {
                    info!("what the neighbours say is kept again");
                }
            }
            Err(error) => {
                self.metrics.count_neighbours_dropped(Dropped::Store, count);
                if std::mem::replace(&mut self.works, false) {
                    warn!(%error, "what the neighbours say is not kept");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
