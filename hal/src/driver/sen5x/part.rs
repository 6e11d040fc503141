//! The three chips that this is: what each measures, and how they are told apart.

use std::time::Duration;

use reading::Quantity;

use super::{ADDRESS, FAN_SETTLES_IN, INDEX_SETTLES_IN, UNKNOWN_UNSIGNED, is_unknown};
use crate::model::Datasheet;

/// A SEN50 has the first four, a SEN54 all but the last.
const QUANTITIES: [Quantity; 8] = [
    Quantity::PM1,
    Quantity::PM2_5,
    Quantity::PM4,
    Quantity::PM10,
    Quantity::TEMPERATURE,
    Quantity::HUMIDITY,
    Quantity::VOC_INDEX,
    Quantity::NOX_INDEX,
];

pub(crate) const SEN50_DATASHEET: Datasheet = Datasheet {
    name: "SEN50",
    members: &[],
    addresses: &[ADDRESS],
    quantities: QUANTITIES.split_at(4).0,
    warm_up: FAN_SETTLES_IN,
    min_interval: Duration::from_secs(1),
    tend_every: None,
    own_waits: Duration::from_millis(600),
};

pub(crate) const SEN54_DATASHEET: Datasheet = Datasheet {
    name: "SEN54",
    quantities: QUANTITIES.split_at(7).0,
    warm_up: INDEX_SETTLES_IN,
    // Reading the algorithm's state.
    tend_every: Some(Duration::from_secs(60)),
    ..SEN50_DATASHEET
};

pub(crate) const SEN55_DATASHEET: Datasheet = Datasheet { name: "SEN55", quantities: &QUANTITIES, ..SEN54_DATASHEET };

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Particulate matter.
    Sen50,
    /// Temperature, humidity and VOC index besides.
    Sen54,
    /// NOx index besides.
    Sen55,
}

impl Part {
    pub(super) fn datasheet(self) -> &'static Datasheet {
        match self {
            Self::Sen50 => &SEN50_DATASHEET,
            Self::Sen54 => &SEN54_DATASHEET,
            Self::Sen55 => &SEN55_DATASHEET,
        }
    }

    /// Which one a chip is, by what it never has (section 6.1.5 and table 1). A SEN55 has no NOx index in its first seconds either,
    /// and in the very first nothing at all.
    pub(super) fn that_measures(&[pm1, .., humidity, _, _, nox]: &[u16; 8]) -> Option<Self> {
        match (is_unknown(humidity), is_unknown(nox)) {
            (true, _) if pm1 == UNKNOWN_UNSIGNED => None,
            (true, _) => Some(Self::Sen50),
            (false, true) => Some(Self::Sen54),
            (false, false) => Some(Self::Sen55),
        }
    }

    pub(super) fn has_voc(self) -> bool {
        self != Self::Sen50
    }
}
