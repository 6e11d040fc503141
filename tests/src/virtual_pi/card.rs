//! A memory card: an image that outlives the virtual Pi it is in.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A card has a power of two of bytes.
const BYTES: u64 = 64 * 1024 * 1024;

/// An image with ext4 on it, in the Pi's own slot.
///
/// What the guest's kernel has written is in this machine's page cache (`cache=writeback`), which outlives the emulator; what it still has in
/// its own memory goes with it. So a Pi whose emulator is killed finds what one finds whose plug was pulled, on a card without a cache of
/// its own. Writes that a power cut leaves out or tears are the subject of the store's tests.
#[derive(Clone, Debug)]
pub struct Card {
    image: PathBuf,
}

impl Card {
    /// Makes an empty one at `image`.
    pub fn new(image: &Path) -> Result<Self> {
        let file = File::create_new(image).with_context(|| format!("cannot make {}", image.display()))?;
        file.set_len(BYTES).context("a card's image")?;
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).output();
        let made = made.context("cannot run mkfs.ext4: install e2fsprogs")?;
        ensure!(made.status.success(), "mkfs.ext4 failed: {}", String::from_utf8_lossy(&made.stderr));
        Ok(Self { image: image.to_owned() })
    }

    pub(super) fn drive(&self) -> String {
        format!("if=sd,format=raw,cache=writeback,file={}", self.image.display())
    }
}
