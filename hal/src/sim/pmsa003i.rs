//! Plantower PMSA003I: particulate matter. After Plantower's data manual: the frame is in its appendix, and what is quoted
//! stands in the manuals of the whole PMS family.
//!
//! Not modelled: the SET and RESET pins. The manual gives no state in which the module refuses a read, so it has none.
//!
//! The manual numbers the frame's bytes as registers from 0x00. Hosts in the field write 0x00 before they read, or nothing:
//! here what is written is acknowledged and ignored, and every read begins at the first byte.

use std::time::Duration;

use reading::Quantity;

use super::device::{Device, Moment};
use super::{Direction, Fault};

const QUANTITIES: [Quantity; 3] = [Quantity::PM1, Quantity::PM2_5, Quantity::PM10];

const FRAME_BYTES: usize = 32;
/// What follows the length field: 13 words of data and the checksum.
const LENGTH_FIELD: u16 = 28;
const VERSION: u8 = 0x97;
/// Any but 0 says that the module is broken; the manual lists no codes.
const ERROR: u8 = 0x01;

/// "Stable data should be got at least 30 seconds after the sensor wakeup": the fan has to come up to speed.
const WARM_UP: Duration = Duration::from_secs(30);
/// "If the concentration change is small the sensor would run at stable mode with the real interval of 2.3 s."
const STABLE_INTERVAL: Duration = Duration::from_millis(2_300);
/// "If the change is big [...] fast mode automatically with the interval of 200 to 800 ms".
const FAST_INTERVAL: Duration = Duration::from_millis(800);
/// What counts as a big change of PM2.5 from frame to frame, in ug/m3. The manual does not say.
const BIG_CHANGE: u16 = 10;

pub(super) struct Pmsa003i {
    frame: [u8; FRAME_BYTES],
    /// PM2.5 of the frame, in ug/m3.
    pm2_5: u16,
    next_frame: Duration,
    /// The frame that is being read: a new one does not tear it.
    reading: [u8; FRAME_BYTES],
    sent: usize,
}

impl Pmsa003i {
    pub(super) fn new() -> Self {
        let mut chip =
            Self { frame: [0; FRAME_BYTES], pm2_5: 0, next_frame: Duration::ZERO, reading: [0; FRAME_BYTES], sent: 0 };
        chip.power_on(Duration::ZERO);
        chip
    }

    /// Makes the frame that is due by now, if one is. Frames that nobody saw are not made.
    fn advance(&mut self, at: &Moment<'_>) {
        if at.has(Fault::Stuck) || at.has(Fault::ResetContents) || at.now < self.next_frame {
            return;
        }
        let warm = (at.powered_for().as_secs_f64() / WARM_UP.as_secs_f64()).min(1.0);
        let before = self.pm2_5;
        self.measure(QUANTITIES.map(|quantity| at.air(quantity) * warm));
        let fast = self.pm2_5.abs_diff(before) >= BIG_CHANGE;
        let interval = if fast { FAST_INTERVAL } else { STABLE_INTERVAL };
        let passed = (at.now - self.next_frame).as_nanos() / interval.as_nanos();
        let late = u64::try_from(passed * interval.as_nanos()).unwrap_or(u64::MAX);
        self.next_frame += Duration::from_nanos(late) + interval;
    }

    /// Makes a frame from concentrations under atmospheric environment of PM1, PM2.5 and PM10, in ug/m3.
    fn measure(&mut self, concentrations: [f64; 3]) {
        // Casts saturate.
        let atmospheric = concentrations.map(|value| value.round() as u16);
        let standard = concentrations.map(|value| standard(value).round() as u16);
        let counts = counts(concentrations);
        self.pm2_5 = atmospheric[1];
        let words = [LENGTH_FIELD].into_iter().chain(standard).chain(atmospheric).chain(counts);
        self.frame = [0; FRAME_BYTES];
        self.frame[..2].copy_from_slice(b"BM");
        for (field, word) in self.frame[2..28].chunks_exact_mut(2).zip(words) {
            field.copy_from_slice(&word.to_be_bytes());
        }
        self.frame[28] = VERSION;
    }

    /// The frame as it leaves the module: what its health adds, and the sum.
    fn sealed(&self, at: &Moment<'_>) -> [u8; FRAME_BYTES] {
        let mut frame = self.frame;
        if at.has(Fault::WrongId) {
            frame[..2].copy_from_slice(&[0xAA, 0xC0]);
        }
        if at.has(Fault::Broken) {
            frame[29] = ERROR;
        }
        let (content, sum) = frame.split_at_mut(FRAME_BYTES - 2);
        let mut check: u16 = content.iter().map(|byte| u16::from(*byte)).sum();
        if at.has(Fault::Checksum) {
            check = !check;
        }
        sum.copy_from_slice(&check.to_be_bytes());
        frame
    }
}

