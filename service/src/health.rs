//! Whether the program is alive, and whether it does its work.
//!
//! *Ready* follows the work: every component says so of itself. *Live* follows the heartbeats of those components that promised
//! some: a component that stops beating hangs, and only a restart helps. A component that knows what is wrong with it (a sensor is
//! unplugged, the disk is full) is not ready, but alive: a restart would not bring the sensor back.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The health of one program: components, each with its own state. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

/// One part's own view of its health. Dropping it takes the component off the list.
pub struct Component {
    index: u64,
    health: Health,
}

/// How a component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does its work.
    Ready,
    /// It does its work, less well than it should; the text says how, and what to do.
    Degraded(String),
    /// It does not do its work; the text says why, and what to do.
    NotReady(String),
}

/// The health of the whole at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every promised heartbeat came in time.
    pub live: bool,
    /// Every component does its work, and the program is not about to stop.
    pub ready: bool,
    /// The program was asked to stop.
    pub stopping: bool,
    /// One a component, in the order in which they came.
    pub components: Vec<ComponentReport>,
}

/// The health of one component at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentReport {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub condition: Condition,
    /// For how long it has been silent, where that is longer than it promised.
    pub silent_for: Option<Duration>,
}

#[derive(Default)]
struct State {
    stopping: bool,
    next_index: u64,
    components: Vec<Entry>,
}

struct Entry {
    index: u64,
    name: String,
    condition: Condition,
    heartbeat: Option<Heartbeat>,
}

struct Heartbeat {
    last: Instant,
    max_age: Duration,
}

impl Health {
    /// A program with no components yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A component, not ready until it says so.
    pub fn component(&self, name: impl Into<String>) -> Component {
        let mut state = self.lock();
        let index = state.next_index;
        state.next_index += 1;
        let condition = Condition::NotReady("starting".to_owned());
        state.components.push(Entry { index, name: name.into(), condition, heartbeat: None });
        Component { index, health: self.clone() }
    }

    /// A component that promises to [`beat`](Component::beat) at least every `max_age`.
    pub fn component_with_heartbeat(&self, name: impl Into<String>, max_age: Duration) -> Component {
        let component = self.component(name);
        component.promise_heartbeat(max_age);
        component
    }

    /// The program is about to stop: not ready from now on, so that nobody sends it more work. It stays live.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// The health at the moment `now`.
    pub fn report(&self, now: Instant) -> Report {
        let state = self.lock();
        let components: Vec<_> = state.components.iter().map(|entry| entry.report(now)).collect();
        Report {
            live: components.iter().all(|component| component.silent_for.is_none()),
            ready: !state.stopping && components.iter().all(ComponentReport::is_ready),
            stopping: state.stopping,
            components,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the list half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report(Instant::now()).fmt(f)
    }
}

// === impl Component ===

impl Component {
    /// It does its work.
    pub fn ready(&self) {
        self.set(Condition::Ready);
    }

    /// It does not do its work: why, and what to do.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(Condition::NotReady(why.into()));
    }

    /// It does its work, less well than it should: how, and what to do. Does not make the program unready.
    pub fn degraded(&self, why: impl Into<String>) {
        self.set(Condition::Degraded(why.into()));
    }

    /// It is alive. Nothing unless a heartbeat was promised.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    /// It was alive at `now`.
    pub fn beat_at(&self, now: Instant) {
        self.with(|entry| {
            if let Some(heartbeat) = &mut entry.heartbeat {
                heartbeat.last = heartbeat.last.max(now);
            }
        });
    }

    /// From now on it beats at least every `max_age`, or `/livez` fails and a supervisor restarts the program.
    pub fn promise_heartbeat(&self, max_age: Duration) {
        self.with(|entry| entry.heartbeat = Some(Heartbeat { last: Instant::now(), max_age }));
    }

    fn set(&self, condition: Condition) {
        self.with(|entry| {
            if entry.condition == condition {
                return;
            }
            // A change of the reason alone shows in the report; logging each would let one flapping sensor fill the log.
            let worth_a_line = std::mem::discriminant(&entry.condition) != std::mem::discriminant(&condition);
            match &condition {
                _ if !worth_a_line => {}
                Condition::Ready => tracing::info!(component = entry.name, "ready"),
                Condition::Degraded(why) => tracing::warn!(component = entry.name, why, "degraded"),
                Condition::NotReady(why) => tracing::warn!(component = entry.name, why, "not ready"),
            }
            entry.condition = condition;
        });
    }

