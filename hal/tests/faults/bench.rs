//! One simulated chip in air that is known, its driver, and who samples it: every ten seconds, as is the default, and with the
//! care in between that a bus thread gives.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use embedded_hal::i2c::{ErrorType, I2c, Operation};
use hal::sim::{self, Clock, Fault, SimBus, SimDelay, SimError};
use hal::{ChipAt, Chips, Connect, Failure, Measured, Surroundings};
use reading::{Flag, Quantity};

use crate::table::Row;

/// Time between two samples.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// What other chips on the node say, so that what drivers do with it is under test too. The pressure is that of a place a kilometre up,
/// and is true: a chip that measures CO2 is wrong by a ninth before it is told.
const AROUND: Surroundings =
    Surroundings { interval: INTERVAL, temperature: Some(21.0), humidity: Some(55.0), pressure: Some(90_000.0) };

/// The air until the fault begins, the air from then on, and how far from it a good value may be: the chips' resolution. So a value
/// of before the fault is found out when somebody gives it as new.
const AIR: &[(Quantity, f64, f64, f64)] = &[
    (Quantity::TEMPERATURE, 23.5, 12.25, 0.05),
    (Quantity::HUMIDITY, 61.0, 40.0, 0.2),
    (Quantity::PRESSURE, 99_800.0, 101_000.0, 20.0),
    (Quantity::PM1, 9.0, 30.0, 1.0),
    (Quantity::PM2_5, 17.0, 45.0, 1.0),
    (Quantity::PM4, 21.0, 50.0, 1.0),
    (Quantity::PM10, 26.0, 60.0, 1.0),
    (Quantity::CO2, 655.0, 900.0, 5.0),
    (Quantity::TVOC, 87.0, 210.0, 1.0),
    (Quantity::ECO2, 655.0, 905.0, 1.0),
    (Quantity::GAS_RESISTANCE, 84_000.0, 52_000.0, 100.0),
    (Quantity::VOC_INDEX, 100.0, 250.0, 1.0),
    (Quantity::NOX_INDEX, 1.0, 20.0, 1.0),
];

/// A fault that came back would show within this time.
const STAYS_SO: Duration = Duration::from_secs(40);

/// More samples than any chip needs to be good again: ten minutes.
const PATIENCE: u32 = 60;

/// A chip that has been powered for a minute.
pub struct Bench {
    row: &'static Row,
    bus: SimBus,
    chips: Chips<Wire>,
    fuse: Rc<Fuse>,
    /// When the next sample is due.
    due: Duration,
    healed: Option<Duration>,
}

impl Bench {
    /// A chip that was sampled until it was good.
    pub fn new(row: &'static Row) -> Self {
        let mut bench = Self::cold(row);
        let (seen, _) = bench.until_good();
        assert!(seen.wrong.is_empty(), "{}: {:?}", row.chip(), seen.wrong);
        bench
    }

    /// A chip that nobody has started yet.
    pub fn cold(row: &'static Row) -> Self {
        let bus = SimBus::new(Clock::virtual_time());
        assert!(bus.attach_at(row.chip().address, sim::chip(row.simulated).unwrap()).is_none());
        bus.clock().advance(Duration::from_secs(60));
        let fuse = Rc::new(Fuse::of(row.chip()));
        fuse.set_air(&bus, |(_, before, ..)| before);
        let wire = Wire { bus: bus.clone(), fuse: Rc::clone(&fuse) };
        let due = bus.clock().now();
        Self { row, bus, chips: Chips::new(wire), fuse, due, healed: None }
    }

    /// The fault begins now.
    pub fn strike(&mut self, fault: Fault) {
        if fault == Fault::WrongId {
            self.cut_power();
        }
        self.fuse.blow(fault, &self.bus);
        if takes_power(fault) {
            self.power_up();
        }
    }

    /// The fault begins just before so many more transfers from now.
    pub fn strike_after(&mut self, fault: Fault, transfers: u32) {
        self.fuse.armed.set(Some((fault, self.fuse.transfers.get() + transfers)));
    }

    pub fn transfers(&self) -> u32 {
        self.fuse.transfers.get()
    }

    /// The chip is looked after until so long before the next sample.
    pub fn approach(&mut self, before: Duration) {
        self.tend_until(self.due.saturating_sub(before));
    }

    /// Power that was away is back now: a simulated chip has it from the first transfer on, which it does not hear.
    pub fn power_up(&self) {
        let _ = self.bus.clone().read(self.row.chip().address, &mut [0]);
    }

