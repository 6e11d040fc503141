//! The power fails between any two writes, and the disk has some of what was not synced: the store opens, has all that was synced,
//! and nothing that it was never given.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use reading::Frame;
use store::{Options, Store};

use crate::Node;
use crate::disk::{Change, Disk, Fault, put, store_on};
use crate::tail::in_memory;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Of so many disks all frames are read in one; of the others those that came last, since checking a signature takes longer than all else.
const READ_WHOLE: usize = 50;

/// What the stores of all these tests are given.
static FRAMES: LazyLock<Vec<Frame>> = LazyLock::new(|| Node::new(1, 1).frames(1200));

/// What a store said while its disk was watched.
struct Said {
    options: Options,
    frames: usize,
    refused: usize,
    /// After how many changes of the disk so many frames had been handed over at most, and so many were synced.
    by: Vec<(usize, u64, u64)>,
}

impl Said {
    fn new(max_bytes: u64) -> Self {
        let options = Options { max_bytes, sync_interval: Duration::from_secs(60) };
        Self { options, frames: 0, refused: 0, by: vec![(0, 0, 0)] }
    }

    fn append(&mut self, disk: &Disk, store: &mut Store, count: usize) {
        let frames = &FRAMES[self.frames..self.frames + count];
        self.frames += count;
        let (_, _, synced) = self.by[self.by.len() - 1];
        self.by.push((disk.changes_so_far(), self.frames as u64, synced));
        let appended = store.append(frames).or_else(|_| {
            // That of the head of a log that is begun anew is the one sync that may fail here. What is refused is tried again.
            self.refused += 1;
            store.append(frames)
        });
        assert_eq!(appended.unwrap(), count);
    }

    fn sync(&mut self, disk: &Disk, store: &mut Store) {
        store.sync().unwrap();
        self.all_is_synced(disk);
    }

    fn all_is_synced(&mut self, disk: &Disk) {
        let handed = self.frames as u64;
        self.by.push((disk.changes_so_far(), handed, handed));
    }

    /// What may, and what must be there after so many changes.
    fn after(&self, changes: usize) -> (u64, u64) {
        let said = self.by.iter().take_while(|(by, ..)| *by <= changes).last().unwrap();
        (said.1, said.2)
    }

    /// What the store has that opens on these files.
    fn check(&self, files: &BTreeMap<OsString, Vec<u8>>, changes: usize, memory: &Path, whole: bool) {
        for file in fs::read_dir(memory).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        for (name, bytes) in files {
            fs::write(memory.join(name), bytes).unwrap();
        }
        // Opening looks through all pages of so small a file.
        let store = Store::open(&memory.join("frames.db"), self.options).unwrap();
        let (key, epoch) = (FRAMES[0].node(), FRAMES[0].epoch());
        let last = store.last_seq(key, epoch).unwrap();
        let (handed, synced) = self.after(changes);
        assert!((synced..=handed).contains(&last), "{synced} were synced, has {last}");
        let Some(&range) = store.epochs(key).unwrap().first() else { return };
        // The announcement stays.
        let expected = |frame: &&Frame| frame.seq() == 1 || (frame.seq() > range.gone_to && frame.seq() <= last);
        assert_eq!(range.frames, FRAMES.iter().filter(expected).count() as u64, "a hole");
        let from = if whole { 1 } else { synced.saturating_sub(2).max(1) };
        let batch = store.range(key, epoch, from..=u64::MAX, usize::MAX).unwrap();
        assert!(batch.damaged.is_empty(), "{:?}", batch.damaged);
        assert!(batch.frames.iter().eq(FRAMES.iter().filter(expected).filter(|frame| frame.seq() >= from)));
    }
}

/// What a disk has, as far as it is certain, and what may have come to it since.
#[derive(Default)]
struct Platter {
    names: BTreeMap<OsString, u64>,
    files: BTreeMap<u64, Vec<u8>>,
    pending: Vec<Change>,
}

/// What becomes of a change that nobody synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Dropped,
    Kept,
    /// By chance, each sector for itself.
    Any,
}

impl Platter {
    fn take(&mut self, change: &Change, chance: &mut Chance) {
        let (settles, fate): (fn(&Change, u64) -> bool, _) = match change {
            Change::Sync { .. } => (is_of_file, Fate::Kept),
            Change::SyncFailed { .. } => (is_of_file, Fate::Any),
            Change::SyncFolder => (|change, _| is_of_folder(change), Fate::Kept),
            change => return self.pending.push(change.clone()),
        };
        let file = match change {
            Change::Sync { file } | Change::SyncFailed { file } => *file,
            _ => 0,
        };
        let (settled, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|change| settles(change, file));
        self.pending = pending;
        for change in settled {
            apply(&change, &mut self.names, &mut self.files, fate, chance);
        }
    }

