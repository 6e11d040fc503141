//! On the same simulated chip, other people's drivers and ours say what is there.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod compare;
mod gas_index;
mod published;
mod world;

use compare::{Driver, Read, Tolerance, Tolerances, agree};
use reading::Quantity;

const fn by(most: f64) -> Tolerance {
    Tolerance::by(most)
}

const TEMPERATURE: (Quantity, Tolerance) = (Quantity::TEMPERATURE, by(0.02));
/// To a word of 16 bits.
const HUMIDITY: (Quantity, Tolerance) = (Quantity::HUMIDITY, by(0.02));

/// A Python driver that is right.
const fn python(package: &'static str) -> Driver {
    Driver { read: Read::Python(package), wrong: &[] }
}

#[test]
fn bme280() {
    let drivers = [python("adafruit-circuitpython-bme280"), python("pimoroni-bme280")];
    agree("BME280", &drivers, &[TEMPERATURE, (Quantity::HUMIDITY, by(0.1)), (Quantity::PRESSURE, by(6.0))]);
}

#[test]
fn bmp280() {
    let drivers = [python("adafruit-circuitpython-bmp280"), python("bmp280")];
    agree("BMP280", &drivers, &[TEMPERATURE, (Quantity::PRESSURE, by(6.0))]);
}

const BME68X: Tolerances = &[
    TEMPERATURE,
    (Quantity::HUMIDITY, by(0.2)),
    (Quantity::PRESSURE, by(12.0)),
    (Quantity::GAS_RESISTANCE, by(0.0).and_part(0.002)),
];

const BME68X_CRATE: Driver = Driver { read: Read::Rust(published::bme68x), wrong: &[Quantity::PRESSURE] };

#[test]
fn bme680() {
    let wrong: &[Quantity] = &[Quantity::HUMIDITY, Quantity::GAS_RESISTANCE];
    let drivers = [
        BME68X_CRATE,
        Driver { read: Read::Python("bme680"), wrong: &wrong[1..] },
        Driver { read: Read::Python("adafruit-circuitpython-bme680"), wrong },
    ];
    agree("BME680", &drivers, BME68X);
}

#[test]
fn bme688() {
    let wrong: &[Quantity] = &[Quantity::HUMIDITY];
    let drivers =
        [BME68X_CRATE, python("bme680"), Driver { read: Read::Python("adafruit-circuitpython-bme680"), wrong }];
    agree("BME688", &drivers, BME68X);
}

#[test]
fn sht3x() {
    let drivers = [python("adafruit-circuitpython-sht31d"), python("sensirion-i2c-sht3x")];
    agree("SHT31", &drivers, &[TEMPERATURE, HUMIDITY]);
}

#[test]
fn sht4x() {
    let drivers = [python("adafruit-circuitpython-sht4x"), python("sensirion-i2c-sht4x")];
    agree("SHT40", &drivers, &[TEMPERATURE, HUMIDITY]);
}

#[test]
fn aht20() {
    agree("AHT20", &[python("adafruit-circuitpython-ahtx0")], &[TEMPERATURE, HUMIDITY]);
}

const CO2: Tolerances = &[(Quantity::CO2, by(1.0)), TEMPERATURE, (Quantity::HUMIDITY, by(0.1))];

#[test]
fn scd30() {
    let drivers = [
        python("adafruit-circuitpython-scd30"),
        python("sensirion-i2c-scd30"),
        Driver { read: Read::Rust(published::scd30), wrong: &[] },
    ];
    agree("SCD30", &drivers, CO2);
}

#[test]
fn scd4x() {
    agree("SCD41", &[python("adafruit-circuitpython-scd4x"), python("sensirion-i2c-scd4x")], CO2);
}

const GASES: Tolerances = &[(Quantity::TVOC, by(0.5)), (Quantity::ECO2, by(0.5))];

#[test]
fn sgp30() {
    agree("SGP30", &[python("adafruit-circuitpython-sgp30"), python("sgp30-driver")], GASES);
}

#[test]
fn ens160() {
    agree("ENS160", &[python("adafruit-circuitpython-ens160"), python("ens160")], GASES);
}

#[test]
fn pmsa003i() {
    let tolerances = &[(Quantity::PM1, by(0.5)), (Quantity::PM2_5, by(0.5)), (Quantity::PM10, by(0.5))];
    agree("PMSA003I", &[python("adafruit-circuitpython-pm25")], tolerances);
}

/// To a decimal, and what the fan lacks of its speed when a chip is said to be up.
const DUST: Tolerance = by(0.1).and_part(0.02);

/// All that a SEN55 measures; the others measure less of it.
const SEN55: [(Quantity, Tolerance); 8] = [
    (Quantity::PM1, DUST),
    (Quantity::PM2_5, DUST),
    (Quantity::PM4, DUST),
    (Quantity::PM10, DUST),
    (Quantity::HUMIDITY, by(0.01)),
    (Quantity::TEMPERATURE, by(0.01)),
    (Quantity::VOC_INDEX, by(0.1)),
    (Quantity::NOX_INDEX, by(0.1)),
];

#[test]
fn sps30() {
    agree("SPS30", &[python("sensirion-i2c-sps30")], &SEN55[..4]);
}

#[test]
fn sen5x() {
    agree("SEN50", &[python("sensirion-i2c-sen5x")], &SEN55[..4]);
    agree("SEN54", &[python("sensirion-i2c-sen5x")], &SEN55[..7]);
    agree("SEN55", &[python("sensirion-i2c-sen5x")], &SEN55);
}
