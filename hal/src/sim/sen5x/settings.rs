//! What of a SEN5x can be set, as the words that are read back. "All commands are volatile" (SEN5x datasheet 6.1).

use super::super::dust::DEFAULT_CLEANING_S;
use super::super::sensirion::double;
use super::command::Command;

pub(super) struct Settings {
    /// Offset in Cel / 200, slope in 1 / 10000, time constant in s.
    pub(super) temperature: [u16; 3],
    warm_start: u16,
    voc_tuning: [u16; 6],
    nox_tuning: [u16; 6],
    acceleration: u16,
    pub(super) cleaning_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            temperature: [0; 3],
            warm_start: 0,
            voc_tuning: [100, 12, 12, 180, 50, 230],
            nox_tuning: [1, 12, 12, 720, 50, 230],
            acceleration: 0,
            cleaning_s: DEFAULT_CLEANING_S,
        }
    }
}

impl Settings {
    /// The words of a setting; none for any other command.
    pub(super) fn get(&self, command: Command) -> Vec<u16> {
        match command {
            Command::Temperature => self.temperature.to_vec(),
            Command::WarmStart => vec![self.warm_start],
            Command::VocTuning => self.voc_tuning.to_vec(),
            Command::NoxTuning => self.nox_tuning.to_vec(),
            Command::Acceleration => vec![self.acceleration],
            Command::CleaningInterval => double(self.cleaning_s).to_vec(),
            _ => Vec::new(),
        }
    }

    /// Sets what is in its range; the algorithms' tuning only in idle (6.1.8, 6.1.9).
    pub(super) fn set(&mut self, command: Command, words: &[u16], idle: bool) {
        match (command, words) {
            (Command::Temperature, &[offset, slope, time]) => self.temperature = [offset, slope, time],
            (Command::WarmStart, &[word]) => self.warm_start = word,
            (Command::VocTuning, &[a, b, c, d, e, f]) if idle && is_tuning([a, b, c, d, e, f]) => {
                self.voc_tuning = [a, b, c, d, e, f];
            }
            (Command::NoxTuning, &[a, b, 12, d, 50, f]) if idle && is_tuning([a, b, 12, d, 50, f]) => {
                self.nox_tuning = [a, b, 12, d, 50, f];
            }
            (Command::Acceleration, &[mode @ 0..=2]) => self.acceleration = mode,
            (Command::CleaningInterval, &[high, low]) => self.cleaning_s = u32::from(high) << 16 | u32::from(low),
            _ => {}
        }
    }
}

/// Sections 6.1.8 and 6.1.9: the ranges of the tuning parameters.
fn is_tuning([offset, offset_hours, gain_hours, gating_minutes, deviation, gain]: [u16; 6]) -> bool {
    (1..=250).contains(&offset)
        && (1..=1_000).contains(&offset_hours)
        && (1..=1_000).contains(&gain_hours)
        && gating_minutes <= 3_000
        && (10..=5_000).contains(&deviation)
        && (1..=1_000).contains(&gain)
}