    /// What is found after a power cut now.
    fn found(&self, fate: Fate, chance: &mut Chance) -> BTreeMap<OsString, Vec<u8>> {
        let (mut names, mut files) = (self.names.clone(), self.files.clone());
        for change in &self.pending {
            apply(change, &mut names, &mut files, fate, chance);
        }
        names.into_iter().map(|(name, file)| (name, files.remove(&file).unwrap_or_default())).collect()
    }
}

fn is_of_file(change: &Change, of: u64) -> bool {
    matches!(change, Change::Write { file, .. } | Change::Resize { file, .. } if *file == of)
}

fn is_of_folder(change: &Change) -> bool {
    matches!(change, Change::Create { .. } | Change::Remove { .. } | Change::Rename { .. })
}

fn apply(
    change: &Change,
    names: &mut BTreeMap<OsString, u64>,
    files: &mut BTreeMap<u64, Vec<u8>>,
    fate: Fate,
    chance: &mut Chance,
) {
    if let Change::Write { file, at, bytes } = change {
        let contents = files.entry(*file).or_default();
        let mut from = 0;
        while from < bytes.len() {
            let to = (((at + from) / SECTOR + 1) * SECTOR - at).min(bytes.len());
            if chance.keeps(fate) {
                put(contents, at + from, &bytes[from..to]);
            }
            from = to;
        }
        return;
    }
    if !chance.keeps(fate) {
        return;
    }
    match change {
        Change::Create { name, file } => {
            names.insert(name.clone(), *file);
        }
        Change::Remove { name } => {
            names.remove(name);
        }
        Change::Rename { from, to } => {
            // A name that never reached the disk cannot be changed there.
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Change::Resize { file, bytes } => files.entry(*file).or_default().resize(*bytes, 0),
        _ => {}
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn keeps(&mut self, fate: Fate) -> bool {
        match fate {
            Fate::Kept => true,
            Fate::Dropped => false,
            Fate::Any => {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (mixed ^ (mixed >> 27)) & 0x100 != 0
            }
        }
    }
}

/// Every one after every change, or one after each in turn.
#[derive(Clone, Copy, PartialEq)]
enum Fates {
    All,
    InTurn,
}

const FATES: [Fate; 4] = [Fate::Dropped, Fate::Kept, Fate::Any, Fate::Any];

/// Cuts the power after so many changes each, and looks at what the disk may have then. Returns how many disks were looked at.
fn cut_the_power(
    said: &Said,
    changes: &[Change],
    after: impl IntoIterator<Item = usize>,
    fates: Fates,
    seed: u64,
) -> usize {
    let any_fails = changes.iter().any(|change| matches!(change, Change::SyncFailed { .. }));
    assert!(any_fails || said.refused == 0, "a sound disk refuses nothing");
    let mut after = after.into_iter().peekable();
    let (memory, mut chance, mut platter) = (in_memory(), Chance(seed), Platter::default());
    let (mut seen, mut looked_at, mut turn) = (HashSet::new(), 0, 0);
    for number in 0..=changes.len() {
        if number > 0 {
            platter.take(&changes[number - 1], &mut chance);
        }
        if after.next_if_eq(&number).is_none() {
            continue;
        }
        turn += 1;
        for fate in FATES.into_iter().cycle().skip(turn).take(if fates == Fates::All { FATES.len() } else { 1 }) {
            let found = platter.found(fate, &mut chance);
            let mut hasher = DefaultHasher::new();
            (&found, said.after(number)).hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                let whole = looked_at % READ_WHOLE == 0;
                let checked = catch_unwind(|| said.check(&found, number, memory.path(), whole));
                if let Err(failed) = checked {
                    let why = failed.downcast_ref::<String>().map_or("see above", String::as_str);
                    let of = changes.len();
                    panic!("seed {seed}, power cut after change {number} of {of}, the rest {fate:?}: {why}");
                }
                looked_at += 1;
            }
        }
    }
    looked_at
}

#[test]
fn no_power_cut_takes_more_than_what_was_not_synced() {
    let (disk, mut said) = (Disk::new(), Said::new(u64::MAX));
    let mut store = Store::open(&store_on(&disk), said.options).unwrap();
    // Long enough for the log to be carried over, and begun anew.
    for number in 1..=170 {
        said.append(&disk, &mut store, if number % 10 == 0 { 7 } else { 1 });
        if number % 4 == 0 {
            said.sync(&disk, &mut store);
        }
    }
    store.close().unwrap();
    said.all_is_synced(&disk);
    let mut store = Store::open(&store_on(&disk), said.options).unwrap();
    for _ in 0..4 {
        said.append(&disk, &mut store, 2);
    }
    said.sync(&disk, &mut store);
    said.append(&disk, &mut store, 2);
    let changes = disk.changes();
    let looked_at = cut_the_power(&said, &changes, 0.., Fates::All, 1);
    println!("{} changes of the disk, {looked_at} disks after a power cut", changes.len());
    assert!(looked_at > 1500, "{looked_at}");
}

#[test]
fn with_a_tail_neither() {
    let (disk, memory, mut said) = (Disk::new(), in_memory(), Said::new(u64::MAX));
    let mut store = Store::open(&store_on(&disk), said.options).unwrap();
    store.keep_tail(memory.path()).unwrap();
    for _ in 0..90 {
        for _ in 0..12 {
            said.append(&disk, &mut store, 1);
        }
        said.sync(&disk, &mut store);
    }
    let changes = disk.changes();
    let looked_at = cut_the_power(&said, &changes, changes.len() / 2.., Fates::InTurn, 2);
    println!("{} changes of the disk, {looked_at} disks after a power cut", changes.len());
    assert!(looked_at > 500, "{looked_at}");
}

#[test]
fn while_retention_makes_room_neither() {
    let (disk, mut said) = (Disk::new(), Said::new(64 * 1024));
    let mut store = Store::open(&store_on(&disk), said.options).unwrap();
    while store.frames() == said.frames as u64 {
        said.append(&disk, &mut store, 25);
    }
    said.sync(&disk, &mut store);
    let from = disk.changes_so_far();
    for number in 0..80 {
        said.append(&disk, &mut store, 3);
        if number % 3 == 0 {
            said.sync(&disk, &mut store);
        }
    }
    let changes = disk.changes();
    let looked_at = cut_the_power(&said, &changes, from.., Fates::InTurn, 3);
    println!("{} changes of the disk, {looked_at} disks after a power cut", changes.len() - from);
    assert!(looked_at > 500, "{looked_at}");
}

#[test]
fn what_a_killed_process_left_is_safe_once_the_next_has_opened_it() {
    let (killed, mut said) = (Disk::new(), Said::new(u64::MAX));
    let mut store = Store::open(&store_on(&killed), said.options).unwrap();
    said.append(&killed, &mut store, 5);
    said.sync(&killed, &mut store);
    said.append(&killed, &mut store, 5);
    // Nothing else happens in a process that is killed.
    let disk = killed.after_a_kill();
    std::mem::forget(store);
    let mut store = Store::open(&store_on(&disk), said.options).unwrap();
    said.all_is_synced(&disk);
    said.append(&disk, &mut store, 2);
    said.sync(&disk, &mut store);
    cut_the_power(&said, &disk.changes(), 0.., Fates::All, 4);
}

#[test]
fn a_sync_that_failed_is_not_made_good_by_one_that_has_nothing_to_do() {
    // Each of the syncs of this run fails once, wherever it comes from.
    for after in 0.. {
        let (disk, mut said) = (Disk::new(), Said::new(u64::MAX));
        let mut store = Store::open(&store_on(&disk), said.options).unwrap();
        said.append(&disk, &mut store, 3);
        disk.set_fault(Some(Fault::Syncs { after, errno: fuser::Errno::EIO }));
        for number in 1..=90 {
            said.append(&disk, &mut store, 10);
            if number % 15 == 0 && store.sync().is_ok() {
                said.all_is_synced(&disk);
            }
        }
        let failures = disk.failures();
        store.sync().unwrap();
        said.all_is_synced(&disk);
        let changes = disk.changes();
        let is_sync = |change: &Change| matches!(change, Change::Sync { .. } | Change::SyncFailed { .. });
        let failed = changes.iter().position(|change| matches!(change, Change::SyncFailed { .. }));
        let failed = failed.unwrap_or(changes.len());
        // What is lost stays lost, so that a cut here and there finds it; what matters most is what is thought to be safe after a sync.
        let at = (failed..changes.len()).step_by(11).chain([changes.len()]);
        cut_the_power(&said, &changes, at, Fates::InTurn, 100 + after);
        let syncs = (failed..changes.len()).filter(|number| is_sync(&changes[*number]));
        let around: BTreeSet<usize> = syncs.flat_map(|number| [number, number + 1, number + 2]).collect();
        cut_the_power(&said, &changes, around, Fates::All, 100 + after);
        if failures == 0 {
            assert!(after > 6, "{after} syncs");
            break;
        }
    }
}

/// That this test would notice.
#[test]
#[should_panic(expected = "were synced, has")]
fn a_store_that_does_not_sync_is_found_out() {
    let (disk, mut said) = (Disk::new(), Said::new(u64::MAX));
    let mut store = Store::open(&store_on(&disk), said.options).unwrap();
    said.append(&disk, &mut store, 3);
    said.all_is_synced(&disk);
    cut_the_power(&said, &disk.changes(), 0.., Fates::All, 5);
}
