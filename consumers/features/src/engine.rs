//! Day and minute bars under one roof: what a program that computes features needs of either. Knows bars and rows; must not
//! know streams, archives or files.

use chrono::NaiveDate;
use sqep::{Calendar, DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, Symbol, kind::Grid};

use crate::{DayFeatures, Facts, Length, MinuteFeatures, PushError, SnapshotError};

/// The features of one security, whatever the length of its bars.
pub trait Engine: Clone + Send + Sync + 'static {
    /// What goes in.
    type Bar: Record;
    /// What comes out.
    type Feature: Record;
    /// Kind of the stream it reads.
    const BARS: Kind;
    /// Kind of the stream it feeds.
    const FEATURES: Kind;
    /// Number of its set of features.
    const SET: u32;
    /// Whether factor, treatment and limits come apart from the bars.
    const JOINED: bool;

    /// Of a security without a past.
    fn begin(symbol: Symbol) -> Self;
    /// Takes the next bar and appends the rows that come of it.
    fn take(
        &mut self,
        bar: &Self::Bar,
        version: u64,
        facts: &Facts,
        calendar: &Calendar,
        rows: &mut Vec<Self::Feature>,
    ) -> Result<(), PushError>;
    /// The bars are at their end: what waits for another is taken as it is.
    fn end(&mut self, calendar: &Calendar, rows: &mut Vec<Self::Feature>) -> Result<(), PushError>;
    /// The day of a bar.
    fn day(bar: &Self::Bar) -> NaiveDate;
    /// Whether anything was traded: a bar without volume has no row.
    fn trades(bar: &Self::Bar) -> bool;
    /// Whether the oldest of so many bars at hand is older than corrections are expected of.
    fn leaves(oldest: &Self::Bar, count: usize, newest: &Self::Bar) -> bool;
    /// The row of a bar that has none any more: every feature null, as no other row is.
    fn withdrawn(bar: &Self::Bar, version: u64) -> Self::Feature;
    /// Whether a row says that its bar has none.
    fn is_withdrawn(row: &Self::Feature) -> bool;
    /// Its state as bytes.
    fn save(&self) -> Vec<u8>;
    /// The state that gave these bytes.
    fn load(bytes: &[u8]) -> Result<Self, SnapshotError>;
    /// What a row was computed of, for a comparison that leaves out when its bar came.
    fn timeless(row: &Self::Feature) -> Self::Feature;
}

/// Bars that may always be corrected without a look at the past; of minutes, those of the open day beside.
const BARS_AT_HAND: usize = 16;

impl Engine for DayFeatures {
    type Bar = DayBar;
    type Feature = DayFeature;
    const BARS: Kind = Kind::BarDay;
    const FEATURES: Kind = Kind::FeatureDay;
    const SET: u32 = Length::Day.set();
    const JOINED: bool = false;

    fn begin(symbol: Symbol) -> Self {
        DayFeatures::new(symbol)
    }

    fn take(
        &mut self,
        bar: &DayBar,
        version: u64,
        _: &Facts,
        calendar: &Calendar,
        rows: &mut Vec<DayFeature>,
    ) -> Result<(), PushError> {
        let Some(row) = self.push(bar, calendar)? else { return Ok(()) };
        let (symbol, frame, values) = (bar.symbol, bar.frame, *row.values());
        let (set, bar_version) = (Self::SET, version);
        rows.push(DayFeature { symbol, frame, values, valid: row.valid, set, bar_version });
        Ok(())
    }

    fn end(&mut self, _: &Calendar, _: &mut Vec<DayFeature>) -> Result<(), PushError> {
        Ok(())
    }

    fn day(bar: &DayBar) -> NaiveDate {
        bar.frame
    }

    fn trades(bar: &DayBar) -> bool {
        bar.vol > 0.0
    }

    fn leaves(_: &DayBar, count: usize, _: &DayBar) -> bool {
        count > BARS_AT_HAND
    }

    fn withdrawn(bar: &DayBar, version: u64) -> DayFeature {
        let (symbol, frame) = (bar.symbol, bar.frame);
        DayFeature { symbol, frame, set: Self::SET, bar_version: version, ..DayFeature::blank() }
    }

    fn is_withdrawn(row: &DayFeature) -> bool {
        row.values.iter().all(|value| value.is_nan())
    }

    fn save(&self) -> Vec<u8> {
        self.snapshot()
    }

    fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        DayFeatures::restore(bytes)
    }

    fn timeless(row: &DayFeature) -> DayFeature {
        DayFeature { bar_version: 0, ..*row }
    }
}

impl Engine for MinuteFeatures {
    type Bar = MinuteBar;
    type Feature = MinuteFeature;
    const BARS: Kind = Kind::BarMinute(Grid::M1);
    const FEATURES: Kind = Kind::FeatureMinute;
    const SET: u32 = Length::Minute.set();
    const JOINED: bool = true;

    fn begin(symbol: Symbol) -> Self {
        MinuteFeatures::new(symbol)
    }

    fn take(
        &mut self,
        bar: &MinuteBar,
        version: u64,
        facts: &Facts,
        calendar: &Calendar,
        rows: &mut Vec<MinuteFeature>,
    ) -> Result<(), PushError> {
        let mut made = Vec::new();
        let taken = self.push(bar, version, facts, calendar, &mut made);
        let symbol = self.symbol();
        rows.extend(made.iter().map(|row| feature(symbol, row)));
        taken
    }

    fn end(&mut self, calendar: &Calendar, rows: &mut Vec<MinuteFeature>) -> Result<(), PushError> {
        let mut made = Vec::new();
        let taken = self.settle(calendar, &mut made);
        let symbol = self.symbol();
        rows.extend(made.iter().map(|row| feature(symbol, row)));
        taken
    }

    fn day(bar: &MinuteBar) -> NaiveDate {
        bar.frame.date()
    }

    fn trades(bar: &MinuteBar) -> bool {
        bar.vol > 0.0
    }

    /// The open day is at hand.
    fn leaves(oldest: &MinuteBar, count: usize, newest: &MinuteBar) -> bool {
        count > BARS_AT_HAND && oldest.frame.date() != newest.frame.date()
    }

    fn withdrawn(bar: &MinuteBar, version: u64) -> MinuteFeature {
        let (symbol, frame) = (bar.symbol, crate::minute::row_of(bar.frame));
        MinuteFeature { symbol, frame, set: Self::SET, bar_version: version, ..MinuteFeature::blank() }
    }

    fn is_withdrawn(row: &MinuteFeature) -> bool {
        row.values.iter().all(|value| value.is_nan())
    }

    fn save(&self) -> Vec<u8> {
        self.snapshot()
    }

    fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        MinuteFeatures::restore(bytes)
    }

    fn timeless(row: &MinuteFeature) -> MinuteFeature {
        MinuteFeature { bar_version: 0, ..*row }
    }
}

fn feature(symbol: Symbol, minute: &crate::MinuteRow) -> MinuteFeature {
    let crate::MinuteRow { frame, bar_version, row } = *minute;
    let (values, set) = (*row.values(), MinuteFeatures::SET);
    MinuteFeature { symbol, frame, values, valid: row.valid, set, bar_version }
}
