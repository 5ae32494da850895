//! Where the files of one kind lie below the root. Knows paths only; must not touch one.

use std::path::{Path, PathBuf};

use sqep::Kind;

/// The folder of the writer's own files: locks, marks, drafts. Readers pass over names that begin so.
pub const STATE: &str = "_sqep";

/// The folders of one kind.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
    data: PathBuf,
    state: PathBuf,
}

impl Home {
    /// The folders of a kind below a root.
    pub fn new(root: &Path, kind: Kind) -> Home {
        let table = kind.table();
        Home { root: root.to_owned(), data: root.join(&table), state: root.join(STATE).join(&table) }
    }

    /// The archive.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What readers read: partition folders.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What they must not see.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Who may write batches of a partition of the stream.
    pub fn writer_lock(&self, partition: u16) -> PathBuf {
        self.state.join(format!("lock-{partition}"))
    }

    /// The mark of a partition of the stream.
    pub fn mark(&self, partition: u16) -> PathBuf {
        self.state.join(format!("mark-{partition}.json"))
    }
}

/// Who may compact anything below the root.
pub fn compaction_lock(root: &Path) -> PathBuf {
    root.join(STATE).join("compact.lock")
}
