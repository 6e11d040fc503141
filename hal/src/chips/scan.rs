//! Who answers on a bus. Only the known addresses are asked, and only in ways that change nothing.

use std::collections::BTreeSet;

use embedded_hal::i2c::I2c;
use reading::Reason;

use super::{Chips, Connect, driver_of};
use crate::driver::Failure;
use crate::model::Model;
use crate::mux::{self, Wire};
use crate::place::{ChipAt, Port};

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Known chips, by address.
    pub found: Vec<Found>,
    /// Answers that are no known chip's, by address.
    pub unknown: Vec<Unknown>,
}

/// A known chip, told by its id or by a checksum that only its family makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What and where.
    pub chip: ChipAt,
    /// Its serial number; empty where it has none, or none that can be read without disturbing it.
    pub serial: String,
}

/// Something answered that is no chip we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Where.
    pub address: u8,
    /// Behind which port of a multiplexer; `None` on the bus itself.
    pub port: Option<Port>,
    /// What it looks like, for people.
    pub detail: String,
}

impl<C: Connect> Chips<C> {
    /// Asks every known address who is there, on the bus and then behind each port. A chip that is running is not asked: it is
    /// known. Fails where the first addresses give nothing but bus errors: each may cost the second that the kernel waits for a
    /// held bus, and the others would fare no better.
    pub fn scan(&mut self) -> Result<ScanReport, Failure> {
        let muxes = self.muxes.addresses();
        let mut survey = Survey::default();
        for address in addresses().filter(|address| !muxes.contains(address)) {
            self.look(address, None, &mut survey);
            if let Some(failure) = survey.is_held() {
                return Err(failure);
            }
        }
        for address in mux::ADDRESSES {
            if !muxes.contains(&address) && !survey.is_taken(address) {
                self.look_for_mux(address, &mut survey);
            }
        }
        // What answers on the bus itself answers behind every port too.
        let free: Vec<u8> = addresses().filter(|address| !survey.is_taken(*address)).collect();
        for port in muxes.iter().flat_map(|mux| (0..mux::CHANNELS).map(|channel| Port { mux: *mux, channel })) {
            for address in free.iter().filter(|address| !muxes.contains(address)) {
                if self.look(*address, Some(port), &mut survey) {
                    break;
                }
            }
        }
        self.look_again(&mut survey);
        Ok(survey.report())
    }

    /// One on the bus itself that had no power yet when it was its turn is then found behind every port, and would be announced
    /// there for good. So whoever was found behind a port is looked for once more with all ports off.
    fn look_again(&self, survey: &mut Survey) {
        let report = &survey.report;
        let found = report.found.iter().map(|found| (found.chip.port, found.chip.address));
        let unknown = report.unknown.iter().map(|unknown| (unknown.port, unknown.address));
        let behind: BTreeSet<u8> =
            found.chain(unknown).filter(|(port, _)| port.is_some()).map(|(_, address)| address).collect();
        for address in behind {
            let mut on_the_bus = Survey::default();
            self.look(address, None, &mut on_the_bus);
            if on_the_bus.is_taken(address) {
                survey.report.found.retain(|found| found.chip.address != address);
                survey.report.unknown.retain(|unknown| unknown.address != address);
                survey.report.found.append(&mut on_the_bus.report.found);
                survey.report.unknown.append(&mut on_the_bus.report.unknown);
            }
        }
    }