    fn with(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.health.lock().components.iter_mut().find(|entry| entry.index == self.index) {
            change(entry);
        }
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.health.lock().components.retain(|entry| entry.index != self.index);
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").field("index", &self.index).finish_non_exhaustive()
    }
}

// === impl Report ===

impl Entry {
    fn report(&self, now: Instant) -> ComponentReport {
        let silent_for = self
            .heartbeat
            .as_ref()
            .map(|heartbeat| (now.saturating_duration_since(heartbeat.last), heartbeat.max_age))
            .and_then(|(age, max_age)| (age > max_age).then_some(age));
        ComponentReport { name: self.name.clone(), condition: self.condition.clone(), silent_for }
    }
}

impl ComponentReport {
    fn is_ready(&self) -> bool {
        self.silent_for.is_none() && !matches!(self.condition, Condition::NotReady(_))
    }
}

impl Report {
    /// One line for a supervisor's status: what is wrong first.
    pub fn summary(&self) -> String {
        if self.stopping {
            return "stopping".to_owned();
        }
        let wrong: Vec<_> = self
            .components
            .iter()
            .filter(|component| component.silent_for.is_some() || component.condition != Condition::Ready)
            .map(ToString::to_string)
            .collect();
        match (wrong.is_empty(), self.ready) {
            (true, _) => "ready".to_owned(),
            (false, true) => format!("ready; {}", wrong.join("; ")),
            (false, false) => format!("not ready; {}", wrong.join("; ")),
        }
    }
}

/// One line a component.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stopping {
            writeln!(f, "stopping")?;
        }
        for component in &self.components {
            writeln!(f, "{component}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ComponentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        if let Some(silent_for) = self.silent_for {
            write!(f, "hangs (no sign of life for {} s); ", silent_for.as_secs())?;
        }
        match &self.condition {
            Condition::Ready => f.write_str("ready"),
            Condition::Degraded(why) => write!(f, "degraded: {why}"),
            Condition::NotReady(why) => write!(f, "not ready: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_component_is() {
        let health = Health::new();
        let now = Instant::now();
        assert!(health.report(now).ready);
        let bus = health.component("bus i2c-1");
        let store = health.component("store");
        assert!(!health.report(now).ready);
        bus.ready();
        store.degraded("retention is close: raise max_bytes");
        let report = health.report(now);
        assert!(report.live && report.ready);
        assert_eq!(report.to_string(), "bus i2c-1: ready\nstore: degraded: retention is close: raise max_bytes\n");
        assert_eq!(report.summary(), "ready; store: degraded: retention is close: raise max_bytes");
        bus.not_ready("BME280 at 0x76 does not answer: check its wiring");
        let report = health.report(now);
        assert!(report.live && !report.ready);
        drop(bus);
        assert!(health.report(now).ready);
    }

    #[test]
    fn a_missing_heartbeat_is_not_live() {
        let health = Health::new();
        let sampler = health.component_with_heartbeat("sampler", Duration::from_secs(30));
        sampler.ready();
        let start = Instant::now();
        assert!(health.report(start + Duration::from_secs(29)).live);
        let report = health.report(start + Duration::from_secs(31));
        assert!(!report.live && !report.ready);
        assert_eq!(report.to_string(), "sampler: hangs (no sign of life for 31 s); ready\n");
        sampler.beat_at(start + Duration::from_secs(20));
        assert!(health.report(start + Duration::from_secs(49)).live);
        // A late beat of an earlier moment takes nothing back.
        sampler.beat_at(start);
        assert!(health.report(start + Duration::from_secs(49)).live);
    }

    #[test]
    fn stopping_is_unready_but_live() {
        let health = Health::new();
        health.component("mesh").ready();
        health.stopping();
        let report = health.report(Instant::now());
        assert!(report.live && !report.ready);
        assert_eq!(report.summary(), "stopping");
    }
}
