//! `magpie sensors calibrate`: what a sensor says beside what it should say, and the line between the two as configuration.
//!
//! The sensor's side are its good values as they were measured, from the node on this machine or from recorded lines; so a correction
//! that is configured already does no harm, and is replaced.

mod fit;
mod pairs;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mesh::{Events, Mesh, MeshEvent};
use node::{SensorStatus, Status};
use reading::{Flag, Quantity, Selector};
use tokio::time::{Instant, MissedTickBehavior};

use crate::args::CalibrateArgs;
use crate::exit::Exit;
use crate::feed::Feed;
use crate::line::{human_unit, now_us};
use crate::{meeting, output};

use fit::{Fit, Pair};
use pairs::{Sample, Table, matched, read_csv, read_recorded};

/// Values of each side that are kept: three days of one in ten seconds. What comes later is not compared.
const MOST: usize = 30_000;
/// A file that is larger is no log of one sensor.
const MOST_BYTES: u64 = 1024 * 1024 * 1024;

pub async fn run(args: &CalibrateArgs) -> anyhow::Result<Exit> {
    let within_us = i64::try_from(args.within.as_micros()).unwrap_or(i64::MAX);
    let table = args.csv.as_deref().map(read_table).transpose()?;
    let (sensor, pairs) = match (table, &args.measured) {
        (Some(Table::Pairs(pairs)), None) => (None, pairs),
        (Some(Table::Pairs(_)), Some(_)) => bail!("--measured is of no use: the table has a column `measured` already"),
        (Some(Table::Reference(reference)), Some(recorded)) => {
            let (sensor, measured) = read_measured(args, recorded)?;
            (Some(sensor), matched(&measured, &reference, within_us))
        }
        (table, _) => {
            let (sensor, measured, mut reference) = compare(args).await?;
            let path = args.csv.as_deref();
            match (table, path, args.reference) {
                // Read again: the file may have grown meanwhile.
                (Some(_), Some(path), _) => match read_table(path)? {
                    Table::Reference(samples) => reference = samples,
                    Table::Pairs(_) => bail!("{} has become another table", path.display()),
                },
                (_, _, Some(value)) => reference = measured.iter().map(|it| Sample { value, ..*it }).collect(),
                _ => {}
            }
            (Some(sensor), matched(&measured, &reference, within_us))
        }
    };
    let sensor = sensor.unwrap_or_else(|| args.sensor.clone());
    match fit::fit(args.quantity, &pairs) {
        Ok(fit) => {
            report(&sensor, args.quantity, &pairs, &fit)?;
            Ok(Exit::Done)
        }
        Err(why) => bail!("{sensor} {}: {why}", args.quantity),
    }
}

// === files ===

fn read_bounded(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    ensure!(size <= MOST_BYTES, "{} is too large: {size} bytes", path.display());
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_table(path: &Path) -> anyhow::Result<Table> {
    read_csv(&read_bounded(path)?).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

fn read_measured(args: &CalibrateArgs, path: &Path) -> anyhow::Result<(String, Vec<Sample>)> {
    let quantity = args.quantity.to_string();
    let (samples, sensors) = read_recorded(&read_bounded(path)?, |sensor| is_meant(&args.sensor, sensor), &quantity);
    match sensors.as_slice() {
        [] => bail!("{} has no good {quantity} of {} with a time", path.display(), args.sensor),
        [place] => {
            let sensor = place.split_once(" of ").map_or(place.as_str(), |(sensor, _)| sensor);
            Ok((sensor.to_owned(), samples))
        }
        several => bail!("{} has several: {}; take the lines of one", path.display(), several.join(", ")),
    }
}

// === live ===

/// Listens to the sensor, and to the reference node if there is one, for as long as the arguments say.
async fn compare(args: &CalibrateArgs) -> anyhow::Result<(String, Vec<Sample>, Vec<Sample>)> {
    let first = ask(args.http).await?;
    let sensor = chosen(&args.sensor, args.quantity, &first)?;
    let name = name_of(sensor);
    let every = Duration::from_millis(sensor.interval_ms).max(Duration::from_secs(1));
    let mut reference = match &args.node {
        None => None,
        Some(node) => Some(Reference::join(args, node.clone()).await?),
    };
    output::complain(&format!(
        "magpie: comparing {name} for {}; Ctrl-C ends it early",
        humantime::format_duration(args.duration)
    ));
    let end = Instant::now() + args.duration;
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupted = std::pin::pin!(service::stop_requested());
    let mut measured = Vec::new();
    loop {
        tokio::select! {
            _ = turns.tick() => {
                let status = ask(args.http).await?;
                let value = status.sensors.iter().find(|sensor| name_of(sensor) == name)
                    .and_then(|sensor| good_value(sensor, args.quantity));
                if let Some(value) = value.filter(|_| measured.len() < MOST) {
                    measured.push(Sample { time_us: now_us(), value });
                }
            }
            event = next_event(&mut reference) => match (&mut reference, event) {
                (Some(reference), Some(event)) => reference.take(event, args.quantity)?,
                _ => bail!("the mesh stopped"),
            },
            () = tokio::time::sleep_until(end) => break,
            _ = &mut interrupted => break,
        }
    }
    let samples = match reference {
        None => Vec::new(),
        Some(reference) => reference.leave().await,
    };
    if args.node.is_some() && samples.is_empty() {
        output::complain(&format!("magpie: the reference was not heard; {}", meeting::where_searched(&args.meet)));
    }
    Ok((name, measured, samples))
}

async fn ask(http: SocketAddr) -> anyhow::Result<Status> {
    let answer = service::client::get(http, "/sensors").await.with_context(|| {
        format!("no node answers on {http}: start `magpie node`, name another address with --http, or give --measured")
    })?;
    serde_json::from_str(&answer)
        .with_context(|| format!("what answers on {http} is no Magpie node; name another with --http"))
}

fn chosen<'a>(wanted: &str, quantity: Quantity, status: &'a Status) -> anyhow::Result<&'a SensorStatus> {
    let names = || status.sensors.iter().map(name_of).collect::<Vec<_>>().join(", ");
    let mut meant = status.sensors.iter().filter(|sensor| is_meant(wanted, &name_of(sensor)));
    match (meant.next(), meant.next()) {
        (None, _) => bail!("the node has no sensor \"{wanted}\"; it has {}", names()),
        (Some(_), Some(_)) => bail!("\"{wanted}\" may be several sensors of {}; name one in full", names()),
        (Some(sensor), None) => {
            let quantity = quantity.to_string();
            let measures = |sensor: &SensorStatus| sensor.readings.iter().any(|reading| reading.quantity == quantity);
            ensure!(sensor.readings.is_empty() || measures(sensor), "{} measures no {quantity}", name_of(sensor));
            Ok(sensor)
        }
    }
}

