//! Published Rust drivers, read as their documentation says.

use ::bme68x::blocking::Bme68x;
use ::bme68x::compensation::measurement_duration_us;
use ::bme68x::interface::{I2cAddress, I2cInterface};
use ::bme68x::{Configuration, Filter, HeaterConfiguration, OperationMode, Oversampling, StandbyTime};
use embedded_hal::delay::DelayNs;
use foreign::Values;
use hal::sim::SimBus;
use libscd::synchronous::scd30::Scd30;
use reading::Quantity;

const HEATING_MS: u16 = 100;

pub fn bme68x(bus: &SimBus) -> Values {
    let interface = I2cInterface::new(bus.clone(), I2cAddress::Low);
    let mut sensor = Bme68x::new(interface, bus.clock().delay()).unwrap();
    let configuration = Configuration {
        humidity_oversampling: Oversampling::X16,
        temperature_oversampling: Oversampling::X2,
        pressure_oversampling: Oversampling::X16,
        filter: Filter::Off,
        standby_time: StandbyTime::None,
    };
    let heater = HeaterConfiguration::Forced { enabled: true, temperature_celsius: 300, duration_ms: HEATING_MS };
    sensor.set_configuration(&configuration).unwrap();
    sensor.set_heater_configuration(&heater).unwrap();
    sensor.set_operation_mode(OperationMode::Forced).unwrap();
    let conversion_us = measurement_duration_us(OperationMode::Forced, &configuration);
    bus.clock().delay().delay_us(conversion_us + u32::from(HEATING_MS) * 1_000);
    let fields = sensor.measurements(OperationMode::Forced).unwrap();
    let values = fields.as_slice().first().unwrap().values;
    named([
        (Quantity::TEMPERATURE, values.temperature_celsius().into()),
        (Quantity::HUMIDITY, values.humidity_percent().into()),
        (Quantity::PRESSURE, values.pressure.into()),
        (Quantity::GAS_RESISTANCE, values.gas_resistance.into()),
    ])
}

pub fn scd30(bus: &SimBus) -> Values {
    let mut sensor = Scd30::new(bus.clone(), bus.clock().delay());
    sensor.start_continuous_measurement(0).unwrap();
    // Not before there is a measurement of its own: an interval of 2 s, and what was there before.
    bus.clock().delay().delay_ms(5_000);
    let _ = sensor.read_measurement().unwrap();
    while !sensor.data_ready().unwrap() {
        bus.clock().delay().delay_ms(100);
    }
    let measured = sensor.read_measurement().unwrap();
    named([
        (Quantity::CO2, measured.co2.into()),
        (Quantity::TEMPERATURE, measured.temperature.into()),
        (Quantity::HUMIDITY, measured.humidity.into()),
    ])
}

fn named<const N: usize>(values: [(Quantity, f64); N]) -> Values {
    values.into_iter().map(|(quantity, value)| (quantity.to_string(), value)).collect()
}
