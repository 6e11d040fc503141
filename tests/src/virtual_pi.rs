//! A Raspberry Pi 3 in QEMU, with sensors on its I2C bus: Debian's arm64 kernel with the Pi's own I2C driver, the
//! binary that goes on a Pi, and chips whose values and faults the test sets from outside.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::initramfs::Initramfs;
use crate::needs;
use crate::program::Program;
use crate::qmp::Qmp;

mod card;
mod time_server;

pub use self::card::Card;
pub use self::time_server::time_server;

/// The I2C devices, their controller, entropy, and the network over USB.
const MODULES: &[&str] = &["i2c-dev", "i2c-bcm2835", "bcm2835-rng", "dwc2", "cdc_ether", "rndis_host", "phy-generic"];
/// The memory card's controller, and the file system on it.
const CARD_MODULES: &[&str] = &["bcm2835", "crc32c_generic", "ext4"];
/// 5 s on an idle machine; the emulator shares its two cores with the other tests.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// For what a shell in the guest does at once.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const QEMU_START_TIMEOUT: Duration = Duration::from_secs(20);
/// What QEMU calls the network.
const NETWORK: &str = "network";
/// How QEMU's user network calls the guest.
const GUEST: &str = "10.0.2.15";
/// What marks a line as coming from a program in the background.
const BACKGROUND: &str = "| ";

/// The address of the multiplexer that is on the Pi's bus where a chip is behind it.
pub const MULTIPLEXER: u8 = 0x70;

/// A chip to put on the Pi's bus.
#[derive(Clone, Copy, Debug)]
pub struct Chip {
    /// What the test calls it.
    pub id: &'static str,
    /// One of `hal::sim::MODELS`.
    pub model: &'static str,
    /// Its 7-bit address.
    pub address: u8,
    /// The port of the multiplexer that it is behind; `None` on the bus itself.
    pub port: Option<u8>,
}

impl Chip {
    /// A chip on the bus itself.
    pub const fn new(id: &'static str, model: &'static str, address: u8) -> Self {
        Self { id, model, address, port: None }
    }

    /// The same chip behind a port of the multiplexer, 0 to 7.
    pub const fn behind(self, port: u8) -> Self {
        Self { port: Some(port), ..self }
    }
}

/// What a Pi is made of.
#[derive(Default)]
pub struct Parts {
    /// What is on /dev/i2c-1.
    pub chips: Vec<Chip>,
    /// TCP ports of the guest that are reached from this machine, and by which port of 127.0.0.1; 0: QEMU takes a free one.
    pub ports: Vec<(u16, u16)>,
    /// Files of the guest: path without the first slash, permissions, content.
    pub files: Vec<(&'static str, u32, Vec<u8>)>,
    /// What is /var/lib/magpie. Without one it is in memory, and goes with the Pi.
    pub card: Option<Card>,
    /// How far the clock is behind when the Pi is switched on.
    pub clock_behind: Duration,
}

/// A running Pi. It is switched off when this is dropped.
pub struct VirtualPi {
    qemu: Program,
    qmp: Qmp,
    ports: Vec<(u16, SocketAddr)>,
    commands: u32,
    _folder: TempDir,
}

impl VirtualPi {
    /// Boots, and returns when the Pi's shell and network are there.
    pub fn boot(parts: &Parts) -> Result<Self> {
        let folder = TempDir::with_prefix("magpie-pi-").context("a folder for the virtual Pi")?;
        let initramfs = folder.path().join("initramfs");
        fs::write(&initramfs, archive(parts)?).context("cannot write the initramfs")?;

        // QEMU connects to a socket that exists, so nobody has to guess when it is up.
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).context("a socket for QMP")?;
        let mut command = qemu(parts)?;
        command.arg("-initrd").arg(initramfs).arg("-qmp").arg(format!("unix:{}", socket.display()));
        let qemu = Program::start("the virtual Pi", &mut command)?;
        let mut qmp = accept(listener).and_then(Qmp::new).with_context(|| qemu.tail())?;

