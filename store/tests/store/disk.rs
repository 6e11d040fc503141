//! A disk in memory that remembers what was written to it in which order, and fails when it is told to: a file system of its
//! own (FUSE), so that the kernel hands its errors to the store and to SQLite as it would those of a card.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use tempfile::TempDir;

/// The kernel must ask each time: the disk may change under it.
const NOT_KEPT: Duration = Duration::ZERO;
const BLOCK: u64 = 512;

/// What changes what is on a disk, or says that it must be there.
#[derive(Clone, Debug)]
pub enum Change {
    Create {
        name: OsString,
        file: u64,
    },
    Remove {
        name: OsString,
    },
    Rename {
        from: OsString,
        to: OsString,
    },
    Write {
        file: u64,
        at: usize,
        bytes: Vec<u8>,
    },
    Resize {
        file: u64,
        bytes: usize,
    },
    Sync {
        file: u64,
    },
    /// The kernel takes what it could not write for written.
    SyncFailed {
        file: u64,
    },
    SyncFolder,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// After so many more changes, so many fail.
    Changes { after: u64, failing: u64, errno: Errno },
    /// After so many more syncs of files, one fails.
    Syncs { after: u64, errno: Errno },
    /// A file of this name cannot be written.
    Write { name: &'static str, errno: Errno },
    /// Nothing can be done with it any more.
    Everything(Errno),
}

/// The disk, mounted as long as this lives.
pub struct Disk {
    folder: TempDir,
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

#[derive(Clone, Default)]
struct State {
    names: BTreeMap<OsString, u64>,
    /// Those without a name too: somebody may have them open.
    files: BTreeMap<u64, Vec<u8>>,
    /// Bytes that each has on the disk, behind its end too.
    given: BTreeMap<u64, u64>,
    capacity: Option<u64>,
    changes: Vec<Change>,
    fault: Option<Fault>,
    failures: u64,
}

impl Disk {
    pub fn new() -> Self {
        Self::of(State::default())
    }

    fn of(state: State) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(Mutex::new(state));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("magpie-test".to_owned())];
        let session = fuser::spawn_mount(Mounted(state.clone()), folder.path(), &config)
            .unwrap_or_else(|error| {
                panic!("this test mounts a file system of its own ({error}), for which it must be root and have /dev/fuse: sudo -E make test")
            });
        Self { folder, state, session: Some(session) }
    }

