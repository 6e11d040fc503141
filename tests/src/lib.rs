//! Whole-system tests: the programs as they are shipped, on machines and networks made for one test.
//!
//! What is here lets a test say what it means: [`virtual_pi`] boots a Raspberry Pi 3 with sensors on its I2C bus,
//! [`netns`] makes networks and makes them bad, [`proxy`] delays, [`program`] runs a program and waits for what it says, [`magpie`] knows how `magpie` is
//! called. A test that lacks something it [`needs`] fails and says how to get it; none is skipped.
//!
//! Nothing here leaves the machine: traffic stays on 127.0.0.1 or inside namespaces that the test makes. Programs end
//! with the value that stands for them, by their own process id.

pub mod clock;
pub mod http;
pub mod initramfs;
pub mod magpie;
pub mod needs;
pub mod netns;
pub mod program;
pub mod proxy;
pub mod qmp;
pub mod virtual_pi;
