//! When a chip is started, sampled, and given a rest. What a bus thread runs, without the thread: time comes from the bus.

use std::collections::BTreeMap;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::Reason;

use crate::driver::{self, Driver, Failure, Measured};
use crate::model::{ChipAt, Model};
use crate::scan::{Found, ScanReport, Unknown};
use crate::sim::{SimBus, SimDelay};

/// A bus that handles can be had of: the kernel's, or a simulated one.
pub trait Connect {
    /// A handle for one chip.
    type I2c: I2c + 'static;
    /// Waits in the bus's time.
    type Delay: DelayNs + 'static;

    /// A new handle.
    fn i2c(&self) -> Self::I2c;
    /// A new delay.
    fn delay(&self) -> Self::Delay;
    /// The bus's monotonic time, from any zero.
    fn now(&self) -> Duration;
}

impl Connect for SimBus {
    type I2c = SimBus;
    type Delay = SimDelay;

    fn i2c(&self) -> SimBus {
        self.clone()
    }

    fn delay(&self) -> SimDelay {
        self.clock().delay()
    }

    fn now(&self) -> Duration {
        self.clock().now()
    }
}

/// What came of sampling a chip.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Fresh values of all of the chip's quantities, or why there are none.
    pub readings: Result<Vec<Measured>, Failure>,
    /// The serial number, where the chip has one and it was read since the chip was last started.
    pub serial: Option<String>,
}

/// The chips of one bus.
pub struct Chips<C> {
    bus: C,
    /// Every chip that was ever sampled: at most one for each address of each model.
    driven: BTreeMap<ChipAt, Driven>,
}

struct Driven {
    driver: Box<dyn Driver>,
    serial: Option<String>,
    rest: Option<Rest>,
}

/// A chip that answers but does not work is started again at growing distances, for a start can keep the bus for half a
/// second. A chip that does not answer needs no rest: that costs one short transfer, and it is back at the first sample.
struct Rest {
    failures: u32,
    until: Duration,
    failure: Failure,
}

/// The longest rest: so much later than necessary, at most, is a repaired chip noticed.
const MAX_REST_S: u64 = 32;

impl Rest {
    /// The first failure in a row is followed by no rest, the next ones by 1 s, 2 s, 4 s...
    fn after(previous: Option<Self>, now: Duration, failure: Failure) -> Self {
        let failures = previous.map_or(0, |rest| rest.failures);
        let rest_s = if failures == 0 { 0 } else { 1u64.checked_shl(failures - 1).unwrap_or(u64::MAX).min(MAX_REST_S) };
        Self { failures: failures.saturating_add(1), until: now + Duration::from_secs(rest_s), failure }
    }

    fn holds(&self, now: Duration) -> Option<Failure> {
        let left = self.until.checked_sub(now).filter(|left| !left.is_zero())?;
        let detail = format!("{}; tried again in {:.0} s", self.failure.detail, left.as_secs_f32().ceil());
        Some(Failure::new(self.failure.reason, detail))
    }
}

impl<C: Connect> Chips<C> {
    /// No chip is touched before it is asked for.
    pub fn new(bus: C) -> Self {
        Self { bus, driven: BTreeMap::new() }
    }

    /// Measures, after starting the chip where it is not running. Takes no longer than [`Model::deadline`] unless the bus
    /// hangs.
    pub fn sample(&mut self, chip: ChipAt) -> Sample {
        if !chip.model.addresses().contains(&chip.address) {
            let addresses = chip.model.addresses().iter().map(|address| format!("0x{address:02x}")).collect::<Vec<_>>();
            let detail = format!("a {} can only be at {}", chip.model, addresses.join(" or "));
            return Sample { readings: Err(Failure::new(Reason::NO_ANSWER, detail)), serial: None };
        }
        let bus = &self.bus;
        let driven = self.driven.entry(chip).or_insert_with(|| Driven {
            driver: driver::driver(chip, bus.i2c(), bus.delay()),
            serial: None,
            rest: None,
        });
        let readings = driven.sample(bus);
        if let Err(failure) = &readings {
            tracing::debug!(%chip, reason = %failure.reason, detail = failure.detail, "no value");
        }
        Sample { readings, serial: driven.serial.clone() }
    }

    /// Asks every known address who is there. A chip that is running is not asked: it is known. Fails where every address
    /// gives a bus error.
    pub fn scan(&self) -> Result<ScanReport, Failure> {
        let mut report = ScanReport::default();
        let mut held = None;
        let mut all_held = true;
        for chip in all_places() {
            match self.identify(chip) {
                Ok(serial) => report.found.push(Found { chip, serial }),
                Err(failure) if failure.reason == Reason::NO_ANSWER => {}
                Err(failure) => {
                    report.unknown.push(Unknown { address: chip.address, detail: failure.detail.clone() });
                    if failure.reason == Reason::BUS_ERROR {
                        held = Some(failure);
                        continue;
                    }
                }
            }
            all_held = false;
        }
        report.found.sort_by_key(|found| found.chip.address);
        report.unknown.sort_by_key(|unknown| unknown.address);
        match held {
            Some(failure) if all_held => Err(failure),
            _ => Ok(report),
        }
    }

