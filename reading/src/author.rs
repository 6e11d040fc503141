//! The one who numbers and signs a node's frames.

use crate::{BootId, ClockState, Epoch, Frame, FrameError, Kind, NodeId, NodeKey, Payload};

/// When a frame is made, as far as the node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// ms since the kernel started, standby included (`CLOCK_BOOTTIME`).
    pub uptime_ms: u64,
    /// us since 1970, by the node's wall clock.
    pub time_us: i64,
    /// What that wall clock is worth.
    pub clock: ClockState,
}

/// Numbers frames 1, 2, 3... within one epoch. There is one per run of the program.
#[derive(Debug)]
pub struct Author {
    key: NodeKey,
    epoch: Epoch,
    boot: BootId,
    last_seq: u64,
}

impl Author {
    /// An author for this run. `epoch` must be fresh randomness: it is what keeps a frame's identity unique after a crash, a restored
    /// backup or a new card.
    pub fn new(key: NodeKey, epoch: Epoch, boot: BootId) -> Self {
        Self { key, epoch, boot, last_seq: 0 }
    }

    /// Signs the next frame. On an error no number is used up.
    pub fn sign(&mut self, stamp: Stamp, payload: &Payload) -> Result<Frame, FrameError> {
        let kind = payload.kind();
        let refused = |problem: String| FrameError::Encode { kind, problem };
        let bytes = payload.encode().map_err(|error| refused(error.to_string()))?;
        // What cannot be read back must not be signed.
        Payload::decode(kind, &bytes).map_err(|problem| refused(problem.to_owned()))?;
        self.sign_unchecked(stamp, kind, &bytes)
    }

    /// Signs any bytes as a payload: for tests that play a broken or hostile node.
    #[doc(hidden)]
    pub fn sign_unchecked(&mut self, stamp: Stamp, kind: Kind, payload: &[u8]) -> Result<Frame, FrameError> {
        let seq = self.last_seq + 1;
        let frame = Frame::sign(&self.key, (self.epoch, seq, self.boot), stamp, kind, payload)?;
        self.last_seq = seq;
        Ok(frame)
    }

    /// Who signs.
    pub fn node(&self) -> NodeId {
        self.key.id()
    }

    /// This run.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number of the newest frame, 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }
}
