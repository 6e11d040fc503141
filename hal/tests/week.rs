//! A week on one bus, in virtual time, with faults at random: nothing panics, nothing grows, nothing wrong is called good, and every
//! chip is back soon after its fault has passed.
//!
//! `MAGPIE_SEED=n cargo test -p magpie-hal --test week` runs the week of another seed; a failure says which one it was.
//!
//! The index of a SGP40 or SGP41 is what an algorithm makes of the time since it began, and has no truth but that: it is held against
//! that of a twin, a sound chip in the same air whose driver is started whenever the patient's is.
//!
//! One fault is beyond most drivers: a chip that goes on measuring what it measured when the fault began looks well. The node's flat-line
//! test finds that.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests may fail and tell as tests do")]

use std::collections::BTreeMap;
use std::time::Duration;

use hal::sim::{self, Clock, Fault, SimBus, World};
use hal::{ChipAt, Chips, Measured, Model, Port, Sample, Surroundings};
use reading::{Flag, Quantity, Reason};

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);
const INTERVAL: Duration = Duration::from_secs(30);
/// A chip is looked for as often as this, beside its samples.
const SCAN_INTERVAL: Duration = Duration::from_secs(3600);
/// How late chips are looked after.
const LATE: Duration = Duration::from_millis(100);
/// One in so many turns brings a chip, or the multiplexer, a fault.
const TURNS_PER_FAULT: u64 = 40;
/// The longest fault, in intervals.
const LONGEST_FAULT: u64 = 60;
/// The longest rest of a chip that answers but does not work, the turns around it, and what the other chips of a turn take. The warm-up
/// comes on top.
const LONGEST_RECOVERY: Duration = Duration::from_secs(32 + 3 * 30 + 5);

const MUX: u8 = 0x70;

/// What is on the bus: model, simulated chip, address, port of the multiplexer.
const CHIPS: &[(Model, &str, u8, Option<u8>)] = &[
    (Model::Bme280, "BME280", 0x76, Some(0)),
    (Model::Bme688, "BME688", 0x76, Some(5)),
    (Model::Bmp280, "BMP280", 0x77, None),
    (Model::Sht4x, "SHT40", 0x44, None),
    (Model::Aht20, "AHT20", 0x38, None),
    (Model::Pmsa003i, "PMSA003I", 0x12, None),
    (Model::Scd4x, "SCD41", 0x62, None),
    (Model::Ens160, "ENS160", 0x53, None),
    (Model::Scd30, "SCD30", 0x61, None),
    (Model::Sht3x, "SHT31", 0x45, None),
    (Model::Sps30, "SPS30", 0x69, Some(1)),
    (Model::Sen55, "SEN55", 0x69, Some(2)),
    (Model::Sen54, "SEN54", 0x69, Some(3)),
    (Model::Sen50, "SEN50", 0x69, Some(4)),
    (Model::Sgp30, "SGP30", 0x58, None),
    (Model::Sgp40, "SGP40", 0x59, Some(3)),
    (Model::Sgp41, "SGP41", 0x59, Some(4)),
];

/// How far off a good value may be: the chip's resolution, and what the air does in the seconds that a measurement takes.
fn tolerance(quantity: Quantity, truth: f64) -> f64 {
    match quantity {
        Quantity::TEMPERATURE => 0.2,
        Quantity::HUMIDITY => 1.5,
        Quantity::PRESSURE => 20.0,
        Quantity::GAS_RESISTANCE => truth * 0.005,
        // The pressure that the chip was told is up to 0.3 % off.
        Quantity::CO2 => 5.0 + truth * 0.003,
        _ => 2.0 + truth * 0.05,
    }
}

/// How far an index may be from a twin's: Sensirion's repeatability, 5 points or 5 % (SGP40 data sheet, table 1).
fn index_tolerance(index: f32) -> f32 {
    f32::max(5.0, 0.05 * index)
}

/// A chip without faults in the air of another one.
struct Twin {
    bus: SimBus,
    chips: Chips<SimBus>,
    chip: ChipAt,
    /// Whether the other one said nothing yet at its last sample, as an algorithm does that has just begun.
    waits: bool,
}

impl Twin {
    fn new(bus: SimBus, &(model, simulated, address, _): &(Model, &str, u8, Option<u8>)) -> Self {
        assert!(bus.attach_at(address, sim::chip(simulated).unwrap()).is_none());
        Self { chips: Chips::new(bus.clone()), bus, chip: ChipAt::new(model, address), waits: false }
    }

    /// Begins when the other one began, with what that one remembers, and then says whether it is right.
    fn judge(&mut self, patient: &Sample, around: &Surroundings, context: &str) {
        let waits = patient.readings.as_ref().is_err_and(|failure| failure.reason == Reason::WARMING_UP);
        if waits && !self.waits {
            self.chips.stop();
            self.chips = Chips::new(self.bus.clone());
            if let Some(memory) = &patient.memory {
                self.chips.restore(self.chip, memory, Some(Duration::ZERO));
            }
        }
        self.waits = waits;
        let readings = self.chips.sample(self.chip, around).readings.unwrap_or_default();
        for measured in patient.readings.iter().flatten().filter(|measured| measured.flag == Flag::GOOD) {
            let is_known = |twin: &&Measured| twin.quantity == measured.quantity && twin.flag != Flag::MISSING;
            let Some(twin) = readings.iter().find(is_known) else { continue };
            let is_like = (measured.value - twin.value).abs() <= index_tolerance(twin.value);
            assert!(is_like, "{context}: {}, {measured:?}, its twin {twin:?}", self.chip);
        }
    }
}

