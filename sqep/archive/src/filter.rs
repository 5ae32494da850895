//! Which rows are asked for: a span of time and some securities. Knows how to test a row by its columns; must not know
//! where rows lie.

use std::{ops::RangeInclusive, sync::Arc};

use arrow_array::{
    BooleanArray, RecordBatch,
    cast::AsArray,
    types::{Date32Type, Int32Type, TimestampMillisecondType},
};
use arrow_buffer::BooleanBuffer;
use arrow_schema::ArrowError;
use chrono::{NaiveDateTime, NaiveTime, TimeDelta};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowPredicateFn, RowFilter},
    },
    schema::types::SchemaDescriptor,
};
use sqep::{Exchange, Record, Symbol, codec::arrow::day_number, record::Cell, shanghai};

use crate::Folder;

/// Some securities, or all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols(Option<Arc<[RangeInclusive<i32>]>>);

impl Symbols {
    /// Every security.
    pub const ALL: Symbols = Symbols(None);

    /// The securities in any of these ranges; none for no range.
    pub fn within(ranges: impl IntoIterator<Item = RangeInclusive<i32>>) -> Symbols {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| *range.start());
        let mut joined: Vec<RangeInclusive<i32>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=(*last.end()).max(*range.end());
                }
                _ => joined.push(range),
            }
        }
        Symbols(Some(joined.into()))
    }

    /// Whether these are all securities.
    pub fn are_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a security is among them, by its integer.
    pub fn contains(&self, symbol: i32) -> bool {
        self.overlap(symbol, symbol)
    }

    /// Whether any security from `first` to `last` is among them.
    pub fn overlap(&self, first: i32, last: i32) -> bool {
        let Some(ranges) = &self.0 else { return true };
        let at = ranges.partition_point(|range| *range.end() < first);
        ranges.get(at).is_some_and(|range| *range.start() <= last)
    }
}

impl FromIterator<Symbol> for Symbols {
    fn from_iter<I: IntoIterator<Item = Symbol>>(symbols: I) -> Symbols {
        Symbols::within(symbols.into_iter().map(|symbol| symbol.get()..=symbol.get()))
    }
}

impl FromIterator<Exchange> for Symbols {
    fn from_iter<I: IntoIterator<Item = Exchange>>(exchanges: I) -> Symbols {
        Symbols::within(exchanges.into_iter().map(Exchange::symbols))
    }
}

/// What is asked for. The default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The first moment, as wall clock in Shanghai; a day counts as its midnight.
    pub from: Option<NaiveDateTime>,
    /// The last moment, included.
    pub to: Option<NaiveDateTime>,
    /// The securities.
    pub symbols: Symbols,
}

impl Filter {
    /// Whether a folder may hold anything that is asked for.
    pub fn overlaps(&self, folder: Folder) -> bool {
        let Some((first, last)) = folder.period() else { return false };
        self.from.is_none_or(|from| from <= last) && self.to.is_none_or(|to| to >= first)
    }

    /// Whether everything in a folder is asked for.
    pub(crate) fn covers(&self, folder: Folder) -> bool {
        let Some((first, last)) = folder.period() else { return false };
        self.symbols.are_all()
            && self.from.is_none_or(|from| from <= first)
            && self.to.is_none_or(|to| to >= last)
    }

    /// Whether a record is asked for.
    pub fn holds<R: Record>(&self, record: &R) -> bool {
        let at = match record.get(1) {
            Cell::Date(date) => date.and_time(NaiveTime::MIN),
            Cell::Minute(wall) => wall,
            _ => return false,
        };
        self.symbols.contains(record.symbol().get())
            && self.from.is_none_or(|from| from <= at)
            && self.to.is_none_or(|to| at <= to)
    }

    /// The first and the last date that is asked for, as days since 1970-01-01.
    pub(crate) fn days(&self) -> (i32, i32) {
        let first = self.from.map_or(i32::MIN, |from| {
            day_number(from.date()).saturating_add(i32::from(from.time() > NaiveTime::MIN))
        });
        (first, self.to.map_or(i32::MAX, |to| day_number(to.date())))
    }

