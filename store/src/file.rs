//! Opening the file: telling a store from everything else, creating it in one step, and setting SQLite up for a memory card.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::StoreError;
use crate::log::{Log, WAL_BYTES};
use crate::room::Room;

/// "Mgpi", in the header of every store (SQLite's `application_id`).
pub(crate) const APPLICATION_ID: u32 = 0x4d67_7069;
/// The layout of the tables and of what is in them (SQLite's `user_version`). Rows of layout 1 have no checksum; they are read as they are.
const LAYOUT: i64 = 2;
/// Bytes of a page: the unit in which an append is written. See the measurements in the crate's
/// documentation.
pub(crate) const PAGE_BYTES: u64 = 512;
/// SQLite's own memory for pages.
const CACHE_KIB: u32 = 512;
/// A predecessor that is just ending gets this long to let go of the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Files up to this size are read through when they are opened, a fraction of a second from a card. Of larger ones the outline is
/// checked; damage inside is found, and said, when a frame is read.
const CHECK_BYTES: u64 = 8 * 1024 * 1024;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;

/// One row a frame, in tables whose key is an integer: appending fills the last leaf of one B-tree, and splits it cheaply.
/// Announcements are few, and retention treats them differently: they have their own table.
/// `arrived` counts transactions: it orders the frames of different runs for retention, where no clock can be trusted.
/// `gone_to` is the highest seq that retention took. `counted` is how many rows `frame` has of the run up to seq `counted_to`.
const TABLES: &str = "
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        node BLOB NOT NULL,
        epoch BLOB NOT NULL,
        boot BLOB NOT NULL,
        gone_to INTEGER NOT NULL DEFAULT 0,
        counted_to INTEGER NOT NULL DEFAULT 0,
        counted INTEGER NOT NULL DEFAULT 0,
        UNIQUE (node, epoch)
    );
    CREATE TABLE frame (key INTEGER PRIMARY KEY, arrived INTEGER NOT NULL, bytes BLOB NOT NULL);
    CREATE TABLE announcement (key INTEGER PRIMARY KEY, arrived INTEGER NOT NULL, bytes BLOB NOT NULL);
";

/// The name that SQLite gives to the write-ahead log of the file at `path`.
pub(crate) fn wal_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// A file beside the one at `path`: the same name, and `end`.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// A store's file while it is open. SQLite is the first to be closed, see [`Room`].
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) db: Connection,
    pub(crate) log: Log,
    pub(crate) room: Room,
    /// What tells the file and its log from others of their names.
    identities: [Identity; 2],
}

/// Device and inode.
type Identity = (u64, u64);

/// Opens or creates the store at `path`, which is this connection's alone from then on.
pub(crate) fn open(path: &Path) -> Result<OpenFile, StoreError> {
    let mut outline = look(path)?;
    if matches!(outline, Outline::New) {
        create(path)?;
        outline = look(path)?;
    }
    let failed = |action: &'static str| move |error: rusqlite::Error| StoreError::sqlite(path, action, &error);
    let mut db = Connection::open(path).map_err(failed("open"))?;
    set_up(&db).map_err(failed("open"))?;
    // A copy that somebody made may have it no more.
    db.pragma_update(None, "journal_mode", "WAL").map_err(failed("open"))?;
    // Under an exclusive lock SQLite keeps the log's index in memory: no third file, and a second opener is refused.
    // The transaction takes the lock now rather than at the first append.
    db.execute_batch("BEGIN IMMEDIATE; COMMIT").map_err(failed("open"))?;
    raise_layout(&db, path).map_err(failed("open"))?;
    if let Outline::Store { bytes, suspicious } = outline
        && (suspicious || bytes <= CHECK_BYTES)
    {
        check(&db, path)?;
    }
    let io_failed = |error: std::io::Error| StoreError::io(path, "open", &error);
    let log = Log::of(&mut db, path)?;
    let used: u64 = db.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(failed("open"))?;
    let room = Room::of(path, log.file(), used * PAGE_BYTES).map_err(io_failed)?;
    let identities = identities(path).map_err(io_failed)?;
    Ok(OpenFile { db, log, room, identities })
}

impl OpenFile {
    /// Whether this file is the one that is found at `path`: another can still be written to, and nobody will find it.
    pub(crate) fn check_that_it_is_found(&self, path: &Path) -> Result<(), StoreError> {
        match identities(path) {
            Ok(found) if found == self.identities => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io(path, "find", &error)),
            _ => Err(StoreError::Gone { path: path.to_path_buf() }),
        }
    }
}

fn identities(path: &Path) -> std::io::Result<[Identity; 2]> {
    let identity = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    Ok([identity(path)?, identity(&wal_path(path))?])
}

