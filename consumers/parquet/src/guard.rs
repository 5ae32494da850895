//! Whether the archive is still the one that was opened. Knows its locks and the marks it must hold; must not know rows.
//!
//! A root that was deleted, unmounted or swapped under a running program must not be begun anew: the stream has long
//! acknowledged what the old one held. The same archive come back (remounted, restored) is taken up again.

use std::{collections::BTreeMap, path::PathBuf};

use sqep::Mark;
use sqep_archive::{Home, mark};

use crate::{
    ArchiveError,
    clean::{WRITE, leftovers},
    home::{found, found_state, has_marks},
    lock::Lock,
    mark::store,
};

const DOING: &str = "writes this archive";

/// The right to write one kind of an archive, partition by partition of the stream.
#[derive(Debug)]
pub(crate) struct Guard {
    home: Home,
    held: BTreeMap<u16, Held>,
}

/// The right to write one partition of the stream, and how far the archive holds it.
#[derive(Debug)]
struct Held {
    lock: Lock,
    mark: Option<Mark>,
}

impl Guard {
    /// Opens the archive, and makes it at the first start.
    pub(crate) fn open(home: Home) -> Result<Guard, ArchiveError> {
        found_state(&home)?;
        if !home.data().is_dir() && has_marks(&home)? {
            return Err(ArchiveError::Vanished {
                root: home.root().to_owned(),
                path: home.data().to_owned(),
            });
        }
        found(&home)?;
        Ok(Guard { home, held: BTreeMap::new() })
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The mark kept last.
    pub(crate) fn mark(&mut self, partition: u16) -> Result<Option<Mark>, ArchiveError> {
        self.check(partition)?;
        Ok(mark(&self.home, partition)?)
    }

    /// Keeps a mark.
    pub(crate) fn save(&mut self, partition: u16, mark: &Mark) -> Result<(), ArchiveError> {
        self.check(partition)?;
        store(&self.home, partition, mark)?;
        self.held.entry(partition).and_modify(|held| held.mark = Some(mark.clone()));
        Ok(())
    }

    /// Gives the right to write a partition back. What the archive held then is not remembered.
    pub(crate) fn release(&mut self, partition: u16) {
        self.held.remove(&partition);
    }

    /// Passes while the archive is the one that was opened and this process alone writes the partition.
    pub(crate) fn check(&mut self, partition: u16) -> Result<(), ArchiveError> {
        let path = self.home.writer_lock(partition);
        let Some(held) = self.held.get(&partition) else { return self.take(partition) };
        for path in [self.home.data(), &path] {
            if !path.exists() {
                return Err(self.vanished(path.to_owned()));
            }
        }
        if held.lock.is_in_place() { Ok(()) } else { self.take_again(partition) }
    }

    /// Begins: takes the lock, and clears away what a killed process left.
    fn take(&mut self, partition: u16) -> Result<(), ArchiveError> {
        let lock = Lock::take(&self.home.writer_lock(partition), DOING)?;
        let removed = leftovers(self.home.state(), &format!("{WRITE}{partition}-"))?;
        if removed > 0 {
            tracing::info!(removed, folder = ?self.home.state(), "cleared away drafts of a killed process");
        }
        let found = mark(&self.home, partition)?;
        self.held.insert(partition, Held { lock, mark: found });
        Ok(())
    }

    /// The lock's file is not the one we hold: the same archive come back, or another.
    fn take_again(&mut self, partition: u16) -> Result<(), ArchiveError> {
        let lock = Lock::take_existing(&self.home.writer_lock(partition), DOING)?;
        let found = mark(&self.home, partition)?;
        let Some(held) = self.held.get_mut(&partition) else { return Ok(()) };
        let why = match &held.mark {
            _ if lock.name() != held.lock.name() => "it is another archive".to_owned(),
            Some(ours) if found.as_ref() != Some(ours) => {
                format!("its mark of partition {partition} is not {}", ours.id)
            }
            _ => {
                tracing::info!(root = ?self.home.root(), "the archive is back");
                held.lock = lock;
                return Ok(());
            }
        };
        Err(ArchiveError::Replaced { root: self.home.root().to_owned(), why })
    }

    fn vanished(&self, path: PathBuf) -> ArchiveError {
        ArchiveError::Vanished { root: self.home.root().to_owned(), path }
    }
}