    /// What the next process finds after this one was killed: all that was written, whether it is on the disk yet or not.
    pub fn after_a_kill(&self) -> Self {
        Self::of(self.state().clone())
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn changes(&self) -> Vec<Change> {
        self.state().changes.clone()
    }

    pub fn changes_so_far(&self) -> usize {
        self.state().changes.len()
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Requests that failed as the fault says.
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// From now on no file can grow.
    pub fn fill_up(&self) {
        let mut state = self.state();
        state.capacity = Some(state.used());
    }

    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Takes all files away, as if the disk was pulled out and its folder left; returns them.
    pub fn pull_out(&self) -> BTreeMap<OsString, u64> {
        std::mem::take(&mut self.state().names)
    }

    /// Puts files back; they are not those that somebody still has open.
    pub fn put_back(&self, names: &BTreeMap<OsString, u64>) {
        let mut state = self.state();
        for (name, file) in names {
            let new = state.next_file();
            let (bytes, given) = (state.files[file].clone(), state.given[file]);
            state.files.insert(new, bytes);
            state.given.insert(new, given);
            state.names.insert(name.clone(), new);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that was killed, as far as the test goes, still has its files open.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
        drop(self.session.take());
    }
}

impl State {
    fn next_file(&self) -> u64 {
        // 1 is the folder.
        self.files.keys().max().map_or(2, |last| last + 1)
    }

    fn used(&self) -> u64 {
        let linked = self.names.values().map(|file| self.given[file]);
        linked.sum()
    }

    fn fails(&mut self) -> Result<(), Errno> {
        if let Some(Fault::Everything(errno)) = self.fault {
            self.failures += 1;
            return Err(errno);
        }
        Ok(())
    }

    /// Before each change.
    fn change_fails(&mut self) -> Result<(), Errno> {
        self.fails()?;
        if let Some(Fault::Changes { after, failing, errno }) = &mut self.fault {
            if *after > 0 {
                *after -= 1;
            } else if *failing > 0 {
                *failing -= 1;
                let errno = *errno;
                self.failures += 1;
                return Err(errno);
            }
        }
        Ok(())
    }

    fn find(&self, name: &OsStr) -> Result<u64, Errno> {
        self.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Room for a file of so many bytes, all or none.
    fn give(&mut self, file: u64, end: u64) -> Result<(), Errno> {
        let (used, end) = (self.used(), end.next_multiple_of(BLOCK));
        let given = self.given.entry(file).or_default();
        if end > *given {
            if self.capacity.is_some_and(|capacity| used + (end - *given) > capacity) {
                return Err(Errno::ENOSPC);
            }
            *given = end;
        }
        Ok(())
    }

    fn create(&mut self, name: &OsStr) -> Result<u64, Errno> {
        self.change_fails()?;
        let file = self.next_file();
        self.names.insert(name.to_owned(), file);
        self.files.insert(file, Vec::new());
        self.given.insert(file, 0);
        self.changes.push(Change::Create { name: name.to_owned(), file });
        Ok(file)
    }

    fn write(&mut self, file: u64, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        self.change_fails()?;
        if let Some(Fault::Write { name, errno }) = self.fault
            && self.names.get(OsStr::new(name)) == Some(&file)
        {
            self.failures += 1;
            return Err(errno);
        }
        self.give(file, (at + bytes.len()) as u64)?;
        let contents = self.files.get_mut(&file).ok_or(Errno::ENOENT)?;
        put(contents, at, bytes);
        self.changes.push(Change::Write { file, at, bytes: bytes.to_vec() });
        Ok(())
    }

    fn resize(&mut self, file: u64, bytes: usize) -> Result<(), Errno> {
        self.change_fails()?;
        self.files.get_mut(&file).ok_or(Errno::ENOENT)?.resize(bytes, 0);
        self.given.insert(file, (bytes as u64).next_multiple_of(BLOCK));
        self.changes.push(Change::Resize { file, bytes });
        Ok(())
    }

    fn sync(&mut self, file: u64) -> Result<(), Errno> {
        let mut synced = self.change_fails();
        match &mut self.fault {
            Some(Fault::Syncs { after: 0, errno }) => {
                synced = Err(*errno);
                self.failures += 1;
                self.fault = None;
            }
            Some(Fault::Syncs { after, .. }) => *after -= 1,
            _ => {}
        }
        self.changes.push(if synced.is_ok() { Change::Sync { file } } else { Change::SyncFailed { file } });
        synced
    }

    fn sync_folder(&mut self) -> Result<(), Errno> {
        self.change_fails()?;
        self.changes.push(Change::SyncFolder);
        Ok(())
    }

    fn remove(&mut self, name: &OsStr) -> Result<(), Errno> {
        self.find(name)?;
        self.change_fails()?;
        self.names.remove(name);
        self.changes.push(Change::Remove { name: name.to_owned() });
        Ok(())
    }

    fn rename(&mut self, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
        let file = self.find(from)?;
        self.change_fails()?;
        self.names.remove(from);
        self.names.insert(to.to_owned(), file);
        self.changes.push(Change::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn attributes(&self, file: u64) -> Result<FileAttr, Errno> {
        let folder = file == INodeNo::ROOT.0;
        let size = if folder { 0 } else { self.files.get(&file).ok_or(Errno::ENOENT)?.len() as u64 };
        Ok(FileAttr {
            ino: INodeNo(file),
            size,
            blocks: self.given.get(&file).map_or(0, |given| given / BLOCK),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if folder { FileType::Directory } else { FileType::RegularFile },
            perm: if folder { 0o755 } else { 0o644 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// Writes into a file's bytes, which grow where they must.
pub fn put(contents: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[at..end].copy_from_slice(bytes);
}

/// A store's path on a disk.
pub fn store_on(disk: &Disk) -> PathBuf {
    disk.path().join("frames.db")
}

// === What the kernel asks ===

struct Mounted(Arc<Mutex<State>>);

impl Mounted {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn answer(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        match state.fails().and_then(|()| state.find(name)).and_then(|file| state.attributes(file)) {
            Ok(attributes) => reply.entry(&NOT_KEPT, &attributes, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _: &Request, file: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let mut state = self.state();
        match state.fails().and_then(|()| state.attributes(file.0)) {
            Ok(attributes) => reply.attr(&NOT_KEPT, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        file: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        let resized = size.map_or(Ok(()), |size| state.resize(file.0, size as usize));
        match resized.and_then(|()| state.attributes(file.0)) {
            Ok(attributes) => reply.attr(&NOT_KEPT, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(&self, _: &Request, _: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = self.state();
        match state.create(name).and_then(|file| state.attributes(file)) {
            Ok(attributes) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&NOT_KEPT, &attributes, Generation(0), FileHandle(0), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.state().fails() {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        file: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        match state.fails().and_then(|()| state.files.get(&file.0).ok_or(Errno::ENOENT)) {
            Ok(contents) => {
                let from = contents.len().min(at as usize);
                reply.data(&contents[from..contents.len().min(from + size as usize)]);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        file: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.state().write(file.0, at as usize, bytes) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fallocate(&self, _: &Request, file: INodeNo, _: FileHandle, at: u64, bytes: u64, _: i32, reply: ReplyEmpty) {
        let mut state = self.state();
        // The only way in which the store asks: the file's length stays.
        let mut given = state.fails();
        // What is given behind a hole does not fill the hole.
        if given.is_ok() && at.next_multiple_of(BLOCK) <= state.given[&file.0] {
            given = state.give(file.0, at + bytes);
        }
        answer(reply, given);
    }

    fn fsync(&self, _: &Request, file: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(reply, self.state().sync(file.0));
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(reply, self.state().sync_folder());
    }

    /// The kernel asks once, and not again: a test process that is killed would wait for itself to answer.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.state().remove(name));
    }

    fn rename(&self, _: &Request, _: INodeNo, from: &OsStr, _: INodeNo, to: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        answer(reply, self.state().rename(from, to));
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, from: u64, mut reply: ReplyDirectory) {
        for (index, (name, file)) in self.state().names.iter().enumerate().skip(from as usize) {
            if reply.add(INodeNo(*file), index as u64 + 1, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }
}
