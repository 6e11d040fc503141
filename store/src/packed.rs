//! A frame's bytes without what its place in the store says already.
//!
//! Every version 1 frame begins with version, node, epoch, seq and boot (`docs/wire.md`): 49 bytes and the seq, a quarter of a frame,
//! the same for a whole run but for the seq, which is the row's key. They are left out, and put back byte for byte: three
//! frames fit on a 512-byte page instead of two. Whatever does not begin like that is kept whole.

use reading::{BootId, Epoch, Frame, NodeId};

/// Marks a frame that is kept whole. No frame has version 0.
const WHOLE: u8 = 0;
/// Marks a frame whose beginning was left out: the version of such frames.
const VERSION: u8 = 1;

/// What the frames of one run begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) boot: BootId,
}

impl Beginning {
    fn bytes(&self, seq: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
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

    pub(crate) fn pack(&self, frame: &Frame) -> Vec<u8> {
        match frame.bytes().strip_prefix(self.bytes(frame.seq()).as_slice()) {
            Some(rest) => [&[VERSION], rest].concat(),
            None => [&[WHOLE], frame.bytes()].concat(),
        }
    }

    /// The frame's bytes, or `None` for what [`pack`](Self::pack) never writes.
    pub(crate) fn unpack(&self, seq: u64, packed: &[u8]) -> Option<Vec<u8>> {
        match packed.split_first()? {
            (&WHOLE, whole) => Some(whole.to_vec()),
            (&VERSION, rest) => Some([&self.bytes(seq), rest].concat()),
            _ => None,
        }
    }
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
        for _ in 0..300 {
            let stamp = Stamp { uptime_ms: 1, time_us: 2, clock: ClockState(1) };
            let frame = author.sign(stamp, &Payload::Unknown(Kind(77), [9; 20].into())).unwrap();
            let packed = beginning.pack(&frame);
            assert!(packed.len() + 49 <= frame.bytes().len());
            assert_eq!(beginning.unpack(frame.seq(), &packed).as_deref(), Some(frame.bytes()));
            let whole = stranger.pack(&frame);
            assert_eq!(whole.len(), frame.bytes().len() + 1);
            assert_eq!(stranger.unpack(frame.seq(), &whole).as_deref(), Some(frame.bytes()));
        }
        assert_eq!(beginning.unpack(1, &[]), None);
        assert_eq!(beginning.unpack(1, &[7, 7]), None);
    }
}