/// `SHT4x@i2c-1/0x44`, as the lines of `magpie sub` have it.
fn name_of(sensor: &SensorStatus) -> String {
    format!("{}@{}/0x{:02x}", sensor.model, sensor.bus, sensor.address)
}

/// Whether a person who wrote `wanted` may mean the sensor.
fn is_meant(wanted: &str, sensor: &str) -> bool {
    let model = sensor.split('@').next().unwrap_or(sensor);
    sensor.eq_ignore_ascii_case(wanted) || model.eq_ignore_ascii_case(wanted)
}

/// What was measured, of a good reading.
fn good_value(sensor: &SensorStatus, quantity: Quantity) -> Option<f64> {
    let (quantity, good) = (quantity.to_string(), Flag::GOOD.to_string());
    let reading = sensor.readings.iter().find(|reading| reading.quantity == quantity && reading.flag == good)?;
    reading.raw.or(reading.value)
}

/// A node that is heard on the mesh.
struct Reference {
    selector: Selector,
    sensor: Option<String>,
    mesh: Mesh,
    events: Events,
    feed: Feed,
    samples: Vec<Sample>,
    sensors: BTreeSet<String>,
}

impl Reference {
    async fn join(args: &CalibrateArgs, selector: Selector) -> anyhow::Result<Self> {
        let (mesh, events) = meeting::join(&args.meet, vec![selector.clone()], Vec::new()).await?;
        let (sensor, feed) = (args.node_sensor.clone(), Feed::default());
        Ok(Self { selector, sensor, mesh, events, feed, samples: Vec::new(), sensors: BTreeSet::new() })
    }

    /// Keeps the good values, by the time at which they came: both clocks are then this machine's.
    fn take(&mut self, event: MeshEvent, quantity: Quantity) -> anyhow::Result<()> {
        let MeshEvent::Frame { frame, .. } = event else { return Ok(()) };
        for described in self.feed.take(frame) {
            let place = &described.announcement.place;
            for reading in described.readings.iter().filter(|reading| reading.quantity == quantity) {
                let Some(value) = reading.value.filter(|_| reading.flag == Flag::GOOD) else { continue };
                let Some(sensor) = described.announcement.sensors.get(usize::from(reading.sensor)) else { continue };
                let name = format!("{}@{}/0x{:02x}", sensor.model, sensor.bus, sensor.address);
                let is_wanted = self.sensor.as_deref().is_none_or(|wanted| is_meant(wanted, &name));
                if !is_wanted || !self.selector.matches(place, quantity) {
                    continue;
                }
                self.sensors.insert(format!("{name} of {place}"));
                if self.samples.len() < MOST {
                    self.samples.push(Sample { time_us: now_us(), value: value.into() });
                }
            }
        }
        let sensors = || self.sensors.iter().cloned().collect::<Vec<_>>().join(", ");
        ensure!(
            self.sensors.len() < 2,
            "there are several references for {quantity}: {}; name one with --node-sensor",
            sensors()
        );
        Ok(())
    }

