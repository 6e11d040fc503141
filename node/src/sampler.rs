//! Asks every sensor when it is due, and hands each tick's readings to the recorder. A sensor that is slow or dead never holds
//! another one back: each tick waits for its own sensors only, and not longer than a deadline.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hal::Sample;
use reading::{EventCode, Reading, Reason, Sensor};
use service::{Component, Health};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::cpu;
use crate::delivery::{Change, Deliveries};
use crate::memory::Memory;
use crate::recorder::{Record, sensor_event};
use crate::schedule::Schedule;
use crate::sensors::{Looked, NodeSensor, Sensors};
use crate::status::StatusBoard;
use crate::truth::{Truth, Turn};

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
    memory: Memory,
    truth: Truth,
    schedule: Schedule,
    records: mpsc::Sender<Record>,
    board: Arc<StatusBoard>,
    alive: Component,
    buses_alive: Component,
    start: Instant,
    in_flight: HashSet<usize>,
    ticks: JoinSet<Tick>,
    looks: JoinSet<Looked>,
    deliveries: Deliveries,
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
    pub fn new(
        sensors: Sensors,
        memory: Memory,
        truth: Truth,
        records: mpsc::Sender<Record>,
        board: Arc<StatusBoard>,
        health: &Health,
    ) -> Self {
        Self {
            sensors,
            memory,
            truth,
            schedule: Schedule::default(),
            records,
            board,
            alive: health.component_with_heartbeat("sampler", STALLED_SAMPLER),
            buses_alive: health.component_with_heartbeat("buses", HUNG_BUS),
            start: Instant::now(),
            in_flight: HashSet::new(),
            ticks: JoinSet::new(),
            looks: JoinSet::new(),
            deliveries: Deliveries::default(),
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
        let known = self.deliveries.len();
        for (index, sensor) in self.sensors.list().iter().enumerate().skip(known) {
            let NodeSensor { chip, bus, serial, interval, .. } = sensor;
            info!(sensor = index, %chip, bus = bus.name(), serial, ?interval, "sensor found");
            self.schedule.add(sensor.interval, self.start.elapsed());
            self.deliveries.add();
        }
        self.memory.restore(self.sensors.list());
        self.board.set_sensors(self.sensors.list(), &self.last_problems);
        self.announce().await;
    }

    async fn announce(&self) {
        let describe =
            |sensor: &NodeSensor| Sensor { correction: self.truth.correction_of(sensor), ..sensor.describe() };
        let sensors = self.sensors.list().iter().take(reading::MAX_SENSORS).map(describe).collect();
        self.record(Record::Sensors(sensors)).await;
    }

    fn begin_tick(&mut self) {
        let mut waiting = Vec::new();
        let now = self.start.elapsed();
        for index in self.schedule.take_due(now) {
            let Some(sensor) = self.sensors.list().get(index) else { continue };
            let answer = if self.in_flight.insert(index) {
                let (reply, answer) = oneshot::channel();
                let around = self.truth.around(now, index, sensor);
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
        let mut turns = Vec::with_capacity(tick.len());
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
            if let Outcome::Sampled(Sample { memory: Some(memory), .. }) = &outcome {
                self.memory.keep(sensor, memory);
            }
            turns.push(Turn { index, readings: sensor.readings(index, sampled), detail });
        }
        let cpu = if self.truth.wants_cpu(self.sensors.list()) { cpu::celsius() } else { None };
        self.truth.tell(self.start.elapsed(), cpu, self.sensors.list(), &mut turns);
        let mut readings = Vec::new();
        for Turn { index, readings: of_sensor, detail } in turns {
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
        let Some(change) = self.deliveries.note(index, readings) else { return };
        let Some(sensor) = self.sensors.list().get(index) else { return };
        let name = format!("{} on {}", sensor.chip, sensor.bus.name());
        match change {
            Change::Lost => {
                warn!(sensor = index, "{name} stopped delivering: {detail}");
                let event = sensor_event(EventCode::SENSOR_LOST, index, &format!("{name}: {detail}"));
                self.record(Record::Event(event)).await;
            }
            Change::Back => {
                info!(sensor = index, "{name} delivers again");
                self.record(Record::Event(sensor_event(EventCode::SENSOR_BACK, index, &name))).await;
            }
            Change::NeverCame => warn!(sensor = index, "{name} does not deliver: {detail}"),
        }
    }

    /// Waits where the recorder is slow: the schedule then runs late, and nothing piles up.
    async fn record(&self, record: Record) {
        if self.records.send(record).await.is_err() {
            warn!("the recorder has stopped; what was just measured is lost");
        }
    }

    fn watch(&mut self) {
        self.alive.beat();
        if let Some(snapshot) = self.memory.due(false) {
            drop(tokio::task::spawn_blocking(move || snapshot.write()));
        }
        let stuck =
            self.sensors.buses().iter().filter_map(|bus| Some((bus, bus.stuck_for()?))).max_by_key(|(_, time)| *time);
        match stuck {
            None => {
                self.buses_alive.beat();
                self.buses_alive.ready();
            }
            // Without a beat liveness fails after HUNG_BUS. Nothing here can clear the bus: see `hal::board`.
            Some((bus, time)) => self.buses_alive.degraded(format!(
                "{} has not answered for {} s: something holds the bus; check the wiring",
                bus.name(),
                time.as_secs()
            )),
        }
        self.board.judge();
    }

    async fn close(&mut self) {
        let buses = self.sensors.buses().to_vec();
        let learned = self.memory.due(true);
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(snapshot) = learned {
                snapshot.write();
            }
            for bus in &buses {
                if !bus.close(Duration::from_secs(2)) {
                    warn!(bus = bus.name(), "the bus thread did not stop and is left behind");
                }
            }
        });
        drop(closed.await);
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
