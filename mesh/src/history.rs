//! `/magpie/history/1`: asking a peer for frames of the past, and answering.
//!
//! Whoever holds frames may answer for any node: frames prove themselves. What is held is the program's business; it gives the mesh a
//! [`History`] to ask. `docs/wire.md` has the bytes, [`Gaps`](crate::Gaps) decides what to ask of whom, and
//! [`Backfill`](crate::Backfill) does it.

mod check;
mod turns;
mod wire;

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::time::Duration;

use reading::{Epoch, EpochRange, Frame, NodeId};
use serde::{Deserialize, Serialize};

pub(crate) use self::check::checked;
pub(crate) use self::turns::Turns;
pub(crate) use self::wire::{NAME, Request, Response};

/// Runs in one summary, the newest: a node that started anew every minute comes to that in most of a day.
pub const MAX_RUNS: usize = 1024;
/// Bytes of frames in one answer, whatever is asked for. Checking that many signatures takes some 20 ms on a PC, 100 ms on a Pi 3.
pub const ANSWER_BYTES: usize = 64 * 1024;

/// What a holder has of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The first frame at or after the time that was asked for, where there is one.
    pub first: Option<(Epoch, u64)>,
    /// There are older runs that did not fit.
    pub older: bool,
    /// The node's runs, oldest first, [`MAX_RUNS`] at most.
    pub runs: Vec<EpochRange>,
}

/// Some frames of one run of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The frames, by seq.
    pub frames: Vec<Frame>,
    /// The first seq that was not looked at. What was asked for below it and is not here, the holder does not have.
    pub next_seq: u64,
}

/// An answer in the making; `None` where none can be given now: whoever asked asks again later, or another.
pub type Answering<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

/// Frames that the mesh may serve to peers. The mesh asks for little at a time, and waits without holding anything up: who implements this
/// reads on a thread of its own.
pub trait History: fmt::Debug + Send + Sync {
    /// What there is of a node, and the first frame at or after a time (us since 1970) if one is given.
    fn summary(&self, node: NodeId, since_us: Option<i64>) -> Answering<Summary>;

    /// Frames of one run, by seq, of `max_bytes` together; the first whatever its size.
    fn frames(&self, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>, max_bytes: usize) -> Answering<Batch>;
}

/// Why a peer's history could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// There is no connection to that peer.
    #[error("{0} is not connected")]
    NotConnected(String),
    /// It serves no history.
    #[error("the peer serves no history")]
    Unsupported,
    /// Not now.
    #[error("the peer has no time before {retry_after:?} have passed")]
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// No answer, or one that could not be read.
    #[error("the peer did not answer: {0}")]
    Failed(String),
    /// Frames that were not asked for, or that are none. Ask another.
    #[error("the peer answered wrongly: {0}")]
    Wrong(String),
    /// More questions at once than the mesh carries.
    #[error("{0} questions are waiting for answers; ask again when one has come")]
    TooMany(usize),
    /// The mesh has ended.
    #[error("the mesh has stopped")]
    Stopped,
}
