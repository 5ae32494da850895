//! How the rows of a file are read. Knows settings and the time; must not know files.

use chrono::{NaiveDateTime, TimeDelta};

use crate::{config::Auction, units::VolUnit};

/// How rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Unit of volume.
    pub unit: VolUnit,
    /// The bar of the opening auction.
    pub auction: Auction,
    /// Wall clock of Asia/Shanghai at which the file is read.
    pub now: NaiveDateTime,
    /// Seconds after which the bar of a minute is final.
    pub grace: TimeDelta,
    /// Seconds after the close of a day.
    pub close_grace: TimeDelta,
}
