//! A frame's bytes without what its place in the store says already, and with a checksum.
//!
//! Every version 1 frame begins with version, node, epoch, seq and boot (`docs/wire.md`): 49 bytes and the seq, a quarter of a frame,
//! the same for a whole run but for the seq, which is the row's key. They are left out, and put back byte for byte: three
//! frames fit on a 512-byte page instead of two. Whatever does not begin like that is kept whole.
//!
//! The checksum is over the whole frame, so it also tells a row that is in another's place. A signature would tell as well, at a thousand times the
//! cost: it was checked when the frame came in, and whoever is served checks it again.

use reading::{BootId, Epoch, Frame, FrameError, FrameId, NodeId, Verifier};

/// Marks a frame that is kept whole.
const WHOLE: u8 = 2;
/// Marks a frame whose beginning was left out.
const SHORT: u8 = 3;
/// The same without a checksum, as layout 1 has them. Their signatures are checked.
const OLD_WHOLE: u8 = 0;
const OLD_SHORT: u8 = 1;
/// What version 1 frames begin with.
const VERSION: u8 = 1;

/// What the frames of one run begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) boot: BootId,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// No row looks like that.
    #[error("it is no row of a store")]
    Row,
    /// Bytes changed, or it was another row's.
    #[error("its checksum does not fit")]
    Checksum,
    /// What was put together is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It is a frame, of another row.
    #[error("in its place is {0}")]
    Misplaced(FrameId),
}

impl Beginning {
    fn bytes(&self, seq: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(VERSION);
        bytes.extend(self.node.0);
        bytes.extend(self.epoch.0);
        let mut rest = seq;
        while rest > 0x7f {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes.extend(self.boot.0);
        bytes
    }

    /// The bytes of a frame's row.
    pub(crate) fn pack(&self, frame: &Frame) -> Vec<u8> {
        let checksum = crc32fast::hash(frame.bytes()).to_le_bytes();
        match frame.bytes().strip_prefix(self.bytes(frame.seq()).as_slice()) {
            Some(rest) => [&[SHORT], &checksum[..], rest].concat(),
            None => [&[WHOLE], &checksum[..], frame.bytes()].concat(),
        }
    }

    /// The frame of the row `seq`.
    pub(crate) fn unpack(&self, seq: u64, packed: &[u8], verifier: &mut Verifier) -> Result<Frame, Damage> {
        let (marker, rest) = packed.split_first().ok_or(Damage::Row)?;
        let whole = |rest: &[u8]| {
            let mut bytes = self.bytes(seq);
            bytes.extend(rest);
            bytes
        };
        let frame = match *marker {
            OLD_WHOLE => verifier.verify(rest)?,
            OLD_SHORT => verifier.verify(&whole(rest))?,
            WHOLE => checked(rest, <[u8]>::to_vec)?,
            SHORT => checked(rest, whole)?,
            _ => return Err(Damage::Row),
        };
        let id = FrameId { node: self.node, epoch: self.epoch, seq };
        if frame.id() == id { Ok(frame) } else { Err(Damage::Misplaced(frame.id())) }
    }
}

/// A frame after its checksum.
fn checked(row: &[u8], whole: impl Fn(&[u8]) -> Vec<u8>) -> Result<Frame, Damage> {
    let (checksum, rest) = row.split_first_chunk::<4>().ok_or(Damage::Row)?;
    let bytes = whole(rest);
    if crc32fast::hash(&bytes) != u32::from_le_bytes(*checksum) {
        return Err(Damage::Checksum);
    }
    Ok(Frame::trusted(&bytes)?)
}

#[cfg(test)]
mod tests {
    use reading::{Author, ClockState, Kind, NodeKey, Payload, Stamp};

    use super::*;

    #[test]
    fn what_is_left_out_is_put_back() {
        let epoch = Epoch([3; 8]);
        let boot = BootId([4; 8]);
        let mut author = Author::new(NodeKey::from_seed([1; 32]), epoch, boot);
        let beginning = Beginning { node: author.node(), epoch, boot };
        let stranger = Beginning { boot: BootId([5; 8]), ..beginning };
        let mut verifier = Verifier::default();
        for _ in 0..300 {
            let stamp = Stamp { uptime_ms: 1, time_us: 2, clock: ClockState(1) };
            let frame = author.sign(stamp, &Payload::Unknown(Kind(77), [9; 20].into())).unwrap();
            let packed = beginning.pack(&frame);
            assert!(packed.len() + 45 <= frame.bytes().len());
            assert_eq!(beginning.unpack(frame.seq(), &packed, &mut verifier), Ok(frame.clone()));
            let whole = stranger.pack(&frame);
            assert_eq!(whole.len(), frame.bytes().len() + 5);
            assert_eq!(stranger.unpack(frame.seq(), &whole, &mut verifier), Ok(frame.clone()));
            for (packed, marker) in [(&packed, OLD_SHORT), (&whole, OLD_WHOLE)] {
                let old = [&[marker], &packed[5..]].concat();
                let of = if marker == OLD_SHORT { beginning } else { stranger };
                assert_eq!(of.unpack(frame.seq(), &old, &mut verifier), Ok(frame.clone()), "as layout 1 has it");
            }
            assert_eq!(beginning.unpack(frame.seq() + 1, &packed, &mut verifier), Err(Damage::Checksum));
            assert_eq!(beginning.unpack(frame.seq() + 1, &whole, &mut verifier), Err(Damage::Misplaced(frame.id())));
            assert_eq!(stranger.unpack(frame.seq(), &packed, &mut verifier), Err(Damage::Checksum));
        }
        for nothing in [&[][..], &[7, 7], &[SHORT], &[WHOLE, 1, 2, 3]] {
            assert_eq!(beginning.unpack(1, nothing, &mut verifier), Err(Damage::Row));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_row_is_found() {
        let (epoch, boot) = (Epoch([3; 8]), BootId([4; 8]));
        let mut author = Author::new(NodeKey::from_seed([1; 32]), epoch, boot);
        let beginning = Beginning { node: author.node(), epoch, boot };
        let stamp = Stamp { uptime_ms: 1, time_us: 2, clock: ClockState(1) };
        let frame = author.sign(stamp, &Payload::Unknown(Kind(77), [9; 20].into())).unwrap();
        let packed = beginning.pack(&frame);
        for bit in 0..packed.len() * 8 {
            let mut flipped = packed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(beginning.unpack(frame.seq(), &flipped, &mut Verifier::default()).is_err(), "bit {bit}");
        }
    }
}
