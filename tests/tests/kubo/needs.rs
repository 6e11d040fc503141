//! What these tests need besides this workspace, and how to get it: `tools/setup-kubo`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The source of the second stranger.
const STRANGER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stranger");

/// Kubo.
pub fn ipfs() -> Result<PathBuf> {
    existing(cache()?.join("kubo-0.43.1/bin/ipfs"))
}

/// A folder on a file system in memory.
pub fn memory() -> Result<&'static Path> {
    let folder = Path::new("/dev/shm");
    ensure!(folder.is_dir(), "this test needs /dev/shm, which is missing: mount a tmpfs there");
    Ok(folder)
}

/// The second stranger, built now, so that it is what its source says; a moment where nothing has changed.
pub fn stranger() -> Result<PathBuf> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stranger");
    let mut build = go()?;
    succeed(build.arg("build").arg("-o").arg(&program).arg("."))?;
    Ok(program)
}

/// Runs the second stranger's own tests.
pub fn stranger_tests() -> Result<()> {
    succeed(go()?.args(["test", "-count=1", "."]))
}

/// Go, at work on the second stranger.
fn go() -> Result<Command> {
    let private = cache()?.join("go-1.23/bin/go");
    let mut command = Command::new(if private.exists() { private } else { PathBuf::from("go") });
    command.current_dir(STRANGER).env("GOTOOLCHAIN", "auto");
    Ok(command)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("this test needs Go ({command:?}); tools/setup-tools"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "{command:?} failed; tools/setup-kubo gets what it needs\n{said}");
    Ok(())
}

/// Where the set-up scripts keep what they download: as `tools/cache.bash` says.
fn cache() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("MAGPIE_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("magpie")))
        .or_else(|| Some(variable("HOME")?.join(".cache/magpie")))
        .context("HOME is not set: set it, or MAGPIE_CACHE")
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.exists() {
        bail!("this test needs {}, which is missing; install it: tools/setup-kubo", path.display());
    }
    Ok(path)
}
