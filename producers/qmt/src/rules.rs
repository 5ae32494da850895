//! What holds for the bars of all securities alike: their labels, when they end and how long after that they may change.
//! Knows the stream's kind and settings; must not know rows.

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use sqep::Kind;

use crate::{
    config::{Auction, QmtSettings},
    day::{close_of, is_auction},
};

/// The status that QMT gives the last bar when a day is over.
const CLOSED: f64 = 15.0;

/// What holds for all securities alike.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What the stream holds.
    pub kind: Kind,
    /// The bar of the opening auction.
    pub auction: Auction,
    /// After the end of a minute.
    pub grace: TimeDelta,
    /// After the close.
    pub close_grace: TimeDelta,
}

impl Rules {
    /// Those of a configuration.
    pub fn new(kind: Kind, settings: &QmtSettings) -> Rules {
        let seconds = |seconds| TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::from(u16::MAX)));
        Rules {
            kind,
            auction: settings.auction,
            grace: seconds(settings.grace_s),
            close_grace: seconds(settings.close_grace_s),
        }
    }

    pub(crate) fn minute(&self) -> bool {
        matches!(self.kind, Kind::BarMinute(_))
    }

    /// Whether the opening auction becomes a part of the first minute.
    pub(crate) fn folds(&self) -> bool {
        self.auction == Auction::Fold && self.minute()
    }

    /// Whether the bar of this label is an auction that waits for the first minute.
    pub(crate) fn waits(&self, wall: NaiveDateTime) -> bool {
        self.folds() && is_auction(wall)
    }

    /// When the bar of this label ends.
    pub(crate) fn end(&self, wall: NaiveDateTime) -> NaiveDateTime {
        if self.minute() { wall } else { close_of(wall.date()) }
    }

    pub(crate) fn grace(&self, end: NaiveDateTime, status: Option<f64>) -> TimeDelta {
        let last = end == close_of(end.date()) && status != Some(CLOSED);
        if last { self.close_grace } else { self.grace }
    }

    pub(crate) fn is_label(&self, wall: NaiveDateTime) -> bool {
        match self.kind {
            Kind::BarMinute(grid) => wall.second() == 0 && grid.is_label(wall.hour() * 60 + wall.minute()),
            _ => true,
        }
    }
}