/// What the module calls the concentration of standard particles (CF=1) where it says `atmospheric`, both in ug/m3. The
/// manual gives no formula; in the field both agree up to 30, and from about 100 on the second is two thirds of the first.
fn standard(atmospheric: f64) -> f64 {
    let (agree, apart, ratio) = (30.0, 100.0, 1.5);
    let part = ((atmospheric - agree) / (apart - agree)).clamp(0.0, 1.0);
    atmospheric * (1.0 + (ratio - 1.0) * part)
}

/// Particles beyond 0.3, 0.5, 1.0, 2.5, 5.0 and 10 um in 0.1 l of air, of which the manual gives no relation to the
/// concentrations: fine dust counts, coarse dust weighs, and a larger size is never counted more often.
fn counts([pm1, pm2_5, pm10]: [f64; 3]) -> [u16; 6] {
    let coarse = (pm10 - pm2_5).max(0.0);
    let medium = (pm2_5 - pm1).max(0.0);
    let from_10 = 0.05 * coarse;
    let from_5 = from_10 + 0.3 * coarse;
    let from_2_5 = from_5 + 0.8 * coarse;
    let from_1 = from_2_5 + 6.0 * medium;
    let from_0_5 = from_1 + 25.0 * pm1.max(0.0);
    let from_0_3 = from_0_5 + 110.0 * pm1.max(0.0);
    // The casts saturate.
    [from_0_3, from_0_5, from_1, from_2_5, from_5, from_10].map(|count| count.round() as u16)
}

