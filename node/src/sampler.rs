//! Asks every sensor when it is due, and hands each tick's readings to the recorder. A sensor that is slow or dead never holds
//! another one back: each tick waits for its own sensors only, and not longer than a deadline.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hal::{Sample, Surroundings};
use reading::{EventCode, Reading, Reason};
use service::{Component, Health};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::recorder::{Record, sensor_event};
use crate::schedule::Schedule;
use crate::sensors::{Looked, NodeSensor, Sensors};
use crate::status::StatusBoard;

/// A tick is recorded after this long with what has come by then. Longer than any chip takes that answers at all: a SCD4x has to be
/// stopped first, which takes 500 ms.
const TICK_DEADLINE: Duration = Duration::from_secs(3);
/// How often new chips are looked for. One that is plugged in is taken up within this time.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// The same while there is no sensor at all: somebody may be standing there with a soldering iron.
const FIRST_LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// How often the bus threads are watched.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// A bus thread that does not return for this long is beyond what a kernel's own time limits explain: only a restart helps.
const HUNG_BUS: Duration = Duration::from_secs(60);
/// The sampler turns its loop at least once in `WATCH_INTERVAL`; this much later it hangs.
const STALLED_SAMPLER: Duration = Duration::from_secs(30);

/// Runs the schedule.
pub struct Sampler {
    sensors: Sensors,
    schedule: Schedule,
    records: mpsc::Sender<Record>,
    board: Arc<StatusBoard>,
    alive: Component,
    buses_alive: Component,
    start: Instant,
    in_flight: HashSet<usize>,
    ticks: JoinSet<Tick>,
    looks: JoinSet<Looked>,
    delivering: Vec<Option<bool>>,
    last_problems: Vec<String>,
}

/// The samples of one tick; `None` where none came in time.
type Tick = Vec<(usize, Outcome)>;

/// How one sensor's turn ended.
#[derive(Debug)]
enum Outcome {
    Sampled(Sample),
    /// No sample, for this reason.
    None(Reason, &'static str),
}

impl Sampler {
    /// A sampler that has not looked for sensors yet.
    pub fn new(sensors: Sensors, records: mpsc::Sender<Record>, board: Arc<StatusBoard>, health: &Health) -> Self {
        Self {
            sensors,
            schedule: Schedule::default(),
            records,
            board,
            alive: health.component_with_heartbeat("sampler", STALLED_SAMPLER),
            buses_alive: health.component_with_heartbeat("buses", HUNG_BUS),
            start: Instant::now(),
            in_flight: HashSet::new(),
            ticks: JoinSet::new(),
            looks: JoinSet::new(),
            delivering: Vec::new(),
            last_problems: Vec::new(),
        }
    }

    /// Samples until told to stop, then lets the ticks under way end and puts the chips to rest.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        self.alive.ready();
        self.buses_alive.ready();
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_look = Instant::now();
        loop {
            let due = self.schedule.next().map(|due| self.start + due);
            tokio::select! {
                () = stop.cancelled() => break,
                () = wait_until(due) => self.begin_tick(),
                Some(tick) = self.ticks.join_next() => self.end_tick(tick).await,
                Some(looked) = self.looks.join_next() => {
                    self.end_look(looked).await;
                    next_look = self.next_look();
                }
                () = tokio::time::sleep_until(next_look), if self.looks.is_empty() => self.begin_look(),
                _ = watch.tick() => self.watch(),
            }
        }
        while let Some(tick) = self.ticks.join_next().await {
            self.end_tick(tick).await;
        }
        self.close().await;
        Ok(())
    }

    fn next_look(&self) -> Instant {
        Instant::now() + if self.sensors.list().is_empty() { FIRST_LOOK_INTERVAL } else { LOOK_INTERVAL }
    }

    fn begin_look(&mut self) {
        self.looks.spawn(self.sensors.begin_look().scan());
    }

