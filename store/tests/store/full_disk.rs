//! No room left: said, nothing lost, and over when there is room again.

use std::path::Path;
use std::process::Command;

use store::{Options, Store, StoreError, StoreHandle};

use crate::{Folder, Node};

/// A small file system in memory, as long as this lives.
pub struct SmallDisk(Folder);

impl SmallDisk {
    pub fn new(kib: u32) -> Self {
        let folder = Folder::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(folder.0.path())
            .output()
            .is_ok_and(|output| output.status.success());
        assert!(mounted, "this test mounts a small file system, for which it must be root: sudo -E make test");
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_loses_nothing() {
    let disk = SmallDisk::new(192);
    let path = disk.path().join("frames.db");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 64 * 1024]).unwrap();
    let mut node = Node::new(1, 1);
    let (key, epoch) = (node.author.node(), node.author.epoch());
    let store = StoreHandle::spawn(Store::open(&path, Options::default()).unwrap()).unwrap();
    let mut stored = 0;
    let error = loop {
        // What is refused is not signed again: it is tried again.
        let frames = if stored == 0 { node.frames(5) } else { (0..5).map(|_| node.readings(1)).collect() };
        match store.append(frames.clone()).await {
            Ok(new) => stored += new as u64,
            Err(error) => break (error, frames),
        }
        assert!(stored < 3000, "the disk is larger than thought");
    };
    let (error, refused) = error;
    assert_eq!(error, StoreError::Full { path: path.clone() });
    assert!(error.is_transient() && error.to_string().ends_with("free some space on its disk"));
    assert_eq!(store.stats().last_error, Some(error));
    assert_eq!(store.last_seq(key, epoch).await, Ok(stored));
    assert!(store.append(refused.clone()).await.is_err());

    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(store.append(refused).await, Ok(5));
    assert_eq!(store.stats().last_error, None);
    store.close().await.unwrap();
    let store = Store::open(&path, Options::default()).unwrap();
    let batch = store.range(key, epoch, 1..=u64::MAX, usize::MAX).unwrap();
    assert_eq!(batch.frames.len() as u64, stored + 5);
    assert_eq!(store.frames(), stored + 5);
}
