//! Just enough chance to keep a thousand peers from doing things in step. Seeded: the same seed gives the same course.

use std::time::Duration;

/// xorshift64*.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn up_to(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.next())
    }

    /// A fifth more or less.
    pub(crate) fn about(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(0.8 + 0.4 * self.next())
    }
}
