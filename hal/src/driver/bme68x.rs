//! Bosch BME680 and BME688: temperature, humidity, pressure, gas resistance.
//!
//! Section numbers are those of the data sheet BST-BME680-DS001; the BME688 has the same registers but for the gas, and tells by its
//! variant. Both were checked against Bosch's BME68x_SensorAPI 4.4.8.
//!
//! Each measurement is ordered by itself (forced mode): one sample each of temperature, pressure and humidity, then the plate is
//! heated to 320 Cel for 150 ms and its resistance taken, as Bosch's examples do. The chip says whether the plate got there: a
//! resistance that was taken too cold is not good. `bosch` says why everything is read twice.
//!
//! The heater warms the chip, the more the oftener it is sampled, and so the temperature that it measures. The resistance says
//! something about the air only beside earlier ones of the same chip.

mod compensation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Flag, Quantity, Reason};

use self::compensation::{Calibration, ohm_bme688};
use super::bosch::{self, BME68X_ID, Registers, inside};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const BME680_DATASHEET: Datasheet = Datasheet {
    name: "BME680",
    members: &[],
    addresses: bosch::ADDRESSES,
    quantities: &[Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE, Quantity::GAS_RESISTANCE],
    warm_up: Duration::ZERO,
    // Not for the measurement, which takes 170 ms, but for the heat that it leaves.
    min_interval: Duration::from_secs(3),
    tend_every: None,
    own_waits: Duration::from_millis(300),
};

pub(crate) const BME688_DATASHEET: Datasheet = Datasheet { name: "BME688", ..BME680_DATASHEET };

// Registers, section 5.2.
const CALIBRATION_A: u8 = 0x8a;
const CALIBRATION_B: u8 = 0xe1;
const CALIBRATION_C: u8 = 0x00;
const MEAS_STATUS: u8 = 0x1d;
/// Pressure, temperature and humidity, then the gas of a BME680, then that of a BME688.
const DATA: u8 = 0x1f;
const RES_HEAT: u8 = 0x5a;
const GAS_WAIT: u8 = 0x64;
const CTRL_GAS_0: u8 = 0x70;
const CTRL_GAS_1: u8 = 0x71;
const CTRL_HUM: u8 = 0x72;
const CTRL_MEAS: u8 = 0x74;
const CONFIG: u8 = 0x75;
const VARIANT: u8 = 0xf0;

/// One sample of humidity (section 5.3.2.1).
const CTRL_HUM_X1: u8 = 0b001;
/// One sample each of temperature and pressure, asleep (section 5.3.2.2).
const CTRL_MEAS_ASLEEP: u8 = 1 << 5 | 1 << 2;
/// The `mode` bits: one measurement, then asleep again (section 5.3.1.3).
const FORCED: u8 = 0b01;
const MODE: u8 = 0b11;
/// `filter` in `config` (section 5.3.2.4).
const CONFIG_FILTER: u8 = 0b111 << 2;
/// `heat_off` in `ctrl_gas_0` (section 5.3.4.1).
const HEAT_OFF: u8 = 1 << 3;
/// `new_data_0`, `gas_measuring` and `measuring` (section 5.3.5).
const NEW_DATA: u8 = 1 << 7;
const MEASURING: u8 = 0b11 << 5;
/// `gas_valid_r` and `heat_stab_r`, beside the range of the gas (sections 5.3.5.4 and 5.3.5.5).
const GAS_VALID: u8 = 1 << 5;
const HEAT_STABLE: u8 = 1 << 4;
const GAS_RANGE: u8 = 0x0f;

/// The temperature of the plate, Cel.
const PLATE: f64 = 320.0;
/// 150 ms as near as `gas_wait` can say it: 37 times 4 ms (section 5.3.3.3).
const GAS_WAIT_150_MS: u8 = 1 << 6 | 37;
/// The air that the heater is set for until it is measured, Cel.
const FIRST_AMBIENT: f64 = 25.0;
/// A plate that does not get hot may be so after the next heating. One that stays cold for longer than this has a broken heater.
const COLD_TRIES: u32 = 3;

