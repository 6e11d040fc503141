//! When a chip is started, sampled, and given a rest. What a bus thread runs, without the thread: time comes from the bus.

mod scan;

use std::collections::BTreeMap;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::Reason;

use crate::driver::{self, Driver, Failure, MAX_MEMORY_BYTES, Measured, Surroundings};
use crate::model::Model;
use crate::mux::{self, Muxes, Wire};
use crate::place::ChipAt;
use crate::sim::{SimBus, SimDelay};

pub use self::scan::{Found, ScanReport, Unknown};

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
    /// What the chip's driver wants to be given back after a restart of the program: see [`Chips::restore`].
    pub memory: Option<Vec<u8>>,
}

/// The chips of one bus.
pub struct Chips<C: Connect> {
    bus: C,
    muxes: Muxes<C::I2c>,
    /// Every chip that was ever sampled: at most one for each address of each model on each port.
    driven: BTreeMap<ChipAt, Driven>,
}

struct Driven {
    driver: Box<dyn Driver>,
    serial: Option<String>,
    around: Surroundings,
    rest: Option<Rest>,
    /// When the chip must be looked after next.
    tend_at: Option<Duration>,
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
    /// The chips of a bus without multiplexers. No chip is touched before it is asked for.
    pub fn new(bus: C) -> Self {
        Self::behind(bus, &[])
    }

    /// The chips of a bus with multiplexers at these addresses.
    pub fn behind(bus: C, muxes: &[u8]) -> Self {
        let muxes = Muxes::new(muxes.iter().map(|address| (*address, bus.i2c())));
        Self { bus, muxes, driven: BTreeMap::new() }
    }

    /// Measures, after starting the chip where it is not running. Takes no longer than [`Model::deadline`] unless the bus
    /// hangs.
    pub fn sample(&mut self, chip: ChipAt, around: &Surroundings) -> Sample {
        if let Err(failure) = self.can_be(chip) {
            return Sample { readings: Err(failure), serial: None, memory: None };
        }
        let now = self.bus.now();
        let driven = self.driven(chip);
        driven.around = *around;
        let readings = driven.sample(chip.model, now);
        if let Err(failure) = &readings {
            tracing::debug!(%chip, reason = %failure.reason, detail = failure.detail, "no value");
        }
        let memory = driven.driver.memory(now).filter(|memory| memory.len() <= MAX_MEMORY_BYTES);
        Sample { readings, serial: driven.serial.clone(), memory }
    }

    /// Gives the chip's driver back what [`Sample::memory`] held in an earlier run of the program, `age` ago where that is known.
    pub fn restore(&mut self, chip: ChipAt, memory: &[u8], age: Option<Duration>) {
        if self.can_be(chip).is_ok() {
            self.driven(chip).driver.restore(memory, age);
        }
    }

    /// Looks after the chips that need it between their samples, as far as that is due.
    pub fn tend(&mut self) {
        for (chip, driven) in &mut self.driven {
            driven.tend(*chip, self.bus.now());
        }
    }

    /// How long until [`Chips::tend`] has something to do; `None` while no running chip needs it.
    pub fn tend_in(&self) -> Option<Duration> {
        let next = self.driven.values().filter_map(|driven| driven.tend_at).min()?;
        Some(next.saturating_sub(self.bus.now()))
    }

    fn can_be(&self, chip: ChipAt) -> Result<(), Failure> {
        if !chip.model.addresses().contains(&chip.address) {
            let addresses = chip.model.addresses().iter().map(|address| format!("0x{address:02x}")).collect::<Vec<_>>();
            let detail = format!("a {} can only be at {}", chip.model, addresses.join(" or "));
            return Err(Failure::new(Reason::NO_ANSWER, detail));
        }
        match chip.port {
            Some(port) if !self.muxes.addresses().contains(&port.mux) || port.channel >= mux::CHANNELS => {
                let detail = format!("there is no multiplexer port {port} on this bus; name it under [[sensors.mux]]");
                Err(Failure::new(Reason::NO_ANSWER, detail))
            }
            _ => Ok(()),
        }
    }

    fn driven(&mut self, chip: ChipAt) -> &mut Driven {
        let Self { bus, muxes, driven } = self;
        driven.entry(chip).or_insert_with(|| Driven {
            driver: driver_of(bus, muxes, chip),
            serial: None,
            around: Surroundings::default(),
            rest: None,
            tend_at: None,
        })
    }

    /// Leaves every chip idle.
    pub fn stop(&mut self) {
        for driven in self.driven.values_mut().filter(|driven| driven.driver.is_running()) {
            driven.driver.stop();
        }
    }
}

fn driver_of<C: Connect>(bus: &C, muxes: &Muxes<C::I2c>, chip: ChipAt) -> Box<dyn Driver> {
    let wire = Wire { i2c: bus.i2c(), port: chip.port, muxes: muxes.clone() };
    driver::driver(chip, wire, bus.delay())
}

impl Driven {
    fn sample(&mut self, model: Model, now: Duration) -> Result<Vec<Measured>, Failure> {
        if let Some(failure) = self.rest.as_ref().and_then(|rest| rest.holds(now)) {
            return Err(failure);
        }
        let started = if self.driver.is_running() { Ok(()) } else { self.start(model, now) };
        let was_started = started.is_ok();
        let outcome = started.and_then(|()| self.driver.sample(now, &self.around)).and_then(only_numbers);
        match &outcome {
            Ok(_) => self.rest = None,
            // It only wants time.
            Err(_) if self.driver.is_running() => {}
            Err(failure) if failure.reason == Reason::NO_ANSWER => self.rest = None,
            Err(failure) => {
                let is_first = self.rest.is_none();
                self.rest = Some(Rest::after(self.rest.take(), now, failure.clone()));
                // Once, at once: a SCD4x measures again by the next sample then. If it fails, the next sample says so.
                if is_first && was_started {
                    let _ = self.start(model, now);
                }
            }
        }
        if !self.driver.is_running() {
            self.tend_at = None;
        }
        outcome
    }

    fn start(&mut self, model: Model, now: Duration) -> Result<(), Failure> {
        self.serial = None;
        self.tend_at = None;
        self.serial = self.driver.start(now)?;
        self.tend_at = model.tend_every().map(|every| now + every);
        Ok(())
    }

    /// One that comes late is not made up for: the chip's own time has passed too.
    fn tend(&mut self, chip: ChipAt, now: Duration) {
        if self.tend_at.is_none_or(|at| now < at) {
            return;
        }
        if let Err(failure) = self.driver.tend(now, &self.around) {
            tracing::debug!(%chip, reason = %failure.reason, detail = failure.detail, "not looked after");
        }
        self.tend_at = chip.model.tend_every().filter(|_| self.driver.is_running()).map(|every| now + every);
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
        for chip in Model::ALL.iter().map(|model| ChipAt::new(*model, model.addresses()[0])) {
            let mut chips = Chips::new(Broken(ErrorKind::ArbitrationLoss));
            let failure = chips.sample(chip, &Surroundings::default()).readings.unwrap_err();
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
