//! SQEP: the Standard Quotes Exchange Protocol and the two loops that move it.
//!
//! A bar's way: a producer *parses* its vendor's rows, [`check`] judges them, [`publish`] encodes and appends
//! them to a stream, [`deliver`] hands them to a sink and acknowledges. Everything a connector could get wrong
//! about delivery lives here, once.
//!
//! Without the feature `runtime` this crate is pure: records, checks and codec, neither I/O nor clock.

pub mod bar;
pub mod calendar;
pub mod check;
pub mod codec;
pub mod entry;
pub mod feature;
pub mod kind;
pub mod record;
pub mod shanghai;
pub mod symbol;
pub mod unit;
pub mod wire;

pub use bar::{DayBar, MinuteBar, RefDay};
pub use calendar::Calendar;
pub use check::{Reason, Severity};
pub use entry::{EntryId, Mark};
pub use feature::{DayFeature, MinuteFeature};
pub use kind::Kind;
pub use record::Record;
pub use symbol::{Exchange, Symbol};

#[cfg(feature = "runtime")]
pub mod app;
#[cfg(feature = "runtime")]
pub mod connect;
#[cfg(feature = "runtime")]
pub mod deliver;
#[cfg(feature = "runtime")]
pub mod letter;
#[cfg(feature = "runtime")]
pub mod marks;
#[cfg(feature = "runtime")]
pub mod meter;
#[cfg(feature = "runtime")]
mod patience;
#[cfg(feature = "runtime")]
pub mod publish;
#[cfg(feature = "runtime")]
pub mod redis;
#[cfg(feature = "runtime")]
pub mod secret;
#[cfg(feature = "runtime")]
pub mod transport;
/// The error type of connectors' hand-overs, for those who implement them.
#[cfg(feature = "runtime")]
pub use anyhow;
#[cfg(feature = "runtime")]
pub use connect::{
    Appetite, Batch, Chunk, Cursors, Past, Refusal, Row, Sink, Source, Stamp, Totals, WriteError,
};