/// From a reset to the first communication (section 1.1, table 1; Bosch's code waits as long).
const STARTUP_MS: u32 = 10;
/// 11.2 ms for one sample of each with the gas's conversions, then the heating.
const MEASURE_MS: u32 = 12 + 150;
/// A chip that is later than its data sheet is looked at this many times more, so far apart; after that it counts as stuck.
const EXTRA_LOOKS: u32 = 5;
const LOOK_MS: u32 = 10;

/// Which of the two chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `variant_id` 0.
    Bme680,
    /// `variant_id` 1.
    Bme688,
}

/// The driver.
pub struct Bme68x<I2C, D> {
    wire: Registers<I2C>,
    delay: D,
    part: Part,
    running: Option<Running>,
}

/// What a chip that was started is driven with.
#[derive(Clone, Copy)]
struct Running {
    calibration: Calibration,
    /// What the heater is set for.
    ambient: f64,
    /// How many times in a row, up to now, the plate did not get hot enough.
    cold: u32,
}

impl Part {
    fn variant(self) -> u8 {
        match self {
            Self::Bme680 => 0,
            Self::Bme688 => 1,
        }
    }

    /// `run_gas` in `ctrl_gas_1`: bit 4 on a BME680, bit 5 on a BME688.
    fn run_gas(self) -> u8 {
        match self {
            Self::Bme680 => 0x10,
            Self::Bme688 => 0x20,
        }
    }
}

