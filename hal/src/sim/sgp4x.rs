//! Sensirion SGP40 and SGP41: raw signals of a VOC and of a NOx sensor. After their datasheets, version 1.2 (February 2022) and
//! 1.0 (December 2021). Sections 4 and tables up to 10 are those of both, where they are alike; section 3.1 is the SGP41's.
//!
//! While a command is executed nothing is acknowledged (4.5); data are read once, and what nobody asked for not at all. The heater
//! stays on until it is turned off or the power goes, also across the host's restart.
//!
//! # The signals
//! The index is what a host's algorithm makes of the signal, so here the world's index makes the signal. It is
//! 30000 - 2 (VOC index - 100) ticks, as VOC lowers it, and 15000 + 600 log2(NOx index) ticks, as NOx raises it. Sensirion's
//! algorithm, run on it, says after a day of average air and five minutes of a VOC index of 150, 200 or 300 in the world 160, 232
//! or 378, and of a NOx index of 5, 20 or 100: 4, 19 or 86. One that has just begun says less, and soon takes what lasts for
//! average, so no index of a host need be the world's; only the direction must. The words of humidity and temperature are
//! checked, but change nothing: the signal is that of a chip that was told right.
//!
//! The datasheets give no noise, but the signals of real chips move in still air. Here they do by up to four ticks of VOC and two of NOx,
//! which is the same whenever the time is. A chip that is stuck says the same words for ever.
//!
//! Conditioning heats the NOx sensor hotter: 10 s are recommended "but must not be exceeded" (3.1). Sensirion's own example
//! takes 10.5 s until the first measurement; after 12 s the sensor here is damaged for good: its signal is 0, and its self
//! test fails.
//!
//! From drivers, not from the datasheets: the feature set, by which the two are told apart. Sensirion's has the command (0x202F),
//! Adafruit's the upper byte of the SGP40's answer, and ESPHome's the lower bits of both.
//! Where versions differ: version 1.0 of the SGP40's gives 250 ms for the self test and this chip 320 ms, as 1.2 does.
//!
//! Not modelled: how slowly the signals follow, the first value after the heater was off (to be discarded), what a missing
//! conditioning does, and the general call reset.
//!
//! Faults: busy acknowledges nothing after the next command; broken fails the self test; the wrong chip is the other of the two; the
//! signals of a stuck one stand still, noise and all.

use std::time::Duration;

use reading::Quantity;

use super::Fault;
use super::device::Moment;
use super::sensirion::{Commanded, Executed};
use super::world::hash;

/// Table 3.
const POWER_UP: Duration = Duration::from_micros(600);
/// Table 8.
const SGP40_MEASUREMENT: Duration = Duration::from_millis(30);
const SGP41_MEASUREMENT: Duration = Duration::from_millis(50);
const SELF_TEST_TIME: Duration = Duration::from_millis(320);
const SHORT: Duration = Duration::from_millis(1);

const DAMAGING: Duration = Duration::from_secs(12);

const SERIAL: [u16; 3] = [0x0000, 0x0521, 0x9C6E];

const SGP40_MEASURE: u16 = 0x260F;
const SGP41_CONDITION: u16 = 0x2612;
const SGP41_MEASURE: u16 = 0x2619;
const SELF_TEST: u16 = 0x280E;
const HEATER_OFF: u16 = 0x3615;
const READ_SERIAL: u16 = 0x3682;
const FEATURE_SET: u16 = 0x202F;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Sgp40,
    Sgp41,
}

impl Part {
    fn other(self) -> Self {
        match self {
            Self::Sgp40 => Self::Sgp41,
            Self::Sgp41 => Self::Sgp40,
        }
    }
}

pub(super) struct Sgp4x {
    part: Part,
    conditioned_since: Option<Duration>,
    nox_damaged: bool,
    /// The last signals, of VOC and NOx.
    signals: Option<[u16; 2]>,
}

impl Sgp4x {
    pub(super) fn new(part: Part) -> Self {
        Self { part, conditioned_since: None, nox_damaged: false, signals: None }
    }

    /// The part that sits at the address.
    fn present(&self, at: &Moment<'_>) -> Part {
        if at.has(Fault::WrongId) { self.part.other() } else { self.part }
    }

    /// The signals of VOC and NOx.
    fn measure(&mut self, at: &Moment<'_>) -> [u16; 2] {
        // The casts saturate.
        let voc = 30_000.0 - 2.0 * (at.air(Quantity::VOC_INDEX) - 100.0) + noise(at.now, 0, 4.0);
        let nox = 15_000.0 + 600.0 * at.air(Quantity::NOX_INDEX).max(1.0).log2() + noise(at.now, 1, 2.0);
        let fresh = [voc, nox].map(|ticks| ticks.round() as u16);
        let [voc, nox] = self.signals.filter(|_| at.has(Fault::Stuck)).unwrap_or(fresh);
        self.signals = Some([voc, nox]);
        [voc, if self.nox_damaged { 0 } else { nox }]
    }

