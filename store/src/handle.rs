//! The store behind a thread: for async programs, which must not wait for a disk.
//!
//! Everything goes through one queue to the thread `store`, which owns the file. Appends that wait together become one transaction.
//! When the queue is full, who asks next waits: a frame is never dropped here.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reading::{Epoch, EpochRange, Frame, FrameId, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Batch, Store, StoreError};

/// Requests that wait, at most.
const QUEUE: usize = 256;
/// Frames that become one transaction, at most: a few milliseconds' work.
const GROUP_FRAMES: usize = 1024;
/// A sync that failed is tried again after this, or after the sync interval where that is shorter.
const SYNC_RETRY: Duration = Duration::from_secs(10);

/// The bytes in [`StoreStats`] are asked for at most this often between syncs: it takes some system calls.
const WEIGH_INTERVAL: Duration = Duration::from_secs(1);

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

enum Request {
    Append(Vec<Frame>, oneshot::Sender<Result<usize, StoreError>>),
    Ask(Box<dyn FnOnce(&Store) + Send>),
    Sync(oneshot::Sender<Result<(), StoreError>>),
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
        let ask = Box::new(move |store: &Store| {
            // Whoever asked may have gone.
            let _ = reply.send(question(store));
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

// === The thread ===

struct Owner {
    store: Store,
    stats: Arc<Mutex<StoreStats>>,
    books: StoreStats,
    /// When the frames that are not on the disk yet must be.
    sync_due: Option<Instant>,
    /// When the bytes of file and thread were asked for last.
    weighed: Option<Instant>,
    written_before: Option<u64>,
}

type Queue = mpsc::Receiver<(Request, OwnedSemaphorePermit)>;
type Waiting = (Vec<Frame>, oneshot::Sender<Result<usize, StoreError>>);

impl Owner {
    fn new(store: Store, stats: Arc<Mutex<StoreStats>>) -> Self {
        let books = StoreStats { last_sync: Some(Instant::now()), ..StoreStats::default() };
        // What a tail kept from an earlier process is synced at once where the store could not.
        let sync_due = (store.unsynced() > 0).then(Instant::now);
        let mut owner = Self { store, stats, books, sync_due, weighed: None, written_before: None };
        owner.publish();
        owner
    }

    fn run(mut self, queue: &Queue) {
        (self.written_before, self.weighed) = (written_by_this_thread(), None);
        while let Some(request) = self.next(queue) {
            let mut request = Some(request);
            while let Some(current) = request.take() {
                match current {
                    Request::Append(frames, reply) => {
                        let (group, after) = gather((frames, reply), queue);
                        self.append(group);
                        request = after;
                    }
                    Request::Ask(ask) => {
                        ask(&self.store);
                        self.publish();
                    }
                    Request::Sync(reply) => {
                        let _ = reply.send(self.sync());
                    }
                    Request::Close(reply) => {
                        // Whoever asked may have gone; the file is closed all the same.
                        let _ = reply.send(self.store.close());
                        return;
                    }
                }
            }
        }
        if let Err(error) = self.store.close() {
            tracing::error!(%error, "store closed badly");
        }
    }

    /// The next request, syncing meanwhile when that is due; `None` when nobody is left to ask.
    fn next(&mut self, queue: &Queue) -> Option<Request> {
        loop {
            let received = match self.sync_due {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        let _ = self.sync();
                        continue;
                    }
                    queue.recv_timeout(left)
                }
            };
            match received {
                Ok((request, _place)) => return Some(request),
                Err(RecvTimeoutError::Timeout) => {
                    // It is in the log and in the books, and tried again.
                    let _ = self.sync();
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn append(&mut self, group: Vec<Waiting>) {
        let batches: Vec<&[Frame]> = group.iter().map(|(frames, _)| frames.as_slice()).collect();
        let outcome = self.store.append_batches(&batches);
        match &outcome {
            Ok(new) => {
                self.books.appended += new.iter().sum::<usize>() as u64;
                self.books.last_error = None;
                if self.store.unsynced() > 0 && self.sync_due.is_none() {
                    self.sync_due = Some(Instant::now() + self.store.options().sync_interval);
                }
            }
            Err(error) => self.books.last_error = Some(error.clone()),
        }
        self.publish();
        for (index, (_, reply)) in group.into_iter().enumerate() {
            let answer = match &outcome {
                Ok(new) => Ok(new.get(index).copied().unwrap_or(0)),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may have gone; the frames are stored all the same.
            let _ = reply.send(answer);
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let outcome = self.store.sync();
        match &outcome {
            Ok(()) => {
                self.sync_due = None;
                self.books.last_sync = Some(Instant::now());
                self.books.last_error = None;
            }
            Err(error) => {
                tracing::error!(%error, "store not synced");
                self.sync_due = Some(Instant::now() + SYNC_RETRY.min(self.store.options().sync_interval));
                self.books.last_error = Some(error.clone());
            }
        }
        self.weighed = None;
        self.publish();
        outcome
    }

    fn publish(&mut self) {
        let books = &mut self.books;
        books.frames = self.store.frames();
        books.unsynced = self.store.unsynced();
        books.damaged = self.store.damaged();
        let now = Instant::now();
        if self.weighed.is_none_or(|weighed| now.duration_since(weighed) >= WEIGH_INTERVAL) {
            self.weighed = Some(now);
            books.bytes_on_disk = self.store.bytes_on_disk();
            books.bytes_written =
                self.written_before.zip(written_by_this_thread()).map(|(before, now)| now.saturating_sub(before));
        }
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = books.clone();
    }
}

/// Appends that wait already join this one; the first request that is none comes after them.
fn gather(first: Waiting, queue: &Queue) -> (Vec<Waiting>, Option<Request>) {
    let mut frames = first.0.len();
    let mut group = vec![first];
    while frames < GROUP_FRAMES {
        match queue.try_recv() {
            Ok((Request::Append(more, reply), _place)) => {
                frames += more.len();
                group.push((more, reply));
            }
            Ok((other, _place)) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

/// Bytes for the disk on account of this thread (proc_pid_io(5)): pages count when they become dirty.
fn written_by_this_thread() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}
