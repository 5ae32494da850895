//! A hive-partitioned Parquet archive of any kind: the sink that writes it and the compaction that tidies it.
//!
//! Knows files and folders; must not know streams, vendors or when to try again: that is [`sqep::deliver`].
//!
//! Where its files lie and how they are read is known to [`sqep_archive`], which others may use too.
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
mod lock;
mod mark;
mod merge;
mod quiet;
mod sink;
mod split;
mod write;

#[cfg(test)]
mod kill;

pub use compact::{Compacted, Failed, Options, Report, compact_partitions, compact_root};
pub use config::{Config, Floats};
pub use error::ArchiveError;
pub use quiet::quiet_partitions;
pub use sink::{ParquetSink, open};
pub use sqep_archive::{Rows, files};