    /// Takes up new chips and announces them.
    async fn end_look(&mut self, looked: Result<Looked, JoinError>) {
        let looked = looked.unwrap_or_else(|panic| {
            error!(%panic, "looking for sensors failed, which is a bug");
            Looked::default()
        });
        let problems = self.sensors.end_look(looked);
        if problems != self.last_problems {
            for problem in &problems {
                warn!("{problem}");
            }
            self.last_problems = problems;
        }
        let known = self.delivering.len();
        for (index, sensor) in self.sensors.list().iter().enumerate().skip(known) {
            let NodeSensor { chip, bus, serial, interval, .. } = sensor;
            info!(sensor = index, %chip, bus = bus.name(), serial, ?interval, "sensor found");
            self.schedule.add(sensor.interval, self.start.elapsed());
            self.delivering.push(None);
        }
        self.board.set_sensors(self.sensors.list(), &self.last_problems);
        self.announce().await;
    }

    async fn announce(&self) {
        let sensors = self.sensors.list().iter().take(reading::MAX_SENSORS).map(NodeSensor::describe).collect();
        self.record(Record::Sensors(sensors)).await;
    }

    fn begin_tick(&mut self) {
        let mut waiting = Vec::new();
        for index in self.schedule.take_due(self.start.elapsed()) {
            let Some(sensor) = self.sensors.list().get(index) else { continue };
            let answer = if self.in_flight.insert(index) {
                let (reply, answer) = oneshot::channel();
                let around = Surroundings { interval: sensor.interval, ..Surroundings::default() };
                match sensor.bus.sample(sensor.chip, around, move |sample| drop(reply.send(sample))) {
                    Ok(()) => Ok(answer),
                    Err(_) => Err(Outcome::None(Reason::OVERLOADED, "the bus has too much to do")),
                }
            } else {
                Err(Outcome::None(Reason::NOT_READY, "the sensor's last turn has not ended yet"))
            };
            waiting.push((index, answer));
        }
        let buses: Vec<hal::Bus> = self.sensors.buses().to_vec();
        self.ticks.spawn(async move {
            let deadline = Instant::now() + TICK_DEADLINE;
            let mut tick = Vec::with_capacity(waiting.len());
            for (index, answer) in waiting {
                let outcome = match answer {
                    Err(outcome) => outcome,
                    Ok(answer) => match tokio::time::timeout_at(deadline, answer).await {
                        Ok(Ok(sample)) => Outcome::Sampled(sample),
                        Ok(Err(_)) => Outcome::None(Reason::BUS_STALLED, "the thread of its bus has stopped"),
                        Err(_) if buses.iter().any(|bus| bus.stuck_for().is_some()) => {
                            Outcome::None(Reason::BUS_STALLED, "its bus is held by something")
                        }
                        Err(_) => Outcome::None(Reason::NOT_READY, "no answer in time"),
                    },
                };
                tick.push((index, outcome));
            }
            tick
        });
    }

    async fn end_tick(&mut self, tick: Result<Tick, JoinError>) {
        let tick = tick.unwrap_or_else(|panic| {
            error!(%panic, "a sampling tick failed, which is a bug");
            // Which sensors it asked is not known any more; none must be left out for ever.
            self.in_flight.clear();
            Tick::default()
        });
        let mut readings = Vec::new();
        let mut serials_changed = false;
        for (index, outcome) in tick {
            self.in_flight.remove(&index);
            let (sampled, detail) = match &outcome {
                Outcome::Sampled(sample) => {
                    if let Some(serial) = &sample.serial {
                        serials_changed |= self.sensors.learn_serial(index, serial);
                    }
                    match &sample.readings {
                        Ok(measured) => (Ok(measured.as_slice()), String::new()),
                        Err(failure) => (Err(failure.reason), failure.detail.clone()),
                    }
                }
                Outcome::None(reason, detail) => (Err(*reason), (*detail).to_owned()),
            };
            let Some(sensor) = self.sensors.list().get(index) else { continue };
            let of_sensor = sensor.readings(index, sampled);
            self.board.set_readings(index, &of_sensor, &detail);
            self.note_delivery(index, &of_sensor, &detail).await;
            readings.extend(of_sensor);
        }
        if serials_changed {
            self.announce().await;
        }
        readings.truncate(reading::MAX_READINGS);
        if !readings.is_empty() {
            self.record(Record::Readings(readings)).await;
        }
    }

