//! Whole meshes over real TCP on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must end")]

mod cable;
mod crowd;
mod history;
mod hostile;
mod meeting;
mod replay;
mod shelf;
mod support;
#[path = "../../src/testing.rs"]
#[allow(dead_code, reason = "the unit tests use the rest")]
mod testing;