    async fn leave(self) -> Vec<Sample> {
        meeting::leave(self.mesh).await;
        self.samples
    }
}

async fn next_event(reference: &mut Option<Reference>) -> Option<MeshEvent> {
    match reference {
        Some(reference) => reference.events.next().await,
        None => std::future::pending().await,
    }
}

// === what is printed ===

fn report(sensor: &str, quantity: Quantity, pairs: &[Pair], fit: &Fit) -> anyhow::Result<()> {
    let unit = human_unit(quantity.unit());
    let range = |of: fn(&Pair) -> f64| {
        let values = || pairs.iter().map(of);
        format!(
            "{:.2} to {:.2} {unit}",
            values().fold(f64::INFINITY, f64::min),
            values().fold(f64::NEG_INFINITY, f64::max)
        )
    };
    output::line(&format!("{sensor} {quantity}"))?;
    output::line(&format!("pairs      {}", fit.pairs))?;
    output::line(&format!("measured   {}", range(|pair| pair.measured)))?;
    output::line(&format!("reference  {}", range(|pair| pair.reference)))?;
    match &fit.why_no_slope {
        None => output::line(&format!("slope      {:.5}", fit.slope))?,
        Some(why) => output::line(&format!("slope      1 ({why})"))?,
    }
    output::line(&format!("intercept  {:.4} {unit}", fit.offset))?;
    let r2 = fit.r2.map_or_else(|| "none without a slope".to_owned(), |r2| format!("{r2:.4}"));
    output::line(&format!("R2         {r2}"))?;
    output::line(&format!("RMSE       {:.4} {unit} before, {:.4} {unit} after", fit.rmse_before, fit.rmse_after))?;
    output::line(&format!(
        "\n# For /etc/magpie/magpie.toml; where the chip stands there already, add `correction` to it.\n{}",
        entry(sensor, quantity, fit)
    ))?;
    Ok(())
}

/// The sensor's entry in the configuration.
fn entry(sensor: &str, quantity: Quantity, fit: &Fit) -> String {
    let (model, place) = sensor.split_once('@').unwrap_or((sensor, ""));
    let mut lines = vec!["[[sensors.chip]]".to_owned(), format!("model = \"{model}\"")];
    if let Some((place, address)) = place.rsplit_once('/') {
        let (bus, port) = place.split_once('/').map_or((place, None), |(bus, port)| (bus, Some(port)));
        lines.push(format!("bus = \"{bus}\""));
        lines.extend(port.map(|port| format!("port = \"{port}\"")));
        lines.push(format!("address = {address}"));
    }
    let slope = if fit.why_no_slope.is_none() { format!("slope = {:.5}, ", fit.slope) } else { String::new() };
    lines.push(format!("correction = {{ {quantity} = {{ {slope}offset = {:.4} }} }}", fit.offset));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::Method;

    fn fit(slope: Option<f64>) -> Fit {
        let why_no_slope = if slope.is_none() { Some("no".to_owned()) } else { None };
        let slope = slope.unwrap_or(1.0);
        Fit { pairs: 20, slope, offset: -1.25, r2: Some(0.99), rmse_before: 1.3, rmse_after: 0.1, why_no_slope }
    }

    fn as_configured(text: &str) -> node::ChipConfig {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("magpie.toml");
        std::fs::write(&file, text).unwrap();
        let config = crate::node::load(Some(&file), std::iter::empty(), service::Flags::new()).unwrap();
        let [chip] = config.sensors.chips.as_slice() else { panic!("{:?}", config.sensors.chips) };
        chip.clone()
    }

    #[test]
    fn what_is_printed_can_be_pasted() {
        let chip = as_configured(&entry("SHT4x@i2c-1/0x70.3/0x45", Quantity::TEMPERATURE, &fit(Some(0.98))));
        assert_eq!((chip.bus.as_deref(), chip.address), (Some("i2c-1"), Some(0x45)));
        assert_eq!(chip.port, Some(hal::Port { mux: 0x70, channel: 3 }));
        let method = chip.correction.quantities[&Quantity::TEMPERATURE];
        assert_eq!(method, Method::Linear { slope: 0.98, offset: -1.25 });
        let chip = as_configured(&entry("SCD4x", Quantity::CO2, &fit(None)));
        assert_eq!((chip.bus, chip.address), (None, None));
        let method = chip.correction.quantities[&Quantity::CO2];
        assert_eq!(method, Method::Linear { slope: 1.0, offset: -1.25 });
    }

    #[test]
    fn a_sensor_is_named_by_its_model_or_in_full() {
        assert!(is_meant("sht4x", "SHT4x@i2c-1/0x44") && is_meant("SHT4x@i2c-1/0x44", "SHT4x@i2c-1/0x44"));
        assert!(!is_meant("SHT4x@i2c-1/0x45", "SHT4x@i2c-1/0x44") && !is_meant("SHT", "SHT4x@i2c-1/0x44"));
    }
}
