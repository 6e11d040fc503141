//! The thread that owns a bus, in real time.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use hal::sim::{self, Clock, SimBus};
use hal::{Bus, BusError, BusSource, Busy, ChipAt, Model, Sample, Surroundings};
use reading::Reason;

const SHT4X: ChipAt = ChipAt::new(Model::Sht4x, 0x44);
const PATIENCE: Duration = Duration::from_secs(20);

fn names(models: &[&str]) -> Vec<String> {
    models.iter().map(|model| (*model).to_owned()).collect()
}

fn sample(bus: &Bus, chip: ChipAt) -> Sample {
    let (sender, receiver) = mpsc::channel();
    bus.sample(chip, Surroundings::default(), move |sample| sender.send(sample).unwrap()).unwrap();
    receiver.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn simulated_chips_are_found_and_measured() {
    let models = names(&["BME280", "SHT4x", "PMSA003I", "SCD4x", "BME280"]);
    let bus = Bus::open(BusSource::Simulated { seed: 7, models }).unwrap();
    assert!(bus.is_simulated());
    assert_eq!(bus.name(), "sim-1");
    let (sender, receiver) = mpsc::channel();
    bus.scan(move |report| sender.send(report).unwrap()).unwrap();
    let report = receiver.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(report.found.iter().map(|found| found.chip.address).collect::<Vec<_>>(), [0x12, 0x44, 0x62, 0x76, 0x77]);
    for found in report.found {
        match sample(&bus, found.chip).readings {
            Ok(readings) => assert_eq!(readings.len(), found.chip.model.quantities().len()),
            Err(failure) => {
                assert_eq!((found.chip.model, failure.reason), (Model::Scd4x, Reason::WARMING_UP), "{failure:?}");
            }
        }
    }
    assert!(bus.stuck_for().is_none());
    assert!(bus.close(PATIENCE));
    assert_eq!(bus.scan(|_| ()), Err(Busy));
}

#[test]
fn what_cannot_be_opened_says_why() {
    let error = Bus::open(BusSource::Device { path: "/dev/i2c-4711".into(), muxes: Vec::new() }).unwrap_err();
    assert!(matches!(error, BusError::NotFound { .. }));
    assert!(error.to_string().contains("/dev/i2c-4711 does not exist"), "{error}");
    let error = Bus::open(BusSource::Simulated { seed: 1, models: names(&["BME820"]) }).unwrap_err();
    assert!(error.to_string().contains("BME820"), "{error}");
    let too_many = names(&["SCD41", "SCD40"]);
    assert!(Bus::open(BusSource::Simulated { seed: 1, models: too_many }).is_err());
}

#[test]
fn a_bus_that_hangs_is_noticed_and_goes_on_when_it_is_let_go() {
    let wires = SimBus::new(Clock::real_time());
    let _ = wires.attach(sim::chip("SHT40").unwrap());
    let bus = Bus::over(wires.clone()).unwrap();
    assert!(sample(&bus, SHT4X).readings.is_ok());

    wires.hold(true);
    let (sender, receiver) = mpsc::channel();
    let ask = || {
        let sender = sender.clone();
        bus.sample(SHT4X, Surroundings::default(), move |sample| sender.send(sample).unwrap())
    };
    let mut accepted = 0;
    while ask().is_ok() {
        accepted += 1;
        assert!(accepted <= 33, "the queue has no end");
    }
    assert!(bus.stuck_for().is_none(), "it is not late yet");
    let start = Instant::now();
    while bus.stuck_for().is_none() {
        assert!(start.elapsed() < PATIENCE, "nobody notices");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() >= SHT4X.model.deadline() / 2);
    assert!(!bus.close(Duration::from_millis(50)), "a thread that hangs cannot be joined");

    let other = Bus::open(BusSource::Simulated { seed: 1, models: names(&["SHT4x"]) }).unwrap();
    assert!(sample(&other, SHT4X).readings.is_ok(), "another bus is not touched");

    wires.hold(false);
    assert!(receiver.recv_timeout(PATIENCE).unwrap().readings.is_ok());
    assert!(bus.close(PATIENCE), "it ends as soon as it is let go");
    assert!(bus.stuck_for().is_none());
}

#[test]
fn what_waited_is_answered_when_the_bus_is_let_go() {
    let wires = SimBus::new(Clock::real_time());
    let _ = wires.attach(sim::chip("SHT40").unwrap());
    wires.hold(true);
    let bus = Bus::over(wires.clone()).unwrap();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..5 {
        let sender = sender.clone();
        bus.sample(SHT4X, Surroundings::default(), move |sample| sender.send(sample).unwrap()).unwrap();
    }
    wires.hold(false);
    for _ in 0..5 {
        assert!(receiver.recv_timeout(PATIENCE).unwrap().readings.is_ok());
    }
}

#[test]
fn the_last_handle_takes_the_thread_with_it() {
    let bus = Bus::open(BusSource::Simulated { seed: 1, models: names(&["SHT4x"]) }).unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    bus.sample(SHT4X, Surroundings::default(), move |_| drop(sender)).unwrap();
    drop(bus.clone());
    drop(bus);
    // Answered or dropped, the reply is gone, and with it its sender.
    assert!(matches!(receiver.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected)));
}
