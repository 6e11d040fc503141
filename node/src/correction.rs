//! From what was measured to what is meant: named corrections, each with its version. The measured value is always kept beside the
//! corrected one, and the announcement names what is done.
//!
//! - `cpu-heat/1`: the heat of the CPU and its enclosure is taken out of a temperature, T = Traw - (Tcpu - Traw) / factor, Tcpu averaged over a
//!   minute; what the Pi's HATs use (Pimoroni's enviroplus, factor 2.25).
//! - `linear/1`: slope * raw + offset, as `magpie sensors calibrate` finds it. Always of what was measured, which is why a temperature has
//!   this or the former.
//! - `dew-point/1`: whoever corrects a temperature says that the air is not as warm as the chip. The water in it is the same, so that
//!   the relative humidity is computed anew at the corrected temperature. Comes with either of the above, unless the humidity has a
//!   line of its own, which was found beside a chip as warm as this one.
//! - `epa-2021/1`: see [`particles`].
//! - `sea-level/1`: see [`pressure`]; gives a further quantity and leaves what was measured alone.
//!
//! The quality tests come first and look at what was measured; a correction keeps the flag. A correction that cannot be made, because
//! what it needs is missing, leaves the measured value, which has no raw value beside it then and is suspect (`uncorrected`): a series
//! that is corrected at one time and not at another must not look like one series.

mod config;
mod humidity;
mod particles;
mod pressure;

use reading::{Flag, Quantity, Reading, Reason, Text};

pub use config::{ChipCorrection, CorrectionConfig, Method};

use crate::quality::lower;

/// What the corrections of a sensor may need from elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// Mean temperature of the CPU, Cel.
    pub cpu: Option<f64>,
    /// Relative humidity as a chip of this node measures it, %RH.
    pub humidity: Option<f64>,
}

/// Corrects the readings of one turn of one sensor.
pub fn correct(chip: &ChipCorrection, around: Around, readings: &mut [Reading]) {
    let warm = value(readings, Quantity::TEMPERATURE);
    let air = warm.and_then(|warm| corrected_temperature(chip, around.cpu, warm));
    for reading in readings.iter_mut() {
        let Some(raw) = reading.value.map(f64::from) else { continue };
        let corrected = match (reading.quantity, chip.quantities.get(&reading.quantity)) {
            (Quantity::TEMPERATURE, _) if chip.changes_temperature() => air,
            (Quantity::HUMIDITY, None) if chip.changes_temperature() => {
                warm.zip(air).map(|(warm, air)| humidity::at(raw, warm, air).clamp(0.0, 100.0))
            }
            (_, None) => continue,
            (Quantity::HUMIDITY, Some(Method::Linear { slope, offset })) => {
                Some((slope * raw + offset).clamp(0.0, 100.0))
            }
            (_, Some(Method::Linear { slope, offset })) => Some(slope * raw + offset),
            (_, Some(Method::Epa2021)) => around.humidity.map(|humidity| particles::epa_2021(raw, humidity)),
        };
        set(reading, corrected);
    }
}

fn corrected_temperature(chip: &ChipCorrection, cpu: Option<f64>, warm: f64) -> Option<f64> {
    match (chip.cpu_factor, chip.quantities.get(&Quantity::TEMPERATURE)) {
        (Some(factor), _) => Some(warm - (cpu? - warm) / factor),
        (None, Some(Method::Linear { slope, offset })) => Some(slope * warm + offset),
        (None, _) => Some(warm),
    }
}

/// A correction that gives no number is none.
fn set(reading: &mut Reading, corrected: Option<f64>) {
    match corrected.map(|corrected| corrected as f32).filter(|corrected| corrected.is_finite()) {
        Some(corrected) => {
            reading.raw = reading.value;
            reading.value = Some(corrected);
        }
        None => lower(reading, Some(Flag::SUSPECT), Reason::UNCORRECTED),
    }
}

