//! Which frames of a node were already heard.
//!
//! Gossip recognises a message by its author's number for it, for a minute. The same frame in a new message, or out of a directory, is
//! recognised here by its own number. Memory is bounded: of each node, the last few epochs; of each epoch, the last [`WINDOW`] numbers. What is
//! older counts as heard: live gossip brings nothing that old, and what was missed comes by other ways than gossip.

use reading::Epoch;

/// Numbers of one epoch that are remembered.
pub(crate) const WINDOW: u64 = 512;
const WORDS: usize = (WINDOW / 64) as usize;
/// Epochs of one node. A frame of an epoch before these is taken for new, and then only its author can have sent it.
const EPOCHS: usize = 4;

/// What was heard of one node.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The last touched comes last.
    epochs: Vec<OfEpoch>,
}

#[derive(Debug)]
struct OfEpoch {
    epoch: Epoch,
    highest: u64,
    /// Bit `seq % WINDOW`.
    bits: [u64; WORDS],
}

/// How a frame stands to what was heard before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    First,
    Again,
    /// So far behind that nobody knows.
    TooOld,
}

impl Seen {
    /// Takes note of a frame.
    pub(crate) fn see(&mut self, epoch: Epoch, seq: u64) -> Sight {
        let mut of_epoch = match self.epochs.iter().position(|known| known.epoch == epoch) {
            Some(index) => self.epochs.remove(index),
            None => {
                if self.epochs.len() == EPOCHS {
                    self.epochs.remove(0);
                }
                OfEpoch { epoch, highest: 0, bits: [0; WORDS] }
            }
        };
        let sight = of_epoch.see(seq);
        self.epochs.push(of_epoch);
        sight
    }
}

impl OfEpoch {
    fn see(&mut self, seq: u64) -> Sight {
        if seq > self.highest {
            if seq - self.highest >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for passed in self.highest + 1..=seq {
                    let (word, bit) = place(passed);
                    self.bits[word] &= !bit;
                }
            }
            self.highest = seq;
        } else if self.highest - seq >= WINDOW {
            return Sight::TooOld;
        }
        let (word, bit) = place(seq);
        let again = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        if again { Sight::Again } else { Sight::First }
    }
}

fn place(seq: u64) -> (usize, u64) {
    // Below WINDOW, so it fits.
    let position = (seq % WINDOW) as usize;
    (position / 64, 1 << (position % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Epoch = Epoch([1; 8]);

    #[test]
    fn each_frame_is_first_once_in_any_order() {
        let mut seen = Seen::default();
        for seq in [5, 1, 3, 2, 4, 600, 599, 601] {
            assert_eq!(seen.see(A, seq), Sight::First, "{seq}");
            assert_eq!(seen.see(A, seq), Sight::Again, "{seq}");
        }
        assert_eq!(seen.see(A, 89), Sight::TooOld);
        assert_eq!(seen.see(A, 90), Sight::First);
    }

    #[test]
    fn a_leap_forgets_and_the_end_of_the_numbers_is_no_trap() {
        let mut seen = Seen::default();
        assert_eq!(seen.see(A, 1), Sight::First);
        assert_eq!(seen.see(A, u64::MAX), Sight::First);
        assert_eq!(seen.see(A, u64::MAX), Sight::Again);
        assert_eq!(seen.see(A, u64::MAX - 511), Sight::First);
        assert_eq!(seen.see(A, 1), Sight::TooOld);
    }

    #[test]
    fn epochs_are_counted_apart_and_the_oldest_is_forgotten() {
        let mut seen = Seen::default();
        for epoch in 0..5 {
            assert_eq!(seen.see(Epoch([epoch; 8]), 1), Sight::First);
        }
        assert_eq!(seen.see(Epoch([4; 8]), 1), Sight::Again);
        assert_eq!(seen.see(Epoch([0; 8]), 1), Sight::First);
        assert_eq!(seen.epochs.len(), EPOCHS);
    }
}
