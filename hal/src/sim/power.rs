//! The power of a chip and the fault it has: what every simulated chip asks first at each address phase.

use std::time::Duration;

use super::Fault;

/// What a chip finds at an address phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// There is none: no answer.
    Off,
    /// It came back just now: start as from power-on, then answer.
    Restored,
    /// It has been there.
    On,
}

/// A chip's fault, and whether power was lost since the last address phase.
#[derive(Default)]
pub(super) struct Health {
    fault: Option<Fault>,
    power_lost: bool,
    on_since: Duration,
}

impl Health {
    pub(super) fn inject(&mut self, fault: Option<Fault>) {
        let loses_power = |fault| matches!(fault, Some(Fault::Unplugged | Fault::ResetContents | Fault::PowerLoss));
        // Both ends of such a fault count: the chip that comes back has lost its configuration.
        self.power_lost |= loses_power(fault) || loses_power(self.fault);
        self.fault = fault.filter(|fault| *fault != Fault::PowerLoss);
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// To be called at each address phase.
    pub(super) fn power(&mut self, now: Duration) -> Power {
        if self.has(Fault::Unplugged) {
            Power::Off
        } else if std::mem::take(&mut self.power_lost) {
            self.on_since = now;
            Power::Restored
        } else {
            Power::On
        }
    }

    /// When the power came, or came back.
    pub(super) fn on_since(&self) -> Duration {
        self.on_since
    }
}
