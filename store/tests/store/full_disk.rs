//! No room left: said, nothing lost, and over when there is room again.

use std::io::Write;
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

/// An ext4 on a loop device, as on a card, as long as this lives.
struct Card(Folder);

impl Card {
    fn new(mib: u32) -> Self {
        let folder = Folder::new();
        let (image, mounted) = (folder.0.path().join("image"), folder.0.path().join("card"));
        std::fs::File::create(&image).unwrap().set_len(u64::from(mib) * 1024 * 1024).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        let run = |command: &mut Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "this test mounts a loop device, as root: {output:?}");
        };
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        Self(folder)
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.0.path().join("card")
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// Takes all room that is left, to the last block.
pub fn fill_up(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    for bytes in [1 << 20, 1 << 16, 1 << 12, 1 << 9] {
        while file.write_all(&vec![1; bytes]).is_ok() {}
    }
    // What was not written yet may not have got its blocks.
    let _ = file.sync_all();
    while file.write_all(&[1; 512]).is_ok() {}
}

#[test]
fn on_a_full_card_the_newest_frames_take_the_place_of_the_oldest() {
    let card = Card::new(24);
    let path = card.path().join("frames.db");
    let mut node = Node::new(1, 1);
    let (key, epoch) = (node.author.node(), node.author.epoch());
    let mut store = Store::open(&path, Options::default()).unwrap();
    store.append(&node.frames(1500)).unwrap();
    store.sync().unwrap();
    fill_up(&card.path().join("ballast"));
    for restarted in [false, true] {
        if restarted {
            drop(store);
            store = Store::open(&path, Options::default()).unwrap();
        }
        for number in 0..400 {
            store.append(&(0..10).map(|_| node.readings(1)).collect::<Vec<_>>()).unwrap();
            if number % 10 == 9 {
                store.sync().unwrap();
            }
        }
    }
    let (frames, last) = (store.frames(), node.author.last_seq());
    assert!((1000..5000).contains(&frames), "{frames}");
    assert_eq!((last, store.last_seq(key, epoch).unwrap()), (9500, 9500));
    store.close().unwrap();
    let store = Store::open(&path, Options::default()).unwrap();
    assert_eq!(store.range(key, epoch, 1..=last, usize::MAX).unwrap().frames.len() as u64, frames);
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
