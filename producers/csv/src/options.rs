//! How a file is to be read. Knows choices and limits; must not know configuration files.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use sqep::{Calendar, Exchange, Kind};

use crate::{
    code::Alias,
    dialect::{AmountUnit, Basis, DialectChoice, VolUnit},
    input::Limits,
};

/// How a file is to be read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The dialect, or `auto`.
    pub dialect: DialectChoice,
    /// The exchange of bare codes, where neither column nor file name tells it.
    pub exchange: Option<Exchange>,
    /// The price basis, where the dialect does not tell it.
    pub price_basis: Option<Basis>,
    /// The unit of volume, over the dialect's.
    pub vol_unit: Option<VolUnit>,
    /// The unit of turnover, over the dialect's.
    pub amount_unit: Option<AmountUnit>,
    /// What the rows become.
    pub kind: Kind,
    /// The trading days.
    pub calendar: Arc<Calendar>,
    /// How renumbered securities are named.
    pub alias: Alias,
    /// Rows of a block at most.
    pub rows_block_max: usize,
    /// A text up to this size (decompressed) is held in memory; a larger one passes through twice.
    pub file_bytes_memory_max: u64,
    /// Rows out of order, at most, whose keys are sorted to find the repeated ones.
    pub keys_max: usize,
    /// The longest line.
    pub line_bytes_max: usize,
    /// Where standard input goes when it is too large for memory.
    pub spool_dir: PathBuf,
    /// Whether the file is being written: a last line without a line end is left for later, and the last day of
    /// minutes may be unfinished.
    pub partial_tail: bool,
    /// Counts the bytes read in the pass at work, for whoever shows how far a large file is.
    pub consumed: Arc<AtomicU64>,
}

impl Options {
    /// The usual limits, any dialect.
    pub fn new(kind: Kind, calendar: Arc<Calendar>) -> Options {
        Options {
            dialect: DialectChoice::Auto,
            exchange: None,
            price_basis: None,
            vol_unit: None,
            amount_unit: None,
            kind,
            calendar,
            alias: Alias::AsGiven,
            rows_block_max: 10_000,
            file_bytes_memory_max: 16 << 20,
            keys_max: 2_000_000,
            line_bytes_max: 1 << 20,
            spool_dir: std::env::temp_dir(),
            partial_tail: false,
            consumed: Arc::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory_bytes_max: self.file_bytes_memory_max,
            line_bytes_max: self.line_bytes_max,
            spool_dir: self.spool_dir.clone(),
            consumed: Arc::clone(&self.consumed),
        }
    }
}