/// A chip's week.
struct Patient {
    chip: ChipAt,
    /// The handle that stands where the chip is.
    bus: SimBus,
    twin: Option<Twin>,
    /// What it has, and from which turn on it has it no more.
    fault: Option<(Fault, u64)>,
    /// The last turn in which it may say what it saw while it was stuck: a measurement may have been waiting when that passed.
    stuck_until: u64,
    /// When its last fault passed; `None` once it is well again.
    healed: Option<Duration>,
    /// The longest that it took to be well again.
    longest: Duration,
    faults: u32,
}

impl Patient {
    fn new(bus: &SimBus, world: World, row: &(Model, &str, u8, Option<u8>)) -> Self {
        let &(model, simulated, address, channel) = row;
        let port = channel.map(|channel| Port { mux: MUX, channel });
        let bus = port.map_or_else(|| bus.clone(), |port| bus.behind(port));
        assert!(bus.attach_at(address, sim::chip(simulated).unwrap()).is_none());
        let chip = ChipAt { port, ..ChipAt::new(model, address) };
        let has_twin = matches!(model, Model::Sgp40 | Model::Sgp41);
        let twin = has_twin.then(|| Twin::new(SimBus::in_world(bus.clock().clone(), world), row));
        Self {
            chip,
            bus,
            twin,
            fault: None,
            stuck_until: 0,
            healed: Some(Duration::ZERO),
            longest: Duration::ZERO,
            faults: 0,
        }
    }

    fn is_well(&self) -> bool {
        self.fault.is_none() && self.healed.is_none()
    }

    fn catch(&mut self, fault: Fault, until: u64) {
        assert!(self.bus.fault(self.chip.address, Some(fault)));
        self.fault = Some((fault, until));
        if fault == Fault::Stuck {
            self.stuck_until = until;
        }
        self.faults += 1;
    }

    fn heal(&mut self, turn: u64, now: Duration) {
        if self.fault.is_some_and(|(_, until)| until <= turn) {
            assert!(self.bus.fault(self.chip.address, None));
            self.fault = None;
            self.healed = Some(now);
        }
    }

    /// How long it may take to be well again.
    fn limit(&self) -> Duration {
        LONGEST_RECOVERY + self.chip.model.warm_up()
    }

    fn note(&mut self, is_good: bool, now: Duration, context: &str) {
        let Some(healed) = self.healed else { return };
        let since = now - healed;
        assert!(since <= self.limit(), "{}: not back {since:?} after its fault; {context}", self.chip);
        if is_good {
            self.healed = None;
            self.longest = self.longest.max(since);
        }
    }
}

/// xorshift64 (Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }
}

/// Lets time pass, and looks after the chips as bus threads do that are a little late, so that they have several chips at once.
fn pass(buses: &mut [&mut Chips<SimBus>], clock: &Clock, until: Duration) {
    loop {
        let wait = buses.iter().filter_map(|chips| chips.tend_in()).min().map(|wait| wait + LATE);
        let Some(wait) = wait.filter(|wait| clock.now() + *wait < until) else { break };
        clock.advance(wait);
        for chips in &mut *buses {
            chips.tend();
        }
    }
    clock.advance(until.saturating_sub(clock.now()));
}

/// What the last good readings say of the air.
fn learn(around: &mut Surroundings, measured: &Measured) {
    let value = Some(measured.value);
    match measured.quantity {
        Quantity::TEMPERATURE => around.temperature = value,
        Quantity::HUMIDITY => around.humidity = value,
        Quantity::PRESSURE => around.pressure = value,
        _ => {}
    }
}

