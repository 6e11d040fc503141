//! What Sensirion's chips share: 16-bit words, each followed by a checksum.

use super::Fault;
use super::power::Health;

/// The checksum of a word, most significant byte first: polynomial 0x31, start 0xFF, nothing reflected or inverted
/// (SHT4x datasheet section 4.4, SCD4x datasheet section 3.11).
pub(super) fn crc([high, low]: [u8; 2]) -> u8 {
    [high, low].iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x31 })
    })
}

/// The longest answer: three words.
const MOST_WORDS: usize = 3;

/// An answer on its way to the host.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    words: [u16; MOST_WORDS],
    bytes: usize,
    sent: usize,
}

impl Answer {
    /// At most three words; more are not sent.
    pub(super) fn new(words: &[u16]) -> Self {
        let mut kept = [0; MOST_WORDS];
        kept.iter_mut().zip(words).for_each(|(kept, word)| *kept = *word);
        Self { words: kept, bytes: 3 * words.len().min(MOST_WORDS), sent: 0 }
    }

    /// The next byte, as the chip's health lets it out; 0xFF when all is sent.
    pub(super) fn next(&mut self, health: &Health) -> u8 {
        let position = self.sent;
        let end = if health.has(Fault::Truncated) { self.bytes / 2 } else { self.bytes };
        if position >= end {
            return 0xFF;
        }
        self.sent += 1;
        let word = self.words[position / 3].to_be_bytes();
        match position % 3 {
            2 if health.has(Fault::Checksum) => !crc(word),
            2 => crc(word),
            part => word[part],
        }
    }
}

/// `value` as a word of which 65535 stands for `span` above `least`; clamped, as the chips do.
pub(super) fn word(value: f64, least: f64, span: f64) -> u16 {
    // The cast saturates.
    ((value - least) / span * f64::from(u16::MAX)).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_datasheets_example_comes_out() {
        assert_eq!(crc([0xBE, 0xEF]), 0x92);
    }

    #[test]
    fn an_answer_is_words_with_their_checksums_and_then_an_idle_bus() {
        let mut answer = Answer::new(&[0xBEEF, 0x0000]);
        let sent: Vec<u8> = (0..8).map(|_| answer.next(&Health::default())).collect();
        assert_eq!(sent, [0xBE, 0xEF, 0x92, 0x00, 0x00, 0x81, 0xFF, 0xFF]);
    }

    #[test]
    fn what_no_word_can_say_is_said_by_the_last_word() {
        assert_eq!(word(-45.0, -45.0, 175.0), 0);
        assert_eq!(word(130.0, -45.0, 175.0), u16::MAX);
        assert_eq!(word(1e9, -45.0, 175.0), u16::MAX);
        assert_eq!(word(-1e9, -45.0, 175.0), 0);
    }
}
