//! A wall clock that is wrong, for one program.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::needs;

/// The wall clock of one program, off by as much as a file says. All its other clocks stay as they are.
pub struct WrongClock {
    folder: TempDir,
}

impl WrongClock {
    /// Not set yet.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: TempDir::with_prefix("magpie-clock-").context("a folder for a clock")? })
    }

    /// Sets the clock, from now on, to so many seconds after the true time; less than 0 are before it. The program reads the file whenever it
    /// looks at its clock, so the file is replaced in one step.
    pub fn set_off_by(&self, seconds: i64) -> Result<()> {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{seconds:+}"))
            .and_then(|()| fs::rename(&new, self.file()))
            .context("cannot set a clock")
    }

    /// Gives this program the clock.
    pub fn of(&self, mut command: Command) -> Result<Command> {
        command.env("LD_PRELOAD", needs::faketime()?);
        command.env("FAKETIME_TIMESTAMP_FILE", self.file()).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Ok(command)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}
