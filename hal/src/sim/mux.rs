//! TI TCA9548A (NXP's PCA9548A is the same to a driver): a multiplexer, which joins the wires behind its ports to the bus.
//!
//! After the data sheet SCPS207; sections are its. It has one register: a bit for each of eight ports (8.6.2). Whatever is written is
//! taken over at the stop condition, the last byte if there are several; a read gives the register. A power-on clears it (8.3),
//! and nothing behind the ports can be reached.
//!
//! Faults: unplugged and power loss cut all ports off; reset contents acknowledges what is written and does not keep it. The others
//! mean nothing here.

use std::time::Duration;

use reading::Quantity;

use super::{Chip, Direction, Fault};

/// The multiplexer.
#[derive(Default)]
pub(super) struct Mux {
    address: u8,
    control: u8,
    written: Option<u8>,
    fault: Option<Fault>,
}

impl Mux {
    pub(super) fn new(address: u8) -> Self {
        Self { address, ..Self::default() }
    }

    /// Whether the wires behind a port are joined to the bus.
    pub(super) fn joins(&self, channel: u8) -> bool {
        1_u8.checked_shl(channel.into()).is_some_and(|bit| self.control & bit != 0)
    }
}

impl Chip for Mux {
    fn model(&self) -> &'static str {
        "TCA9548A"
    }

    fn address(&self) -> u8 {
        self.address
    }

    fn start(&mut self, _direction: Direction, _now: Duration) -> bool {
        self.fault != Some(Fault::Unplugged)
    }

    fn write(&mut self, byte: u8, _now: Duration) -> bool {
        self.written = Some(byte);
        true
    }

    fn read(&mut self, _now: Duration) -> u8 {
        self.control
    }

    fn stop(&mut self, _now: Duration) {
        if let Some(written) = self.written.take().filter(|_| self.fault != Some(Fault::ResetContents)) {
            self.control = written;
        }
    }

    fn quantities(&self) -> &'static [Quantity] {
        &[]
    }

    fn set(&mut self, _quantity: Quantity, _value: f64) -> bool {
        false
    }

    fn get(&self, _quantity: Quantity) -> Option<f64> {
        None
    }

    fn fault(&mut self, fault: Option<Fault>) {
        if matches!(fault, Some(Fault::Unplugged | Fault::PowerLoss | Fault::ResetContents)) {
            self.control = 0;
        }
        self.fault = fault.filter(|fault| *fault != Fault::PowerLoss);
    }
}
