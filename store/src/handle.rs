//! The store behind a thread: for async programs, which must not wait for a disk.
//!
//! Everything goes through one queue to the thread `store`, which owns the file. Appends that wait together become one transaction.
//! When the queue is full, who asks next waits: a frame is never dropped here.
//!
//! When the file is gone, its disk pulled out for instance, the thread looks for it now and then and goes on where it was. Until then every
//! request is answered with [`StoreError::Gone`].

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use reading::{Epoch, EpochRange, Frame, FrameId, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::owner::Owner;
use crate::{Batch, Store, StoreError};

/// Requests that wait, at most.
const QUEUE: usize = 256;

/// A handle on the store's thread. Cheap to clone; when the last one is gone, the thread syncs and ends.
#[derive(Clone)]
pub struct StoreHandle {
    requests: mpsc::Sender<(Request, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    stats: Arc<Mutex<StoreStats>>,
}

/// The store's books.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreStats {
    /// Frames stored.
    pub frames: u64,
    /// Bytes of the file and its log.
    pub bytes_on_disk: u64,
    /// Bytes that the kernel wrote, or will write, to the disk for this store since it was opened, by the kernel's own account
    /// (`write_bytes` of the thread); `None` where the kernel keeps none.
    pub bytes_written: Option<u64>,
    /// Frames appended since the store was opened.
    pub appended: u64,
    /// Frames that a power cut would take now.
    pub unsynced: u64,
    /// When the store was last synced, or opened.
    pub last_sync: Option<Instant>,
    /// Damaged frames met while reading.
    pub damaged: u64,
    /// What went wrong last, until a later append or sync goes well.
    pub last_error: Option<StoreError>,
}

impl StoreStats {
    /// How long ago the store was last synced.
    pub fn last_sync_age(&self, now: Instant) -> Option<Duration> {
        self.last_sync.map(|sync| now.saturating_duration_since(sync))
    }
}

/// Gets the store, or why there is none.
type Question = Box<dyn FnOnce(Result<&Store, StoreError>) + Send>;

/// What the thread is asked for.
pub(crate) enum Request {
    Append(Vec<Frame>, oneshot::Sender<Result<usize, StoreError>>),
    Ask(Question),
    Sync(oneshot::Sender<Result<(), StoreError>>),
    SetAside(oneshot::Sender<Result<PathBuf, StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl StoreHandle {
    /// Gives the store to its thread.
    pub fn spawn(store: Store) -> Result<Self, StoreError> {
        let (requests, queue) = mpsc::channel();
        let stats = Arc::new(Mutex::new(StoreStats::default()));
        let path = store.path().to_path_buf();
        let owner = Owner::new(store, stats.clone());
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || owner.run(&queue))
            .map_err(|error| StoreError::io(&path, "start thread", &error))?;
        Ok(Self { requests, room: Arc::new(Semaphore::new(QUEUE)), stats })
    }

    /// As [`Store::append`].
    pub async fn append(&self, frames: Vec<Frame>) -> Result<usize, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Append(frames, reply)).await?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// As [`Store::sync`].
    pub async fn sync(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Sync(reply)).await?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// Moves the file aside as [`Store::set_aside`] does, and begins a new one in its place, for a store that turns out to be
    /// [damaged](StoreError::is_damaged) while it is in use. Says where the old one is.
    ///
    /// The new one has what was in the tail, and nothing else: not the announcement that the next frames refer to.
    pub async fn set_aside(&self) -> Result<PathBuf, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::SetAside(reply)).await?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// As [`Store::last_seq`].
    pub async fn last_seq(&self, node: NodeId, epoch: Epoch) -> Result<u64, StoreError> {
        self.ask(move |store| store.last_seq(node, epoch)).await
    }

    /// As [`Store::next_seq`].
    pub async fn next_seq(&self, node: NodeId, epoch: Epoch) -> Result<u64, StoreError> {
        self.ask(move |store| store.next_seq(node, epoch)).await
    }

    /// As [`Store::nodes`].
    pub async fn nodes(&self) -> Result<Vec<NodeId>, StoreError> {
        self.ask(Store::nodes).await
    }

    /// As [`Store::epochs`].
    pub async fn epochs(&self, node: NodeId) -> Result<Vec<EpochRange>, StoreError> {
        self.ask(move |store| store.epochs(node)).await
    }

    /// As [`Store::latest_epoch`].
    pub async fn latest_epoch(&self, node: NodeId) -> Result<Option<(Epoch, u64)>, StoreError> {
        self.ask(move |store| store.latest_epoch(node)).await
    }

    /// As [`Store::get`].
    pub async fn get(&self, id: FrameId) -> Result<Option<Frame>, StoreError> {
        self.ask(move |store| store.get(id)).await
    }

    /// As [`Store::range`]. Every frame's signature is checked on the thread, which appends nothing meanwhile: keep `max_bytes` small
    /// (64 KiB are some 20 ms on a PC, 100 ms on a Pi 3).
    pub async fn range(
        &self,
        node: NodeId,
        epoch: Epoch,
        seqs: RangeInclusive<u64>,
        max_bytes: usize,
    ) -> Result<Batch, StoreError> {
        self.ask(move |store| store.range(node, epoch, seqs, max_bytes)).await
    }

    /// As [`Store::first_at_or_after`].
    pub async fn first_at_or_after(&self, node: NodeId, time_us: i64) -> Result<Option<FrameId>, StoreError> {
        self.ask(move |store| store.first_at_or_after(node, time_us)).await
    }

    /// The store's books, as of the last request.
    pub fn stats(&self) -> StoreStats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Syncs and lets go of the file. Other handles get [`StoreError::Stopped`] from then on.
    pub async fn close(self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Close(reply)).await?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let ask = Box::new(move |store: Result<&Store, StoreError>| {
            // Whoever asked may have gone.
            let _ = reply.send(store.and_then(question));
        });
        self.send(Request::Ask(ask)).await?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        let place = self.room.clone().acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        self.requests.send((request, place)).map_err(|_| StoreError::Stopped)
    }
}

impl fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreHandle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
