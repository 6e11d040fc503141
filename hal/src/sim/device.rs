//! What every simulated chip has in common: power, a fault, and the air around it.
//!
//! # Adding a chip
//! A chip states in a [`Device`] only what is its own: registers or commands, times, and what a fault means on it;
//! [`Simulated`] makes a [`Chip`] of it. One that takes commands of 16-bit words with checksums, as Sensirion's do, is a
//! [`Commanded`](super::sensirion::Commanded) in an [`Interface`](super::sensirion::Interface), which is a `Device`.
//! Then the chip gets a name in [`MODELS`](super::MODELS), a line in [`chip`](super::chip()), and a line for each of its
//! faults in its module's documentation. A quantity that no chip had needs a value in `clean_air`.
//!
//! Done here for all: [`Fault::Unplugged`] and [`Fault::PowerLoss`] (no answer; then [`Device::power_on`], and no answer for
//! [`Device::startup`]), the power that [`Fault::ResetContents`] takes at both its ends, and [`Fault::Stuck`] ([`Moment::air`]
//! stands still). The chip asks [`Moment::has`] for the others.

use std::time::Duration;

use reading::Quantity;

use super::ambient::Ambient;
use super::power::{Health, Power};
use super::{Chip, Direction, Fault};

/// A chip by itself. Its calls are those of [`Chip`], in a [`Moment`].
pub(super) trait Device: Send {
    fn model(&self) -> &'static str;
    fn address(&self) -> u8;
    fn quantities(&self) -> &'static [Quantity];
    /// What it does not measure, but what changes its values.
    fn feels(&self) -> &'static [Quantity] {
        &[]
    }
    /// How long after power-on nothing is acknowledged.
    fn startup(&self) -> Duration;
    /// Power came back: what does not outlast it is forgotten.
    fn power_on(&mut self, now: Duration);
    fn start(&mut self, direction: Direction, at: &Moment<'_>) -> bool;
    fn write(&mut self, byte: u8, at: &Moment<'_>) -> bool;
    fn read(&mut self, at: &Moment<'_>) -> u8;
    fn stop(&mut self) {}
}

/// What a chip finds around it when something happens on the bus.
pub(super) struct Moment<'a> {
    /// The time since the bus got its power.
    pub(super) now: Duration,
    ambient: &'a Ambient,
    health: &'a Health,
}

impl Moment<'_> {
    /// What the sensing elements see, in the quantity's unit; NaN for what the chip neither measures nor feels.
    pub(super) fn air(&self, quantity: Quantity) -> f64 {
        self.ambient.sensed(quantity)
    }

    /// Whether the chip has this fault.
    pub(super) fn has(&self, fault: Fault) -> bool {
        self.health.has(fault)
    }

    /// How long the power has been there.
    pub(super) fn powered_for(&self) -> Duration {
        self.now.saturating_sub(self.health.on_since())
    }
}

/// A device with power, in air, and with a fault at times.
pub(super) struct Simulated<D> {
    device: D,
    ambient: Ambient,
    health: Health,
}

impl<D: Device> Simulated<D> {
    /// The device as it comes from power-on at zero, in clean air.
    pub(super) fn new(device: D) -> Self {
        let ambient = Ambient::new(device.quantities().iter().chain(device.feels()));
        Self { device, ambient, health: Health::default() }
    }

    fn parts(&mut self, now: Duration) -> (&mut D, Moment<'_>) {
        (&mut self.device, Moment { now, ambient: &self.ambient, health: &self.health })
    }
}

impl<D: Device> Chip for Simulated<D> {
    fn model(&self) -> &'static str {
        self.device.model()
    }

    fn address(&self) -> u8 {
        self.device.address()
    }

    fn start(&mut self, direction: Direction, now: Duration) -> bool {
        match self.health.power(now) {
            Power::Off => return false,
            Power::Restored => self.device.power_on(now),
            Power::On => {}
        }
        let (device, at) = self.parts(now);
        at.powered_for() >= device.startup() && device.start(direction, &at)
    }

    fn write(&mut self, byte: u8, now: Duration) -> bool {
        let (device, at) = self.parts(now);
        device.write(byte, &at)
    }

    fn read(&mut self, now: Duration) -> u8 {
        let (device, at) = self.parts(now);
        device.read(&at)
    }

    fn stop(&mut self, _now: Duration) {
        self.device.stop();
    }

    fn quantities(&self) -> &'static [Quantity] {
        self.device.quantities()
    }

    fn feels(&self) -> &'static [Quantity] {
        self.device.feels()
    }

    fn set(&mut self, quantity: Quantity, value: f64) -> bool {
        self.ambient.set(quantity, value)
    }

    fn get(&self, quantity: Quantity) -> Option<f64> {
        self.ambient.get(quantity)
    }

    fn fault(&mut self, fault: Option<Fault>) {
        self.health.inject(fault);
        self.ambient.freeze(fault == Some(Fault::Stuck));
    }
}
