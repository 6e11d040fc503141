//! Where a reading becomes a frame: numbered, signed, stored, and then published. One task does it, so that seq has no holes and a
//! frame is committed before anybody sees it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::Mesh;
use reading::{Announcement, Author, Event, EventCode, Frame, Payload, Place, Position, Readings, Sensor, Stamp, Text};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::plain::PlainPublisher;
use crate::storage::{NotKept, Writer};

/// What the recorder is asked to do.
#[derive(Debug)]
pub enum Record {
    /// These are the node's sensors now.
    Sensors(Vec<Sensor>),
    /// The node can be dialled on these multiaddresses now.
    Addresses(Vec<String>),
    /// The mesh is up.
    Mesh(Mesh),
    /// One sampling tick.
    Readings(Vec<reading::Reading>),
    /// Something happened.
    Event(Event),
}

/// How often the clocks are looked at beside the frames: what was measured before the time was known should not wait for the next reading.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Between two events about the store: a disk that works now and then makes no flood.
const STORE_EVENT_SPACING: Duration = Duration::from_secs(60);

/// What does not change while the node runs.
#[derive(Debug)]
pub struct About {
    /// City, area, name.
    pub place: Place,
    /// Where on earth, if the owner says so.
    pub position: Option<Position>,
}

/// Numbers, signs, stores and publishes.
pub struct Recorder {
    about: About,
    author: Author,
    clock: Clock,
    store: Writer,
    metrics: Arc<Metrics>,
    plain: PlainPublisher,
    mesh: Option<Mesh>,
    sensors: Option<Vec<Sensor>>,
    addresses: Vec<Text<128>>,
    announced: Option<Announced>,
    fix: Option<Frame>,
    keeping: Keeping,
}

/// How the store does, and what was said of it last.
#[derive(Debug, Default)]
struct Keeping {
    /// Why the last frame was not kept.
    trouble: Option<NotKept>,
    /// Frames of the trouble now, or of that before.
    live_only: u64,
    /// Whether the last event said that it fails, and when that was.
    told: Option<(bool, Instant)>,
}

/// The newest announcement.
struct Announced {
    announcement: Announcement,
    seq: u64,
    frame: Frame,
}

impl Recorder {
    /// A recorder that has announced nothing yet.
    pub fn new(
        about: About,
        author: Author,
        clock: Clock,
        store: Writer,
        metrics: Arc<Metrics>,
        plain: PlainPublisher,
    ) -> Self {
        Self {
            about,
            author,
            clock,
            store,
            metrics,
            plain,
            mesh: None,
            sensors: None,
            addresses: Vec::new(),
            announced: None,
            fix: None,
            keeping: Keeping::default(),
        }
    }

    /// Works until told to stop; what was handed over before that is still recorded.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Record>, stop: CancellationToken) -> Result<(), Infallible> {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                order = orders.recv() => match order {
                    Some(order) => self.follow(order).await,
                    None => break,
                },
                _ = look.tick() => {}
            }
            self.fix_clock().await;
            self.tell_of_store().await;
        }
        orders.close();
        while let Some(order) = orders.recv().await {
            self.follow(order).await;
        }
        stop.cancelled().await;
        Ok(())
    }

    async fn follow(&mut self, order: Record) {
        match order {
            Record::Sensors(sensors) => {
                self.sensors = Some(sensors);
                self.announce().await;
            }
            Record::Addresses(addresses) => {
                self.addresses = addresses
                    .into_iter()
                    .filter_map(|address| Text::new(address).ok())
                    .take(reading::MAX_ADDRESSES)
                    .collect();
                self.announce().await;
            }
            Record::Mesh(mesh) => {
                // What was announced before there was a mesh is news to everybody.
                if let Some(announced) = &self.announced {
                    publish(&mesh, &announced.frame, &self.metrics).await;
                }
                self.plain.start(mesh.clone());
                self.mesh = Some(mesh);
            }
            Record::Readings(readings) => self.record_readings(readings).await,
            // An event names a sensor by its position in an announcement; without one there is none.
            Record::Event(event) if self.announced.is_some() => drop(self.record(&Payload::Event(event)).await),
            Record::Event(event) => warn!(event = %event.code, "an event came before the sensors were announced"),
        }
    }

    /// Signs an announcement where there is something new to announce. The first one is the epoch's seq 1, and it waits for the
    /// sensors: readings refer to them by their position in it.
    async fn announce(&mut self) {
        let Some(sensors) = self.sensors.clone() else { return };
        let announcement = Announcement {
            place: self.about.place.clone(),
            addresses: self.addresses.clone(),
            sensors,
            firmware: Text::lossy(env!("CARGO_PKG_VERSION")),
            position: self.about.position,
            previous: self.store.previous(),
            certificate: Vec::new(),
        };
        if self.announced.as_ref().is_some_and(|announced| announced.announcement == announcement) {
            return;
        }
        if let Some(frame) = self.record(&Payload::Announcement(announcement.clone())).await {
            self.announced = Some(Announced { announcement, seq: frame.seq(), frame });
        }
    }

    async fn record_readings(&mut self, readings: Vec<reading::Reading>) {
        let Some(announcement) = self.announced.as_ref().map(|announced| announced.seq) else {
            warn!("readings came before the sensors were announced and were dropped");
            return;
        };
        self.metrics.count_readings(&readings);
        let payload = Payload::Readings(Readings { announcement, readings });
        if let (Some(frame), Payload::Readings(Readings { readings, .. })) = (self.record(&payload).await, &payload) {
            self.plain.publish(&self.about.place, frame.stamp(), readings);
        }
    }

    /// Tells the time where it has become known, or was set anew. Not before the announcement, which is the first of a run.
    async fn fix_clock(&mut self) {
        if self.announced.is_none() {
            return;
        }
        let stamp = self.clock.stamp();
        self.metrics.set_clock(stamp.clock);
        if let Some(fix) = self.clock.fix(stamp) {
            info!(
                uncertainty_ms = fix.uncertainty_ms,
                "the time is known: what was measured in this boot is dated by it"
            );
            self.metrics.clock_fixes.inc();
            self.fix = self.record_at(stamp, &Payload::ClockFix(fix)).await;
        }
    }

    /// Says that frames are not kept, or are kept again, and announces what a store that was opened late knows of the run before.
    async fn tell_of_store(&mut self) {
        if self.announced.is_none() {
            return;
        }
        let Some(event) = self.keeping.event(Instant::now()) else { return };
        let is_back = event.code == EventCode::STORE_BACK;
        drop(self.record(&Payload::Event(event)).await);
        if is_back {
            self.announce().await;
        }
    }

    async fn record(&mut self, payload: &Payload) -> Option<Frame> {
        let stamp = self.clock.stamp();
        self.record_at(stamp, payload).await
    }

    /// Signs, commits, publishes.
    async fn record_at(&mut self, stamp: Stamp, payload: &Payload) -> Option<Frame> {
        self.metrics.set_clock(stamp.clock);
        let frame = match self.author.sign(stamp, payload) {
            Ok(frame) => frame,
            Err(error) => {
                error!(kind = %payload.kind(), %error, "a frame could not be signed and is lost");
                return None;
            }
        };
        self.metrics.frames_signed.inc();
        self.commit(&frame).await;
        if let Some(mesh) = &self.mesh {
            publish(mesh, &frame, &self.metrics).await;
        }
        Some(frame)
    }

    /// Commits a frame. A store that does not take it does not silence the node: it goes on live, and says so.
    async fn commit(&mut self, frame: &Frame) {
        let announcement = self.announced.as_ref().map(|announced| announced.frame.clone());
        let context: Vec<Frame> = announcement.into_iter().chain(self.fix.clone()).collect();
        let kept = self.store.keep(frame, &context).await;
        self.keeping.note(kept.err());
    }
}