        let forwarded = qmp.monitor("info usernet")?;
        let ports = parts.ports.iter().map(|(port, _)| Ok((*port, forwarded_port(&forwarded, *port)?)));
        let ports = ports.collect::<Result<_>>()?;
        let pi = Self { qemu, qmp, ports, commands: 0, _folder: folder };
        pi.wait_for("that it is ready", BOOT_TIMEOUT, |line| line.contains("the virtual Pi is ready"))?;
        Ok(pi)
    }

    /// Runs a line of shell in the guest, expects that it succeeds, and returns what it said.
    pub fn run(&mut self, script: &str) -> Result<String> {
        self.commands += 1;
        let end = format!("=== end of {}: ", self.commands);
        self.qemu.write_line(&format!("{{ {script}\n}} < /dev/null 2>&1; echo \"{end}$?\""))?;
        let mut said = String::new();
        let status = self.qemu.wait_for(&format!("the end of `{script}`"), COMMAND_TIMEOUT, |line| {
            if let Some((last, status)) = line.split_once(&end) {
                said.push_str(last);
                return Some(status.to_owned());
            }
            if !line.starts_with(BACKGROUND) {
                said.push_str(line);
                said.push('\n');
            }
            None
        })?;
        ensure!(status == "0", "`{script}` in the virtual Pi ended with {status}: {said}\n{}", self.qemu.tail());
        Ok(said)
    }

    /// Starts a program in the guest. What it says is on the console, each line after `| `.
    pub fn start(&mut self, command: &str) -> Result<()> {
        let name = command.split(' ').next().unwrap_or_default();
        self.run(&format!("{{ {command}; echo \"{name} ended with $?\"; }} 2>&1 | sed 's/^/{BACKGROUND}/' &"))
            .map(|_| ())
    }

    /// Waits for a line on the console.
    pub fn wait_for(&self, what: &str, timeout: Duration, mut accept: impl FnMut(&str) -> bool) -> Result<String> {
        self.qemu.wait_for(what, timeout, |line| accept(line).then(|| line.to_owned()))
    }

    /// Makes the air around a chip be so, in the quantity's unit.
    pub fn set(&mut self, chip: &str, quantity: &str, value: f64) -> Result<()> {
        self.qmp.set(chip, quantity, &json!(value))
    }

    /// Gives a chip a fault, one of `hal::sim::Fault`; no name heals it.
    pub fn fault(&mut self, chip: &str, fault: &str) -> Result<()> {
        self.qmp.set(chip, "fault", &json!(fault))
    }

    /// Pulls the network cable, or puts it back. The guest and whoever talks to it are told nothing.
    pub fn set_plugged(&mut self, plugged: bool) -> Result<()> {
        self.qmp.execute("set_link", &json!({ "name": NETWORK, "up": plugged })).map(|_| ())
    }

    /// Has a time server tell the guest the time, if [`time_server`] is among its files as `time-server`.
    pub fn learn_time(&mut self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.run(&format!("/time-server {now:.3}")).map(|_| ())
    }

    /// Cuts the power. What the guest had not written to its card is lost with its memory.
    pub fn cut_power(self) -> Result<()> {
        self.qemu.kill()
    }

    /// Where a port of the guest is reached.
    pub fn address(&self, guest_port: u16) -> Result<SocketAddr> {
        let found = self.ports.iter().find(|(port, _)| *port == guest_port);
        found.map(|(_, address)| *address).with_context(|| format!("port {guest_port} is not forwarded"))
    }

    /// The end of the console, for the message of a failed test.
    pub fn tail(&self) -> String {
        self.qemu.tail()
    }
}