    /// Tables 13 and 15. What is to be ignored of the words is set, so that a host that does not is seen to be wrong.
    fn self_test(&self, at: &Moment<'_>) -> u16 {
        let broken = at.has(Fault::Broken);
        match self.present(at) {
            Part::Sgp40 if broken => 0x4B0A,
            Part::Sgp40 => 0xD40A,
            Part::Sgp41 => 0xD4F0 | u16::from(broken) | u16::from(broken || self.nox_damaged) << 1,
        }
    }
}

/// As many ticks as this, more or less.
fn noise(now: Duration, stream: u64, ticks: f64) -> f64 {
    ticks * hash(0, stream, i64::try_from(now.as_millis()).unwrap_or_default())
}

impl Commanded for Sgp4x {
    const HANGS: bool = true;

    fn model(&self) -> &'static str {
        match self.part {
            Part::Sgp40 => "SGP40",
            Part::Sgp41 => "SGP41",
        }
    }

    fn address(&self) -> u8 {
        0x59
    }

    fn quantities(&self) -> &'static [Quantity] {
        match self.part {
            Part::Sgp40 => &[Quantity::VOC_INDEX],
            Part::Sgp41 => &[Quantity::VOC_INDEX, Quantity::NOX_INDEX],
        }
    }

    fn startup(&self) -> Duration {
        POWER_UP
    }

    /// The damage stays.
    fn power_on(&mut self) {
        self.conditioned_since = None;
    }

    /// Whether it goes on conditioning then, nobody tells.
    fn hang(&mut self) {
        self.conditioned_since = None;
    }

    fn start(&mut self, at: &Moment<'_>) -> bool {
        self.nox_damaged |= self.conditioned_since.is_some_and(|since| at.now.saturating_sub(since) > DAMAGING);
        true
    }

    /// The words of humidity and temperature are not optional.
    fn words(&self, code: u16, at: &Moment<'_>) -> &'static [usize] {
        match (code, self.present(at)) {
            (SGP40_MEASURE, Part::Sgp40) | (SGP41_CONDITION | SGP41_MEASURE, Part::Sgp41) => &[2],
            (SELF_TEST | HEATER_OFF | READ_SERIAL | FEATURE_SET, _) => &[0],
            _ => &[],
        }
    }

    fn execute(&mut self, code: u16, _words: &[u16], at: &Moment<'_>) -> Executed {
        match code {
            SGP40_MEASURE => Executed::within(SGP40_MEASUREMENT).answering(&self.measure(at)[..1]),
            SGP41_CONDITION => {
                self.conditioned_since.get_or_insert(at.now);
                Executed::within(SGP41_MEASUREMENT).answering(&self.measure(at)[..1])
            }
            SGP41_MEASURE => {
                self.conditioned_since = None;
                Executed::within(SGP41_MEASUREMENT).answering(&self.measure(at))
            }
            SELF_TEST => Executed::within(SELF_TEST_TIME).answering(&[self.self_test(at)]),
            HEATER_OFF => {
                self.conditioned_since = None;
                Executed::within(SHORT)
            }
            FEATURE_SET => Executed::within(SHORT).answering(&[match self.present(at) {
                Part::Sgp40 => 0x3220,
                Part::Sgp41 => 0x0040,
            }]),
            _ => Executed::within(SHORT).answering(&SERIAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chip;
    use super::super::sensirion::tests::Host;
    use super::*;

    /// The default words of table 10: 50 %RH, 25 Cel, which leave the compensation off.
    const DEFAULTS: [u16; 2] = [0x8000, 0x6666];

    fn host(model: &str) -> Host {
        let host = Host::with(chip(model).unwrap());
        host.wait_ms(1);
        host
    }

    /// Signals that are these but for the noise.
    fn assert_near(words: &[u16], expected: &[u16]) {
        let is_near = |(word, expected): (&u16, &u16)| word.abs_diff(*expected) <= 4;
        assert!(
            words.len() == expected.len() && words.iter().zip(expected).all(is_near),
            "{words:?}, not {expected:?}"
        );
    }

    #[test]
    fn the_command_of_the_datasheet_measures() {
        let mut host = host("SGP40");
        host.write(&[0x26, 0x0F, 0x80, 0x00, 0xA2, 0x66, 0x66, 0x93]).unwrap();
        host.wait_ms(29);
        assert_eq!(host.receive(1), Err(host.no_answer()));
        assert_eq!(host.send(0x3682, &[]), Err(host.no_answer()), "a second command");
        host.wait_ms(1);
        assert_near(&host.receive(1).unwrap(), &[30_000]);
        assert_eq!(host.receive(1), Err(host.no_answer()), "read once");
        assert_eq!(host.write(&[0x26, 0x0F, 0x80, 0x00, 0xA3]), Err(host.refused()), "a wrong checksum");
        assert_eq!(host.ask(0x260F, &[], 30, 1), Err(host.no_answer()), "the words are not optional");
    }

    #[test]
    fn the_sgp41_gives_both_signals_and_one_while_it_is_conditioned() {
        let mut host = host("SGP41");
        host.write(&[0x26, 0x12, 0x80, 0x00, 0xA2, 0x66, 0x66, 0x93]).unwrap();
        host.wait_ms(50);
        assert_eq!(host.read(6).unwrap()[3..], [0xFF; 3]);
        host.wait_ms(9_000);
        assert_near(&host.ask(0x2619, &DEFAULTS, 50, 2).unwrap(), &[30_000, 15_000]);
        host.wait_ms(60_000);
        // Measuring does no harm.
        assert_near(&host.ask(0x2619, &DEFAULTS, 50, 2).unwrap(), &[30_000, 15_000]);
    }

    #[test]
    fn voc_lowers_its_signal_and_nox_raises_its_own() {
        let mut host = host("SGP41");
        let mut last: Option<Vec<u16>> = None;
        for index in [1.0, 2.0, 50.0, 100.0, 300.0, 500.0] {
            host.set(Quantity::VOC_INDEX, index);
            host.set(Quantity::NOX_INDEX, index);
            let words = host.ask(0x2619, &DEFAULTS, 50, 2).unwrap();
            if let Some(before) = last.replace(words.clone()) {
                assert!(words[0] < before[0] && words[1] > before[1], "{index}");
            }
        }
        host.set(Quantity::VOC_INDEX, 1e9);
        host.set(Quantity::NOX_INDEX, -1e9);
        assert_near(&host.ask(0x2619, &DEFAULTS, 50, 2).unwrap(), &[0, 15_000]);
    }

    #[test]
    fn conditioning_for_too_long_damages_the_nox_sensor_for_good() {
        let mut host = host("SGP41");
        let test = |host: &mut Host| host.ask(0x280E, &[], 320, 1).unwrap()[0] & 0b11;
        host.send(0x2612, &DEFAULTS).unwrap();
        host.wait_ms(10_500);
        assert_eq!(test(&mut host), 0);
        host.send(0x3615, &[]).unwrap();
        host.wait_ms(60_000);
        host.send(0x2612, &DEFAULTS).unwrap();
        host.wait_ms(13_000);
        assert_eq!(test(&mut host), 0b10);
        host.fault(Some(Fault::PowerLoss));
        let _ = host.send(0x3682, &[]);
        host.wait_ms(1);
        assert_eq!(test(&mut host), 0b10);
        let words = host.ask(0x2619, &DEFAULTS, 50, 2).unwrap();
        assert_near(&words, &[30_000, 0]);
        assert_eq!(words[1], 0);
    }

    #[test]
    fn the_signals_of_a_stuck_chip_stand_still_and_those_of_a_sound_one_never_for_long() {
        let mut host = host("SGP41");
        let seconds = |host: &mut Host| -> Vec<Vec<u16>> {
            let second = |_| {
                host.wait_ms(950);
                host.ask(0x2619, &DEFAULTS, 50, 2).unwrap()
            };
            (0..600).map(second).collect()
        };
        let sound = seconds(&mut host);
        for at in 0..2 {
            let longest = sound.chunk_by(|a, b| a[at] == b[at]).map(<[_]>::len).max();
            assert!(longest.is_some_and(|longest| longest < 10), "{longest:?}");
        }
        host.fault(Some(Fault::Stuck));
        host.set(Quantity::VOC_INDEX, 300.0);
        assert!(seconds(&mut host).iter().all(|words| *words == sound[599]));
        host.fault(None);
        assert_near(&seconds(&mut host)[0], &[29_600, 15_000]);
    }

    #[test]
    fn each_is_known_by_its_feature_set_and_refuses_the_commands_of_the_other() {
        for (model, feature_set, own, foreign) in [("SGP40", 0x3220, 0x260F, 0x2619), ("SGP41", 0x0040, 0x2619, 0x260F)]
        {
            let mut host = host(model);
            assert_eq!(host.ask(0x3682, &[], 1, 3).unwrap(), SERIAL);
            assert_eq!(host.ask(0x202F, &[], 1, 1).unwrap(), [feature_set]);
            assert_eq!(host.send(foreign, &DEFAULTS), Err(host.refused()));
            host.fault(Some(Fault::WrongId));
            assert_ne!(host.ask(0x202F, &[], 1, 1).unwrap(), [feature_set]);
            assert_eq!(host.send(own, &DEFAULTS), Err(host.refused()));
        }
    }

    #[test]
    fn a_broken_chip_fails_its_self_test_and_a_hanging_one_never_ends_it() {
        let mut host = host("SGP40");
        assert_eq!(host.ask(0x280E, &[], 320, 1).unwrap()[0] >> 8, 0xD4);
        host.fault(Some(Fault::Broken));
        assert_eq!(host.ask(0x280E, &[], 320, 1).unwrap()[0] >> 8, 0x4B);
        host.fault(Some(Fault::Busy));
        assert_eq!(host.ask(0x280E, &[], 60_000, 1), Err(host.no_answer()));
        let mut host = self::host("SGP41");
        host.fault(Some(Fault::Broken));
        assert_eq!(host.ask(0x280E, &[], 320, 1).unwrap()[0] & 0b11, 0b11);
    }
}
