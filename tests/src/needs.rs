//! What the tests need besides this workspace, and how to get it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where Debian and Ubuntu put libfaketime on x86-64.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The `magpie` of this machine: `$MAGPIE_BINARY`, else the one that cargo built.
pub fn magpie() -> Result<PathBuf> {
    match variable("MAGPIE_BINARY") {
        Some(path) => existing(path, "MAGPIE_BINARY says so"),
        None => existing(built()?.join("magpie"), "build it: cargo build -p magpie"),
    }
}

/// The `magpie` of the Raspberry Pi: `$MAGPIE_PI_BINARY`, else what `make pi` builds.
pub fn pi_magpie() -> Result<PathBuf> {
    match variable("MAGPIE_PI_BINARY") {
        Some(path) => existing(path, "MAGPIE_PI_BINARY says so"),
        None => existing(repository().join("target/pi/magpie"), "build it: make pi"),
    }
}

/// The library that puts the simulated chips on a virtual Pi's bus.
pub fn qemu_chips() -> Result<PathBuf> {
    existing(built()?.join("libmagpie_qemu_i2c.so"), "build it: cargo build -p magpie-qemu-i2c")
}

/// The folder of the virtual Pi's parts; `tools/setup-qemu` says what is in it.
pub fn qemu() -> Result<PathBuf> {
    existing(cache()?.join("qemu-10.0"), "install it: tools/setup-qemu")
}

/// The library that gives one process a clock of its own, where it is loaded first.
pub fn faketime() -> Result<PathBuf> {
    existing(PathBuf::from(FAKETIME), "install it: tools/setup-kubo")
}

/// Root's rights, for network namespaces.
pub fn root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "network namespaces need root: run the tests as root, or with sudo -E"
    );
    let ip = Command::new("ip").arg("-Version").output();
    ip.context("`ip` is missing: install iproute2")?;
    Ok(())
}

/// Where the set-up scripts keep what they download.
fn cache() -> Result<PathBuf> {
    if let Some(cache) = variable("MAGPIE_CACHE") {
        return Ok(cache);
    }
    if let Some(cache) = variable("XDG_CACHE_HOME") {
        return Ok(cache.join("magpie"));
    }
    let home = variable("HOME").context("HOME is not set: set it, or MAGPIE_CACHE")?;
    Ok(home.join(".cache/magpie"))
}

/// Where cargo puts what it builds for the profile of this very test: two above `deps/system-0123abcd`.
fn built() -> Result<PathBuf> {
    let test = std::env::current_exe().context("where is this test's own program?")?;
    test.ancestors()
        .nth(2)
        .map(Path::to_owned)
        .with_context(|| format!("{} has no folder of a profile", test.display()))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn existing(path: PathBuf, advice: &str) -> Result<PathBuf> {
    if !path.exists() {
        bail!("this test needs {}, which is missing; {advice}", path.display());
    }
    Ok(path)
}
