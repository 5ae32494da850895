//! A hive-partitioned Parquet archive of any kind: the sink that writes it and the compaction that tidies it.
//!
//! Knows files and folders; must not know streams, vendors or when to try again: that is [`sqep::deliver`].
//!
//! ```text
//! ROOT/bar_1d/year=2024/p0_1709258400000-0_1709258400005-3_9f86d081884c7d65.parquet   one batch
//! ROOT/bar_1m/date=2024-03-01/compact_2c26b46b68ffc68f.parquet                        what compaction made of many
//! ROOT/_sqep/bar_1d/{lock-0,mark-0.json,*.tmp}                                          the sink's own
//! ```
//!
//! A kind's folder holds partition folders and a partition folder whole Parquet files, nothing else, at any moment:
//! a reader that is pointed at it needs no pattern and meets no half file.

mod clean;
mod columns;
pub mod compact;
mod config;
mod error;
mod guard;
mod home;
mod layout;
mod lock;
mod mark;
mod merge;
mod quiet;
mod read;
mod sink;
mod write;

#[cfg(test)]
mod kill;

pub use compact::{Compacted, Failed, Options, Report, compact_partitions, compact_root};
pub use config::Config;
pub use error::ArchiveError;
pub use quiet::quiet_partitions;
pub use read::{Rows, files};
pub use sink::{ParquetSink, open};
