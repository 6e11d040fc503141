//! The SCD41's commands: SCD4x datasheet version 1.3, table 9, and `get_sensor_variant` from version 1.5 on.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    StartPeriodic,
    StartLowPowerPeriodic,
    StopPeriodic,
    ReadMeasurement,
    GetDataReady,
    MeasureSingleShot,
    MeasureSingleShotRhtOnly,
    SetTemperatureOffset,
    GetTemperatureOffset,
    SetAltitude,
    GetAltitude,
    /// With an argument it sets, without one the next read gets.
    AmbientPressure,
    ForcedRecalibration,
    SetSelfCalibration,
    GetSelfCalibration,
    PersistSettings,
    GetSerialNumber,
    GetVariant,
    SelfTest,
    FactoryReset,
    Reinit,
    PowerDown,
    WakeUp,
}

impl Command {
    pub(super) fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0x21B1 => Self::StartPeriodic,
            0x21AC => Self::StartLowPowerPeriodic,
            0x3F86 => Self::StopPeriodic,
            0xEC05 => Self::ReadMeasurement,
            0xE4B8 => Self::GetDataReady,
            0x219D => Self::MeasureSingleShot,
            0x2196 => Self::MeasureSingleShotRhtOnly,
            0x241D => Self::SetTemperatureOffset,
            0x2318 => Self::GetTemperatureOffset,
            0x2427 => Self::SetAltitude,
            0x2322 => Self::GetAltitude,
            0xE000 => Self::AmbientPressure,
            0x362F => Self::ForcedRecalibration,
            0x2416 => Self::SetSelfCalibration,
            0x2313 => Self::GetSelfCalibration,
            0x3615 => Self::PersistSettings,
            0x3682 => Self::GetSerialNumber,
            0x202F => Self::GetVariant,
            0x3639 => Self::SelfTest,
            0x3632 => Self::FactoryReset,
            0x3646 => Self::Reinit,
            0x36E0 => Self::PowerDown,
            0x36F6 => Self::WakeUp,
            _ => return None,
        })
    }

    /// How long the chip is deaf after it.
    pub(super) fn execution_time(self) -> Duration {
        Duration::from_millis(match self {
            Self::StartPeriodic | Self::StartLowPowerPeriodic => 0,
            Self::StopPeriodic => 500,
            Self::ForcedRecalibration => 400,
            Self::PersistSettings => 800,
            Self::SelfTest => 10_000,
            Self::FactoryReset => 1_200,
            Self::Reinit | Self::WakeUp => 20,
            Self::MeasureSingleShot => 5_000,
            Self::MeasureSingleShotRhtOnly => 50,
            _ => 1,
        })
    }

    /// Whether it is taken while a periodic measurement runs.
    pub(super) fn during_measurement(self) -> bool {
        matches!(self, Self::StopPeriodic | Self::ReadMeasurement | Self::GetDataReady | Self::AmbientPressure)
    }

    /// With how many words it does something.
    pub(super) fn words(self) -> &'static [usize] {
        match self {
            Self::SetTemperatureOffset | Self::SetAltitude | Self::ForcedRecalibration | Self::SetSelfCalibration => {
                &[1]
            }
            Self::AmbientPressure => &[0, 1],
            _ => &[0],
        }
    }
}
