//! The gap engine in simulated weeks: partitions, churn, loss, lies, power cuts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must end")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a simulation says what it came to, and with which seed it failed"
)]

mod city;
mod holder;
mod simulation;
mod weather;
