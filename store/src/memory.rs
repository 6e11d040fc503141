//! Which directories are memory, and no disk.

use std::io;
use std::path::Path;

/// `f_type` of statfs(2) for tmpfs and ramfs.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Whether a directory is in memory, where a tail may be, and what is written wears no card.
pub fn is_in_memory(directory: &Path) -> io::Result<bool> {
    Ok(IN_MEMORY.contains(&(rustix::fs::statfs(directory)?.f_type as u32)))
}
