//! Drafts: files that are not there yet. Knows that a draft disappears unless it is renamed into place, and how to
//! clear away what a killed process left; must not know what is in them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{ArchiveError, error::io_at};

/// What the names of a sink's drafts begin with.
pub(crate) const WRITE: &str = "write-";
/// What the names of a compaction's drafts begin with.
pub(crate) const COMPACT: &str = "compact-";
const SUFFIX: &str = ".tmp";

/// A file on its way. Removed when dropped before it was renamed into place.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    placed: bool,
}

impl Draft {
    pub(crate) fn new(path: PathBuf) -> Draft {
        Draft { path, placed: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it into its place, instead of what is there.
    pub(crate) fn rename(mut self, target: &Path) -> Result<(), ArchiveError> {
        fs::rename(&self.path, target).map_err(io_at("put into place", target))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = ?self.path, %error, "a draft stays behind; it goes at the next start");
            }
            _ => {}
        }
    }
}

/// Removes the drafts that a killed process left, and says how many. The caller holds the lock of whoever makes them.
pub(crate) fn leftovers(folder: &Path, prefix: &str) -> Result<usize, ArchiveError> {
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(io_at("list folder", folder))? {
        let path = entry.map_err(io_at("list folder", folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(prefix) && name.ends_with(SUFFIX) {
            fs::remove_file(&path).map_err(io_at("remove leftover", &path))?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_that_is_not_placed_disappears() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("write-a.tmp"), folder.path().join("a"));
        fs::write(&path, b"half").unwrap();
        drop(Draft::new(path.clone()));
        assert!(!path.exists());
        fs::write(&path, b"whole").unwrap();
        Draft::new(path.clone()).rename(&target).unwrap();
        assert!(!path.exists() && target.exists());
    }

    #[test]
    fn only_leftovers_of_the_same_trade_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["write-a.tmp", "write-b.tmp", "compact-a.tmp", "mark-0.json", "write-me"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        assert_eq!(leftovers(folder.path(), WRITE).unwrap(), 2);
        assert!(
            ["compact-a.tmp", "mark-0.json", "write-me"].iter().all(|name| folder.path().join(name).exists())
        );
    }
}
