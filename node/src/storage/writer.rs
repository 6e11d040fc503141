//! Putting frames into the store, and saying how that goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reading::Frame;
use service::Component;
use store::{StoreError, StoreHandle};
use tokio::task::JoinHandle;
use tracing::error;

use super::{Storage, not_kept};
use crate::metrics::Metrics;
use crate::wear::Wear;

/// A disk that takes longer than this for a frame hangs, and frames do not wait for it: a card that tidies up takes a second or two.
const PATIENCE: Duration = Duration::from_secs(10);
/// A sync that is this many intervals late is not late by accident.
const OVERDUE_SYNCS: u32 = 3;

/// The one who appends.
#[derive(Debug)]
pub struct Writer {
    storage: Storage,
    sync_interval: Duration,
    health: Arc<Component>,
    metrics: Arc<Metrics>,
    wear: Wear,
    /// The frame before was not kept.
    failing: bool,
    /// An append that takes too long.
    hangs: Option<JoinHandle<Result<usize, StoreError>>>,
}

/// Why a frame was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// It could not be opened so far.
    #[error("the store is not open yet")]
    NotOpen,
    /// The disk does not answer.
    #[error("the disk has not answered for {} s: is the card worn out?", PATIENCE.as_secs())]
    Hangs,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Writer {
    /// Appends to this store, and tells these how it goes.
    pub fn new(storage: Storage, sync_interval: Duration, health: Arc<Component>, metrics: Arc<Metrics>) -> Self {
        let wear = Wear::new(Instant::now());
        Self { storage, sync_interval, health, metrics, wear, failing: false, hangs: None }
    }

    /// The last that the store knew of the node's run before this one, as far as it is known yet.
    pub fn previous(&self) -> Option<reading::Previous> {
        self.storage.previous()
    }

    /// Keeps a frame. `context` is what it refers to: after trouble that may be missing, and is kept with it.
    pub async fn keep(&mut self, frame: &Frame, context: &[Frame]) -> Result<(), NotKept> {
        let kept = self.try_to_keep(frame, context).await;
        self.failing = kept.is_err();
        if let Err(error) = &kept {
            self.metrics.store_failures.inc();
            // Of one that is not open, whoever opens it says more.
            if *error != NotKept::NotOpen {
                self.health.not_ready(not_kept(error));
            }
        }
        kept
    }

    async fn try_to_keep(&mut self, frame: &Frame, context: &[Frame]) -> Result<(), NotKept> {
        let store = self.storage.store().ok_or(NotKept::NotOpen)?.clone();
        // A sync that failed meanwhile may have said so.
        let appended = match store.stats().last_error.filter(StoreError::is_damaged) {
            Some(error) => Err(error.into()),
            None => self.append(&store, frame, context).await,
        };
        match appended {
            Err(NotKept::Store(error)) if error.is_damaged() => {
                error!(%error, "the store is damaged: a new one begins");
                self.failing = true;
                tokio::time::timeout(PATIENCE, store.set_aside()).await.map_err(|_| NotKept::Hangs)??;
                self.append(&store, frame, context).await?;
            }
            appended => appended?,
        }
        self.judge(&store);
        Ok(())
    }

    async fn append(&mut self, store: &StoreHandle, frame: &Frame, context: &[Frame]) -> Result<(), NotKept> {
        if let Some(hanging) = self.hangs.take_if(|hanging| !hanging.is_finished()) {
            self.hangs = Some(hanging);
            return Err(NotKept::Hangs);
        }
        self.hangs = None;
        let context = if self.failing { context } else { &[] };
        let frames = context.iter().chain([frame]).cloned().collect();
        let store = store.clone();
        let mut appending = tokio::spawn(async move { store.append(frames).await });
        match tokio::time::timeout(PATIENCE, &mut appending).await {
            Ok(appended) => Ok(appended.map_err(|_| StoreError::Stopped)?.map(drop)?),
            Err(_) => {
                self.hangs = Some(appending);
                Err(NotKept::Hangs)
            }
        }
    }

    /// Says how well the store does that took a frame.
    fn judge(&mut self, store: &StoreHandle) {
        let (stats, now) = (store.stats(), Instant::now());
        self.metrics.set_store(&stats);
        if let Some(bytes) = stats.bytes_written {
            self.metrics.set_wear(self.wear.note(bytes, now));
        }
        match stats.last_sync_age(now) {
            Some(age) if stats.unsynced > 0 && age > OVERDUE_SYNCS * self.sync_interval => {
                self.health.degraded(format!(
                    "nothing reached the disk for {} s and a power cut would take it; is the card worn out or full?",
                    age.as_secs()
                ));
            }
            _ => self.health.ready(),
        }
    }
}

#[cfg(test)]
impl Writer {
    /// As if the disk had not answered in time, until the append is aborted.
    pub(super) fn hang(&mut self) -> tokio::task::AbortHandle {
        let hanging = tokio::spawn(std::future::pending());
        let end = hanging.abort_handle();
        self.hangs = Some(hanging);
        end
    }
}
