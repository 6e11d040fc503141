//! `magpie sensors`: look at the sensors of this machine. A bus has one owner, so a node that runs here is asked; where none does,
//! the buses are opened.

use std::path::PathBuf;

use anyhow::Context;
use hal::{Model, Surroundings};
use node::sensors::Sensors;
use node::{ReadingStatus, SensorStatus, SensorsConfig, Status};
use tokio::sync::oneshot;

use crate::args::{BusArgs, SensorsCommand};
use crate::exit::Exit;
use crate::line::human_unit;
use crate::{args, output};

pub async fn run(args: args::SensorsArgs) -> anyhow::Result<Exit> {
    let (args, read) = match &args.command {
        SensorsCommand::Scan(args) => (args, false),
        SensorsCommand::Read(args) => (args, true),
        SensorsCommand::Calibrate(args) => return crate::calibrate::run(args).await,
    };
    let status = match running_node(args).await {
        Some(status) => status?,
        None => {
            let buses = args.bus.iter().map(device).collect();
            let config = SensorsConfig { buses, ..SensorsConfig::default() };
            look(config, args.simulate.then_some(0), read).await?
        }
    };
    if args.json {
        output::line(&serde_json::to_string(&status)?)?;
    } else {
        for line in status.sensors.iter().flat_map(|sensor| if read { readings(sensor) } else { vec![chip(sensor)] }) {
            output::line(&line)?;
        }
        if !read && !status.sensors.is_empty() {
            output::line(&configuration(&status.sensors))?;
        }
    }
    for problem in &status.problems {
        output::complain(&format!("magpie: {problem}"));
    }
    Ok(if status.sensors.is_empty() { Exit::Failed } else { Exit::Done })
}

/// What the node on this machine says; `None` where there is none, or where the question is not about its buses.
async fn running_node(args: &BusArgs) -> Option<anyhow::Result<Status>> {
    if args.simulate || !args.bus.is_empty() {
        return None;
    }
    let answer = service::client::get(args.http, "/sensors").await.ok()?;
    Some(
        serde_json::from_str(&answer)
            .with_context(|| format!("what answers on {} is no Magpie node; name another with --http", args.http)),
    )
}

/// What the buses themselves have, which are opened for that: the chips that were found, each read once if wanted. `simulated` holds the
/// seed of simulated air.
pub async fn look(config: SensorsConfig, simulated: Option<u64>, read: bool) -> anyhow::Result<Status> {
    let mut sensors = Sensors::new(config, simulated);
    let problems = sensors.look().await;
    let mut status = Status { sensors: Vec::new(), problems };
    for (index, sensor) in sensors.list().iter().enumerate().filter(|(_, sensor)| sensor.was_found()) {
        let mut entry = SensorStatus::of(sensor);
        if read {
            let (reply, sample) = oneshot::channel();
            sensor.bus.sample(sensor.chip, Surroundings::default(), move |sample| drop(reply.send(sample)))?;
            match sample.await.context("the thread of the bus stopped")?.readings {
                Ok(measured) => entry.set(&sensor.readings(index, Ok(&measured)), ""),
                Err(failure) => entry.set(&sensor.readings(index, Err(failure.reason)), &failure.detail),
            }
        }
        status.sensors.push(entry);
    }
    for bus in sensors.buses() {
        bus.close(std::time::Duration::from_secs(2));
    }
    Ok(status)
}

/// `i2c-1` means `/dev/i2c-1`.
fn device(bus: &PathBuf) -> PathBuf {
    if bus.components().count() == 1 { PathBuf::from("/dev").join(bus) } else { bus.clone() }
}

fn chip(sensor: &SensorStatus) -> String {
    let quantities: Vec<String> = sensor
        .model
        .parse::<Model>()
        .map(|model| model.quantities().iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    let serial = if sensor.serial.is_empty() { String::new() } else { format!("  serial {}", sensor.serial) };
    let simulated = if sensor.simulated { "  simulated" } else { "" };
    format!(
        "{:<8} 0x{:02x}  {:<9} {}{serial}{simulated}",
        sensor.bus,
        sensor.address,
        sensor.model,
        quantities.join(", ")
    )
}

/// What makes a node expect exactly these chips, to be pasted into its configuration.
fn configuration(sensors: &[SensorStatus]) -> String {
    let entry = |sensor: &SensorStatus| {
        let (bus, port) = match sensor.bus.split_once('/') {
            Some((bus, port)) => (bus, format!("port = \"{port}\"\n")),
            None => (sensor.bus.as_str(), String::new()),
        };
        format!(
            "\n[[sensors.chip]]\nmodel = \"{}\"\nbus = \"{bus}\"\n{port}address = 0x{:02x}",
            sensor.model, sensor.address
        )
    };
    let entries: Vec<String> = sensors.iter().map(entry).collect();
    format!(
        "\n# To be warned when one of them is missing, put this into /etc/magpie/magpie.toml:{}",
        entries.join("\n")
    )
}

fn readings(sensor: &SensorStatus) -> Vec<String> {
    let name = format!("{}@{}/0x{:02x}", sensor.model, sensor.bus, sensor.address);
    if sensor.readings.is_empty() {
        return vec![format!("{name:<24} not read yet")];
    }
    sensor.readings.iter().map(|reading| value(&name, reading, &sensor.detail)).collect()
}

fn value(name: &str, reading: &ReadingStatus, detail: &str) -> String {
    let value = match reading.value {
        Some(value) => format!("{value:>10.2} {}", human_unit(&reading.unit)),
        None => format!("{:>10}", "-"),
    };
    let flag = match (reading.flag.as_str(), reading.reason.as_str()) {
        ("good", _) => String::new(),
        (flag, "none") => flag.to_owned(),
        (flag, reason) => format!("{flag} ({reason})"),
    };
    format!("{name:<24} {:<14} {value:<17} {flag} {detail}", reading.quantity).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted() {
        let sensor = |bus: &str, address| SensorStatus {
            bus: bus.to_owned(),
            address,
            model: "BME280".to_owned(),
            serial: String::new(),
            simulated: false,
            interval_ms: 10_000,
            readings: Vec::new(),
            detail: String::new(),
        };
        let text = configuration(&[sensor("i2c-1", 0x76), sensor("i2c-1/0x70.3", 0x77)]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("magpie.toml");
        std::fs::write(&file, text).unwrap();
        let config = crate::node::load(Some(&file), std::iter::empty(), service::Flags::new()).unwrap();
        let [plain, behind] = config.sensors.chips.as_slice() else { panic!("{:?}", config.sensors.chips) };
        assert_eq!((plain.bus.as_deref(), plain.address, plain.port), (Some("i2c-1"), Some(0x76), None));
        assert_eq!(behind.port, Some(hal::Port { mux: 0x70, channel: 3 }));
    }
}
