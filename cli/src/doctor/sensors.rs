//! What answers on the buses.

use std::path::{Path, PathBuf};

use ::node::{SensorStatus, SensorsConfig, Status};

use super::finding::Finding;
use super::i2c;
use super::node::Running;
use super::sys::Sys;
use crate::sensors;

/// A node that runs owns the buses, and is asked; otherwise those of `buses` are scanned.
pub async fn look(
    sys: &Sys,
    config: &SensorsConfig,
    buses: Vec<PathBuf>,
    running: Option<&Running>,
) -> anyhow::Result<Vec<Finding>> {
    let status = match running.and_then(|running| running.sensors.clone()) {
        Some(status) => status,
        None if buses.is_empty() => return Ok(Vec::new()),
        None => sensors::look(SensorsConfig { buses: buses.clone(), ..config.clone() }, None, false).await?,
    };
    let mut findings: Vec<Finding> = status.sensors.iter().map(sensor).collect();
    findings.extend(status.problems.iter().map(|problem| {
        let (found, fix) = problem.split_once(": ").unwrap_or((problem, "check its wiring and address"));
        Finding::problem("sensors", found, fix)
    }));
    if status.sensors.is_empty() && status.problems.is_empty() {
        let fix = "check the wiring (SDA pin 3, SCL pin 5, 3.3 V pin 1, ground pin 6) and that the board is an I2C one";
        findings.push(Finding::problem("sensors", "no known chip answers", fix));
    }
    findings.extend(buses.iter().filter_map(|bus| stretching(sys, bus, &status)));
    Ok(findings)
}

fn sensor(status: &SensorStatus) -> Finding {
    let name = format!("{} at 0x{:02x} on {}", status.model, status.address, status.bus);
    let bad = status.readings.iter().find(|reading| !matches!(reading.flag.as_str(), "good" | "not_evaluated"));
    match bad {
        None => Finding::ok("sensors", name),
        Some(reading) => {
            let detail = if status.detail.is_empty() { String::new() } else { format!(" ({})", status.detail) };
            let found = format!("{name}: {} is {}, {}{detail}", reading.quantity, reading.flag, reading.reason);
            Finding::warning("sensors", found, advice(&reading.reason))
        }
    }
}

/// What helps against a reason, by its wire name.
fn advice(reason: &str) -> &'static str {
    match reason {
        "no_answer" => "check that the chip is plugged in and has 3.3 V",
        "bus_error" | "bus_stalled" => "something holds SDA or SCL low: unplug the chips one by one",
        "checksum" => "shorten the cable, or slow the bus down: dtparam=i2c_arm_baudrate=50000",
        "wrong_chip" => "another chip is at that address: correct the configuration",
        "not_ready" | "warming_up" => "wait: some chips need minutes after they are switched on",
        "reset_pattern" => "the chip loses its power at times: check plugs and supply",
        "high_humidity" => "in fog optical particle sensors count droplets: nothing to repair",
        "flat_line" => "the value does not move any more: the chip may be stuck; take its power away for a moment",
        "condensing" => "water is on the sensor: give it a shelter that the air passes through",
        "laser_age" => "the laser has served its time: replace the sensor",
        "sensor_fault" => "the chip says that it is broken: replace it",
        _ => "watch it: magpie sensors read",
    }
}

/// The Pi's bus does not wait correctly for chips that stretch the clock (BCM2835, "I2C clock stretching bug").
fn stretching(sys: &Sys, bus: &Path, status: &Status) -> Option<Finding> {
    let hz = i2c::clock_hz(sys, bus).filter(|hz| *hz > SLOW_HZ)?;
    let name = bus.file_name()?.to_str()?;
    let stretches = |sensor: &&SensorStatus| {
        sensor.bus.split('/').next() == Some(name) && STRETCHING.contains(&sensor.model.as_str())
    };
    let chip = status.sensors.iter().find(stretches)?;
    Some(Finding::warning(
        "i2c",
        format!("{} stretches the clock, which a Raspberry Pi gets wrong at {} kHz", chip.model, hz / 1000),
        "dtparam=i2c_arm_baudrate=50000 in /boot/firmware/config.txt, then restart",
    ))
}

/// Chips that stretch the clock in the transfers that their drivers make.
const STRETCHING: &[&str] = &["SCD30"];
/// Slow enough for a chip to stretch the clock without the Pi noticing.
const SLOW_HZ: u32 = 50_000;
