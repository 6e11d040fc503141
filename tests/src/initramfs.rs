//! The first file system of a Linux guest: an archive in cpio's "newc" form (kernel documentation,
//! `driver-api/early-userspace/buffer-format`), not compressed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive that grows entry by entry. A directory comes before what is in it.
#[derive(Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initramfs {
    /// Adds a directory; `path` has no slash in front, as everywhere here.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, FILE | permissions, (0, 0), content);
    }

    /// Adds a file with the content of one of this machine.
    pub fn copy(&mut self, path: &str, permissions: u32, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, permissions, &content);
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// Adds the kernel modules of these names, and those that they need, below `modules/`, and `modules/order`, which
    /// lists the files in the order in which they can be loaded. `kernel` is a folder with `version` and
    /// `lib/modules/VERSION`.
    pub fn modules(&mut self, kernel: &Path, names: &[&str]) -> Result<()> {
        let version = kernel.join("version");
        let version = fs::read_to_string(&version).with_context(|| format!("cannot read {}", version.display()))?;
        let folder = kernel.join("lib/modules").join(version.trim());
        let index = folder.join("modules.dep");
        let index = fs::read_to_string(&index).with_context(|| format!("cannot read {}", index.display()))?;
        let order = load_order(&index, names)?;
        self.directory("modules");
        for path in &order {
            self.copy(&format!("modules/{}", file_name(path)), 0o644, &folder.join(path))?;
        }
        let names: Vec<_> = order.iter().map(|path| file_name(path)).collect();
        self.file("modules/order", 0o644, names.join("\n").as_bytes());
        Ok(())
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let name_length = length(path.as_bytes()) + 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.entries, mode, 0, 0, 1, 0, length(content), 0, 0, major, minor, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The files to load, in order, from the lines `file: needed needed ...` of `modules.dep`.
fn load_order<'a>(index: &'a str, names: &[&str]) -> Result<Vec<&'a str>> {
    let mut order: Vec<&str> = Vec::new();
    for name in names {
        let line = index.lines().find_map(|line| {
            let (file, needed) = line.split_once(':')?;
            (file_name(file) == format!("{name}.ko")).then_some((file, needed))
        });
        let (file, needed) = line.with_context(|| format!("this kernel has no module {name}"))?;
        // What is needed by others comes last there.
        for path in needed.split_whitespace().rev().chain([file]) {
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    ensure!(!order.is_empty(), "no modules are wanted");
    Ok(order)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_after_those_that_they_need() {
        let index = "net/cdc.ko: net/usbnet.ko usb/core.ko\nnet/usbnet.ko: usb/core.ko\nusb/core.ko:\ni2c-dev.ko:\n";
        let order = load_order(index, &["i2c-dev", "cdc", "usbnet"]).unwrap();
        assert_eq!(order, ["i2c-dev.ko", "usb/core.ko", "net/usbnet.ko", "net/cdc.ko"]);
        assert!(load_order(index, &["dwc2"]).unwrap_err().to_string().contains("no module dwc2"));
    }

    #[test]
    fn entries_are_aligned_and_end_with_the_trailer() {
        let mut archive = Initramfs::default();
        archive.directory("etc");
        archive.file("etc/a", 0o644, b"seven..");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        // Header 110 + "etc\0", padded; header 110 + "etc/a\0" = 116; 7 bytes, padded.
        assert_eq!(&bytes[116..122], b"070701");
        assert_eq!(&bytes[232..240], b"seven..\0");
        assert_eq!(&bytes[240..246], b"070701");
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }
}