impl<I2C: I2c, D: DelayNs> Bme68x<I2C, D> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, delay: D, address: u8, part: Part) -> Self {
        Self { wire: Registers::new(i2c, address), delay, part, running: None }
    }

    fn check_id(&mut self) -> Result<(), Failure> {
        self.wire.identify(BME68X_ID)?;
        let [variant] = self.wire.read(VARIANT)?;
        if variant == self.part.variant() {
            return Ok(());
        }
        let detail = match variant {
            0 => "a BME680 is here".to_owned(),
            1 => "a BME688 is here".to_owned(),
            other => format!("a BME68x of the unknown variant 0x{other:02x} is here"),
        };
        Err(Failure::new(Reason::WRONG_CHIP, detail))
    }

    fn configure(&mut self) -> Result<(), Failure> {
        for (register, value) in [
            (CTRL_HUM, CTRL_HUM_X1),
            (CONFIG, 0),
            (GAS_WAIT, GAS_WAIT_150_MS),
            (CTRL_GAS_0, 0),
            (CTRL_GAS_1, self.part.run_gas()),
            (CTRL_MEAS, CTRL_MEAS_ASLEEP),
        ] {
            self.wire.write(register, value)?;
        }
        self.is_asleep().map(|_| ())
    }

    /// Whether the last measurement has ended. Fails where the chip has another configuration than it was given.
    fn is_asleep(&mut self) -> Result<bool, Failure> {
        let [ctrl_gas_0, ctrl_gas_1, ctrl_hum, _, ctrl_meas, config] = self.wire.read(CTRL_GAS_0)?;
        let [gas_wait] = self.wire.read(GAS_WAIT)?;
        let as_configured = ctrl_meas & !MODE == CTRL_MEAS_ASLEEP
            && ctrl_hum & 0b111 == CTRL_HUM_X1
            && config & CONFIG_FILTER == 0
            && ctrl_gas_0 & HEAT_OFF == 0
            && ctrl_gas_1 & 0x3f == self.part.run_gas()
            && gas_wait == GAS_WAIT_150_MS;
        if !as_configured {
            return Err(bosch::lost_configuration());
        }
        Ok(ctrl_meas & MODE == 0)
    }

    fn calibration(&mut self) -> Result<Calibration, Failure> {
        let a = self.wire.read_twice(CALIBRATION_A, 10)?;
        let b = self.wire.read_twice(CALIBRATION_B, 5)?;
        let c = self.wire.read_twice(CALIBRATION_C, 2)?;
        Calibration::new(&a, &b, &c)
            .ok_or_else(|| Failure::new(Reason::SENSOR_FAULT, "the calibration in the chip cannot be used"))
    }

    fn measure(&mut self) -> Result<Vec<Measured>, Failure> {
        let Some(running) = self.running else {
            return Err(Failure::new(Reason::NOT_READY, "the chip is not started"));
        };
        // Somebody may have swapped the chip.
        self.check_id()?;
        let heat = running.calibration.heater.resistance_code(PLATE, running.ambient);
        self.wire.write(RES_HEAT, heat)?;
        self.wire.write(CTRL_MEAS, CTRL_MEAS_ASLEEP | FORCED)?;
        self.delay.delay_ms(MEASURE_MS);
        self.wait_for_measurement()?;
        if self.wire.read(RES_HEAT)? != [heat] {
            return Err(bosch::lost_configuration());
        }
        let data = self.wire.read_twice::<15>(DATA, 4)?;
        let [air @ .., _, _, _, gas680_msb, gas680_lsb, gas688_msb, gas688_lsb] = data;
        let air: [u8; 8] = air;
        let gas = match self.part {
            Part::Bme680 => [gas680_msb, gas680_lsb],
            Part::Bme688 => [gas688_msb, gas688_lsb],
        };
        let (pressure, temperature, humidity) = bosch::codes(&air)?;
        let air = running.calibration.air(temperature, pressure, humidity.unwrap_or_default());
        let cold = if gas[1] & HEAT_STABLE == 0 { running.cold.saturating_add(1) } else { 0 };
        let running = Running { ambient: air.celsius.clamp(-40.0, 85.0), cold, ..running };
        self.running = Some(running);
        Ok(bosch::spoiled_by_temperature(vec![
            inside(Quantity::TEMPERATURE, air.celsius, -40.0, 85.0),
            inside(Quantity::HUMIDITY, air.percent, 0.0, 100.0),
            inside(Quantity::PRESSURE, air.pascal, 30_000.0, 110_000.0),
            self.gas(&running, gas),
        ]))
    }

    /// Waits for what was ordered, no longer than [`EXTRA_LOOKS`] allow.
    fn wait_for_measurement(&mut self) -> Result<(), Failure> {
        let mut has_data = false;
        for _ in 0..=EXTRA_LOOKS {
            // The first look may be all that shows the flag.
            let [status] = self.wire.read(MEAS_STATUS)?;
            has_data |= status & NEW_DATA != 0;
            if self.is_asleep()? && has_data && status & MEASURING == 0 {
                return Ok(());
            }
            self.delay.delay_ms(LOOK_MS);
        }
        Err(Failure::new(Reason::NOT_READY, "the conversion does not end"))
    }

    /// The resistance, and whether it was taken as it should be.
    fn gas(&self, running: &Running, [msb, lsb]: [u8; 2]) -> Measured {
        let (code, range) = (u16::from(msb) << 2 | u16::from(lsb >> 6), lsb & GAS_RANGE);
        let ohm = match self.part {
            Part::Bme680 => running.calibration.ohm_bme680(code, range),
            Part::Bme688 => ohm_bme688(code, range),
        };
        let measured = Measured::good(Quantity::GAS_RESISTANCE, ohm as f32);
        if lsb & GAS_VALID == 0 {
            return Measured { flag: Flag::FAIL, reason: Reason::NOT_READY, ..measured };
        }
        match running.cold {
            0 => measured,
            1..=COLD_TRIES => measured.suspect(Reason::WARMING_UP),
            _ => Measured { flag: Flag::FAIL, reason: Reason::SENSOR_FAULT, ..measured },
        }
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Bme68x<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.check_id().map(|()| String::new())
    }

    fn start(&mut self, _now: Duration) -> Result<Option<String>, Failure> {
        self.running = None;
        self.check_id()?;
        self.wire.reset()?;
        self.delay.delay_ms(STARTUP_MS);
        self.configure()?;
        let calibration = self.calibration()?;
        self.running = Some(Running { calibration, ambient: FIRST_AMBIENT, cold: 0 });
        Ok(None)
    }

    fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn sample(&mut self, _now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let outcome = self.measure();
        if outcome.is_err() {
            self.running = None;
        }
        outcome
    }

    /// Between two measurements the chip sleeps by itself, with the heater off.
    fn stop(&mut self) {
        self.running = None;
    }
}
