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
    };
    let status = match running_node(args).await {
        Some(status) => status?,
        None => look(args, read).await?,
    };
    if args.json {
        output::line(&serde_json::to_string(&status)?)?;
    } else {
        for line in status.sensors.iter().flat_map(|sensor| if read { readings(sensor) } else { vec![chip(sensor)] }) {
            output::line(&line)?;
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

async fn look(args: &BusArgs, read: bool) -> anyhow::Result<Status> {
    let config = SensorsConfig { buses: args.bus.iter().map(device).collect(), ..SensorsConfig::default() };
    let mut sensors = Sensors::new(config, args.simulate.then_some(0));
    let problems = sensors.look().await;
    let mut status = Status { sensors: Vec::new(), problems };
    for (index, sensor) in sensors.list().iter().enumerate() {
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
