//! The node's store, as far as its disk lets it be used.
//!
//! A disk that fails stops no node: readings go out live, `/readyz` and the log say that they are not kept and why, and the store is tried again for as
//! long as it takes. What a node says meanwhile is kept by whoever heard it, and by nobody else. Numbers go on, so what is missing can be named.
//!
//! | trouble | what is done |
//! |-|-|
//! | cannot be opened | tried again each few seconds ([`open_in_time`]) |
//! | damaged | moved aside, where one is kept, and a new one begun ([`Writer`], [`open_in_time`]) |
//! | full, read-only, errors | each frame is tried: the first that is taken ends it |
//! | the file or its disk is gone | looked for by the store's own thread, until it is back |
//! | the disk hangs | no frame waits for it any more until it answers ([`Writer`]) |
//! | another process has it | the node does not start: two of one key would contradict each other |

mod writer;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reading::{NodeId, Previous};
use service::Component;
use store::{Options, Store, StoreError, StoreHandle};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::writer::{NotKept, Writer};

/// Between two attempts to open the store: a card that was put back is in use soon, and a dead one is not worn by that.
const RETRY: Duration = Duration::from_secs(5);

/// The store, from when it could be opened. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    opened: Arc<OnceLock<Opened>>,
}

#[derive(Debug)]
struct Opened {
    store: StoreHandle,
    previous: Option<Previous>,
}

/// Where the store is and what it is to do.
#[derive(Clone, Debug)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// The node's key, beside it. Without it this is not the node's disk: it was removed, and its mount point is left.
    pub key: PathBuf,
    /// Whose frames are in it.
    pub node: NodeId,
    /// How much it keeps.
    pub options: Options,
    /// How old its frames may become.
    pub max_age: Option<Duration>,
    /// For what was not synced yet.
    pub runtime_directory: Option<PathBuf>,
}

/// Why a store is not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state directory is not the node's any more.
    #[error("{} is gone: put its disk back", .0.display())]
    NoKey(PathBuf),
}

impl Storage {
    /// The store, once it is open.
    pub fn store(&self) -> Option<&StoreHandle> {
        self.opened.get().map(|opened| &opened.store)
    }

    /// The last that it knew of the node's run before this one.
    pub fn previous(&self) -> Option<Previous> {
        self.opened.get().and_then(|opened| opened.previous)
    }

    /// Opens the store, or begins a new one in place of one that is damaged.
    pub async fn open(&self, location: &Location) -> Result<(), OpenError> {
        let location = location.clone();
        // A thread that may wait for the disk. Only the end of the runtime ends it otherwise.
        let opened = tokio::task::spawn_blocking(move || location.open()).await.map_err(|_| StoreError::Stopped)??;
        // There is one who opens, and it stops when it has.
        let _ = self.opened.set(opened);
        Ok(())
    }
}

impl Location {
    fn open(&self) -> Result<Opened, OpenError> {
        if !self.key.exists() {
            return Err(OpenError::NoKey(self.key.clone()));
        }
        let mut store = Store::open(&self.path, self.options).or_else(|error| {
            if !error.is_damaged() {
                return Err(error);
            }
            let aside = Store::set_aside(&self.path)?;
            error!(%error, aside = %aside.display(), "the store is damaged: it was moved aside, and a new one begins");
            Store::open(&self.path, self.options)
        })?;
        if let Some(max_age) = self.max_age {
            store.limit_age(max_age);
        }
        if let Some(directory) = &self.runtime_directory
            && let Err(error) = store.keep_tail(directory)
        {
            warn!(%error, "the store has no tail");
        }
        let previous = store.latest_epoch(self.node)?.map(|(epoch, last_seq)| Previous { epoch, last_seq });
        Ok(Opened { store: StoreHandle::spawn(store)?, previous })
    }
}

/// Opens the store as soon as that can be done, where it could not be at the start, and closes it in the end.
pub async fn open_in_time(
    storage: Storage,
    location: Location,
    health: Arc<Component>,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    while storage.store().is_none() && !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(RETRY) => match storage.open(&location).await {
                // The first frame that is kept makes it ready.
                Ok(()) => info!(store = %location.path.display(), "the store is open now"),
                Err(error) => health.not_ready(not_kept(&error)),
            }
        }
    }
    stop.cancelled().await;
    match storage.store() {
        Some(store) => store.clone().close().await,
        None => Ok(()),
    }
}

/// What `/readyz` says while nothing is kept.
pub fn not_kept(why: &dyn std::fmt::Display) -> String {
    format!("readings go out live and are not kept: {why}")
}

#[cfg(test)]
mod tests;
