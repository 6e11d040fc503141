//! The thread that owns the file: takes what the handles ask for, syncs when that is due, and looks for a file that is gone.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reading::Frame;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::closed::Closed;
use crate::handle::Request;
use crate::{Store, StoreError, StoreStats};

/// Frames that become one transaction, at most: a few milliseconds' work.
const GROUP_FRAMES: usize = 1024;
/// A sync that failed is tried again after this, or after the sync interval where that is shorter; a file that is gone is looked for as often.
const SYNC_RETRY: Duration = Duration::from_secs(10);

/// The bytes in [`StoreStats`] are asked for at most this often between syncs: it takes some system calls.
const WEIGH_INTERVAL: Duration = Duration::from_secs(1);

/// The thread's state.
pub(crate) struct Owner {
    file: Held,
    stats: Arc<Mutex<StoreStats>>,
    books: StoreStats,
    sync_interval: Duration,
    /// When the frames that are not on the disk yet must be, or a file that is gone is looked for.
    sync_due: Option<Instant>,
    /// When the bytes of file and thread were asked for last.
    weighed: Option<Instant>,
    written_before: Option<u64>,
}

enum Held {
    Open(Box<Store>),
    /// Without its file, and why.
    Closed(Box<Closed>, StoreError),
    /// While one becomes the other.
    Neither,
}

impl Held {
    fn store(&mut self) -> Result<&mut Store, StoreError> {
        match self {
            Self::Open(store) => Ok(store),
            Self::Closed(_, error) => Err(error.clone()),
            Self::Neither => Err(StoreError::Stopped),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Open(store) => Some(store.path()),
            Self::Closed(closed, _) => Some(&closed.path),
            Self::Neither => None,
        }
    }

    fn let_go(&mut self, why: StoreError) {
        *self = match std::mem::replace(self, Self::Neither) {
            Self::Open(store) => Self::Closed(store.let_go(), why),
            closed => closed,
        };
    }

    /// Opens what is closed.
    fn open(&mut self) -> Result<&mut Store, StoreError> {
        *self = match std::mem::replace(self, Self::Neither) {
            Self::Closed(closed, _) => match closed.open() {
                Ok(store) => Self::Open(Box::new(store)),
                Err((closed, error)) => Self::Closed(closed, error),
            },
            open => open,
        };
        self.store()
    }
}

pub(crate) type Queue = mpsc::Receiver<(Request, OwnedSemaphorePermit)>;
type Waiting = (Vec<Frame>, oneshot::Sender<Result<usize, StoreError>>);

impl Owner {
    pub(crate) fn new(store: Store, stats: Arc<Mutex<StoreStats>>) -> Self {
        let books = StoreStats { last_sync: Some(Instant::now()), ..StoreStats::default() };
        // What a tail kept from an earlier process is synced at once where the store could not.
        let sync_due = (store.unsynced() > 0).then(Instant::now);
        let sync_interval = store.options().sync_interval;
        let file = Held::Open(Box::new(store));
        let mut owner = Self { file, stats, books, sync_interval, sync_due, weighed: None, written_before: None };
        owner.publish();
        owner
    }

    pub(crate) fn run(mut self, queue: &Queue) {
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
                        ask(self.file.store().map(|store| &*store));
                        self.publish();
                    }
                    Request::Sync(reply) => {
                        let _ = reply.send(self.sync());
                    }
                    Request::SetAside(reply) => {
                        let _ = reply.send(self.set_aside());
                    }
                    Request::Close(reply) => {
                        // Whoever asked may have gone; the file is closed all the same.
                        let _ = reply.send(self.close());
                        return;
                    }
                }
            }
        }
        if let Err(error) = self.close() {
            tracing::error!(%error, "store closed badly");
        }
    }

    fn close(self) -> Result<(), StoreError> {
        match self.file {
            Held::Open(store) => store.close(),
            Held::Closed(_, error) => Err(error),
            Held::Neither => Ok(()),
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
        let stored = self.file.store().and_then(|store| Ok((store.append_batches(&batches)?, store.unsynced())));
        match &stored {
            Ok((new, unsynced)) => {
                self.books.appended += new.iter().sum::<usize>() as u64;
                self.books.last_error = None;
                if *unsynced > 0 && self.sync_due.is_none() {
                    self.sync_due = Some(Instant::now() + self.sync_interval);
                }
            }
            Err(error) => self.books.last_error = Some(error.clone()),
        }
        self.publish();
        for (index, (_, reply)) in group.into_iter().enumerate() {
            let answer = match &stored {
                Ok((new, _)) => Ok(new.get(index).copied().unwrap_or(0)),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may have gone; the frames are stored all the same.
            let _ = reply.send(answer);
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.file.open().and_then(|store| store.sync());
        match &synced {
            Ok(()) => {
                if self.books.last_error.is_some() {
                    tracing::info!("the store works again");
                }
                self.sync_due = None;
                self.books.last_sync = Some(Instant::now());
                self.books.last_error = None;
            }
            Err(error) => {
                if self.books.last_error.as_ref() != Some(error) {
                    tracing::error!(%error, "store not synced");
                }
                if matches!(error, StoreError::Gone { .. }) {
                    self.file.let_go(error.clone());
                }
                self.sync_due = Some(Instant::now() + SYNC_RETRY.min(self.sync_interval));
                self.books.last_error = Some(error.clone());
            }
        }
        self.weighed = None;
        self.publish();
        synced
    }

    fn set_aside(&mut self) -> Result<PathBuf, StoreError> {
        let path = self.file.path().ok_or(StoreError::Stopped)?.to_path_buf();
        self.file.let_go(StoreError::Gone { path: path.clone() });
        // What fails here is tried again as for any file that is gone.
        self.sync_due = Some(Instant::now());
        let aside = Store::set_aside(&path)?;
        tracing::error!(store = %path.display(), aside = %aside.display(), "a damaged store was set aside, and a new one begins");
        if let Held::Closed(closed, _) = &mut self.file {
            closed.begins = true;
        }
        self.file.open()?;
        self.books.last_error = None;
        self.publish();
        Ok(aside)
    }

    fn publish(&mut self) {
        let books = &mut self.books;
        let now = Instant::now();
        let weigh = self.weighed.is_none_or(|weighed| now.duration_since(weighed) >= WEIGH_INTERVAL);
        if let Ok(store) = self.file.store() {
            books.frames = store.frames();
            books.unsynced = store.unsynced();
            books.damaged = store.damaged();
            if weigh {
                books.bytes_on_disk = store.bytes_on_disk();
            }
        }
        if weigh {
            self.weighed = Some(now);
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
