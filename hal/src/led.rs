//! A light that says how the node is, for whoever stands in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::board::{self, Pin};

/// How the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not measuring yet: quick, even blinking.
    Starting,
    /// Every sensor delivers: a short flash every two seconds, like a pulse.
    Ok,
    /// Some sensor or the store is in trouble: two flashes every two seconds.
    Degraded,
    /// Nothing is delivered: slow, even blinking.
    Failed,
}

impl Health {
    /// Milliseconds on, off, on, off...
    const fn pattern(self) -> &'static [u64] {
        match self {
            Self::Starting => &[100, 100],
            Self::Ok => &[50, 1950],
            Self::Degraded => &[100, 200, 100, 1600],
            Self::Failed => &[700, 700],
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Ok,
            2 => Self::Degraded,
            _ => Self::Failed,
        }
    }
}

/// The LED, or none: a node without one shows nothing and misses nothing. A dropped LED is dark.
pub struct Led {
    blinker: Option<Blinker>,
}

struct Blinker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    driver: &'static str,
}

struct Shared {
    health: AtomicU8,
    ended: AtomicBool,
}

impl Led {
    /// The LED on GPIO `pin` (BCM numbering). None where no pin is given, or where there is no such thing on this machine.
    pub fn open(pin: Option<u8>) -> Self {
        let opened = pin.and_then(board::open_pin);
        if let (Some(pin), None) = (pin, &opened) {
            tracing::warn!(pin, "no LED: this machine has no such GPIO pin, or the user is outside the group gpio");
        }
        Self { blinker: opened.and_then(Blinker::start) }
    }

    /// Shows `health` from now on.
    pub fn show(&self, health: Health) {
        if let Some(blinker) = &self.blinker {
            blinker.shared.health.store(health as u8, Ordering::Relaxed);
            blinker.wake();
        }
    }

    /// What drives it: `rppal`, `gpio-cdev` or `none`.
    pub fn driver(&self) -> &'static str {
        self.blinker.as_ref().map_or("none", |blinker| blinker.driver)
    }
}

impl Blinker {
    fn start(pin: Box<dyn Pin>) -> Option<Self> {
        let shared = Arc::new(Shared { health: AtomicU8::new(Health::Starting as u8), ended: AtomicBool::new(false) });
        let driver = pin.name();
        let seen = Arc::clone(&shared);
        match thread::Builder::new().name("led".to_owned()).spawn(move || seen.blink(pin)) {
            Ok(thread) => Some(Self { shared, thread: Some(thread), driver }),
            Err(error) => {
                tracing::warn!(%error, "no LED: its thread cannot be started");
                None
            }
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Shared {
    fn blink(&self, mut pin: Box<dyn Pin>) {
        let mut step = 0;
        let mut shown = self.health.load(Ordering::Relaxed);
        while !self.ended.load(Ordering::Relaxed) {
            let health = self.health.load(Ordering::Relaxed);
            if health != shown {
                shown = health;
                step = 0;
            }
            let pattern = Health::from_number(health).pattern();
            if let Err(error) = pin.set(step % 2 == 0) {
                tracing::warn!(%error, "the LED does not work any more");
                return;
            }
            // Woken early by a new health or the end, and sometimes for nothing: a blink cut short does no harm.
            thread::park_timeout(Duration::from_millis(pattern[step]));
            step = (step + 1) % pattern.len();
        }
        let _ = pin.set(false);
    }
}

impl Drop for Blinker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    struct Probe(Sender<bool>);

    impl Pin for Probe {
        fn set(&mut self, on: bool) -> io::Result<()> {
            self.0.send(on).map_err(io::Error::other)
        }

        fn name(&self) -> &'static str {
            "probe"
        }
    }

    fn led() -> (Led, Receiver<bool>) {
        let (sender, receiver) = mpsc::channel();
        (Led { blinker: Blinker::start(Box::new(Probe(sender))) }, receiver)
    }

    #[test]
    fn it_blinks_and_is_dark_when_dropped() {
        let (led, seen) = led();
        led.show(Health::Degraded);
        for _ in 0..3 {
            seen.recv_timeout(Duration::from_secs(5)).unwrap();
        }
        drop(led);
        assert_eq!(seen.iter().last(), Some(false));
    }

    #[test]
    fn every_health_looks_different() {
        let all = [Health::Starting, Health::Ok, Health::Degraded, Health::Failed];
        for (number, health) in all.into_iter().enumerate() {
            assert_eq!(Health::from_number(health as u8), health);
            assert_eq!(health.pattern().len() % 2, 0, "{health:?} must end dark");
            for other in &all[number + 1..] {
                assert_ne!(health.pattern(), other.pattern());
            }
        }
    }

    #[test]
    fn without_a_pin_there_is_none() {
        let led = Led::open(None);
        led.show(Health::Failed);
        assert_eq!(led.driver(), "none");
    }
}
