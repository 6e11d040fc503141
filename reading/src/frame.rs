//! The frame: what is signed, stored and sent. `docs/wire.md` is its specification.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::PublicKey;
use crate::kind::exact;
use crate::{BootId, ClockState, Kind, NodeId, NodeKey, Payload, Stamp};

/// The only version that this build writes and reads.
const VERSION: u8 = 1;
/// Signed before the frame's bytes, so that a signature made for anything else can never pass for a frame's.
const DOMAIN: &[u8] = b"magpie/frame/1\0";
/// The longest frame in bytes. Far below gossipsub's 64 KiB, and no allocation is ever larger on account of one frame.
pub const MAX_FRAME_BYTES: usize = 8 * 1024;
/// Bytes of the signature that ends every frame.
pub const SIGNATURE_BYTES: usize = 64;

/// One run of a node's program: 8 random bytes, new at every start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub [u8; 8]);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identity by which everything deduplicates, stores, asks and proves. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// Who made the frame.
    pub node: NodeId,
    /// In which run.
    pub epoch: Epoch,
    /// The how-manieth of that run, from 1.
    pub seq: u64,
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.epoch, self.seq)
    }
}

/// What every holder understands of a frame, for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Envelope<'a> {
    node: NodeId,
    epoch: Epoch,
    seq: u64,
    boot: BootId,
    uptime_ms: u64,
    time_us: i64,
    clock: ClockState,
    kind: Kind,
    payload: &'a [u8],
}

/// A frame whose signature was checked, now or before. Cheap to clone.
#[derive(Clone)]
pub struct Frame {
    bytes: Arc<[u8]>,
    id: FrameId,
    boot: BootId,
    stamp: Stamp,
    kind: Kind,
    payload: Range<usize>,
}

/// Verifies frames, and keeps the last one's key ready: finding its point on the curve is a tenth of verifying, and frames of
/// one node come in rows. It keeps nothing else. Every frame is checked in full, by the key that it names, whatever came before.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    key: Option<PublicKey>,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("frame of {0} bytes is longer than {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// Shorter than a version and a signature.
    #[error("frame of {0} bytes is cut short")]
    TooShort(usize),
    /// Another version: ignore it. Whoever carries it does no wrong: a rolling upgrade must not split the mesh.
    #[error("frame version {0} is not known here; a newer program may read it")]
    UnknownVersion(u8),
    /// The envelope cannot be read.
    #[error("envelope: {0}")]
    Envelope(&'static str),
    /// Seq 0.
    #[error("seq is 0; frames are numbered from 1")]
    SeqZero,
    /// The signature does not fit the key and the bytes.
    #[error("the signature does not fit: the frame was changed or forged")]
    Signature,
    /// The payload of a known kind cannot be read.
    #[error("{kind} payload: {problem}")]
    Payload {
        /// The kind.
        kind: Kind,
        /// What is wrong.
        problem: &'static str,
    },
    /// The payload that was to be sent breaks a rule.
    #[error("{kind} cannot be encoded: {problem}")]
    Encode {
        /// The kind.
        kind: Kind,
        /// The rule.
        problem: String,
    },
}

