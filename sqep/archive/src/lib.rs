//! The Parquet archive as the outside may know it: where its files lie, how far it holds a stream, and its rows.
//!
//! Knows names, footers and columns; must not write, lock, compact or know who does.
//!
//! ```text
//! ROOT/bar_1d/year=2024/p0_1709258400000-0_1709258400005-3_9f86d081884c7d65.parquet   one batch
//! ROOT/bar_1m/date=2024-03-01/compact_2c26b46b68ffc68f.parquet                        what compaction made of many
//! ROOT/_sqep/bar_1d/{lock-0,mark-0.json,*.tmp}                                          the writer's own
//! ```
//!
//! The rows of every file are sorted by (symbol, frame, version). A key may have several versions, in one file or in
//! several, until compaction keeps the highest; [`Reader`] shows either.

mod error;
mod file;
mod filter;
mod floats;
mod home;
pub mod layout;
mod mark;
mod pages;
mod reader;
pub mod replay;
mod rows;

pub use error::{Error, io_at, parquet_at};
pub use file::{ArchiveFile, Columns, KIND_KEY, Label, SOURCE, TYPE_KEY, VERSION, union};
pub use filter::{Filter, Symbols};
pub use floats::any_narrow;
pub use home::{Home, STATE, compaction_lock};
pub use layout::{FileName, Folder, files};
pub use mark::{mark, marks};
pub use reader::{Block, Reader, Versions};
pub use rows::Rows;