    /// The first and the last moment that is asked for, in milliseconds since 1970.
    pub(crate) fn instants(&self) -> (i64, i64) {
        // In the hour that summer time left out, the moment an hour later by the clock.
        let instant = |wall: NaiveDateTime| {
            shanghai::instant_ms(wall).or_else(|| shanghai::instant_ms(wall + TimeDelta::hours(1)))
        };
        let first = self.from.and_then(instant).unwrap_or(i64::MIN);
        (first, self.to.and_then(instant).unwrap_or(i64::MAX))
    }

    /// The test that the Parquet library makes before it decodes the other columns.
    pub(crate) fn predicate(&self, schema: &SchemaDescriptor) -> RowFilter {
        let mask = ProjectionMask::columns(schema, ["symbol", "frame"]);
        let filter = self.clone();
        RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, move |columns| filter.test(&columns)))])
    }

    fn test(&self, columns: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let missing = |name: &str| ArrowError::SchemaError(format!("no column {name:?} of its type"));
        let symbols =
            columns.column_by_name("symbol").and_then(|column| column.as_primitive_opt::<Int32Type>());
        let symbols = symbols.ok_or_else(|| missing("symbol"))?.values();
        let frames = columns.column_by_name("frame").ok_or_else(|| missing("frame"))?;
        let found = if let Some(days) = frames.as_primitive_opt::<Date32Type>() {
            let ((first, last), days) = (self.days(), days.values());
            self.select(symbols, |at| (first..=last).contains(&days[at]))
        } else {
            let instants = frames.as_primitive_opt::<TimestampMillisecondType>();
            let instants = instants.ok_or_else(|| missing("frame"))?.values();
            let (first, last) = self.instants();
            self.select(symbols, |at| (first..=last).contains(&instants[at]))
        };
        Ok(BooleanArray::new(found, None))
    }

    fn select(&self, symbols: &[i32], in_time: impl Fn(usize) -> bool) -> BooleanBuffer {
        if self.symbols.are_all() {
            return BooleanBuffer::collect_bool(symbols.len(), in_time);
        }
        BooleanBuffer::collect_bool(symbols.len(), |at| in_time(at) && self.symbols.contains(symbols[at]))
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn no_range_is_no_security_and_all_is_all() {
        assert!(!Symbols::within([]).contains(2_000_001));
        assert!(Symbols::ALL.contains(2_000_001) && Symbols::ALL.are_all());
        let shenzhen: Symbols = [Exchange::SZ].into_iter().collect();
        assert!(shenzhen.contains(2_000_001) && !shenzhen.contains(1_600_000));
    }

    proptest! {
        #[test]
        fn ranges_however_they_lie_hold_what_each_of_them_holds(
            ranges in prop::collection::vec((0i32..60, 0i32..9), 0..6), first in 0i32..70, length in 0i32..9,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, length)| start..=start + length - 1).collect();
            let symbols = Symbols::within(ranges.clone());
            let any = |symbol: i32| ranges.iter().any(|range| range.contains(&symbol));
            prop_assert_eq!(symbols.contains(first), any(first));
            prop_assert_eq!(symbols.overlap(first, first + length), (first..=first + length).any(any));
        }
    }

    #[test]
    fn a_moment_within_a_day_leaves_that_day_out_and_the_last_day_in() {
        let filter = Filter {
            from: Some(at("2024-03-01T09:30:00")),
            to: Some(at("2024-03-05T09:30:00")),
            symbols: Symbols::ALL,
        };
        let day = |day| day_number(NaiveDate::from_ymd_opt(2024, 3, day).unwrap());
        assert_eq!(filter.days(), (day(2), day(5)));
        let (first, last) = filter.instants();
        assert_eq!(last - first, 4 * 86_400_000);
        assert_eq!(Filter::default().days(), (i32::MIN, i32::MAX));
    }

    #[test]
    fn a_folder_is_passed_over_only_when_all_of_it_lies_outside() {
        let filter = Filter {
            from: Some(at("2022-12-31T00:00:00")),
            to: Some(at("2023-06-01T23:59:59")),
            ..Filter::default()
        };
        let years = [2021, 2022, 2023, 2024].map(|year| filter.overlaps(Folder::Year(year)));
        assert_eq!(years, [false, true, true, false]);
        assert!(!filter.covers(Folder::Year(2023)));
        let date = NaiveDate::from_ymd_opt(2023, 6, 1).unwrap();
        assert!(filter.covers(Folder::Date(date)));
    }
}
