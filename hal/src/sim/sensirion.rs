//! What Sensirion's chips share: commands, and 16-bit words of which each is followed by a checksum.

use std::time::Duration;

use reading::Quantity;

use super::device::{Device, Moment};
use super::{Direction, Fault};

/// The checksum of a word, most significant byte first: polynomial 0x31, start 0xFF, nothing reflected or inverted
/// (SHT4x datasheet section 4.4, SCD4x datasheet section 3.11).
pub(super) fn crc([high, low]: [u8; 2]) -> u8 {
    [high, low].iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x31 })
    })
}

/// `value` as a word of which 65535 stands for `span` above `least`; clamped, as the chips do.
pub(super) fn word(value: f64, least: f64, span: f64) -> u16 {
    // The cast saturates.
    ((value - least) / span * f64::from(u16::MAX)).round() as u16
}

/// A text as so many words, filled up with zeros.
pub(super) fn text(text: &str, words: usize) -> Vec<u16> {
    let mut bytes = text.bytes().chain(std::iter::repeat(0));
    (0..words).map(|_| u16::from_be_bytes([bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)])).collect()
}

/// An IEEE 754 number of 32 bits as two words, most significant first.
pub(super) fn float(value: f64) -> [u16; 2] {
    double((value as f32).to_bits())
}

/// A number of 32 bits as two words, most significant first.
pub(super) fn double(bits: u32) -> [u16; 2] {
    // The casts take the halves.
    [(bits >> 16) as u16, bits as u16]
}

/// A chip that takes commands.
///
/// Its [`Interface`] keeps the bus: it collects a command's code and words, refuses a word whose checksum is wrong, lets the
/// chip execute, acknowledges nothing until the command's time is over, and gives each answer out once. A read for which
/// there is no answer is not acknowledged. A chip in [`Fault::ResetContents`] acknowledges its commands and executes none.
pub(super) trait Commanded: Send {
    /// How many bytes a command's code has.
    const CODE_BYTES: usize = 2;
    /// Whether a chip with [`Fault::Busy`] acknowledges nothing after the next command that takes time.
    const HANGS: bool = false;
    /// Whether a start without a stop before it is understood; if not, its address is not acknowledged.
    const REPEATED_START: bool = true;

