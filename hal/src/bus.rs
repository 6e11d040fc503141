//! A bus and the thread that owns it.

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::board::DeviceBus;
use crate::chips::{Chips, Connect, Sample, ScanReport};
use crate::driver::Surroundings;
use crate::error::{BusError, Busy};
use crate::model::{Model, UnknownModel};
use crate::place::ChipAt;
use crate::sim::{self, Clock, SimBus, World};

/// Commands that can wait. Every chip of a full bus sampled at one tick is about ten; a queue three times as long means that
/// the bus does not keep up, and then the caller must know at once.
const QUEUE: usize = 32;

/// The longest that a scan takes when the kernel keeps its own time limits: a held bus costs a second for each of the few addresses that
/// are tried then, and for each port of a multiplexer.
const SCAN_DEADLINE: Duration = Duration::from_secs(15);

/// Where a bus comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusSource {
    /// A device of the kernel.
    Device {
        /// E.g. `/dev/i2c-1`.
        path: PathBuf,
        /// Addresses of the multiplexers on it, 0x70 to 0x77.
        muxes: Vec<u8>,
    },
    /// Simulated chips in real time, in the world that the seed stands for.
    Simulated {
        /// Chooses place and weather.
        seed: u64,
        /// The chips' names; each gets the first of its addresses that is free.
        models: Vec<String>,
    },
}

/// A handle to the thread that owns a bus. Clones are handles to the same bus.
///
/// Commands are executed one after the other, in the order in which they came; the reply is called on the bus's thread and
/// must not block. Each accepted command is answered exactly once, unless the bus is closed first or hangs: then the reply
/// is dropped uncalled.
///
/// # When the bus hangs
/// A transfer that the kernel does not end cannot be cancelled: the thread stays in it. The kernel's I2C drivers limit a
/// transfer by themselves (i2c-bcm2835: 1 s), so a held bus normally gives an error and the thread goes on; a kernel or a
/// converter that fails to do so leaves it hanging. Then [`stuck_for`](Self::stuck_for) says for how long, other buses are
/// not touched, 32 more commands are accepted and wait, and all after that are refused with [`Busy`]. When the transfer
/// returns after all, everything goes on by itself, the waiting commands first. If it never does, [`close`](Self::close)
/// gives up after its time and leaves the thread behind; a bus that was opened anew gets a new one.
///
/// When the last handle is dropped the bus is closed, without waiting.
#[derive(Clone)]
pub struct Bus(Arc<Handle>);

struct Handle {
    name: String,
    simulated: bool,
    commands: SyncSender<Command>,
    watch: Arc<Watch>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Command {
    Scan(Box<dyn FnOnce(Result<ScanReport, BusError>) + Send>),
    Sample(ChipAt, Surroundings, Box<dyn FnOnce(Sample) + Send>),
    Restore(ChipAt, Vec<u8>, Option<Duration>),
    /// Wakes the thread; that it shall end is in [`State::closing`], which also works when the queue is full.
    Close,
}

/// What the thread shows of itself while it is busy or hangs.
#[derive(Default)]
struct Watch {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// When the command that runs must be done.
    deadline: Option<Instant>,
    closing: bool,
    ended: bool,
}

impl Bus {
    /// Opens a bus and starts its thread, `bus-<name>`. No chip is touched yet.
    pub fn open(source: BusSource) -> Result<Self, BusError> {
        match source {
            BusSource::Device { path, muxes } => {
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                Self::start(name, false, DeviceBus::open(&path)?, muxes)
            }
            BusSource::Simulated { seed, models } => Self::over(simulated(seed, &models)?),
        }
    }

    /// The same over a simulated bus of the caller's, who can set values and faults on it, with the multiplexers that are on it now.
    pub fn over(bus: SimBus) -> Result<Self, BusError> {
        let muxes = bus.muxes();
        Self::start("sim-1".to_owned(), true, bus, muxes)
    }

    fn start<C: Connect + Send + 'static>(
        name: String,
        simulated: bool,
        connect: C,
        muxes: Vec<u8>,
    ) -> Result<Self, BusError> {
        let (commands, queue) = mpsc::sync_channel(QUEUE);
        let watch = Arc::new(Watch::default());
        let owner = Owner { name: name.clone(), queue, watch: Arc::clone(&watch) };
        let thread = thread::Builder::new()
            .name(format!("bus-{name}"))
            .spawn(move || owner.run(Chips::behind(connect, &muxes)))
            .map_err(|source| BusError::Thread { bus: name.clone(), source })?;
        Ok(Self(Arc::new(Handle { name, simulated, commands, watch, thread: Mutex::new(Some(thread)) })))
    }

    /// The bus's name: `i2c-1`, `sim-1`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether its chips are software.
    pub fn is_simulated(&self) -> bool {
        self.0.simulated
    }

    /// Asks the known addresses who is there, without disturbing anybody.
    pub fn scan(&self, reply: impl FnOnce(Result<ScanReport, BusError>) + Send + 'static) -> Result<(), Busy> {
        self.command(Command::Scan(Box::new(reply)))
    }

    /// Measures. The chip is started before its first sample and after an error. One chip keeps the bus for no longer than
    /// its [`Model::deadline`], whether it works or not.
    pub fn sample(
        &self,
        chip: ChipAt,
        around: Surroundings,
        reply: impl FnOnce(Sample) + Send + 'static,
    ) -> Result<(), Busy> {
        self.command(Command::Sample(chip, around, Box::new(reply)))
    }

