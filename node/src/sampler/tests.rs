//! The sampler over simulated chips on a bus that the test can spoil.

use super::*;
use crate::config::SensorsConfig;
use hal::sim::{Clock, Fault, SimBus, chip};
use reading::{Flag, Quantity};

/// A sampler over a BME280 and a SHT40 on a bus that the test can spoil.
struct Bench {
    bus: SimBus,
    records: mpsc::Receiver<Record>,
    health: Health,
    stop: CancellationToken,
    sampler: tokio::task::JoinHandle<Result<(), Infallible>>,
    /// Where the sampler keeps what the chips have learned.
    _state: Arc<tempfile::TempDir>,
}

impl Bench {
    fn start() -> Self {
        Self::start_with(&["BME280", "SHT40"], Arc::new(tempfile::tempdir().unwrap()))
    }

    fn start_with(models: &[&str], state: Arc<tempfile::TempDir>) -> Self {
        let bus = SimBus::new(Clock::real_time());
        for model in models {
            bus.attach(chip(model).unwrap());
        }
        let config = SensorsConfig { interval: Duration::from_millis(60), ..SensorsConfig::default() };
        let truth = Truth::new(config.clone(), None);
        let sensors = Sensors::on(config, hal::Bus::over(bus.clone()).unwrap());
        let memory = Memory::load(state.path().join("sensors.json"), crate::clock::Clock::new().unwrap());
        let (sender, records) = mpsc::channel(4);
        let health = Health::new();
        let board = Arc::new(StatusBoard::new(health.component("sensors"), hal::Led::open(None)));
        let stop = CancellationToken::new();
        let sampler = tokio::spawn(Sampler::new(sensors, memory, truth, sender, board, &health).run(stop.clone()));
        Self { bus, records, health, stop, sampler, _state: state }
    }

    /// The next record that `wanted` accepts.
    async fn next<T>(&mut self, wanted: impl Fn(Record) -> Option<T>) -> T {
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, async {
            loop {
                let record = self.records.recv().await.expect("the sampler runs");
                if let Some(found) = wanted(record) {
                    return found;
                }
            }
        })
        .await
        .expect("the record comes")
    }

    async fn readings_where(&mut self, wanted: impl Fn(&Reading) -> bool) -> Reading {
        self.next(|record| match record {
            Record::Readings(readings) => readings.into_iter().find(|reading| wanted(reading)),
            _ => None,
        })
        .await
    }

    /// A busy machine may keep the other chip from its turn, which is an event as well.
    async fn event_of_the_bme280(&mut self, code: EventCode) {
        let is_it = |event: &reading::Event| event.sensor == Some(1) && event.code == code;
        self.next(|record| if let Record::Event(event) = record { Some(event).filter(is_it) } else { None }).await;
    }

    fn is_ready(&self) -> bool {
        self.health.report(std::time::Instant::now()).ready
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.records.close();
        while self.records.recv().await.is_some() {}
        self.sampler.await.unwrap().unwrap();
    }
}

fn good(quantity: Quantity) -> impl Fn(&Reading) -> bool {
    move |reading| reading.quantity == quantity && reading.flag == Flag::GOOD
}

#[tokio::test]
async fn sensors_are_found_announced_and_read() {
    let mut bench = Bench::start();
    let sensors = bench.next(|record| if let Record::Sensors(sensors) = record { Some(sensors) } else { None }).await;
    let models: Vec<&str> = sensors.iter().map(|sensor| sensor.model.as_str()).collect();
    assert_eq!(models, ["SHT4x", "BME280"]);
    assert!(sensors.iter().all(|sensor| sensor.simulated));
    bench.bus.set(0x76, Quantity::TEMPERATURE, 31.5);
    let reading = bench
        .readings_where(|reading| {
            reading.sensor == 1 && good(Quantity::TEMPERATURE)(reading) && reading.value > Some(31.0)
        })
        .await;
    assert!((reading.value.unwrap() - 31.5).abs() < 0.02, "{reading:?}");
    assert!(bench.is_ready());
    bench.stop().await;
}

#[tokio::test]
async fn a_sensor_that_falls_silent_is_missing_and_the_other_goes_on() {
    let mut bench = Bench::start();
    bench.readings_where(good(Quantity::PRESSURE)).await;
    bench.bus.fault(0x76, Some(Fault::Unplugged));
    bench.event_of_the_bme280(EventCode::SENSOR_LOST).await;
    let missing = bench.readings_where(|reading| reading.quantity == Quantity::PRESSURE).await;
    assert_eq!((missing.value, missing.flag, missing.reason), (None, Flag::MISSING, Reason::NO_ANSWER));
    bench.readings_where(good(Quantity::TEMPERATURE)).await;
    assert!(bench.is_ready(), "one good sensor is enough");
    bench.bus.fault(0x76, None);
    bench.event_of_the_bme280(EventCode::SENSOR_BACK).await;
    bench.readings_where(good(Quantity::PRESSURE)).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_node_without_any_good_reading_is_not_ready() {
    let mut bench = Bench::start();
    bench.readings_where(good(Quantity::PRESSURE)).await;
    bench.bus.fault(0x76, Some(Fault::Unplugged));
    bench.bus.fault(0x44, Some(Fault::Unplugged));
    let all_missing = |record| match record {
        Record::Readings(readings) => readings.iter().all(|reading| reading.flag == Flag::MISSING).then_some(()),
        _ => None,
    };
    bench.next(all_missing).await;
    assert!(!bench.is_ready());
    bench.bus.fault(0x44, None);
    bench.readings_where(good(Quantity::TEMPERATURE)).await;
    assert!(bench.is_ready());
    bench.stop().await;
}

#[tokio::test]
async fn a_hung_bus_is_said_and_heals() {
    let mut bench = Bench::start();
    bench.readings_where(good(Quantity::PRESSURE)).await;
    bench.bus.hold(true);
    let missing = bench.readings_where(|reading| reading.flag == Flag::MISSING).await;
    assert!(matches!(missing.reason, Reason::NOT_READY | Reason::BUS_STALLED), "{missing:?}");
    bench.bus.hold(false);
    bench.readings_where(good(Quantity::PRESSURE)).await;
    bench.stop().await;
}

#[tokio::test]
async fn what_a_chip_has_learned_is_given_back_after_a_restart() {
    let state = Arc::new(tempfile::tempdir().unwrap());
    let path = state.path().join("sensors.json");
    let learned = || std::fs::read_to_string(&path).unwrap();
    let run = async || {
        let mut bench = Bench::start_with(&["SPS30"], state.clone());
        bench
            .readings_where(|reading| reading.quantity == Quantity::PM2_5 && reading.reason != Reason::NOT_READY)
            .await;
        bench.stop().await;
    };
    run().await;
    // After its version, the seconds that the laser has been on; a week of them.
    let new = serde_json::from_str::<serde_json::Value>(&learned()).unwrap();
    let mut old = new.clone();
    for (byte, value) in 604_800_u32.to_be_bytes().into_iter().enumerate() {
        old["chips"][0]["memory"][1 + byte] = value.into();
    }
    assert_ne!(old, new, "{new}");
    std::fs::write(&path, old.to_string()).unwrap();
    run().await;
    let after = serde_json::from_str::<serde_json::Value>(&learned()).unwrap();
    let seconds = after["chips"][0]["memory"].as_array().unwrap()[1..5]
        .iter()
        .fold(0, |seconds, byte| seconds << 8 | byte.as_u64().unwrap());
    assert!((604_800..604_900).contains(&seconds), "{after}");
}
