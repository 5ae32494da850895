//! What can go wrong with the files of an archive, and what to do about it. Must not decide whether to try again.

use std::{
    io,
    path::{Path, PathBuf},
};

use parquet::errors::ParquetError;
use sqep::Kind;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// A record type on a kind it does not belong to.
    #[error("{record} records do not belong on {kind}; set stream.kind to the kind of the stream")]
    Kind {
        /// The record type.
        record: &'static str,
        /// The kind.
        kind: Kind,
    },
}

impl Error {
    /// Whether a file or folder is not there (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Says what was being done to which path; for `map_err`.
pub fn io_at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, advice: advice(source.kind()), source }
}

/// The same for the Parquet library, whose errors may wrap the system's.
pub fn parquet_at(doing: &'static str, path: &Path) -> impl FnOnce(ParquetError) -> Error + use<> {
    let path = path.to_owned();
    move |source| match source {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(source) => io_at(doing, &path)(*source),
            Err(inner) => Error::Parquet { doing, path, source: ParquetError::External(inner) },
        },
        source => Error::Parquet { doing, path, source },
    }
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its file system",
        io::ErrorKind::FileTooLarge => "raise the limit on the size of a file",
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system writable",
        io::ErrorKind::PermissionDenied => "let the user of this program in",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "restore or remount its folder",
        io::ErrorKind::CrossesDevices => "keep ROOT and ROOT/_sqep on one file system",
        _ => "see the reason",
    }
}
