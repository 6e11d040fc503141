//! A store that let go of its file: until that is back, or a new one is in its place.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::StoreError;
use crate::file::{self, beside};
use crate::store::{Options, Store};
use crate::tail::Tail;

/// What ends the name of a store that was set aside.
const ASIDE: &str = ".damaged";
/// What SQLite adds to the name of a file for those that belong to it.
const PARTS: [&str; 2] = ["-wal", "-journal"];

impl Store {
    /// Moves a damaged store out of the way, to its name with `.damaged` at the end, and says where it is now. The next
    /// [`open`](Self::open) begins a new one. One is kept: of two the larger, since a card that fails makes many small ones.
    ///
    /// Nobody may have it open. Cut off in between, it is done again.
    pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
        let aside = beside(path, ASIDE);
        move_aside(path, &aside)
            .and_then(|()| file::sync_folder(path))
            .map_err(|error| StoreError::io(path, "set aside", &error))?;
        Ok(aside)
    }

    /// Deletes a store of which nothing is to be kept. Nobody may have it open.
    pub fn delete(path: &Path) -> Result<(), StoreError> {
        delete_with_parts(path).map_err(|error| StoreError::io(path, "delete", &error))
    }

    /// Lets go of the file. What is in the tail stays there. SQLite leaves the log of a file alone that has another in its place.
    pub(crate) fn let_go(self) -> Box<Closed> {
        let Self { path, options, max_age, tail, damaged, .. } = self;
        Box::new(Closed { path, begins: false, options, max_age, tail, damaged: damaged.get() })
    }
}

fn move_aside(path: &Path, aside: &Path) -> std::io::Result<()> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    // A log without its file is what is left when this was cut off half-way, or when somebody moved the file.
    if path.exists() {
        if length(aside) > length(path) {
            tracing::warn!(store = %path.display(), kept = %aside.display(), "a damaged store is deleted: a larger one is kept already");
            return delete_with_parts(path);
        }
        // Those of the one that goes belong to nothing that is kept.
        delete_parts(aside)?;
        fs::rename(path, aside)?;
    }
    for part in PARTS {
        match fs::rename(beside(path, part), beside(aside, part)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn delete_with_parts(path: &Path) -> std::io::Result<()> {
    delete_parts(path)?;
    delete(path)
}

fn delete_parts(path: &Path) -> std::io::Result<()> {
    PARTS.iter().try_for_each(|part| delete(&beside(path, part)))
}

fn delete(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a store is without its file.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) path: PathBuf,
    /// A new store may be begun: the old one was set aside, and is not gone.
    pub(crate) begins: bool,
    options: Options,
    max_age: Option<Duration>,
    tail: Option<Tail>,
    damaged: u64,
}

impl Closed {
    /// Opens the store again if its file is there, and puts back what is in the tail.
    pub(crate) fn open(self: Box<Self>) -> Result<Store, (Box<Self>, StoreError)> {
        // A new one would hide that the old one is gone: where the disk is gone, its folder often is not.
        if !self.begins && fs::metadata(&self.path).is_err() {
            let path = self.path.clone();
            return Err((self, StoreError::Gone { path }));
        }
        match Store::open(&self.path, self.options) {
            Ok(mut store) => {
                store.max_age = self.max_age;
                store.damaged.set(self.damaged);
                if let Some(tail) = self.tail {
                    store.take_tail(tail);
                }
                Ok(store)
            }
            Err(error) => Err((self, error)),
        }
    }
}