    pub fn heal(&mut self) {
        self.fuse.armed.set(None);
        let fault = self.fuse.struck.get().map(|(fault, _)| fault);
        if fault == Some(Fault::WrongId) {
            self.cut_power();
        }
        assert!(self.bus.fault(self.row.chip().address, None));
        if fault.is_some_and(takes_power) {
            self.power_up();
        }
        self.healed = Some(self.bus.clock().now());
    }

    fn cut_power(&self) {
        assert!(self.bus.fault(self.row.chip().address, Some(Fault::PowerLoss)));
    }

    /// Takes so many samples.
    pub fn samples(&mut self, count: u32) -> Seen {
        let mut seen = Seen::default();
        for _ in 0..count {
            self.sample(&mut seen);
        }
        seen
    }

    /// Samples until the chip is good and stays so, and says when the first of these samples was due.
    pub fn until_good(&mut self) -> (Seen, Duration) {
        let mut seen = Seen::default();
        let mut good_since = None;
        for _ in 0..PATIENCE {
            let due = self.due;
            if !self.sample(&mut seen) {
                good_since = None;
                continue;
            }
            let since = *good_since.get_or_insert(due);
            if due - since >= STAYS_SO {
                return (seen, since);
            }
        }
        let last = self.chips.sample(self.row.chip(), &AROUND).readings;
        seen.wrong.push(format!("it does not recover; at last: {last:?}"));
        (seen, self.due)
    }

    pub fn now(&self) -> Duration {
        self.bus.clock().now()
    }

    /// When the next sample is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Returns whether all is good.
    fn sample(&mut self, seen: &mut Seen) -> bool {
        self.tend_until(self.due);
        self.due += INTERVAL;
        let began = self.bus.clock().now();
        let readings = self.chips.sample(self.row.chip(), &AROUND).readings;
        let took = self.bus.clock().now() - began;
        if took >= self.row.model.deadline() {
            seen.wrong.push(format!("a sample took {took:?}"));
        }
        let look = look(&readings);
        for measured in readings.iter().flatten().filter(|measured| measured.flag == Flag::GOOD) {
            if !self.is_honest(measured, began) {
                seen.wrong.push(format!("{} {} is called good", measured.quantity, measured.value));
            }
        }
        let is_good = look == GOOD;
        if !seen.looks.contains(&look) {
            seen.looks.push(look);
        }
        is_good
    }

    fn tend_until(&mut self, end: Duration) {
        let clock = self.bus.clock().clone();
        while let Some(left) = end.checked_sub(clock.now()) {
            match self.chips.tend_in().filter(|wait| *wait <= left) {
                Some(wait) => {
                    clock.advance(wait);
                    self.chips.tend();
                }
                None => {
                    clock.advance(left);
                    return;
                }
            }
        }
    }

    /// Whether a good value of a sample that began then is what is there.
    fn is_honest(&self, measured: &Measured, began: Duration) -> bool {
        let value = f64::from(measured.value);
        let &(_, before, after, tolerance) = AIR.iter().find(|(known, ..)| *known == measured.quantity).unwrap();
        let lag = Duration::from_secs(self.row.lag_s);
        let recently = |then: Option<Duration>| then.is_some_and(|then| began.saturating_sub(then) <= lag);
        let struck = self.fuse.struck.get();
        if self.row.is_index_of_the_driver() {
            return is_sensible(measured.quantity, value, struck.is_some());
        }
        // A chip whose data are stuck goes on with the air of before, and nothing but its history tells.
        let is_stuck = struck.is_some_and(|(fault, _)| fault == Fault::Stuck);
        let may_be_old =
            recently(struck.map(|(_, at)| at)) || is_stuck && (self.healed.is_none() || recently(self.healed));
        let truth = if struck.is_some() { after } else { before };
        let near = |truth: f64| (value - truth).abs() <= tolerance;
        let between = before.min(after) - tolerance..=before.max(after) + tolerance;
        near(truth) || may_be_old && between.contains(&value)
    }
}

/// Whether a chip that gets this fault, or is rid of it, starts as from power-on. A chip is not swapped for another under power.
fn takes_power(fault: Fault) -> bool {
    matches!(fault, Fault::Unplugged | Fault::ResetContents | Fault::WrongId)
}

