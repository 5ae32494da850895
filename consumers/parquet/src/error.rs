//! What can go wrong with an archive, and what to do about it. Must not decide whether to try again: the sink does.

use std::{io, path::Path, path::PathBuf};

use parquet::errors::ParquetError;
use sqep::Kind;

/// Why an archive cannot be written, read or compacted.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The system refused.
    #[error("cannot {doing} {path:?} ({advice})")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What mends it.
        advice: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file that cannot be read or written as Parquet, for a reason that lies in its bytes.
    #[error("cannot {doing} {path:?} (damaged or no Parquet file: restore it or move it out of the archive)")]
    Parquet {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the library said.
        source: ParquetError,
    },
    /// A file in a partition that is not of this archive.
    #[error("{path:?} is not a file of this archive: {why}; move it away, nothing here deletes it")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What gives it away.
        why: String,
    },
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
    /// A folder that holds no archive.
    #[error("{root:?} holds no archive: it has none of the folders {expected}")]
    NoArchive {
        /// The folder.
        root: PathBuf,
        /// What an archive has.
        expected: String,
    },
    /// A mark that cannot be read.
    #[error("mark {path:?} is damaged; restore it, or delete it and run the reader once with --resume")]
    Mark {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
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
    /// Columns that do not fit together, which would be a fault of this program.
    #[error("columns do not fit together: {0}")]
    Columns(String),
    /// A record type on a kind it does not belong to.
    #[error("{record} records do not belong on {kind}; set stream.kind to the kind of the stream")]
    Kind {
        /// The record type.
        record: &'static str,
        /// The kind.
        kind: Kind,
    },
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
pub(crate) fn io_at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::Io { doing, path, advice: advice(source.kind()), source }
}

/// The same for the Parquet library, whose errors may wrap the system's.
pub(crate) fn parquet_at(doing: &'static str, path: &Path) -> impl FnOnce(ParquetError) -> ArchiveError {
    let path = path.to_owned();
    move |source| match source {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(source) => io_at(doing, &path)(*source),
            Err(inner) => ArchiveError::Parquet { doing, path, source: ParquetError::External(inner) },
        },
        source => ArchiveError::Parquet { doing, path, source },
    }
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its file system",
        io::ErrorKind::FileTooLarge => "raise the limit on the size of a file",
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system writable",
        io::ErrorKind::PermissionDenied => "let the user of this program write there",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "restore or remount its folder",
        io::ErrorKind::CrossesDevices => "keep ROOT and ROOT/_sqep on one file system",
        _ => "see the reason",
    }
}
