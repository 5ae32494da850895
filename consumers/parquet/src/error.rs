//! What can go wrong with writing an archive, and what to do about it. Must not decide whether to try again: the sink does.

use std::{
    io,
    path::{Path, PathBuf},
};

use parquet::errors::ParquetError;

/// Why an archive cannot be written or compacted.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// What reading an archive can meet too.
    #[error(transparent)]
    Archive(#[from] sqep_archive::Error),
    /// Somebody else is at work.
    #[error("{path:?} is locked by process {holder}, which {doing}; stop that process first")]
    Locked {
        /// The lock.
        path: PathBuf,
        /// Its process id, as it wrote it down.
        holder: String,
        /// What the holder does.
        doing: &'static str,
    },
    /// The archive was there and is not any more.
    #[error(
        "the archive {root:?} disappeared while it was being written ({path:?} is gone); remount or restore it and \
         the work goes on, an empty one is not begun in its place"
    )]
    Vanished {
        /// The archive.
        root: PathBuf,
        /// What is missing.
        path: PathBuf,
    },
    /// Another archive lies where ours was.
    #[error(
        "the archive {root:?} was replaced while it was being written ({why}); put the old one back, or restart the \
         program to take up at the mark of this one"
    )]
    Replaced {
        /// The archive.
        root: PathBuf,
        /// How it shows.
        why: String,
    },
    /// A row that no file of this kind can hold.
    #[error("row {row} of the batch (symbol {symbol}) has no value for {field:?}, which must have one")]
    Row {
        /// Position in the batch, from 1.
        row: usize,
        /// The security.
        symbol: String,
        /// The field.
        field: &'static str,
    },
    /// A number that 32 bits cannot hold.
    #[error(
        "row {row} of the batch (symbol {symbol}) has a {field:?} beyond 3.4e38: keep it with parquet.floats = \"f64\""
    )]
    Wide {
        /// Position in the batch, from 1.
        row: usize,
        /// The security.
        symbol: String,
        /// The field.
        field: &'static str,
    },
    /// Columns that do not fit together, which would be a fault of this program.
    #[error("columns do not fit together: {0}")]
    Columns(String),
    /// A setting that cannot be meant.
    #[error("parquet.{key} is {value:?}, expected {rule}")]
    Config {
        /// The key.
        key: &'static str,
        /// As found.
        value: String,
        /// As allowed.
        rule: &'static str,
    },
}

/// Says what was being done to which path; for `map_err`.
pub(crate) fn io_at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError + use<> {
    let at = sqep_archive::io_at(doing, path);
    move |error| at(error).into()
}

/// The same for the Parquet library, whose errors may wrap the system's.
pub(crate) fn parquet_at(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(ParquetError) -> ArchiveError + use<> {
    let at = sqep_archive::parquet_at(doing, path);
    move |error| at(error).into()
}