    /// Says once when a sensor falls silent and once when it is back.
    async fn note_delivery(&mut self, index: usize, readings: &[Reading], detail: &str) {
        let delivers = readings.iter().any(|reading| reading.value.is_some());
        let Some(before) = self.delivering.get_mut(index).map(|before| before.replace(delivers)) else { return };
        let Some(sensor) = self.sensors.list().get(index) else { return };
        let name = format!("{} on {}", sensor.chip, sensor.bus.name());
        match (before, delivers) {
            (Some(true), false) => {
                warn!(sensor = index, "{name} stopped delivering: {detail}");
                let event = sensor_event(EventCode::SENSOR_LOST, index, &format!("{name}: {detail}"));
                self.record(Record::Event(event)).await;
            }
            (Some(false), true) => {
                info!(sensor = index, "{name} delivers again");
                self.record(Record::Event(sensor_event(EventCode::SENSOR_BACK, index, &name))).await;
            }
            (None, false) if !is_starting(readings) => warn!(sensor = index, "{name} does not deliver: {detail}"),
            _ => {}
        }
    }

    /// Waits where the recorder is slow: the schedule then runs late, and nothing piles up.
    async fn record(&self, record: Record) {
        if self.records.send(record).await.is_err() {
            warn!("the recorder has stopped; what was just measured is lost");
        }
    }

    fn watch(&self) {
        self.alive.beat();
        let stuck =
            self.sensors.buses().iter().filter_map(|bus| Some((bus, bus.stuck_for()?))).max_by_key(|(_, time)| *time);
        match stuck {
            None => {
                self.buses_alive.beat();
                self.buses_alive.ready();
            }
            // Without a beat liveness fails after HUNG_BUS: the bus thread tries to clear the bus by itself before that.
            Some((bus, time)) => self.buses_alive.degraded(format!(
                "{} has not answered for {} s: something holds the bus; check the wiring",
                bus.name(),
                time.as_secs()
            )),
        }
        self.board.judge();
    }

    async fn close(&self) {
        let buses = self.sensors.buses().to_vec();
        let closed = tokio::task::spawn_blocking(move || {
            for bus in &buses {
                if !bus.close(Duration::from_secs(2)) {
                    warn!(bus = bus.name(), "the bus thread did not stop and is left behind");
                }
            }
        });
        drop(closed.await);
    }
}

/// A chip that has only just been switched on has nothing to say yet, which is no fault.
fn is_starting(readings: &[Reading]) -> bool {
    readings.iter().all(|reading| matches!(reading.reason, Reason::WARMING_UP | Reason::NOT_READY))
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
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
    }

    impl Bench {
        fn start() -> Self {
            let bus = SimBus::new(Clock::real_time());
            bus.attach(chip("BME280").unwrap());
            bus.attach(chip("SHT40").unwrap());
            let config = SensorsConfig { interval: Duration::from_millis(60), ..SensorsConfig::default() };
            let sensors = Sensors::on(config, hal::Bus::over(bus.clone()).unwrap());
            let (sender, records) = mpsc::channel(4);
            let health = Health::new();
            let board = Arc::new(StatusBoard::new(health.component("sensors"), hal::Led::open(None)));
            let stop = CancellationToken::new();
            let sampler = tokio::spawn(Sampler::new(sensors, sender, board, &health).run(stop.clone()));
            Self { bus, records, health, stop, sampler }
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
        let sensors =
            bench.next(|record| if let Record::Sensors(sensors) = record { Some(sensors) } else { None }).await;
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
        let lost = bench.next(|record| if let Record::Event(event) = record { Some(event) } else { None }).await;
        assert_eq!(lost.code, EventCode::SENSOR_LOST);
        let missing = bench.readings_where(|reading| reading.quantity == Quantity::PRESSURE).await;
        assert_eq!((missing.value, missing.flag, missing.reason), (None, Flag::MISSING, Reason::NO_ANSWER));
        bench.readings_where(good(Quantity::TEMPERATURE)).await;
        assert!(bench.is_ready(), "one good sensor is enough");
        bench.bus.fault(0x76, None);
        let back = bench.next(|record| if let Record::Event(event) = record { Some(event) } else { None }).await;
        assert_eq!(back.code, EventCode::SENSOR_BACK);
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
}
