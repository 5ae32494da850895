//! Why a file is not read at all. Knows files and headers; must not know rows that are refused one by one.

use std::{io, path::PathBuf};

use sqep::Reason;

use crate::dialect::DialectError;

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be opened or read: absent, truncated gzip, a line without end.
    #[error("{path:?} could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Not even a header.
    #[error("{0:?} is empty: not even a header")]
    Empty(PathBuf),
    /// No dialect explains the header.
    #[error("{path:?}: {explanation}")]
    HeaderUnknown {
        /// The file.
        path: PathBuf,
        /// The nearest dialect, the missing columns and how to write a mapping.
        explanation: String,
    },
    /// The header does not tell the units.
    #[error(
        "{path:?}: dialect {dialect} does not say the unit of {column}; declare it ({key}): a header like this does not tell it"
    )]
    UnitUndeclared {
        /// The file.
        path: PathBuf,
        /// The dialect.
        dialect: String,
        /// `vol` or `amount`.
        column: &'static str,
        /// The configuration key and its values.
        key: &'static str,
    },
    /// Too many rows out of order to find the repeated ones.
    #[error(
        "{path:?} holds more than {keys_max} rows that are out of order; sort it by security and time, or split it"
    )]
    Unordered {
        /// The file.
        path: PathBuf,
        /// The limit.
        keys_max: usize,
    },
    /// Another file now stands where rows had been judged.
    #[error(
        "{path:?} changed while it was read: {rows} rows were judged, {found} are there now; it is read again"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Rows judged.
        rows: u64,
        /// Rows found.
        found: u64,
    },
    /// A side table beyond its limit.
    #[error(
        "{path:?} holds more than {runs_max} different values of {what}; split it by year and name the years that are needed"
    )]
    SideTooLarge {
        /// The file.
        path: PathBuf,
        /// Factors, limits or ST days.
        what: String,
        /// The limit.
        runs_max: usize,
    },
    /// A side file that was not understood.
    #[error("{path:?}: {unusable} of {rows} rows cannot be used: {first}; correct the file or name another")]
    SideUnusable {
        /// The file.
        path: PathBuf,
        /// Rows that cannot be used.
        unusable: u64,
        /// All rows.
        rows: u64,
        /// The first of them.
        first: String,
    },
    /// The dialect itself.
    #[error(transparent)]
    Dialect(#[from] DialectError),
}

impl LoadError {
    /// The stable reason code, where the error is about what the file says.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            LoadError::HeaderUnknown { .. } | LoadError::Empty(_) => Some(Reason::HeaderUnknown),
            LoadError::UnitUndeclared { .. } => Some(Reason::Unit),
            _ => None,
        }
    }
}