/// An index of Sensirion's algorithm says how the air compares with earlier air, so what is wrong can only be told by direction: average
/// air must not look bad, and air that got worse must not look better than average, nor worse than the worst that the algorithm makes of
/// it (`hal::sim::sgp4x`).
fn is_sensible(quantity: Quantity, index: f64, got_worse: bool) -> bool {
    match (quantity, got_worse) {
        (Quantity::VOC_INDEX, false) => (80.0..=125.0).contains(&index),
        (Quantity::VOC_INDEX, true) => (80.0..=380.0).contains(&index),
        (_, false) => (1.0..=2.0).contains(&index),
        (_, true) => (1.0..=100.0).contains(&index),
    }
}

/// What became of some samples.
#[derive(Default)]
pub struct Seen {
    /// What they looked like: each look once, in the order in which they came.
    pub looks: Vec<String>,
    /// What must never be.
    pub wrong: Vec<String>,
}

impl Seen {
    pub fn add(&mut self, other: Self) {
        for look in other.looks {
            if !self.looks.contains(&look) {
                self.looks.push(look);
            }
        }
        self.wrong.extend(other.wrong);
    }
}

pub const GOOD: &str = "good";

/// Flag and reason as a subscriber sees them; where the values of one sample differ, those that are not good with their names.
fn look(readings: &Result<Vec<Measured>, Failure>) -> String {
    let readings = match readings {
        Ok(readings) => readings,
        Err(failure) => return format!("missing: {}", failure.reason),
    };
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for measured in readings.iter().filter(|measured| measured.flag != Flag::GOOD) {
        let says = format!("{}: {}", measured.flag, measured.reason);
        match groups.iter_mut().find(|(known, _)| *known == says) {
            Some((_, names)) => names.push(measured.quantity.to_string()),
            None => groups.push((says, vec![measured.quantity.to_string()])),
        }
    }
    match &groups[..] {
        [] => GOOD.to_owned(),
        [(says, names)] if names.len() == readings.len() => says.clone(),
        groups => {
            groups.iter().map(|(says, names)| format!("{} {says}", names.join(" "))).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The bus as the driver has it, with a fuse that can bring the fault in the middle of a measurement.
struct Wire {
    bus: SimBus,
    fuse: Rc<Fuse>,
}

struct Fuse {
    chip: ChipAt,
    /// Transfers so far.
    transfers: Cell<u32>,
    /// The fault, and before which transfer it begins.
    armed: Cell<Option<(Fault, u32)>>,
    /// The last fault, and when it began.
    struck: Cell<Option<(Fault, Duration)>>,
}

impl Fuse {
    fn of(chip: ChipAt) -> Self {
        Self { chip, transfers: Cell::new(0), armed: Cell::new(None), struck: Cell::new(None) }
    }

    fn blow(&self, fault: Fault, bus: &SimBus) {
        self.armed.set(None);
        self.struck.set(Some((fault, bus.clock().now())));
        assert!(bus.fault(self.chip.address, Some(fault)));
        self.set_air(bus, |(_, _, after, _)| after);
    }

    fn set_air(&self, bus: &SimBus, value: impl Fn((Quantity, f64, f64, f64)) -> f64) {
        let measures = |quantity: Quantity| self.chip.model.quantities().contains(&quantity);
        for air in AIR.iter().filter(|(quantity, ..)| measures(*quantity)) {
            assert!(bus.set(self.chip.address, air.0, value(*air)));
        }
        if !measures(Quantity::PRESSURE) {
            // Those that do not feel it refuse.
            let _ = bus.set(self.chip.address, Quantity::PRESSURE, AROUND.pressure.unwrap().into());
        }
    }
}

impl Connect for Wire {
    type I2c = Self;
    type Delay = SimDelay;

    fn i2c(&self) -> Self {
        Self { bus: self.bus.clone(), fuse: Rc::clone(&self.fuse) }
    }

    fn delay(&self) -> SimDelay {
        self.bus.clock().delay()
    }

    fn now(&self) -> Duration {
        self.bus.clock().now()
    }
}

impl ErrorType for Wire {
    type Error = SimError;
}

impl I2c for Wire {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), SimError> {
        self.fuse.transfers.set(self.fuse.transfers.get() + 1);
        if let Some((fault, at)) = self.fuse.armed.get()
            && self.fuse.transfers.get() == at
        {
            self.fuse.blow(fault, &self.bus);
        }
        self.bus.transaction(address, operations)
    }
}