    fn identify(&self, chip: ChipAt) -> Result<String, Failure> {
        match self.driven.get(&chip) {
            Some(driven) if driven.driver.is_running() => Ok(driven.serial.clone().unwrap_or_default()),
            _ => driver::identify(chip, &mut self.bus.i2c(), &mut self.bus.delay()),
        }
    }

    /// Leaves every chip idle.
    pub fn stop(&mut self) {
        for driven in self.driven.values_mut().filter(|driven| driven.driver.is_running()) {
            driven.driver.stop();
        }
    }
}

/// Every known chip at every address that it can have.
fn all_places() -> impl Iterator<Item = ChipAt> {
    Model::ALL.iter().flat_map(|&model| model.addresses().iter().map(move |&address| ChipAt { model, address }))
}

impl Driven {
    fn sample(&mut self, bus: &impl Connect) -> Result<Vec<Measured>, Failure> {
        if let Some(failure) = self.rest.as_ref().and_then(|rest| rest.holds(bus.now())) {
            return Err(failure);
        }
        let started = if self.driver.is_running() { Ok(()) } else { self.start(bus) };
        let was_started = started.is_ok();
        let outcome = started.and_then(|()| self.driver.sample(bus.now())).and_then(only_numbers);
        match &outcome {
            Ok(_) => self.rest = None,
            // It only wants time.
            Err(_) if self.driver.is_running() => {}
            Err(failure) if failure.reason == Reason::NO_ANSWER => self.rest = None,
            Err(failure) => {
                let is_first = self.rest.is_none();
                self.rest = Some(Rest::after(self.rest.take(), bus.now(), failure.clone()));
                // Once, at once: a SCD4x measures again by the next sample then. If it fails, the next sample says so.
                if is_first && was_started {
                    let _ = self.start(bus);
                }
            }
        }
        outcome
    }

    fn start(&mut self, bus: &impl Connect) -> Result<(), Failure> {
        self.serial = None;
        self.serial = self.driver.start(bus.now())?;
        Ok(())
    }
}

/// A frame cannot carry anything but finite numbers, and a chip cannot mean anything else.
fn only_numbers(readings: Vec<Measured>) -> Result<Vec<Measured>, Failure> {
    match readings.iter().find(|measured| !measured.value.is_finite()) {
        None => Ok(readings),
        Some(measured) => {
            Err(Failure::new(Reason::OUT_OF_RANGE, format!("{} comes out as {}", measured.quantity, measured.value)))
        }
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::{ErrorKind, ErrorType, Operation};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use reading::Quantity;

    use super::*;

    /// A bus on which every transfer fails in one way.
    struct Broken(ErrorKind);

    struct BrokenWire(ErrorKind);

    impl Connect for Broken {
        type I2c = BrokenWire;
        type Delay = NoopDelay;

        fn i2c(&self) -> BrokenWire {
            BrokenWire(self.0)
        }

        fn delay(&self) -> NoopDelay {
            NoopDelay::new()
        }

        fn now(&self) -> Duration {
            Duration::ZERO
        }
    }

    impl ErrorType for BrokenWire {
        type Error = ErrorKind;
    }

    impl I2c for BrokenWire {
        fn transaction(&mut self, _: u8, _: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
            Err(self.0)
        }
    }

    #[test]
    fn a_bus_that_gives_nothing_but_errors_is_held() {
        let failure = Chips::new(Broken(ErrorKind::Bus)).scan().unwrap_err();
        assert_eq!(failure.reason, Reason::BUS_ERROR);
        let nobody = ErrorKind::NoAcknowledge(embedded_hal::i2c::NoAcknowledgeSource::Unknown);
        assert_eq!(Chips::new(Broken(nobody)).scan(), Ok(ScanReport::default()));
    }

    #[test]
    fn every_driver_tells_a_bus_error_from_no_answer() {
        for chip in all_places() {
            let failure = Chips::new(Broken(ErrorKind::ArbitrationLoss)).sample(chip).readings.unwrap_err();
            assert_eq!(failure.reason, Reason::BUS_ERROR, "{chip}");
        }
    }

    #[test]
    fn rests_grow_and_have_an_end() {
        let now = Duration::from_secs(1000);
        let failure = Failure::new(Reason::CHECKSUM, "wrong");
        let mut rest = None;
        let mut rests_s = Vec::new();
        for _ in 0..9 {
            let next = Rest::after(rest.take(), now, failure.clone());
            rests_s.push((next.until - now).as_secs());
            rest = Some(next);
        }
        assert_eq!(rests_s, [0, 1, 2, 4, 8, 16, 32, 32, 32]);
        let rest = Rest { failures: u32::MAX, ..rest.unwrap() };
        let rest = Rest::after(Some(rest), now, failure);
        assert_eq!(rest.until - now, Duration::from_secs(MAX_REST_S));
        let held = rest.holds(now + Duration::from_millis(500)).unwrap();
        assert_eq!(held, Failure::new(Reason::CHECKSUM, "wrong; tried again in 32 s"));
        assert_eq!(rest.holds(rest.until), None);
    }

    #[test]
    fn what_is_no_number_is_no_value() {
        for value in [f32::NAN, f32::INFINITY] {
            let failure = only_numbers(vec![Measured::good(Quantity::PRESSURE, value)]).unwrap_err();
            assert_eq!(failure.reason, Reason::OUT_OF_RANGE);
        }
    }
}