    /// Gives a chip's driver back what [`Sample::memory`] held in an earlier run of the program; before its first sample.
    pub fn restore(&self, chip: ChipAt, memory: Vec<u8>, age: Option<Duration>) -> Result<(), Busy> {
        self.command(Command::Restore(chip, memory, age))
    }

    fn command(&self, command: Command) -> Result<(), Busy> {
        if self.0.watch.lock().closing {
            return Err(Busy);
        }
        self.0.commands.try_send(command).map_err(|_| Busy)
    }

    /// By how much the command that runs is beyond its deadline.
    pub fn stuck_for(&self) -> Option<Duration> {
        let deadline = self.0.watch.lock().deadline?;
        Instant::now().checked_duration_since(deadline).filter(|late| !late.is_zero())
    }

    /// Ends the thread after the command that runs; those that wait are dropped. The chips are left idle. Returns whether
    /// the thread ended within `wait`; one that hangs is left behind.
    pub fn close(&self, wait: Duration) -> bool {
        self.0.close();
        let watch = &self.0.watch;
        let state = watch.lock();
        let (state, _) =
            watch.ended.wait_timeout_while(state, wait, |state| !state.ended).unwrap_or_else(PoisonError::into_inner);
        let ended = state.ended;
        drop(state);
        if ended && let Some(thread) = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The thread has announced its end, so this does not wait; a panic in it has been reported by its hook.
            let _ = thread.join();
        }
        ended
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bus").field(&self.0.name).finish()
    }
}

impl Handle {
    fn close(&self) {
        self.watch.lock().closing = true;
        let _ = self.commands.try_send(Command::Close);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Watch {
    /// The state is whole at every moment, so a holder's panic leaves nothing to fear.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread is made of.
struct Owner {
    name: String,
    queue: Receiver<Command>,
    watch: Arc<Watch>,
}

impl Owner {
    fn run<C: Connect>(self, mut chips: Chips<C>) {
        while let Some(command) = self.next(&mut chips) {
            if self.watch.lock().closing {
                break;
            }
            match command {
                Command::Scan(reply) => {
                    let report = self.timed(SCAN_DEADLINE, || chips.scan());
                    reply(report.map_err(|failure| BusError::Held { bus: self.name.clone(), detail: failure.detail }));
                }
                Command::Sample(chip, around, reply) => {
                    reply(self.timed(chip.model.deadline(), || chips.sample(chip, &around)));
                }
                Command::Restore(chip, memory, age) => chips.restore(chip, &memory, age),
                Command::Close => {}
            }
        }
        self.timed(longest_deadline(), || chips.stop());
    }

    /// The next command; the chips are looked after until there is one. `None` when nobody can give one any more.
    fn next<C: Connect>(&self, chips: &mut Chips<C>) -> Option<Command> {
        loop {
            let Some(wait) = chips.tend_in() else { return self.queue.recv().ok() };
            if wait.is_zero() {
                self.timed(longest_deadline(), || chips.tend());
                continue;
            }
            match self.queue.recv_timeout(wait) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn timed<T>(&self, deadline: Duration, work: impl FnOnce() -> T) -> T {
        self.watch.lock().deadline = Instant::now().checked_add(deadline);
        let done = work();
        self.watch.lock().deadline = None;
        done
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.watch.lock();
        state.deadline = None;
        state.ended = true;
        self.watch.ended.notify_all();
    }
}

/// For what concerns every chip of the bus.
fn longest_deadline() -> Duration {
    Model::ALL.iter().map(|model| model.deadline()).sum()
}

/// Simulated chips have been up for as long as a Pi takes to start.
const POWERED_BEFORE: Duration = Duration::from_secs(60);

/// A simulated bus with these chips on it.
fn simulated(seed: u64, models: &[String]) -> Result<SimBus, BusError> {
    let clock = Clock::real_time_after(POWERED_BEFORE);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let world = World::new(seed, since_epoch.saturating_sub(POWERED_BEFORE).as_secs_f64());
    let bus = SimBus::in_world(clock, world);
    let mut taken: Vec<u8> = Vec::new();
    for name in models {
        let model: Model = name.parse()?;
        let member = match model {
            Model::Bme280 => "BME280",
            Model::Bmp280 => "BMP280",
            Model::Bme680 => "BME680",
            Model::Bme688 => "BME688",
            Model::Aht20 => "AHT20",
            Model::Ens160 => "ENS160",
            Model::Sht3x => "SHT31",
            Model::Sht4x => "SHT40",
            Model::Pmsa003i => "PMSA003I",
            Model::Scd4x => "SCD41",
            Model::Scd30 => "SCD30",
            Model::Sgp30 => "SGP30",
            Model::Sgp40 => "SGP40",
            Model::Sgp41 => "SGP41",
            Model::Sps30 => "SPS30",
            Model::Sen50 => "SEN50",
            Model::Sen54 => "SEN54",
            Model::Sen55 => "SEN55",
        };
        let chip = sim::chip(member).ok_or_else(|| UnknownModel(name.clone()))?;
        let free = model.addresses().iter().find(|address| !taken.contains(address));
        let address = free.ok_or(BusError::NoAddress { model })?;
        taken.push(*address);
        bus.attach_at(*address, chip);
    }
    Ok(bus)
}
