//! A place on QEMU's bus, with a simulated chip in it.

use std::time::Duration;

use hal::sim::{Chip, Direction, Fault, MODELS};
use reading::Quantity;

const CHIP: &str = "chip";
const FAULT: &str = "fault";

/// Empty until the property `chip` is set.
#[derive(Default)]
pub(crate) struct Slot {
    chip: Option<Box<dyn Chip>>,
    fault: Option<Fault>,
    unfinished: bool,
}

impl Slot {
    /// The names of the properties that are texts.
    pub(crate) fn texts() -> [&'static str; 2] {
        [CHIP, FAULT]
    }

    /// The names of the properties that are numbers: every quantity, of which a chip has some.
    pub(crate) fn numbers() -> impl Iterator<Item = String> {
        Quantity::KNOWN.iter().map(Quantity::to_string)
    }

    /// Whether the device can be part of a machine.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.chip().map(|_| ())
    }

    // === Properties ===

    pub(crate) fn text(&self, name: &str) -> String {
        match name {
            CHIP => self.chip.as_ref().map(|chip| chip.model().to_owned()).unwrap_or_default(),
            _ => self.fault.map(|fault| fault.to_string()).unwrap_or_default(),
        }
    }

    pub(crate) fn set_text(&mut self, name: &str, text: &str) -> Result<(), String> {
        if name == CHIP {
            let chip = hal::sim::chip(text)
                .ok_or_else(|| format!("there is no chip \"{text}\"; use one of {}", MODELS.join(", ")))?;
            self.chip = Some(chip);
            return Ok(());
        }
        let fault =
            if text.is_empty() { None } else { Some(text.parse::<Fault>().map_err(|error| error.to_string())?) };
        self.chip_mut()?.fault(fault);
        // Power comes back by itself; the other faults last.
        self.fault = fault.filter(|fault| *fault != Fault::PowerLoss);
        Ok(())
    }

    pub(crate) fn number(&self, name: &str) -> Result<f64, String> {
        let chip = self.chip()?;
        quantity(name)
            .and_then(|quantity| chip.get(quantity))
            .ok_or_else(|| format!("the {} does not measure {name}", chip.model()))
    }

    pub(crate) fn set_number(&mut self, name: &str, value: f64) -> Result<(), String> {
        let chip = self.chip_mut()?;
        match quantity(name) {
            Some(quantity) if chip.set(quantity, value) => Ok(()),
            _ => Err(format!("the {} does not measure {name}, or {value} is no number", chip.model())),
        }
    }

    fn chip(&self) -> Result<&dyn Chip, String> {
        self.chip.as_deref().ok_or_else(no_chip)
    }

    fn chip_mut(&mut self) -> Result<&mut Box<dyn Chip>, String> {
        self.chip.as_mut().ok_or_else(no_chip)
    }

    // === The bus ===

    /// The address phase. `false` is a NACK.
    pub(crate) fn start(&mut self, direction: Direction, now: Duration) -> bool {
        self.chip.as_mut().is_some_and(|chip| chip.start(direction, now))
    }

    /// One byte from the host. `false` is a NACK.
    pub(crate) fn write(&mut self, byte: u8, now: Duration) -> bool {
        let acknowledged = self.chip.as_mut().is_some_and(|chip| chip.write(byte, now));
        self.unfinished |= !acknowledged;
        acknowledged
    }

    /// One byte to the host.
    pub(crate) fn read(&mut self, now: Duration) -> u8 {
        self.chip.as_mut().map_or(0xff, |chip| chip.read(now))
    }

    /// The stop condition.
    pub(crate) fn stop(&mut self, now: Duration) {
        self.unfinished = false;
        if let Some(chip) = &mut self.chip {
            chip.stop(now);
        }
    }

    /// Whether the chip refused a byte and has seen no stop condition since.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.unfinished
    }
}

fn no_chip() -> String {
    format!("say which chip: chip= one of {}", MODELS.join(", "))
}

fn quantity(name: &str) -> Option<Quantity> {
    Quantity::KNOWN.iter().copied().find(|quantity| quantity.name() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bme280() -> Slot {
        let mut slot = Slot::default();
        slot.set_text(CHIP, "BME280").unwrap();
        slot
    }

    #[test]
    fn a_slot_wants_a_chip_before_anything_else() {
        let mut slot = Slot::default();
        assert!(!slot.start(Direction::Write, Duration::ZERO));
        let error = slot.check().unwrap_err();
        assert!(error.contains("BME280"), "{error}");
        assert!(slot.set_text(CHIP, "BME820").unwrap_err().contains("\"BME820\""));
        assert!(slot.set_number("temperature", 20.0).is_err());
        slot.set_text(CHIP, "BME280").unwrap();
        slot.check().unwrap();
    }

    #[test]
    fn quantities_are_properties() {
        let mut slot = bme280();
        slot.set_number("temperature", 31.5).unwrap();
        assert_eq!(slot.number("temperature"), Ok(31.5));
        assert!(slot.set_number("co2", 800.0).unwrap_err().contains("does not measure co2"));
        assert!(slot.set_number("humidity", f64::NAN).is_err());
    }

    #[test]
    fn an_unplugged_chip_is_silent_until_it_is_plugged_in() {
        let mut slot = bme280();
        let second = Duration::from_secs;
        assert!(slot.start(Direction::Write, second(1)));
        slot.set_text(FAULT, "unplugged").unwrap();
        assert_eq!(slot.text(FAULT), "unplugged");
        assert!(!slot.start(Direction::Write, second(2)));
        slot.set_text(FAULT, "").unwrap();
        // It starts when it is looked at first, and answers when that is done.
        slot.start(Direction::Write, second(3));
        assert!(slot.start(Direction::Write, second(4)));
        assert!(slot.set_text(FAULT, "melted").is_err());
    }
}