impl Keeping {
    fn note(&mut self, trouble: Option<NotKept>) {
        match (&self.trouble, &trouble) {
            (None, Some(error)) => {
                self.live_only = 0;
                error!(%error, "the store takes nothing; readings go out live but are not kept");
            }
            (Some(_), None) => {
                info!(live_only = self.live_only, "the store works again; what went out meanwhile was live only");
            }
            _ => {}
        }
        self.live_only += u64::from(trouble.is_some());
        self.trouble = trouble;
    }

    /// What to tell of the store now.
    fn event(&mut self, now: Instant) -> Option<Event> {
        let fails = self.trouble.is_some();
        let told = self.told.is_some_and(|(told, _)| told);
        if fails == told || self.told.is_some_and(|(_, at)| now.saturating_duration_since(at) < STORE_EVENT_SPACING) {
            return None;
        }
        self.told = Some((fails, now));
        let (code, detail) = match &self.trouble {
            Some(error) => (EventCode::STORE_FAILED, error.to_string()),
            None => (EventCode::STORE_BACK, format!("{} frames were live only", self.live_only)),
        };
        Some(Event { code, sensor: None, detail: Text::lossy(&detail) })
    }
}

async fn publish(mesh: &Mesh, frame: &Frame, metrics: &Metrics) {
    match mesh.publish(frame.clone()).await {
        Ok(_) => {}
        // The mesh task has ended, which ends the program with its reason; the frame is in the store.
        Err(error) => {
            metrics.publish_failures.inc();
            warn!(frame = %frame.id(), %error, "a frame was not published");
        }
    }
}

/// An event about one sensor.
pub fn sensor_event(code: EventCode, sensor: usize, detail: &str) -> Event {
    Event { code, sensor: u8::try_from(sensor).ok(), detail: Text::lossy(detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_works_now_and_then_makes_no_flood_of_events() {
        let (mut keeping, start) = (Keeping::default(), Instant::now());
        let mut events = Vec::new();
        for second in 0..600 {
            keeping.note((second % 2 == 0).then_some(NotKept::Hangs));
            events.extend(keeping.event(start + Duration::from_secs(second)).map(|event| event.code));
        }
        assert_eq!(events.first(), Some(&EventCode::STORE_FAILED));
        assert!(events.len() <= 10, "{events:?} in ten minutes");
        assert!(events.windows(2).all(|pair| pair[0] != pair[1]), "{events:?}");
    }

    #[test]
    fn a_store_that_works_is_not_worth_a_word_and_one_that_is_back_says_what_was_lost() {
        let (mut keeping, start) = (Keeping::default(), Instant::now());
        keeping.note(None);
        assert_eq!(keeping.event(start), None);
        for _ in 0..3 {
            keeping.note(Some(NotKept::NotOpen));
        }
        assert_eq!(keeping.event(start).map(|event| event.code), Some(EventCode::STORE_FAILED));
        keeping.note(None);
        assert_eq!(keeping.event(start + STORE_EVENT_SPACING / 2), None, "not so soon");
        let back = keeping.event(start + STORE_EVENT_SPACING).unwrap();
        assert_eq!((back.code, back.detail.as_str()), (EventCode::STORE_BACK, "3 frames were live only"));
    }
}
