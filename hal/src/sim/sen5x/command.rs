//! The SEN5x's commands: its datasheet, version 2, table 12, and of its drivers 0x03D2 and 0x0413.

use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Start,
    StartWithoutPm,
    Stop,
    DataReady,
    Values,
    RawValues,
    /// Masses, numbers and the typical size.
    PmValues,
    Temperature,
    WarmStart,
    VocTuning,
    NoxTuning,
    Acceleration,
    VocState,
    Clean,
    CleaningInterval,
    ProductName,
    SerialNumber,
    Version,
    Status,
    ClearStatus,
    Reset,
}

impl Command {
    pub(super) fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0x0021 => Self::Start,
            0x0037 => Self::StartWithoutPm,
            0x0104 => Self::Stop,
            0x0202 => Self::DataReady,
            0x03C4 => Self::Values,
            0x03D2 => Self::RawValues,
            0x0413 => Self::PmValues,
            0x60B2 => Self::Temperature,
            0x60C6 => Self::WarmStart,
            0x60D0 => Self::VocTuning,
            0x60E1 => Self::NoxTuning,
            0x60F7 => Self::Acceleration,
            0x6181 => Self::VocState,
            0x5607 => Self::Clean,
            0x8004 => Self::CleaningInterval,
            0xD014 => Self::ProductName,
            0xD033 => Self::SerialNumber,
            0xD100 => Self::Version,
            0xD206 => Self::Status,
            // The datasheet: clears. The drivers: reads and clears.
            0xD210 => Self::ClearStatus,
            0xD304 => Self::Reset,
            _ => return None,
        })
    }

    /// With how many words it does something: without any it gets, or is obeyed.
    pub(super) fn words(self) -> &'static [usize] {
        match self {
            Self::Temperature => &[0, 3],
            Self::WarmStart | Self::Acceleration => &[0, 1],
            Self::VocTuning | Self::NoxTuning => &[0, 6],
            Self::VocState => &[0, 4],
            Self::CleaningInterval => &[0, 2],
            _ => &[0],
        }
    }

    pub(super) fn execution_time(self) -> Duration {
        Duration::from_millis(match self {
            Self::Start | Self::StartWithoutPm => 50,
            Self::Stop => 200,
            Self::Reset => 100,
            _ => 20,
        })
    }

    /// Whether it concerns what the SEN50 does not have.
    pub(super) fn is_of_rht_or_gas(self) -> bool {
        matches!(
            self,
            Self::StartWithoutPm
                | Self::Temperature
                | Self::WarmStart
                | Self::VocTuning
                | Self::NoxTuning
                | Self::Acceleration
                | Self::VocState
        )
    }
}
