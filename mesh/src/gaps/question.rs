//! What is asked of peers, and what may come of it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use reading::{Epoch, NodeId};

use crate::history::Summary;

/// The name of a question. Never used twice.
pub type Ticket = u64;

/// Something to ask of a peer. Each ends in one [`Gaps::answered`](crate::Gaps::answered), whatever comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What to answer to.
    pub ticket: Ticket,
    /// The PeerId of whom to ask.
    pub peer: Arc<str>,
    /// About whom.
    pub node: NodeId,
    /// What.
    pub question: Question,
}

/// What to ask about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which runs and ranges have you?
    Summary {
        /// What is wanted of it; a time is for the holder to find.
        since: Since,
    },
    /// Send these.
    Frames {
        /// Of this run.
        epoch: Epoch,
        /// From the first to the last.
        seqs: RangeInclusive<u64>,
    },
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the peer has.
    Summary(Summary),
    /// Frames, each verified, of that node and run and in that range, and each given to [`Gaps::see`](crate::Gaps::see) before this.
    Frames {
        /// The first seq that was not looked at: what is below it and did not come, the peer lacks.
        next_seq: u64,
        /// How many came, repeats among them.
        frames: u64,
    },
    /// Not now.
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// Nothing came in time, or nothing that could be read.
    Failed,
    /// Forged frames, or others than asked for.
    Wrong,
    /// The peer answers no such questions at all.
    Unsupported,
}

/// From where on a node's frames are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// All there ever were.
    Beginning,
    /// Those from this time on (us since 1970), and the later runs'. Holders say which that are.
    Time {
        /// The time.
        time_us: i64,
    },
    /// This one and those after it, and the later runs'.
    Frame {
        /// The run.
        epoch: Epoch,
        /// The first seq.
        seq: u64,
    },
}
