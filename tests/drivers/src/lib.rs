//! Other people's drivers on the simulated chips.
//!
//! [`Python`] runs the drivers of `tests/drivers/python` and lets them reach a [`SimBus`](hal::sim::SimBus): what they ask of
//! the bus comes here line by line, and so does their waiting, which costs virtual time only. `tests/agree` compares what
//! they say with what is there and with our own drivers; `README.md` is what came out.

mod python;

pub use python::{Python, Values};
