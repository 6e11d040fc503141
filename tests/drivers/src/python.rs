//! The Python that runs other people's drivers, and the bus that it is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use embedded_hal::i2c::{I2c, Operation};
use hal::sim::SimBus;
use tests::program::Program;

/// What a driver says, by the quantity's name, in the quantity's unit.
pub type Values = BTreeMap<String, f64>;

/// How long Python may think between two requests, in real time. Importing a driver on a busy machine takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a driver may ask before it counts as caught in a loop; the most patient one asks some thousand times.
const MOST_REQUESTS: usize = 200_000;

/// A Python with the drivers of `requirements.txt`. It is killed when this is dropped.
pub struct Python(Program);

impl Python {
    /// Fails where the drivers are not installed.
    pub fn start() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(interpreter(folder)?);
        // Without bytecode, which would be left in the source tree.
        command.arg("-B").arg(folder.join("python/read.py")).env("PYTHONPATH", folder.join("python"));
        Ok(Self(Program::start("the foreign drivers", &mut command)?))
    }

    /// What `driver`, by its name in `python/drivers.py`, reads from the one chip that it knows on `bus`.
    pub fn read(&mut self, driver: &str, bus: &SimBus) -> Result<Values> {
        self.read_while(driver, bus, |_| ())
    }

    /// The same, with `live` called before everything that the driver asks: for air that changes with the bus's time.
    pub fn read_while(&mut self, driver: &str, bus: &SimBus, live: impl Fn(&SimBus)) -> Result<Values> {
        let mut bus = bus.clone();
        let mut answer = format!("read {driver}");
        for _ in 0..MOST_REQUESTS {
            self.0.write_line(&answer)?;
            let request = self.0.wait_for("a request", PATIENCE, |line| Some(line.to_owned()))?;
            live(&bus);
            let (verb, rest) = request.split_once(' ').unwrap_or((&request, ""));
            answer = match verb {
                "transfer" => transfer(&mut bus, rest)?,
                "wait" => {
                    bus.clock().advance(Duration::from_nanos(rest.parse().context("wait wants nanoseconds")?));
                    clock(&bus)
                }
                "clock" => clock(&bus),
                "values" => return serde_json::from_str(rest).with_context(|| format!("no values: {rest}")),
                "failed" => bail!("{rest}\n{}", self.0.tail()),
                _ => bail!("no request: {request}"),
            };
        }
        bail!("{driver} asked {MOST_REQUESTS} times without coming to an end")
    }
}

fn clock(bus: &SimBus) -> String {
    format!("ok {}", bus.clock().now().as_nanos())
}

/// Carries out `ADDRESS WRITE READ`: hexadecimal, hexadecimal or `empty` or `-`, decimal or `-`.
fn transfer(bus: &mut SimBus, request: &str) -> Result<String> {
    let bad = || format!("no transfer: {request}");
    let [address, write, read] = request.split(' ').collect::<Vec<_>>().try_into().ok().with_context(bad)?;
    let address = u8::from_str_radix(address, 16).with_context(bad)?;
    let write = match write {
        "-" => None,
        "empty" => Some(Vec::new()),
        write => Some(bytes(write).with_context(bad)?),
    };
    let mut read = if read == "-" { None } else { Some(vec![0; read.parse().with_context(bad)?]) };
    let mut operations = Vec::new();
    operations.extend(write.as_deref().map(Operation::Write));
    operations.extend(read.as_deref_mut().map(Operation::Read));
    if bus.transaction(address, &mut operations).is_err() {
        return Ok("nack".into());
    }
    Ok(format!("ok {}", read.unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn bytes(hexadecimal: &str) -> Result<Vec<u8>> {
    ensure!(hexadecimal.len().is_multiple_of(2) && hexadecimal.is_ascii(), "half a byte");
    let pairs = (0..hexadecimal.len()).step_by(2).map(|at| &hexadecimal[at..at + 2]);
    pairs.map(|pair| Ok(u8::from_str_radix(pair, 16)?)).collect()
}

/// The Python that `tools/setup-drivers` filled with the versions that are wanted now.
fn interpreter(folder: &Path) -> Result<PathBuf> {
    let advice = "install the drivers: tools/setup-drivers";
    let setup = folder.join("../../tools/setup-drivers");
    let output =
        Command::new(&setup).arg("--path").output().with_context(|| format!("cannot run {}", setup.display()))?;
    ensure!(output.status.success(), "{} --path failed: {}", setup.display(), String::from_utf8_lossy(&output.stderr));
    let python = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("bin/python");
    ensure!(python.exists(), "this test needs {}, which is missing; {advice}", python.display());
    Ok(python)
}