    /// Who is at an address, by asking for each chip that can be there. Whether there was a bus error instead.
    fn look(&self, address: u8, port: Option<Port>, survey: &mut Survey) -> bool {
        let mut worst: Option<Failure> = None;
        let can_be_there = || {
            let models = Model::ALL.iter().filter(|model| model.addresses().contains(&address));
            models.map(|&model| ChipAt { model, address, port })
        };
        let is_running = |chip: &ChipAt| self.driven.get(chip).is_some_and(|driven| driven.driver.is_running());
        // One that runs is known, and must not hear the questions for the others first.
        for chip in can_be_there().find(is_running).into_iter().chain(can_be_there()) {
            match self.identify(chip) {
                Ok(serial) => {
                    survey.report.found.push(Found { chip, serial });
                    survey.bus_errors = None;
                    return false;
                }
                Err(failure) if failure.reason == Reason::BUS_ERROR => return survey.note(address, port, failure),
                Err(failure) if worst.as_ref().is_none_or(|worst| says_less(worst.reason, failure.reason)) => {
                    worst = Some(failure);
                }
                Err(_) => {}
            }
        }
        worst.is_some_and(|failure| survey.note(address, port, failure))
    }

    /// Every multiplexer says something when it is read; so do other chips, which is why it is only mentioned.
    fn look_for_mux(&self, address: u8, survey: &mut Survey) {
        let mut wire = Wire { i2c: self.bus.i2c(), port: None, muxes: self.muxes.clone() };
        let failure = match wire.read(address, &mut [0]) {
            Ok(()) => Failure::new(Reason::WRONG_CHIP, MAYBE_A_MUX),
            Err(error) => Failure::of_bus(&error),
        };
        survey.note(address, None, failure);
    }

    fn identify(&self, chip: ChipAt) -> Result<String, Failure> {
        match self.driven.get(&chip) {
            Some(driven) if driven.driver.is_running() => Ok(driven.serial.clone().unwrap_or_default()),
            // One that rests or never ran has a driver with a past; the question needs one without.
            _ => driver_of(&self.bus, &self.muxes, chip).identify(),
        }
    }
}

const MAYBE_A_MUX: &str = "something answers that may be a multiplexer (TCA9548A, PCA9548A); if it is one, name it under \
                           [[sensors.mux]] and what is behind it is found";

/// Every address that a known chip can have, in order.
fn addresses() -> impl Iterator<Item = u8> {
    Model::ALL.iter().flat_map(|model| model.addresses()).copied().collect::<BTreeSet<u8>>().into_iter()
}

/// Of two chips that were looked for in vain at one address, the reason that tells more is the one to report.
fn says_less(reason: Reason, other: Reason) -> bool {
    let tells = |reason| match reason {
        Reason::NO_ANSWER => 0,
        Reason::WRONG_CHIP => 1,
        _ => 2,
    };
    tells(reason) < tells(other)
}

/// A scan under way.
struct Survey {
    report: ScanReport,
    /// How many addresses gave a bus error, as long as none gave anything else.
    bus_errors: Option<u32>,
}

/// So many addresses with bus errors and no other answer mean that the bus is held.
const HELD_AFTER: u32 = 4;

impl Default for Survey {
    fn default() -> Self {
        Self { report: ScanReport::default(), bus_errors: Some(0) }
    }
}

impl Survey {
    /// Notes what an address gave that is no known chip's. Whether that was a bus error.
    fn note(&mut self, address: u8, port: Option<Port>, failure: Failure) -> bool {
        let is_bus_error = failure.reason == Reason::BUS_ERROR;
        self.bus_errors = self.bus_errors.filter(|_| is_bus_error).map(|errors| errors + 1);
        if failure.reason != Reason::NO_ANSWER {
            self.report.unknown.push(Unknown { address, port, detail: failure.detail });
        }
        is_bus_error
    }

    fn is_held(&self) -> Option<Failure> {
        let last = self.report.unknown.last().filter(|_| self.bus_errors.is_some_and(|errors| errors >= HELD_AFTER))?;
        Some(Failure::new(Reason::BUS_ERROR, last.detail.clone()))
    }

    fn is_taken(&self, address: u8) -> bool {
        self.report.found.iter().any(|found| found.chip.address == address)
            || self.report.unknown.iter().any(|unknown| unknown.address == address)
    }

    fn report(mut self) -> ScanReport {
        self.report.found.sort_by_key(|found| (found.chip.port, found.chip.address));
        self.report.unknown.sort_by_key(|unknown| (unknown.port, unknown.address));
        self.report
    }
}