impl Frame {
    /// Signs a payload whose encoding is known to be right, or meant to be wrong.
    pub(crate) fn sign(
        key: &NodeKey,
        (epoch, seq, boot): (Epoch, u64, BootId),
        stamp: Stamp,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Self, FrameError> {
        let Stamp { uptime_ms, time_us, clock } = stamp;
        let envelope = Envelope { node: key.id(), epoch, seq, boot, uptime_ms, time_us, clock, kind, payload };
        let mut message = DOMAIN.to_vec();
        message.push(VERSION);
        message.extend(
            postcard::to_stdvec(&envelope).map_err(|error| FrameError::Encode { kind, problem: error.to_string() })?,
        );
        let unsigned = &message[DOMAIN.len()..];
        let length = unsigned.len() + SIGNATURE_BYTES;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge(length));
        }
        let bytes: Arc<[u8]> = [unsigned, &key.sign(&message)].concat().into();
        let payload = unsigned.len() - payload.len()..unsigned.len();
        Ok(Self { bytes, id: FrameId { node: envelope.node, epoch, seq }, boot, stamp, kind, payload })
    }

    /// Verifies one frame. Whoever has many of one node does it with a [`Verifier`].
    pub fn verify(bytes: &[u8]) -> Result<Self, FrameError> {
        Verifier::default().verify(bytes)
    }

    /// Reads a frame that was verified before, from a place of one's own that says by itself whether its bytes are unharmed. The signature is not
    /// checked: never for what comes from others.
    pub fn trusted(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge(bytes.len()));
        }
        match bytes.first() {
            None => return Err(FrameError::TooShort(0)),
            Some(&VERSION) => {}
            Some(&version) => return Err(FrameError::UnknownVersion(version)),
        }
        let unsigned = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or(FrameError::TooShort(bytes.len()))?;
        let body = bytes.get(1..unsigned).ok_or(FrameError::TooShort(bytes.len()))?;
        let envelope: Envelope<'_> = exact(body).map_err(FrameError::Envelope)?;
        if envelope.seq == 0 {
            return Err(FrameError::SeqZero);
        }
        let Envelope { node, epoch, seq, boot, uptime_ms, time_us, clock, kind, payload } = envelope;
        Ok(Self {
            bytes: bytes.into(),
            id: FrameId { node, epoch, seq },
            boot,
            stamp: Stamp { uptime_ms, time_us, clock },
            kind,
            payload: unsigned - payload.len()..unsigned,
        })
    }

    /// The frame as it travels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The identity of the frame.
    pub fn id(&self) -> FrameId {
        self.id
    }

    /// Who made it.
    pub fn node(&self) -> NodeId {
        self.id.node
    }

    /// In which run of the node's program.
    pub fn epoch(&self) -> Epoch {
        self.id.epoch
    }

    /// Its number in that run, from 1.
    pub fn seq(&self) -> u64 {
        self.id.seq
    }

    /// In which run of the node's kernel.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// When it was made, as far as the node knew.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What it carries.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Reads the payload. An error for a known kind means that its author is broken.
    pub fn payload(&self) -> Result<Payload, FrameError> {
        let kind = self.kind;
        Payload::decode(kind, &self.bytes[self.payload.clone()])
            .map_err(|problem| FrameError::Payload { kind, problem })
    }
}

impl Verifier {
    /// Reads the envelope and checks the signature over the very bytes that came.
    ///
    /// The payload is not looked at: a holder keeps, forwards and serves what it does not understand.
    pub fn verify(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
        let frame = Frame::trusted(bytes)?;
        let (unsigned, signature) =
            bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or(FrameError::TooShort(bytes.len()))?;
        let key = self.key_of(&frame.node()).ok_or(FrameError::Signature)?;
        if key.verifies(&[DOMAIN, unsigned].concat(), signature) { Ok(frame) } else { Err(FrameError::Signature) }
    }

    fn key_of(&mut self, node: &NodeId) -> Option<&PublicKey> {
        if !self.key.as_ref().is_some_and(|key| key.is_of(node)) {
            self.key = PublicKey::of(node);
        }
        self.key.as_ref()
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} {} {} bytes)", self.id, self.kind, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Author;

    fn frames(seed: u8) -> Vec<Vec<u8>> {
        let stamp = Stamp { uptime_ms: 1, time_us: 1, clock: ClockState::SYNCED };
        let mut author = Author::new(NodeKey::from_seed([seed; 32]), Epoch([seed; 8]), BootId([seed; 8]));
        (0..2).map(|_| author.sign_unchecked(stamp, Kind::EVENT, &[seed]).unwrap().bytes().to_vec()).collect()
    }

    /// Another's name on a frame: behind the version byte stands the node.
    fn under_name_of(node: &[u8], mut frame: Vec<u8>) -> Vec<u8> {
        frame[1..33].copy_from_slice(node);
        frame
    }

    #[test]
    fn what_a_verifier_saw_before_changes_no_answer() {
        let (one, other) = (frames(1), frames(2));
        let no_point = [2; 32];
        assert!(PublicKey::of(&NodeId(no_point)).is_none());
        let stream = [
            one[0].clone(),
            one[1].clone(),
            under_name_of(&one[0][1..33], other[0].clone()),
            under_name_of(&other[0][1..33], one[0].clone()),
            one[0].clone(),
            under_name_of(&no_point, one[0].clone()),
            one[1].clone(),
            other[0].clone(),
            other[1].clone(),
        ];
        let mut verifier = Verifier::default();
        let answers: Vec<_> = stream.iter().map(|bytes| verifier.verify(bytes)).collect();
        assert_eq!(answers, stream.iter().map(|bytes| Frame::verify(bytes)).collect::<Vec<_>>());
        let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, true, false, false, true, false, true, true, true]);
    }
}