/// The memory of this process that is in use, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_week_of_faults_gives_no_wrong_value_and_every_chip_comes_back() {
    let seed = std::env::var("MAGPIE_SEED").map_or(20_261_124, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let world = World::new(seed, 1_795_478_400.0);
    let clock = Clock::virtual_time();
    let bus = SimBus::in_world(clock.clone(), world);
    bus.attach_mux(MUX);
    let mut patients: Vec<Patient> = CHIPS.iter().map(|row| Patient::new(&bus, world, row)).collect();
    let mut chips = Chips::behind(bus.clone(), &[MUX]);
    let mut dice = Dice(seed | 1);
    let mut around = Surroundings { interval: INTERVAL, ..Surroundings::default() };
    let mut mux_is_away_until = None;
    let mut flags: BTreeMap<(Flag, Reason), u64> = BTreeMap::new();
    let mut after_a_day = None;
    let mut turn = 0;
    while clock.now() < WEEK {
        turn += 1;
        let next = clock.now() + INTERVAL;
        for patient in &mut patients {
            patient.heal(turn, clock.now());
            if patient.is_well() && dice.below(TURNS_PER_FAULT) == 0 {
                let fault = Fault::ALL[dice.below(Fault::ALL.len() as u64) as usize];
                // A moment without power is over at once, and yet takes its time to be noticed.
                let lasts = if fault == Fault::PowerLoss { 1 } else { 1 + dice.below(LONGEST_FAULT) };
                patient.catch(fault, turn + lasts);
            }
        }
        if mux_is_away_until.is_none() && dice.below(10 * TURNS_PER_FAULT) == 0 {
            assert!(
                bus.fault(
                    MUX,
                    Some([Fault::Unplugged, Fault::PowerLoss, Fault::ResetContents][dice.below(3) as usize])
                )
            );
            mux_is_away_until = Some(turn + 1 + dice.below(LONGEST_FAULT));
        }
        if mux_is_away_until.is_some_and(|until| until <= turn) {
            assert!(bus.fault(MUX, None));
            mux_is_away_until = None;
            for patient in patients.iter_mut().filter(|patient| patient.chip.port.is_some() && patient.fault.is_none())
            {
                patient.healed = Some(clock.now());
            }
        }
        for patient in &mut patients {
            let before = clock.now();
            let sample = chips.sample(patient.chip, &around);
            let chip = patient.chip;
            assert!(clock.now() - before < chip.model.deadline(), "seed {seed}, {chip}: took too long");
            let context = format!("seed {seed}, {:?}", patient.fault);
            let frozen = turn <= patient.stuck_until;
            for measured in sample.readings.iter().flatten() {
                *flags.entry((measured.flag, measured.reason)).or_default() += 1;
                if measured.flag == Flag::GOOD && !frozen && patient.twin.is_none() {
                    assert_true(chip, measured, &world, clock.now(), &context);
                    learn(&mut around, measured);
                }
            }
            if let Some(twin) = &mut patient.twin {
                twin.judge(&sample, &around, &context);
            }
            if let Err(failure) = &sample.readings {
                *flags.entry((Flag::MISSING, failure.reason)).or_default() += 1;
            }
            let is_good =
                sample.readings.iter().flatten().all(|measured| measured.flag == Flag::GOOD) && sample.readings.is_ok();
            if patient.fault.is_none() && (chip.port.is_none() || mux_is_away_until.is_none()) {
                patient.note(is_good, clock.now(), &format!("seed {seed}, turn {turn}: {:?}", sample.readings));
            }
        }
        if clock.now().as_secs() / SCAN_INTERVAL.as_secs()
            != (clock.now() + INTERVAL).as_secs() / SCAN_INTERVAL.as_secs()
        {
            let report = chips.scan().unwrap();
            let is_known =
                |at: (Option<Port>, u8)| patients.iter().any(|patient| (patient.chip.port, patient.chip.address) == at);
            let stray = report.found.iter().find(|found| !is_known((found.chip.port, found.chip.address)));
            assert!(stray.is_none(), "seed {seed}: {stray:?} in {report:?}");
        }
        if clock.now() >= DAY && after_a_day.is_none() {
            after_a_day = Some(resident());
        }
        let twins = patients.iter_mut().filter_map(|patient| patient.twin.as_mut()).map(|twin| &mut twin.chips);
        pass(&mut twins.chain([&mut chips]).collect::<Vec<_>>(), &clock, next);
    }
    report(&patients, &flags);
    for patient in &patients {
        assert!(patient.faults > 20, "seed {seed}, {}: only {} faults", patient.chip, patient.faults);
    }
    let grown = resident().saturating_sub(after_a_day.unwrap());
    assert!(grown < 4 << 20, "seed {seed}: the memory in use grew by {grown} bytes in six days");
}

fn assert_true(chip: ChipAt, measured: &Measured, world: &World, now: Duration, context: &str) {
    let value = f64::from(measured.value);
    let was_so = |seconds| {
        let truth = world.at(now.saturating_sub(Duration::from_secs(seconds)), measured.quantity);
        (value - truth).abs() <= tolerance(measured.quantity, truth)
    };
    assert!(
        (0..=longest_ago_s(chip.model)).any(was_so),
        "{context}: {chip}, {measured:?}, in truth {}",
        world.at(now, measured.quantity)
    );
}

/// How old a value may be. A chip that is asked measures then. One that measures by itself gives what came last since it was read
/// before, and if it has hung since, gives that once.
fn longest_ago_s(model: Model) -> u64 {
    match model {
        Model::Bme280 | Model::Bmp280 | Model::Bme680 | Model::Bme688 | Model::Sht3x | Model::Sht4x | Model::Aht20 => 0,
        _ => INTERVAL.as_secs(),
    }
}

/// For those who run it with `--nocapture`.
fn report(patients: &[Patient], flags: &BTreeMap<(Flag, Reason), u64>) {
    for patient in patients {
        let Patient { chip, faults, longest, .. } = patient;
        println!("{chip}: {faults} faults, back after {longest:.0?} at most, allowed {:.0?}", patient.limit());
    }
    for ((flag, reason), count) in flags {
        println!("{flag} {reason}: {count}");
    }
}
