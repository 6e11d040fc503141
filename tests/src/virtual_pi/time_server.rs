//! A program for the guest by which a time server is heard.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// The program, to be put among the guest's files as `time-server`: busybox cannot tell the kernel that its clock is disciplined.
pub fn time_server() -> Result<Vec<u8>> {
    let folder = TempDir::with_prefix("magpie-time-server-").context("a folder to compile in")?;
    let program = folder.path().join("time-server");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/virtual_pi/time-server.c");
    let mut compiler = Command::new(COMPILER);
    compiler.args(["-static", "-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(source);
    let compiled =
        compiler.output().with_context(|| format!("cannot run {COMPILER}: tools/setup-cross installs it"))?;
    ensure!(compiled.status.success(), "time-server.c: {}", String::from_utf8_lossy(&compiled.stderr));
    fs::read(program).context("the compiled time-server")
}
