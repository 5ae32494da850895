//! Who is at work on an archive: one writer a kind, one compaction a root. Knows advisory locks on files, which the
//! system drops with the process; must not know what they protect.

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{ArchiveError, error::io_at};

/// A lock that is held until dropped. Its file says who holds it and carries a random name of its own, by which an
/// archive is recognised when it comes back.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    name: String,
}

impl Lock {
    /// Takes the lock, making its file if need be.
    pub(crate) fn take(path: &Path, doing: &'static str) -> Result<Lock, ArchiveError> {
        Lock::of(OpenOptions::new().create(true), path, doing)
    }

    /// Takes the lock whose file must be there.
    pub(crate) fn take_existing(path: &Path, doing: &'static str) -> Result<Lock, ArchiveError> {
        Lock::of(&mut OpenOptions::new(), path, doing)
    }

    fn of(options: &mut OpenOptions, path: &Path, doing: &'static str) -> Result<Lock, ArchiveError> {
        let mut file =
            options.read(true).write(true).truncate(false).open(path).map_err(io_at("open lock", path))?;
        let text = read(&mut file, path)?;
        let mut words = text.split_whitespace();
        let holder = words.next().unwrap_or("unknown").to_owned();
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(ArchiveError::Locked { path: path.to_owned(), holder, doing });
            }
            Err(error) => return Err(io_at("lock", path)(error.into())),
        }
        let name = words.next().map_or_else(random, str::to_owned);
        let mut lock = Lock { file, path: path.to_owned(), name };
        lock.sign().map_err(io_at("write lock", path))?;
        Ok(lock)
    }

    fn sign(&mut self) -> std::io::Result<()> {
        let text = format!("{} {}\n", process::id(), self.name);
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))?;
        self.file.sync_all()
    }

    /// The random name, given when the file was made.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the file at the path is still the one that is locked.
    pub(crate) fn is_in_place(&self) -> bool {
        let (Ok(held), Ok(found)) = (self.file.metadata(), fs::metadata(&self.path)) else { return false };
        (held.dev(), held.ino()) == (found.dev(), found.ino())
    }
}

fn read(file: &mut File, path: &Path) -> Result<String, ArchiveError> {
    let mut text = String::new();
    file.take(1024).read_to_string(&mut text).map_err(io_at("read lock", path))?;
    Ok(text)
}

fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_the_process_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path, "writes").unwrap();
        let told = Lock::take(&path, "writes").unwrap_err().to_string();
        assert!(told.contains(&format!("process {}", process::id())), "{told}");
        let name = first.name().to_owned();
        drop(first);
        assert_eq!(Lock::take(&path, "writes").unwrap().name(), name);
    }

    #[test]
    fn a_lock_knows_when_its_file_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::take(&path, "writes").unwrap();
        assert!(lock.is_in_place());
        fs::remove_file(&path).unwrap();
        assert!(!lock.is_in_place());
        let other = Lock::take(&path, "writes").unwrap();
        assert!(!lock.is_in_place());
        assert_ne!(lock.name(), other.name());
    }
}