    fn model(&self) -> &'static str;
    fn address(&self) -> u8;
    fn quantities(&self) -> &'static [Quantity];
    /// What it does not measure, but what changes its values.
    fn feels(&self) -> &'static [Quantity] {
        &[]
    }
    /// How long after power-on nothing is acknowledged.
    fn startup(&self) -> Duration;
    /// Power came back: what does not outlast it is forgotten.
    fn power_on(&mut self);
    /// The address phase of a chip that [hangs](Self::HANGS).
    fn hang(&mut self) {}
    /// The address phase of a chip that is not busy: what is due by now happens. `false` is a NACK.
    fn start(&mut self, _at: &Moment<'_>) -> bool {
        true
    }
    /// With how many words the command can be executed in the chip's state, fewest first: `&[0, 1]` gets without a word
    /// and sets with one. Of a command that is not to be acknowledged: `&[]`.
    fn words(&self, code: u16, at: &Moment<'_>) -> &'static [usize];
    /// Executes a command with one of those numbers of words.
    fn execute(&mut self, code: u16, words: &[u16], at: &Moment<'_>) -> Executed;
    /// What a read gets for which no answer is pending. Nothing, unless the chip remembers what was asked last.
    fn reread(&mut self, _at: &Moment<'_>) -> Vec<u16> {
        Vec::new()
    }
}

/// What a command leads to on the bus.
pub(super) struct Executed {
    time: Duration,
    answer: Vec<u16>,
    acknowledged: bool,
}

impl Executed {
    /// The chip is busy for so long, and then has nothing to say.
    pub(super) fn within(time: Duration) -> Self {
        Self { time, answer: Vec::new(), acknowledged: true }
    }

    pub(super) fn within_ms(time: u64) -> Self {
        Self::within(Duration::from_millis(time))
    }

    /// The next read gets these words.
    pub(super) fn answering(self, words: &[u16]) -> Self {
        Self { answer: words.to_vec(), ..self }
    }

    /// The byte that completed the command is not acknowledged though the command works.
    pub(super) fn unacknowledged(self) -> Self {
        Self { acknowledged: false, ..self }
    }
}

/// An answer on its way to the host.
struct Answer {
    words: Vec<u16>,
    sent: usize,
}

impl Answer {
    fn new(words: Vec<u16>) -> Option<Self> {
        (!words.is_empty()).then_some(Self { words, sent: 0 })
    }

    /// The next byte, as the chip's health lets it out; 0xFF when all is sent.
    fn next(&mut self, at: &Moment<'_>) -> u8 {
        let position = self.sent;
        let bytes = 3 * self.words.len();
        let end = if at.has(Fault::Truncated) { bytes / 2 } else { bytes };
        let Some(word) = self.words.get(position / 3).filter(|_| position < end) else { return 0xFF };
        self.sent += 1;
        let word = word.to_be_bytes();
        match position % 3 {
            2 if at.has(Fault::Checksum) => !crc(word),
            2 => crc(word),
            part => word[part],
        }
    }
}

/// The longest write: a code of two bytes and six words. What goes beyond it is not acknowledged.
const MOST_RECEIVED: usize = 2 + 6 * 3;

/// The bus side of a chip that takes commands.
pub(super) struct Interface<C> {
    chip: C,
    /// A command is being executed until then.
    busy_until: Option<Duration>,
    /// The bytes of the write so far.
    received: Vec<u8>,
    /// With how many words the received command can be executed.
    takes: &'static [usize],
    answer: Option<Answer>,
    sending: Option<Answer>,
    /// A start was acknowledged, and no stop came since.
    in_transfer: bool,
}

impl<C: Commanded> Interface<C> {
    pub(super) fn new(chip: C) -> Self {
        Self {
            chip,
            busy_until: None,
            received: Vec::new(),
            takes: &[],
            answer: None,
            sending: None,
            in_transfer: false,
        }
    }

    /// The code of the received command, when its bytes are there.
    fn code(&self) -> Option<u16> {
        let code = self.received.get(..C::CODE_BYTES)?;
        Some(code.iter().fold(0, |code, byte| code << 8 | u16::from(*byte)))
    }

    /// The words that followed the code, each with its checksum; `None` in the middle of one, or where a checksum is wrong.
    fn received_words(&self) -> Option<Vec<u16>> {
        let chunks = self.received.get(C::CODE_BYTES..)?.chunks(3);
        let word = |chunk: &[u8]| match *chunk {
            [high, low, checksum] if crc([high, low]) == checksum => Some(u16::from_be_bytes([high, low])),
            _ => None,
        };
        chunks.map(word).collect()
    }

    /// Executes the command if it is whole. Returns whether its last byte is acknowledged.
    fn complete(&mut self, code: u16, at: &Moment<'_>) -> bool {
        let in_word = (self.received.len() - C::CODE_BYTES) % 3;
        if in_word != 0 {
            return true;
        }
        let Some(words) = self.received_words() else { return false };
        if !self.takes.contains(&words.len()) || at.has(Fault::ResetContents) {
            return true;
        }
        let Executed { time, answer, acknowledged } = self.chip.execute(code, &words, at);
        self.busy_until = Some(at.now + time).filter(|_| !time.is_zero());
        self.answer = Answer::new(answer);
        acknowledged
    }
}

impl<C: Commanded> Device for Interface<C> {
    fn model(&self) -> &'static str {
        self.chip.model()
    }

    fn address(&self) -> u8 {
        self.chip.address()
    }

    fn quantities(&self) -> &'static [Quantity] {
        self.chip.quantities()
    }

    fn feels(&self) -> &'static [Quantity] {
        self.chip.feels()
    }

    fn startup(&self) -> Duration {
        self.chip.startup()
    }

    fn power_on(&mut self, _now: Duration) {
        self.busy_until = None;
        self.answer = None;
        self.sending = None;
        self.in_transfer = false;
        self.chip.power_on();
    }

    fn start(&mut self, direction: Direction, at: &Moment<'_>) -> bool {
        let hangs = C::HANGS && at.has(Fault::Busy) && self.busy_until.is_some();
        if hangs {
            self.chip.hang();
        }
        if hangs || self.busy_until.is_some_and(|end| at.now < end) || (self.in_transfer && !C::REPEATED_START) {
            return false;
        }
        self.busy_until = None;
        self.received.clear();
        if !self.chip.start(at) {
            return false;
        }
        if direction == Direction::Read {
            self.sending = self.answer.take();
            if self.sending.is_none() && !at.has(Fault::ResetContents) {
                self.sending = Answer::new(self.chip.reread(at));
            }
        }
        self.in_transfer = direction == Direction::Write || self.sending.is_some();
        self.in_transfer
    }

    fn write(&mut self, byte: u8, at: &Moment<'_>) -> bool {
        if self.received.len() == MOST_RECEIVED {
            return false;
        }
        self.received.push(byte);
        self.answer = None;
        let Some(code) = self.code() else { return true };
        if self.received.len() == C::CODE_BYTES {
            self.takes = self.chip.words(code, at);
        }
        let most = self.takes.last().map(|words| C::CODE_BYTES + 3 * words);
        most.is_some_and(|most| self.received.len() <= most) && self.complete(code, at)
    }

    fn read(&mut self, at: &Moment<'_>) -> u8 {
        self.sending.as_mut().map_or(0xFF, |answer| answer.next(at))
    }

    fn stop(&mut self) {
        self.sending = None;
        self.in_transfer = false;
    }
}

#[cfg(test)]
pub(super) mod tests;