/// The pressure at sea level of a sensor at this altitude, from its corrected readings; `None` where it measures no pressure. As
/// good as the pressure and the temperature that it comes from; `humidity` is that of the air, for a sensor that has none itself.
pub fn at_sea_level(altitude_m: f64, humidity: Option<f64>, readings: &[Reading]) -> Option<Reading> {
    let of = |quantity| readings.iter().find(|reading| reading.quantity == quantity);
    let (measured, temperature) = (of(Quantity::PRESSURE)?, of(Quantity::TEMPERATURE)?);
    let humidity = of(Quantity::HUMIDITY).and_then(|reading| reading.value).map(f64::from).or(humidity);
    let reduced = measured
        .value
        .zip(temperature.value)
        .map(|(pascal, celsius)| pressure::at_sea_level(pascal.into(), altitude_m, celsius.into(), humidity) as f32);
    let mut reading = Reading { quantity: Quantity::SEA_LEVEL_PRESSURE, raw: None, value: reduced, ..*measured };
    match reduced {
        Some(_) => lower(&mut reading, Some(temperature.flag), temperature.reason),
        None => {
            let missing = if measured.value.is_none() { measured } else { temperature };
            (reading.flag, reading.reason) = (Flag::MISSING, missing.reason);
        }
    }
    Some(reading)
}

/// The height up to which [`at_sea_level`] means something, m: see [`pressure`].
pub const HIGHEST_REDUCTION_M: i16 = pressure::HIGHEST_M;

/// Pressure to expect at an altitude where nobody measures it, Pa: that of the standard atmosphere.
pub fn standard_pressure(altitude_m: f64) -> f64 {
    pressure::standard(altitude_m)
}

