//! Whether what a peer sent is what it was asked for.

use std::ops::RangeInclusive;

use reading::{Epoch, FrameError, NodeId, Verifier};

use super::{Batch, HistoryError};

/// Checks every frame of an answer: signature, node, run, range, order. One wrong frame spoils the answer, since nobody who means well sends it.
pub(crate) fn checked(
    node: NodeId,
    epoch: Epoch,
    seqs: &RangeInclusive<u64>,
    next_seq: u64,
    frames: &[Vec<u8>],
) -> Result<Batch, HistoryError> {
    let wrong = |problem: String| HistoryError::Wrong(problem);
    let mut batch = Batch { frames: Vec::with_capacity(frames.len()), next_seq };
    let mut verifier = Verifier::default();
    let mut above = seqs.start().saturating_sub(1);
    for bytes in frames {
        let frame = match verifier.verify(bytes) {
            Ok(frame) => frame,
            // A newer program's. It is not read here, and so as good as not there.
            Err(FrameError::UnknownVersion(_)) => continue,
            Err(error) => return Err(wrong(error.to_string())),
        };
        if frame.node() != node || frame.epoch() != epoch {
            return Err(wrong(format!("{} was not asked for", frame.id())));
        }
        if frame.seq() <= above || frame.seq() > *seqs.end() || frame.seq() >= next_seq {
            return Err(wrong(format!("{} is out of order or out of range", frame.id())));
        }
        above = frame.seq();
        batch.frames.push(frame);
    }
    if next_seq <= *seqs.start() {
        return Err(wrong("it looked at nothing".to_owned()));
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Node;

    #[test]
    fn frames_are_taken_only_as_they_were_asked_for() {
        let (mut node, mut other) = (Node::new(1, "seoul", "jung"), Node::new(2, "seoul", "jung"));
        let frames: Vec<Vec<u8>> = (0..5).map(|_| node.readings(1).bytes().to_vec()).collect();
        let (id, epoch) = (node.author.node(), node.author.epoch());
        let judge = |seqs, next, frames: &[Vec<u8>]| checked(id, epoch, &seqs, next, frames);
        assert_eq!(judge(1..=5, 6, &frames).unwrap().frames.len(), 5);
        assert_eq!(judge(1..=5, 3, &frames[..2]).unwrap().next_seq, 3);
        assert_eq!(judge(1..=9, 10, &[]).unwrap().frames, []);
        let mut forged = frames[1].clone();
        forged[60] ^= 1;
        let mut newer = frames[1].clone();
        newer[0] = 9;
        let swapped = [frames[1].clone(), frames[0].clone()];
        let foreign = other.readings(1).bytes().to_vec();
        let later = node.restart().readings(1).bytes().to_vec();
        for (seqs, next, sent) in [
            (1..=5, 6, &[forged][..]),
            (1..=5, 6, &swapped),
            (1..=5, 6, &[frames[0].clone(), frames[0].clone()]),
            (1..=5, 6, &[foreign]),
            (1..=5, 6, &[later]),
            (2..=5, 6, &frames[..1]),
            (1..=2, 6, &frames[2..3]),
            (1..=5, 2, &frames[..2]),
            (4..=5, 4, &[]),
        ] {
            assert!(matches!(judge(seqs, next, sent), Err(HistoryError::Wrong(_))));
        }
        assert_eq!(judge(1..=5, 6, &[newer]).unwrap().frames, [], "a newer version is no lie");
    }
}
