//! Whether the archive is still the one that was opened. Knows its lock and the marks it must hold; must not know rows.
//!
//! A root that was deleted, unmounted or swapped under a running program must not be begun anew: the stream has long
//! acknowledged what the old one held. The same archive come back (remounted, restored) is taken up again.

use std::collections::BTreeMap;

use sqep::Mark;

use crate::{
    ArchiveError,
    clean::{WRITE, leftovers},
    home::Home,
    lock::Lock,
    mark,
};

const DOING: &str = "writes this archive";

/// The right to write one kind of an archive.
#[derive(Debug)]
pub(crate) struct Guard {
    home: Home,
    lock: Lock,
    marks: BTreeMap<u16, Mark>,
}

impl Guard {
    /// Opens the archive, makes it at the first start, and clears away what a killed process left.
    pub(crate) fn open(home: Home) -> Result<Guard, ArchiveError> {
        home.found_state()?;
        let lock = Lock::take(&home.writer_lock(), DOING)?;
        if !home.data().is_dir() && home.has_marks()? {
            return Err(ArchiveError::Vanished { root: home.root().to_owned(), path: home.data().to_owned() });
        }
        home.found()?;
        let removed = leftovers(home.state(), WRITE)?;
        if removed > 0 {
            tracing::info!(removed, folder = ?home.state(), "cleared away drafts of a killed process");
        }
        Ok(Guard { home, lock, marks: BTreeMap::new() })
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The mark kept last.
    pub(crate) fn mark(&mut self, partition: u16) -> Result<Option<Mark>, ArchiveError> {
        let found = mark::load(&self.home, partition)?;
        if let Some(mark) = &found {
            self.marks.insert(partition, mark.clone());
        }
        Ok(found)
    }

    /// Keeps a mark.
    pub(crate) fn save(&mut self, partition: u16, mark: &Mark) -> Result<(), ArchiveError> {
        self.check()?;
        mark::store(&self.home, partition, mark)?;
        self.marks.insert(partition, mark.clone());
        Ok(())
    }

    /// Passes while the archive is the one that was opened.
    pub(crate) fn check(&mut self) -> Result<(), ArchiveError> {
        for path in [self.home.data(), &self.home.writer_lock()] {
            if !path.exists() {
                return Err(self.vanished(path.to_owned()));
            }
        }
        if self.lock.is_in_place() { Ok(()) } else { self.take_up_again() }
    }

    fn take_up_again(&mut self) -> Result<(), ArchiveError> {
        let lock = Lock::take_existing(&self.home.writer_lock(), DOING)?;
        if lock.name() != self.lock.name() {
            return Err(self.replaced("it is another archive".into()));
        }
        for (&partition, ours) in &self.marks {
            if mark::load(&self.home, partition)?.as_ref() != Some(ours) {
                return Err(self.replaced(format!("its mark of partition {partition} is not {}", ours.id)));
            }
        }
        tracing::info!(root = ?self.home.root(), "the archive is back");
        self.lock = lock;
        Ok(())
    }

    fn vanished(&self, path: std::path::PathBuf) -> ArchiveError {
        ArchiveError::Vanished { root: self.home.root().to_owned(), path }
    }

    fn replaced(&self, why: String) -> ArchiveError {
        ArchiveError::Replaced { root: self.home.root().to_owned(), why }
    }
}