/// What the announcement says of the corrections of a sensor that measures these quantities; empty for none.
pub fn names(chip: &ChipCorrection, measured: &[Quantity], sea_level: bool) -> Text<64> {
    let mut names: Vec<(&str, Vec<String>)> = Vec::new();
    let linear = chip.quantities.iter().filter(|(_, method)| matches!(method, Method::Linear { .. }));
    if chip.cpu_factor.is_some() {
        names.push(("cpu-heat/1", Vec::new()));
    }
    let linear: Vec<String> = linear.map(|(quantity, _)| quantity.to_string()).collect();
    if !linear.is_empty() {
        names.push(("linear/1", linear));
    }
    let has_line = chip.quantities.contains_key(&Quantity::HUMIDITY);
    if chip.changes_temperature() && measured.contains(&Quantity::HUMIDITY) && !has_line {
        names.push(("dew-point/1", Vec::new()));
    }
    if chip.quantities.values().any(|method| *method == Method::Epa2021) {
        names.push(("epa-2021/1", Vec::new()));
    }
    if sea_level {
        names.push(("sea-level/1", Vec::new()));
    }
    let in_full = |(name, of): &(&str, Vec<String>)| [&[(*name).to_owned()], of.as_slice()].concat().join(" ");
    let full = names.iter().map(in_full).collect::<Vec<_>>().join(", ");
    // Which quantities are linear can be left out: their readings have a raw value.
    Text::new(full).unwrap_or_else(|_| Text::lossy(&names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")))
}

fn value(readings: &[Reading], quantity: Quantity) -> Option<f64> {
    readings.iter().find(|reading| reading.quantity == quantity).and_then(|reading| reading.value).map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good(quantity: Quantity, value: f32) -> Reading {
        Reading { sensor: 3, quantity, value: Some(value), raw: None, flag: Flag::GOOD, reason: Reason::NONE }
    }

    fn chip(text: &str) -> ChipCorrection {
        toml::from_str(text).unwrap()
    }

    fn corrected(text: &str, around: Around, mut readings: Vec<Reading>) -> Vec<Reading> {
        correct(&chip(text), around, &mut readings);
        readings
    }

    fn near(reading: &Reading, value: f32, raw: f32) -> bool {
        reading.raw == Some(raw) && (reading.value.unwrap() - value).abs() < 0.01
    }

    const MEASURED: &[Quantity] = &[Quantity::CO2, Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE];

    const CPU: Around = Around { cpu: Some(52.0), humidity: None };

    #[test]
    fn nothing_is_corrected_that_nobody_asked_for() {
        let readings = vec![good(Quantity::TEMPERATURE, 21.5), good(Quantity::HUMIDITY, 40.0)];
        assert_eq!(corrected("", CPU, readings.clone()), readings);
        assert_eq!(names(&chip(""), MEASURED, false).as_str(), "");
    }

    #[test]
    fn the_heat_of_the_cpu_goes_and_the_water_stays() {
        let readings = vec![good(Quantity::TEMPERATURE, 30.0), good(Quantity::HUMIDITY, 30.0)];
        let corrected = corrected("cpu_factor = 2.2", CPU, readings);
        // (52 - 30) / 2.2 = 10 K. At a dew point of 10.53 Cel the air of 20 Cel has 54.46 %RH.
        assert!(near(&corrected[0], 20.0, 30.0) && near(&corrected[1], 54.46, 30.0), "{corrected:?}");
        assert!(corrected.iter().all(|reading| reading.flag == Flag::GOOD));
        assert_eq!(names(&chip("cpu_factor = 2.2"), MEASURED, false).as_str(), "cpu-heat/1, dew-point/1");
    }

    #[test]
    fn without_the_cpus_temperature_the_measured_value_goes_out_and_says_so() {
        let readings = vec![good(Quantity::TEMPERATURE, 30.0), good(Quantity::HUMIDITY, 30.0)];
        for (reading, raw) in corrected("cpu_factor = 2.2", Around::default(), readings).iter().zip([30.0, 30.0]) {
            assert_eq!((reading.value, reading.raw), (Some(raw), None));
            assert_eq!((reading.flag, reading.reason), (Flag::SUSPECT, Reason::UNCORRECTED));
        }
    }

    #[test]
    fn a_plain_offset_of_the_temperature_moves_the_humidity_too_and_saturates() {
        let readings = vec![good(Quantity::TEMPERATURE, 21.0), good(Quantity::HUMIDITY, 50.0)];
        let cooler = corrected("temperature = { offset = -1 }", Around::default(), readings);
        assert!(near(&cooler[0], 20.0, 21.0) && near(&cooler[1], 53.18, 50.0), "{cooler:?}");
        let readings = vec![good(Quantity::TEMPERATURE, 21.0), good(Quantity::HUMIDITY, 98.0)];
        let saturated = corrected("temperature = { offset = -5 }", Around::default(), readings);
        assert_eq!((saturated[1].value, saturated[1].raw), (Some(100.0), Some(98.0)));
    }

    #[test]
    fn a_humidity_with_a_line_of_its_own_is_not_moved_by_the_temperature() {
        let readings = vec![good(Quantity::TEMPERATURE, 21.0), good(Quantity::HUMIDITY, 50.0)];
        let text = "temperature = { offset = -1 }\nhumidity = { offset = 2 }";
        let corrected = corrected(text, Around::default(), readings);
        assert!(near(&corrected[0], 20.0, 21.0) && near(&corrected[1], 52.0, 50.0), "{corrected:?}");
        assert_eq!(names(&chip(text), MEASURED, false).as_str(), "linear/1 temperature humidity");
    }

    #[test]
    fn slope_and_offset_are_per_quantity() {
        let text = "humidity = { slope = 1.1, offset = -2 }\nco2 = { offset = 30 }";
        let readings =
            vec![good(Quantity::CO2, 400.0), good(Quantity::TEMPERATURE, 20.0), good(Quantity::HUMIDITY, 50.0)];
        let corrected = corrected(text, Around::default(), readings);
        assert!(near(&corrected[0], 430.0, 400.0) && near(&corrected[2], 53.0, 50.0), "{corrected:?}");
        assert_eq!((corrected[1].value, corrected[1].raw), (Some(20.0), None));
        assert_eq!(names(&chip(text), MEASURED, true).as_str(), "linear/1 humidity co2, sea-level/1");
    }

    #[test]
    fn names_that_are_too_many_lose_their_quantities_and_not_their_versions() {
        let text = "cpu_factor = 2\nhumidity = {offset=1}\npressure = {offset=1}\nco2 = {offset=1}";
        let names = names(&chip(text), MEASURED, true);
        assert_eq!(names.as_str(), "cpu-heat/1, linear/1 humidity pressure co2, sea-level/1");
    }

    #[test]
    fn the_epas_correction_needs_a_humidity_and_touches_pm2_5_alone() {
        let readings = vec![good(Quantity::PM1, 6.0), good(Quantity::PM2_5, 10.0), good(Quantity::PM10, 12.0)];
        let humid = Around { humidity: Some(50.0), cpu: None };
        let with = corrected("pm2_5 = \"epa-2021\"", humid, readings.clone());
        assert!(near(&with[1], 6.68, 10.0), "{with:?}");
        assert_eq!((with[0], with[2]), (readings[0], readings[2]));
        let without = corrected("pm2_5 = \"epa-2021\"", Around::default(), readings);
        assert_eq!((without[1].value, without[1].raw), (Some(10.0), None));
        assert_eq!((without[1].flag, without[1].reason), (Flag::SUSPECT, Reason::UNCORRECTED));
        assert_eq!(names(&chip("pm2_5 = \"epa-2021\""), MEASURED, false).as_str(), "epa-2021/1");
    }

    #[test]
    fn pressure_at_sea_level_is_as_good_as_what_it_comes_from() {
        let mut readings = vec![good(Quantity::TEMPERATURE, 17.19), good(Quantity::PRESSURE, 101_226.5)];
        let reduced = at_sea_level(105.0, None, &readings).unwrap();
        assert_eq!((reduced.quantity, reduced.sensor, reduced.raw), (Quantity::SEA_LEVEL_PRESSURE, 3, None));
        assert_eq!((reduced.flag, reduced.reason), (Flag::GOOD, Reason::NONE));
        readings[0].flag = Flag::FAIL;
        readings[0].reason = Reason::FLAT_LINE;
        let doubtful = at_sea_level(105.0, None, &readings).unwrap();
        assert_eq!((doubtful.flag, doubtful.reason), (Flag::FAIL, Reason::FLAT_LINE));
        let missing = Reading { value: None, flag: Flag::MISSING, reason: Reason::NO_ANSWER, ..readings[1] };
        readings[1] = missing;
        let nothing = at_sea_level(105.0, None, &readings).unwrap();
        assert_eq!((nothing.value, nothing.flag, nothing.reason), (None, Flag::MISSING, Reason::NO_ANSWER));
        assert_eq!(at_sea_level(105.0, None, &readings[..1]), None);
    }

    proptest! {
        #[test]
        fn a_correction_never_makes_a_reading_better_or_anything_but_a_number(
            temperature in any::<f32>().prop_filter("a driver gives numbers", |value| value.is_finite()),
            humidity in any::<f32>().prop_filter("a driver gives numbers", |value| value.is_finite()),
            factor in proptest::option::of(0.1..100.0), slope in 0.01..1e30, offset in -1e30..1e30, cpu in proptest::option::of(-50.0..150.0),
        ) {
            let text = match factor {
                Some(factor) => format!("cpu_factor = {factor}"),
                None => format!("temperature = {{ slope = {slope:e}, offset = {offset:e} }}"),
            };
            let flagged = Reading { flag: Flag::FAIL, reason: Reason::OUT_OF_RANGE, ..good(Quantity::HUMIDITY, humidity) };
            let around = Around { cpu, humidity: None };
            let readings = corrected(&text, around, vec![good(Quantity::TEMPERATURE, temperature), flagged]);
            for (reading, measured) in readings.iter().zip([temperature, humidity]) {
                prop_assert!(reading.value.is_some_and(f32::is_finite));
                prop_assert_eq!(reading.raw.or(reading.value), Some(measured));
            }
            prop_assert_eq!((readings[1].flag, readings[1].reason), (Flag::FAIL, Reason::OUT_OF_RANGE));
        }
    }
}
