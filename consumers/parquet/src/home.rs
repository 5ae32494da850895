//! Where the files of one kind lie below the root. Knows paths and how to make them durable; must not know what is in
//! a file.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{ArchiveError, error::io_at};

/// The folder of the sink's own files: locks, marks, drafts. Readers pass over names that begin so.
const STATE: &str = "_sqep";

/// The folders of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    root: PathBuf,
    data: PathBuf,
    state: PathBuf,
}

impl Home {
    pub(crate) fn new(root: &Path, table: &str) -> Home {
        Home { root: root.to_owned(), data: root.join(table), state: root.join(STATE).join(table) }
    }

    /// The archive.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What readers read: partition folders.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// What they must not see.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Who may write batches of a partition of the stream.
    pub(crate) fn writer_lock(&self, partition: u16) -> PathBuf {
        self.state.join(format!("lock-{partition}"))
    }

    /// The mark of a partition of the stream.
    pub(crate) fn mark(&self, partition: u16) -> PathBuf {
        self.state.join(format!("mark-{partition}.json"))
    }

    /// Whether any partition has a mark: whether this archive was ever written.
    pub(crate) fn has_marks(&self) -> Result<bool, ArchiveError> {
        let entries = fs::read_dir(&self.state).map_err(io_at("list folder", &self.state))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> =
            names.collect::<io::Result<_>>().map_err(io_at("list folder", &self.state))?;
        Ok(names.iter().any(|name| name.starts_with("mark-")))
    }

    /// Makes the folders of this kind durably.
    pub(crate) fn found(&self) -> Result<(), ArchiveError> {
        self.found_state()?;
        make(&self.data)
    }

    /// Makes the folder of the sink's own files durably.
    pub(crate) fn found_state(&self) -> Result<(), ArchiveError> {
        make(&self.state)
    }
}

/// Who may compact anything below the root.
pub(crate) fn compaction_lock(root: &Path) -> PathBuf {
    root.join(STATE).join("compact.lock")
}

fn make(path: &Path) -> Result<(), ArchiveError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(above)?;
    make_below(above, path)
}

/// Makes one folder in an existing one, durably; never the folders above it, so that an archive that has disappeared
/// is not begun anew.
pub(crate) fn make_below(above: &Path, path: &Path) -> Result<(), ArchiveError> {
    match fs::create_dir(path) {
        Ok(()) => sync(above),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(io_at("make folder", path)(error)),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> Result<(), ArchiveError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_at("sync folder", folder))
}
