//! What of a SPS30 outlives the program: how long its laser was on, and when its fan was cleaned.

use std::time::Duration;

/// What the bytes of this layout begin with.
const VERSION: u8 = 1;

pub(super) struct Memory {
    /// Of the chip that it is about.
    pub(super) serial: String,
    pub(super) laser_on: Duration,
    pub(super) cleaned_ago: Duration,
}

impl Memory {
    /// The version, whole seconds in four bytes each, and the serial number to the end.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
        let times = [self.laser_on, self.cleaned_ago].into_iter().flat_map(seconds);
        [VERSION].into_iter().chain(times).chain(self.serial.bytes()).collect()
    }

    /// Nothing where the bytes are of another layout.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let &[VERSION, a, b, c, d, e, f, g, h, ref serial @ ..] = bytes else { return None };
        let seconds = |bytes| Duration::from_secs(u32::from_be_bytes(bytes).into());
        Some(Self {
            serial: String::from_utf8_lossy(serial).into_owned(),
            laser_on: seconds([a, b, c, d]),
            cleaned_ago: seconds([e, f, g, h]),
        })
    }
}
