//! What the kernel says of a process.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The kernel tells CPU time in hundredths of a second on every machine that we run on, whatever its own clock does (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// A process and its folder under /proc.
pub struct Process {
    folder: PathBuf,
}

impl Process {
    /// The process of this number.
    pub fn of(pid: u32) -> Self {
        Self { folder: format!("/proc/{pid}").into() }
    }

    /// This process.
    pub fn own() -> Self {
        Self { folder: "/proc/self".into() }
    }

    /// Resident memory, bytes.
    pub fn rss_bytes(&self) -> Result<u64> {
        Ok(self.counter("status", "VmRSS:")? * 1024)
    }

    /// The most resident memory that it ever had, bytes.
    pub fn peak_rss_bytes(&self) -> Result<u64> {
        Ok(self.counter("status", "VmHWM:")? * 1024)
    }

    /// Bytes that it made the kernel write to a disk.
    pub fn written_bytes(&self) -> Result<u64> {
        self.counter("io", "write_bytes:")
    }

    /// Seconds that it has computed for, all threads together, to a hundredth.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The program's name comes before the last bracket and may have anything in it; user and system time are fields 14 and 15.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
        let ticks = fields.and_then(|fields| fields.map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>());
        Ok(ticks.with_context(|| format!("no CPU time in {stat:?}"))? as f64 / TICKS_PER_SECOND)
    }

    /// A number in one of its files.
    fn counter(&self, file: &str, name: &str) -> Result<u64> {
        let text = self.read(file)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        value.with_context(|| format!("{} has no {name}", self.folder.join(file).display()))
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.folder.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use bench::clock::process_cpu_s;

    use super::*;

    #[test]
    fn this_process_has_memory_and_has_computed() {
        let own = Process::own();
        let (rss, peak) = (own.rss_bytes().unwrap(), own.peak_rss_bytes().unwrap());
        assert!(rss > 0 && peak > 0, "{rss} {peak}");
        let before = process_cpu_s();
        let told = Process::of(std::process::id()).cpu_s().unwrap();
        let after = process_cpu_s();
        assert!((before - 0.05..=after + 0.05).contains(&told), "{before} {told} {after}");
        assert!(Process::of(u32::MAX).cpu_s().is_err());
    }
}
