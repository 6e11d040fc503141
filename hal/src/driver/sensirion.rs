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

/// For people.
pub(super) const CHECKSUM: &str = "a checksum in the answer does not match";

/// A chip that took the command and then does not answer is still busy with it.
pub(super) fn not_ready(failure: Failure) -> Failure {
    if failure.reason == Reason::NO_ANSWER {
        return Failure::new(Reason::NOT_READY, "the chip took the command and has no answer in its time");
    }
    failure
}

/// Linux does not tell whether the address or the command was refused. A chip of the family refuses a read when it has nothing
/// to say; whoever allows one is another chip.
pub(super) fn or_wrong_chip(failure: Failure, i2c: &mut impl I2c, address: u8) -> Failure {
    if failure.reason == Reason::NO_ANSWER && i2c.read(address, &mut [0]).is_ok() {
        return Failure::new(Reason::WRONG_CHIP, "a chip answers here, but does not know the command");
    }
    failure
}
