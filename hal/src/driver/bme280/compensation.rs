//! From a BME280's or BMP280's codes to values: the data sheets' formulas in floating point (BST-BME280-DS001, appendix A;
//! BST-BMP280-DS001, section 8.1) and the layout of the calibration (section 4.2.2, table 16).

/// What the factory measured of temperature and pressure, and of humidity where there is any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calibration {
    t: [f64; 3],
    p: [f64; 9],
    h: Option<Dryness>,
}

/// The part of the calibration that is for humidity, `dig_H1` to `dig_H6`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dryness([f64; 6]);

/// What the codes mean.
pub(super) struct Air {
    pub(super) celsius: f64,
    pub(super) pascal: f64,
    /// Stops at 0 and 100.
    pub(super) percent: Option<f64>,
}

impl Calibration {
    /// From registers 0x88 to 0x9f. `None` where the factory cannot have written them: it would be divided by zero.
    pub(super) fn new(registers: &[u8; 24], h: Option<Dryness>) -> Option<Self> {
        let mut words = registers.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
        let mut next = |signed: bool| {
            let word = words.next()?;
            Some(if signed { f64::from(word.cast_signed()) } else { f64::from(word) })
        };
        let t = [next(false)?, next(true)?, next(true)?];
        let mut p = [next(false)?; 9];
        for coefficient in p.iter_mut().skip(1) {
            *coefficient = next(true)?;
        }
        let is_blank = registers.iter().all(|byte| *byte == 0xff);
        (t[0] != 0.0 && p[0] != 0.0 && !is_blank).then_some(Self { t, p, h })
    }

    pub(super) fn compensate(&self, temperature: u32, pressure: u32, humidity: Option<u16>) -> Air {
        let fine = self.fine(temperature.into());
        let percent = self.h.zip(humidity).map(|(dryness, code)| dryness.percent(fine, code.into()));
        Air { celsius: fine / 5120.0, pascal: self.pascal(fine, pressure.into()), percent }
    }

    /// The temperature in 1/5120 Cel, which everything else is computed with.
    fn fine(&self, code: f64) -> f64 {
        let [t1, t2, t3] = self.t;
        let linear = (code / 16_384.0 - t1 / 1024.0) * t2;
        let square = (code / 131_072.0 - t1 / 8192.0).powi(2) * t3;
        linear + square
    }

    fn pascal(&self, fine: f64, code: f64) -> f64 {
        let [p1, p2, p3, p4, p5, p6, p7, p8, p9] = self.p;
        let warmth = fine / 2.0 - 64_000.0;
        let offset = (warmth * warmth * p6 / 32_768.0 + warmth * p5 * 2.0) / 4.0 + p4 * 65_536.0;
        let slope = (p3 * warmth * warmth / 524_288.0 + p2 * warmth) / 524_288.0;
        let slope = (1.0 + slope / 32_768.0) * p1;
        let linear = (1_048_576.0 - code - offset / 4096.0) * 6250.0 / slope;
        linear + (p9 * linear * linear / 2_147_483_648.0 + linear * p8 / 32_768.0 + p7) / 16.0
    }
}

impl Dryness {
    /// From register 0xa1 and registers 0xe1 to 0xe7.
    pub(super) fn new(h1: u8, [h2_lsb, h2_msb, h3, h4_msb, shared, h5_msb, h6]: [u8; 7]) -> Self {
        let twelve = |msb: u8, nibble: u8| f64::from(i16::from(msb.cast_signed()) * 16 + i16::from(nibble));
        Self([
            h1.into(),
            i16::from_le_bytes([h2_lsb, h2_msb]).into(),
            h3.into(),
            twelve(h4_msb, shared & 0x0f),
            twelve(h5_msb, shared >> 4),
            h6.cast_signed().into(),
        ])
    }

    fn percent(self, fine: f64, code: f64) -> f64 {
        let Self([h1, h2, h3, h4, h5, h6]) = self;
        let warmth = fine - 76_800.0;
        let gain = 1.0 + h6 / 67_108_864.0 * warmth * (1.0 + h3 / 67_108_864.0 * warmth);
        let linear = (code - (h4 * 64.0 + h5 / 16_384.0 * warmth)) * (h2 / 65_536.0 * gain);
        (linear * (1.0 - h1 * linear / 524_288.0)).clamp(0.0, 100.0)
    }
}
