//! What Sensirion's chips have in common: words with checksums, and a NACK for all that they do not understand.

use embedded_hal::i2c::I2c;
use reading::Reason;

use super::Failure;

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
