//! How the program ends. Scripts rely on these numbers.

use std::process::ExitCode;

/// The exit codes of every subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Time ran out.
    TimeRanOut = 3,
    /// Done, but data is known to be missing.
    Incomplete = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