impl Device for Pmsa003i {
    fn model(&self) -> &'static str {
        "PMSA003I"
    }

    fn address(&self) -> u8 {
        0x12
    }

    /// The concentrations under atmospheric environment, data 4 to 6 of the frame.
    fn quantities(&self) -> &'static [Quantity] {
        &QUANTITIES
    }

    /// The manual gives none.
    fn startup(&self) -> Duration {
        Duration::ZERO
    }

    /// Until the first interval has passed there is a whole frame, of zeros.
    fn power_on(&mut self, now: Duration) {
        self.measure([0.0; 3]);
        self.next_frame = now + STABLE_INTERVAL;
    }

    fn start(&mut self, direction: Direction, at: &Moment<'_>) -> bool {
        if at.has(Fault::Busy) {
            return false;
        }
        self.advance(at);
        if direction == Direction::Read {
            self.reading = self.sealed(at);
            self.sent = 0;
        }
        true
    }

    fn write(&mut self, _byte: u8, _at: &Moment<'_>) -> bool {
        true
    }

    fn read(&mut self, at: &Moment<'_>) -> u8 {
        let end = if at.has(Fault::Truncated) { FRAME_BYTES / 2 } else { FRAME_BYTES };
        let Some(byte) = self.reading[..end].get(self.sent) else { return 0xFF };
        self.sent += 1;
        *byte
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Chip, chip};
    use super::*;

    const WARM: Duration = Duration::from_secs(40);

    fn read(chip: &mut Box<dyn Chip>, bytes: usize, now: Duration) -> Vec<u8> {
        assert!(chip.start(Direction::Read, now));
        let frame = (0..bytes).map(|_| chip.read(now)).collect();
        chip.stop(now);
        frame
    }

    fn dusty() -> Box<dyn Chip> {
        let mut chip = chip("PMSA003I").unwrap();
        assert!(chip.set(Quantity::PM1, 7.0) && chip.set(Quantity::PM2_5, 35.0) && chip.set(Quantity::PM10, 120.0));
        chip
    }

    fn word(frame: &[u8], index: usize) -> u16 {
        u16::from_be_bytes([frame[index], frame[index + 1]])
    }

    fn sum(frame: &[u8]) -> u16 {
        frame[..30].iter().map(|byte| u16::from(*byte)).sum()
    }

    #[test]
    fn a_frame_is_as_the_manual_lays_it_out() {
        let frame = read(&mut dusty(), 32, WARM);
        assert_eq!(frame[..4], [0x42, 0x4D, 0x00, 0x1C]);
        assert_eq!([4, 6, 8].map(|at| word(&frame, at)), [7, 36, 180], "standard particles");
        assert_eq!([10, 12, 14].map(|at| word(&frame, at)), [7, 35, 120], "atmospheric environment");
        let counts = [16, 18, 20, 22, 24, 26].map(|at| word(&frame, at));
        assert!(counts.is_sorted_by(|larger, smaller| larger >= smaller) && counts[5] > 0, "{counts:?}");
        assert_eq!(frame[29], 0, "error code");
        assert_eq!(word(&frame, 30), sum(&frame));
    }

    #[test]
    fn a_read_begins_at_the_first_byte_whatever_was_read_or_written_before() {
        let mut chip = dusty();
        let whole = read(&mut chip, 32, WARM);
        assert_eq!(read(&mut chip, 5, WARM), whole[..5]);
        assert!(chip.start(Direction::Write, WARM) && chip.write(0x00, WARM));
        assert_eq!(read(&mut chip, 40, WARM), [&whole[..], &[0xFF; 8]].concat());
    }

    #[test]
    fn the_fan_takes_half_a_minute_to_bring_the_air_in() {
        let mut chip = dusty();
        let pm10 = |chip: &mut Box<dyn Chip>, ms| word(&read(chip, 32, Duration::from_millis(ms)), 14);
        assert_eq!(pm10(&mut chip, 100), 0);
        let early = pm10(&mut chip, 9_000);
        assert!((20..60).contains(&early), "{early}");
        assert_eq!(pm10(&mut chip, 32_400), 120);
    }

    #[test]
    fn a_new_frame_comes_after_2_3_s_and_sooner_when_the_air_changes_much() {
        let mut chip = dusty();
        let pm2_5 = |chip: &mut Box<dyn Chip>, ms| word(&read(chip, 32, WARM + Duration::from_millis(ms)), 12);
        assert_eq!(pm2_5(&mut chip, 0), 35);
        assert!(chip.set(Quantity::PM2_5, 36.0));
        let change = (1..5_000).find(|ms| pm2_5(&mut chip, *ms) == 36).unwrap();
        assert!(chip.set(Quantity::PM2_5, 136.0));
        let jump = (change..9_000).find(|ms| pm2_5(&mut chip, *ms) == 136).unwrap();
        assert_eq!(jump - change, 2_300);
        assert!(chip.set(Quantity::PM2_5, 137.0));
        assert_eq!((jump..9_000).find(|ms| pm2_5(&mut chip, *ms) == 137).unwrap() - jump, 800);
    }

    #[test]
    fn faults_show_in_the_frame() {
        let mut chip = dusty();
        let whole = read(&mut chip, 32, WARM);
        let mut with = |fault| {
            chip.fault(Some(fault));
            read(&mut chip, 32, WARM)
        };
        let frame = with(Fault::Checksum);
        assert_eq!(frame[..30], whole[..30]);
        assert_ne!(word(&frame, 30), sum(&frame));
        let frame = with(Fault::WrongId);
        assert_ne!(frame[..2], *b"BM");
        assert_eq!(word(&frame, 30), sum(&frame));
        let frame = with(Fault::Broken);
        assert_ne!(frame[29], 0);
        assert_eq!(word(&frame, 30), sum(&frame));
        assert_eq!(with(Fault::Truncated)[14..], [&whole[14..16], &[0xFF; 16]].concat());
        let frame = with(Fault::ResetContents);
        assert_eq!((word(&frame, 12), word(&frame, 30)), (0, sum(&frame)));
    }

    #[test]
    fn a_stuck_module_repeats_its_frame_for_ever() {
        let mut chip = dusty();
        let whole = read(&mut chip, 32, WARM);
        chip.fault(Some(Fault::Stuck));
        assert!(chip.set(Quantity::PM2_5, 99.0));
        assert_eq!(read(&mut chip, 32, WARM * 100), whole);
        chip.fault(None);
        assert_eq!(word(&read(&mut chip, 32, WARM * 100), 12), 99);
    }

    #[test]
    fn an_unplugged_module_is_silent_and_warms_up_again() {
        let mut chip = dusty();
        for silent in [Fault::Unplugged, Fault::Busy] {
            chip.fault(Some(silent));
            assert!(!chip.start(Direction::Read, WARM));
        }
        chip.fault(Some(Fault::Unplugged));
        chip.fault(None);
        assert_eq!(word(&read(&mut chip, 32, WARM), 12), 0);
        assert_eq!(word(&read(&mut chip, 32, WARM * 2), 12), 35);
    }
}
