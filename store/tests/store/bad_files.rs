//! What is no store, or a damaged one, is refused with what to do, and left as it is.

use std::fs;
use std::path::Path;

use store::{Options, Store, StoreError};

use crate::{Folder, Node};

fn refusal(path: &Path) -> StoreError {
    Store::open(path, Options::default()).unwrap_err()
}

/// A store with frames, closed.
fn filled(folder: &Folder, frames: usize) {
    let mut store = folder.open();
    store.append(&Node::new(1, 1).frames(frames)).unwrap();
    store.close().unwrap();
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.path();
    let text = "city = \"seoul\"\n".repeat(100);
    let mut noise = vec![0; 5000];
    noise.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 7919 % 251) as u8);
    for bytes in [text.as_bytes(), noise.as_slice(), b"x"] {
        fs::write(&path, bytes).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        let shown = path.display();
        assert_eq!(
            error.to_string(),
            format!(
                "{shown} is not a Magpie store (no SQLite file); move it away and start again: mv '{shown}' '{shown}.old'"
            )
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let error = refusal(folder.0.path());
    assert!(error.to_string().contains("(a folder)"), "{error}");
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let folder = Folder::new();
    let other = rusqlite::Connection::open(folder.path()).unwrap();
    other.execute_batch("CREATE TABLE bookmark (url TEXT); INSERT INTO bookmark VALUES ('x')").unwrap();
    drop(other);
    let before = fs::read(folder.path()).unwrap();
    let error = refusal(&folder.path());
    assert!(error.to_string().contains("(another program's SQLite file)"), "{error}");
    assert_eq!(fs::read(folder.path()).unwrap(), before);
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let folder = Folder::new();
    filled(&folder, 3);
    let mut bytes = fs::read(folder.path()).unwrap();
    bytes[60..64].copy_from_slice(&7_u32.to_be_bytes());
    fs::write(folder.path(), &bytes).unwrap();
    let error = refusal(&folder.path());
    assert!(error.to_string().contains("has layout 7, this program knows up to 2"), "{error}");
}

#[test]
fn a_store_that_was_cut_short_is_refused_at_any_length() {
    let folder = Folder::new();
    filled(&folder, 300);
    let whole = fs::read(folder.path()).unwrap();
    let path = folder.0.path().join("torn.db");
    for length in (1..whole.len()).step_by(333).chain([1, 15, 16, 99, 100, 511, 512, whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, StoreError::Torn { .. } | StoreError::Foreign { .. }), "{length}: {error}");
        assert!(error.to_string().contains("mv '"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), &whole[..length], "left as it was");
    }
    let error = refusal(&path).to_string();
    assert!(error.contains("is damaged (") && error.contains(".damaged'"), "{error}");
}

#[test]
fn a_store_overwritten_in_part_is_refused_or_names_what_is_damaged() {
    let folder = Folder::new();
    filled(&folder, 300);
    let whole = fs::read(folder.path()).unwrap();
    let path = folder.0.path().join("overwritten.db");
    let node = Node::new(1, 1);
    let (key, epoch) = (node.author.node(), node.author.epoch());
    for (number, at) in (512..whole.len() - 64).step_by(1777).enumerate() {
        let mut bytes = whole.clone();
        bytes[at..at + 64].iter_mut().enumerate().for_each(|(i, byte)| *byte ^= (i * 31 + number) as u8 | 1);
        let _ = fs::remove_file(path.with_extension("db-wal"));
        fs::write(&path, &bytes).unwrap();
        match Store::open(&path, Options::default()) {
            Err(error) => assert!(matches!(error, StoreError::Torn { .. }), "{at}: {error}"),
            Ok(store) => match store.range(key, epoch, 1..=300, usize::MAX) {
                Err(error) => assert!(matches!(error, StoreError::Torn { .. }), "{at}: {error}"),
                Ok(batch) => {
                    // Sound frames come as ever, damaged ones by name.
                    assert_eq!(store.damaged(), batch.damaged.len() as u64);
                    assert!(batch.frames.len() + batch.damaged.len() <= 300);
                    assert!(batch.frames.iter().all(|frame| frame.node() == key));
                }
            },
        }
    }
}

#[test]
fn a_damaged_frame_is_named_and_the_others_are_served() {
    let folder = Folder::new();
    filled(&folder, 10);
    let db = rusqlite::Connection::open(folder.path()).unwrap();
    db.execute("UPDATE frame SET bytes = zeroblob(length(bytes)) WHERE key & 15 = 4", []).unwrap();
    db.execute("UPDATE frame SET bytes = 'text' WHERE key & 15 = 6", []).unwrap();
    let other: Vec<u8> = db.query_row("SELECT bytes FROM frame WHERE key & 15 = 9", [], |row| row.get(0)).unwrap();
    db.execute("UPDATE frame SET bytes = ? WHERE key & 15 = 8", [other]).unwrap();
    drop(db);
    let node = Node::new(1, 1);
    let mut store = folder.open();
    let batch = store.range(node.author.node(), node.author.epoch(), 1..=10, usize::MAX).unwrap();
    assert_eq!(batch.frames.iter().map(|frame| frame.seq()).collect::<Vec<_>>(), [1, 2, 3, 5, 7, 9, 10]);
    assert_eq!(batch.damaged, [node.id(4), node.id(6), node.id(8)]);
    assert_eq!(store.damaged(), 3);
    assert_eq!(store.get(node.id(4)).unwrap(), None);
    assert_eq!(store.first_at_or_after(node.author.node(), crate::BOOT_US + 31_000_000).unwrap(), Some(node.id(5)));
    assert_eq!(store.append(&Node::new(1, 2).frames(2)).unwrap(), 2);
}

#[test]
fn one_file_has_one_owner() {
    let folder = Folder::new();
    let first = folder.open();
    let error = refusal(&folder.path());
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.is_transient());
    drop(first);
    folder.open();
}

#[test]
fn a_folder_that_is_missing_or_cannot_be_written_is_said() {
    let folder = Folder::new();
    let error = refusal(&folder.0.path().join("missing/frames.db"));
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    // Nobody can make a file there, not even root.
    let error = refusal(Path::new("/proc/magpie.db"));
    assert!(error.to_string().contains("give this user the right to write its folder"), "{error}");
}

#[test]
fn a_log_whose_file_was_moved_away_is_not_deleted() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.append(&Node::new(1, 1).frames(20)).unwrap();
    let log = folder.path().with_extension("db-wal");
    let bytes = fs::read(&log).unwrap();
    drop(store);
    fs::write(&log, &bytes).unwrap();
    fs::remove_file(folder.path()).unwrap();
    let error = refusal(&folder.path());
    assert!(error.to_string().contains("(it is gone, and its log is still there)"), "{error}");
    assert_eq!(fs::read(&log).unwrap(), bytes);
    // What the error says to do helps.
    fs::rename(&log, log.with_extension("damaged-wal")).unwrap();
    folder.open();
}

#[test]
fn a_pipe_is_refused_rather_than_waited_for() {
    let folder = Folder::new();
    let made = std::process::Command::new("mkfifo").arg(folder.path()).status().unwrap();
    assert!(made.success());
    let error = refusal(&folder.path());
    assert!(error.to_string().contains("(no ordinary file)"), "{error}");
}