fn archive(parts: &Parts) -> Result<Vec<u8>> {
    let qemu = needs::qemu()?;
    let mut archive = Initramfs::default();
    for directory in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "var", "var/lib", "var/lib/magpie"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 5, 1);
    archive.copy("bin/busybox", 0o755, &qemu.join("busybox"))?;
    archive.symlink("bin/sh", "busybox");
    let modules = if parts.card.is_some() { [MODULES, CARD_MODULES].concat() } else { MODULES.to_vec() };
    archive.modules(&qemu.join("kernel"), &modules)?;
    archive.file("init", 0o755, include_bytes!("virtual_pi/init.sh"));
    for (path, permissions, content) in &parts.files {
        archive.file(path, *permissions, content);
    }
    Ok(archive.finish())
}

fn qemu(parts: &Parts) -> Result<Command> {
    let folder = needs::qemu()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = now.saturating_sub(parts.clock_behind).as_secs();
    let mut command = Command::new(folder.join("bin/qemu-system-aarch64"));
    command.env("LD_PRELOAD", needs::qemu_chips()?);
    command.args(["-M", "raspi3b", "-display", "none", "-monitor", "none", "-no-reboot"]);
    command.arg("-kernel").arg(folder.join("kernel/vmlinuz")).arg("-dtb").arg(folder.join("pi3.dtb"));
    // The console is the Pi's second serial port.
    command.args(["-serial", "null", "-serial", "stdio", "-append"]);
    let card = if parts.card.is_some() { " card=yes" } else { "" };
    command.arg(format!("console=ttyS1,115200 rdinit=/init loglevel=3 iomem=relaxed now={now}{card}"));
    let mut network = format!("user,id={NETWORK}");
    for (port, here) in &parts.ports {
        network += &format!(",hostfwd=tcp:127.0.0.1:{here}-{GUEST}:{port}");
    }
    command.args(["-netdev", &network, "-device", &format!("usb-net,netdev={NETWORK}")]);
    if let Some(card) = &parts.card {
        command.arg("-drive").arg(card.drive());
    }
    if parts.chips.iter().any(|chip| chip.port.is_some()) {
        command.args(["-device", &format!("pca9548,address={MULTIPLEXER},bus=i2c-bus.1")]);
    }
    for Chip { id, model, address, port } in &parts.chips {
        // The buses behind QEMU's multiplexer are called after its ports.
        let bus = port.map_or_else(|| "i2c-bus.1".to_owned(), |port| format!("i2c.{port}"));
        command.args(["-device", &format!("magpie-chip,id={id},bus={bus},address={address},chip={model}")]);
    }
    Ok(command)
}

/// The one connection that QEMU makes. The thread ends with the process where QEMU never does.
fn accept(listener: UnixListener) -> Result<UnixStream> {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(listener.accept()));
    match receiver.recv_timeout(QEMU_START_TIMEOUT) {
        Ok(accepted) => Ok(accepted.context("QMP socket")?.0),
        Err(_) => bail!("QEMU did not start within {QEMU_START_TIMEOUT:?}"),
    }
}

/// Finds a forwarded port in QEMU's table: protocol and state, file descriptor, source address and port, destination
/// address and port.
fn forwarded_port(table: &str, guest_port: u16) -> Result<SocketAddr> {
    let guest_port = guest_port.to_string();
    table
        .lines()
        .find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["TCP[HOST_FORWARD]", _, _, port, GUEST, to, ..] if to == guest_port => port.parse::<u16>().ok(),
            _ => None,
        })
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .with_context(|| format!("QEMU forwards nothing to port {guest_port}:\n{table}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_port_is_found_in_qemus_table() {
        let table = "Hub -1 (n0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
                     TCP[HOST_FORWARD]   3       127.0.0.1 46479       10.0.2.15  4710     0     0\r\n";
        assert_eq!(forwarded_port(table, 4710).unwrap().to_string(), "127.0.0.1:46479");
        assert!(forwarded_port(table, 4711).is_err());
    }
}
