//! What Bosch's environmental sensors share: how registers are addressed, how samples are averaged, rounded and filtered.

/// The largest code of the temperature and pressure converters.
pub(super) const MAX_20_BITS: u32 = (1 << 20) - 1;
/// The largest code of the humidity converter.
pub(super) const MAX_16_BITS: u32 = (1 << 16) - 1;

/// The register that is written or read next (BME280 section 6.2, BMP280 5.2, BME680 6.2: word for word the same).
#[derive(Default)]
pub(super) struct Pointer {
    register: u8,
    /// Whether the next byte that is written goes into the register, not to the pointer.
    is_chosen: bool,
}

impl Pointer {
    /// A transaction begins or ends.
    pub(super) fn release(&mut self) {
        self.is_chosen = false;
    }

    /// Takes a byte of a write, which consists of pairs of register and value, with no increment. Returns a whole pair.
    pub(super) fn write(&mut self, byte: u8) -> Option<(u8, u8)> {
        self.is_chosen = !self.is_chosen;
        if self.is_chosen {
            self.register = byte;
            return None;
        }
        Some((self.register, byte))
    }

    /// The register that a read sends now. It goes up by itself.
    pub(super) fn next(&mut self) -> u8 {
        let register = self.register;
        self.register = register.wrapping_add(1);
        register
    }
}

/// How many samples are averaged for one quantity, 0 where it is skipped (BME280 section 5.4.5, BMP280 4.3.4, BME680 5.3.2).
#[derive(Clone, Copy)]
pub(super) struct Oversampling(u32);

impl Oversampling {
    /// Of the lowest three bits.
    pub(super) fn from_bits(bits: u8) -> Self {
        Self(match bits & 0b111 {
            0 => 0,
            bits => 1 << (bits.min(5) - 1),
        })
    }

    pub(super) fn samples(self) -> u32 {
        self.0
    }

    pub(super) fn is_on(self) -> bool {
        self.0 > 0
    }

    /// A code of the temperature or pressure converter as it leaves it: 20 bits with the filter, else 16 and one more for
    /// each doubling, the rest zero (BME280 section 3.4.2, BMP280 3.3, BME680 3.3.1).
    pub(super) fn rounded(self, code: u32, is_filtered: bool) -> u32 {
        let bits = if is_filtered { 20 } else { 16 + self.0.max(1).ilog2() };
        let step = 1 << (20 - bits.min(20));
        let top = (1 << 20) - step;
        ((code + step / 2) / step * step).min(top)
    }
}

/// The filter's memory of one quantity (BME280 section 3.4.4, BMP280 3.3.3, BME680 3.3.4).
#[derive(Clone, Copy, Default)]
pub(super) struct Filter(Option<f64>);

impl Filter {
    /// The first code passes unchanged; a coefficient of 1 is no filter.
    pub(super) fn pass(&mut self, code: u32, coefficient: u32) -> u32 {
        let (code, coefficient) = (f64::from(code), f64::from(coefficient.max(1)));
        let value = self.0.map_or(code, |old| (old * (coefficient - 1.0) + code) / coefficient);
        self.0 = Some(value);
        value.round() as u32
    }
}

/// The code in a range whose value is closest to the wanted one. `value` must grow with the code, as the compensation
/// formulas do wherever the chips work; elsewhere the search still ends, on a code.
pub(super) fn closest(codes: std::ops::RangeInclusive<u32>, wanted: f64, value: impl Fn(u32) -> f64) -> u32 {
    let (first, mut high) = codes.into_inner();
    let mut low = first;
    while low < high {
        let middle = low + (high - low) / 2;
        if value(middle) < wanted { low = middle + 1 } else { high = middle }
    }
    let below = low.saturating_sub(1).max(first);
    if (wanted - value(below)).abs() < (value(low) - wanted).abs() { below } else { low }
}