enum Outline {
    /// Nothing there, or nothing in it.
    New,
    /// A store. Suspicious when shorter than its header says, which a crash while the log was carried over can explain.
    Store { bytes: u64, suspicious: bool },
}

/// What the file is, by its own bytes: SQLite would take over and change what belongs to others.
fn look(path: &Path) -> Result<Outline, StoreError> {
    let failed = |error: std::io::Error| StoreError::io(path, "read", &error);
    let foreign = |what: &str| Err(StoreError::Foreign { path: path.to_path_buf(), what: what.to_owned() });
    let size = |end| std::fs::metadata(beside(path, end)).map_or(0, |metadata| metadata.len());
    let bytes = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return foreign("a folder"),
        // Opening a pipe would wait for somebody to write to it.
        Ok(metadata) if !metadata.is_file() => return foreign("no ordinary file"),
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(error)),
    };
    if bytes == 0 {
        // SQLite would delete the log, which holds the latest frames of a file that was moved away without it.
        return if size("-wal") == 0 {
            Ok(Outline::New)
        } else {
            Err(torn(path, "it is gone, and its log is still there"))
        };
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(failed)?;
    // A sector that a card lost reads as zeros, or ones.
    if header.len() == HEADER_BYTES && header.iter().all(|byte| Some(byte) == header.first()) {
        return Err(torn(path, "its beginning is lost"));
    }
    if !header.starts_with(MAGIC) {
        return foreign("no SQLite file");
    }
    // SQLite file format, section 1.3: big-endian numbers at fixed places.
    let number =
        |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    if header.len() < HEADER_BYTES {
        return Err(torn(path, "its header is cut short"));
    }
    if number(68) != APPLICATION_ID {
        return foreign("another program's SQLite file");
    }
    let version = i64::from(number(60));
    if version > LAYOUT {
        return Err(StoreError::Newer { path: path.to_path_buf(), version, known: LAYOUT });
    }
    let wanted = u64::from(number(28)) * PAGE_BYTES;
    let suspicious = bytes < wanted;
    if suspicious && size("-wal") == 0 {
        return Err(torn(path, &format!("{bytes} of {wanted} bytes are left")));
    }
    Ok(Outline::Store { bytes, suspicious })
}

fn set_up(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(LOCK_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(64);
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "page_size", PAGE_BYTES)?;
    // The log is synced by `Store::sync`, and by SQLite before it is carried over.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    // `Log` does it: SQLite would not say that it failed.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    // A large transaction's log is cut back to this afterwards.
    db.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    db.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    // Deleted frames are no secret, and overwriting them with zeros would wear the card.
    db.pragma_update(None, "secure_delete", "OFF")?;
    db.pragma_update(None, "cell_size_check", "ON")?;
    db.pragma_update(None, "trusted_schema", "OFF")
}

/// Everything that makes a file a store, under another name that is then changed: after a crash there is a store, or none.
fn create(path: &Path) -> Result<(), StoreError> {
    let new = beside(path, "-new");
    let failed = |error: rusqlite::Error| StoreError::sqlite(path, "create", &error);
    let io_failed = |error: std::io::Error| StoreError::io(path, "create", &error);
    for end in ["-new", "-new-journal", "-new-wal"] {
        match std::fs::remove_file(beside(path, end)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_failed(error)),
            _ => {}
        }
    }
    let mut db = Connection::open(&new).map_err(failed)?;
    set_up(&db).and_then(|()| fill(&mut db)).map_err(failed)?;
    db.close().map_err(|(_, error)| failed(error))?;
    File::open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&new, path))
        .and_then(|()| sync_folder(path))
        .map_err(io_failed)
}

fn fill(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", LAYOUT)?;
    transaction.execute_batch(TABLES)?;
    transaction.commit()?;
    // The file remembers it.
    db.pragma_update(None, "journal_mode", "WAL")
}

/// Makes a file's new name survive a power cut. SQLite does it for its log.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StoreError::sqlite(path, "check", &error))?;
    if found == "ok" { Ok(()) } else { Err(torn(path, found.trim().lines().last().unwrap_or("unknown"))) }
}

/// Says in a store of an older layout that there is something newer in it: an older program must not take rows for damaged that it does not know.
/// Where the disk is full that waits for another time, since such a store can still be read.
fn raise_layout(db: &Connection, path: &Path) -> rusqlite::Result<()> {
    let layout: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if layout < LAYOUT
        && let Err(error) = db.pragma_update(None, "user_version", LAYOUT)
    {
        tracing::warn!(%error, store = %path.display(), "the layout cannot be raised to {LAYOUT} yet");
    }
    Ok(())
}

fn torn(path: &Path, problem: &str) -> StoreError {
    StoreError::Torn { path: path.to_path_buf(), problem: problem.to_owned() }
}
