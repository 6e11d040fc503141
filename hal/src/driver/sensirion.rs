//! What Sensirion's chips have in common: words with checksums, and a NACK for all that they do not understand.

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::Reason;
use sensirion_i2c::crc8;
use sensirion_i2c::i2c::read_words_with_crc;

use super::Failure;

/// A chip that takes 16-bit commands, some with arguments.
pub(super) struct Link<I2C, D> {
    pub(super) i2c: I2C,
    pub(super) delay: D,
    pub(super) address: u8,
}

impl<I2C: I2c, D: DelayNs> Link<I2C, D> {
    /// Sends a command with its arguments, each followed by its checksum, and waits as long as it takes.
    pub(super) fn send(&mut self, command: u16, arguments: &[u16], takes_ms: u32) -> Result<(), Failure> {
        let mut bytes = command.to_be_bytes().to_vec();
        for argument in arguments.iter().map(|argument| argument.to_be_bytes()) {
            bytes.extend(argument);
            bytes.push(crc8::calculate(&argument));
        }
        self.i2c.write(self.address, &bytes).map_err(|error| Failure::of_bus(&error))?;
        self.delay.delay_ms(takes_ms);
        Ok(())
    }

    /// Sends a command, waits as long as it takes, and reads the first `N` words of its answer.
    pub(super) fn ask<const N: usize>(
        &mut self,
        command: u16,
        arguments: &[u16],
        takes_ms: u32,
    ) -> Result<[u16; N], Failure> {
        self.send(command, arguments, takes_ms)?;
        let mut bytes = vec![0; 3 * N];
        read_words_with_crc(&mut self.i2c, self.address, &mut bytes).map_err(explain)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(3)) {
            *word = u16::from_be_bytes([bytes[0], bytes[1]]);
        }
        Ok(words)
    }

    /// What the failure of a command says that the chip knows at all times.
    pub(super) fn or_wrong_chip(&mut self, failure: Failure, command: u16) -> Failure {
        or_wrong_chip(failure, &mut self.i2c, self.address, &command.to_be_bytes())
    }
}

/// What was learned, and how long ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered<T> {
    pub(super) what: T,
    age: Duration,
    /// When it was that old. What an earlier run left has no time in this one until it is asked for first.
    at: Option<Duration>,
}

impl<T: Copy> Remembered<T> {
    pub(super) fn now(what: T, now: Duration) -> Self {
        Self { what, age: Duration::ZERO, at: Some(now) }
    }

    pub(super) fn earlier(what: T, age: Duration) -> Self {
        Self { what, age, at: None }
    }

    /// It, if it is not as old as `limit` yet.
    pub(super) fn within(&mut self, limit: Duration, now: Duration) -> Option<T> {
        let at = *self.at.get_or_insert(now);
        (self.age + now.saturating_sub(at) < limit).then_some(self.what)
    }
}

/// Two words as a number.
pub(super) fn float(high: u16, low: u16) -> f32 {
    f32::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// A text that ends with a zero byte or with the words.
pub(super) fn text(words: &[u16]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_be_bytes());
    bytes
        .take_while(|byte| *byte != 0)
        .map(|byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' })
        .collect()
}

/// A number of several words.
pub(super) fn hex(words: &[u16]) -> String {
    words.iter().map(|word| format!("{word:04x}")).collect()
}

/// What an error while reading words means.
pub(super) fn explain<I2C: I2c>(error: sensirion_i2c::i2c::Error<I2C>) -> Failure {
    match error {
        sensirion_i2c::i2c::Error::I2cWrite(error) => Failure::of_bus(&error),
        sensirion_i2c::i2c::Error::I2cRead(error) => not_ready(Failure::of_bus(&error)),
        sensirion_i2c::i2c::Error::Crc => Failure::new(Reason::CHECKSUM, CHECKSUM),
    }
}

const ANOTHER: &str = "a chip is here, but gives no answer to the command: it is another one, or it hangs in reset";

/// For people.
pub(super) const CHECKSUM: &str = "a checksum in the answer does not match";

/// A chip that took the command and then does not answer is still busy with it.
pub(super) fn not_ready(failure: Failure) -> Failure {
    if failure.reason == Reason::NO_ANSWER {
        return Failure::new(Reason::NOT_READY, "the chip took the command and has no answer in its time");
    }
    failure
}

/// Linux does not tell whether the address or the command was refused, and a chip of another kind may refuse either, or take
/// the command and have no answer. A chip of the family that has nothing to say refuses a read; one that is busy refuses
/// everything; and all of ours know `command` at all times. So whoever allows a read, or the first byte of the command alone,
/// or the command once more, is another chip.
pub(super) fn or_wrong_chip(failure: Failure, i2c: &mut impl I2c, address: u8, command: &[u8]) -> Failure {
    let is_another = match failure.reason {
        Reason::NO_ANSWER => {
            i2c.read(address, &mut [0]).is_ok() || (command.len() > 1 && i2c.write(address, &command[..1]).is_ok())
        }
        Reason::NOT_READY => i2c.write(address, command).is_ok(),
        _ => false,
    };
    if is_another {
        return Failure::new(Reason::WRONG_CHIP, ANOTHER);
    }
    failure
}

/// What a chip at an address is to see and say in a test.
#[cfg(test)]
pub(super) mod script {
    use embedded_hal_mock::eh1::i2c::Transaction;
    use sensirion_i2c::crc8;

    pub(crate) struct Script(pub(crate) u8);

    impl Script {
        pub(crate) fn send(&self, command: u16, arguments: &[u16]) -> Vec<Transaction> {
            vec![Transaction::write(self.0, [command.to_be_bytes().to_vec(), words(arguments)].concat())]
        }

        pub(crate) fn ask(&self, command: u16, answer: &[u16]) -> Vec<Transaction> {
            self.ask_with(command, &[], answer)
        }

        pub(crate) fn ask_with(&self, command: u16, arguments: &[u16], answer: &[u16]) -> Vec<Transaction> {
            [self.send(command, arguments), vec![Transaction::read(self.0, words(answer))]].concat()
        }

        /// An answer whose last checksum is wrong.
        pub(crate) fn broken(&self, command: u16, answer: &[u16]) -> Vec<Transaction> {
            let mut bytes = words(answer);
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            [self.send(command, &[]), vec![Transaction::read(self.0, bytes)]].concat()
        }
    }

    fn words(words: &[u16]) -> Vec<u8> {
        let with_checksum = |word: &u16| {
            let bytes = word.to_be_bytes();
            [bytes[0], bytes[1], crc8::calculate(&bytes)]
        };
        words.iter().flat_map(with_checksum).collect()
    }
}
