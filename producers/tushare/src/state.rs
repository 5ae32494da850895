//! What was published of a day, as its cursor field carries it: how far it got and what its rows did not know.
//!
//! Knows when a day is done and which row is news; must not know the service. The field travels in the transaction
//! that appends the rows it speaks of, so it is never ahead of them nor behind.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use sqep::{
    Record, Symbol,
    record::{Cell, Field},
};

use crate::symbols::Symbols;

/// The longest the exchanges were ever closed, with room to spare.
const CLOSED_DAYS_MAX: u64 = 30;

/// How far a day got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DayState {
    /// Nothing more is asked of this day.
    pub closed: bool,
    /// How often the service was asked for all of it.
    pub tries: u32,
    /// Securities that have a row on the stream.
    #[serde(skip_serializing_if = "Symbols::is_empty")]
    pub present: Symbols,
    /// Securities without a row, of which one was refused.
    #[serde(skip_serializing_if = "Symbols::is_empty")]
    pub refused: Symbols,
    /// Fields that rows on the stream leave null, and the securities of these rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub nulls: BTreeMap<String, Symbols>,
}

/// What a row is beside the one of the same key on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// There is none.
    First,
    /// It knows more.
    More,
    /// It knows the same.
    Same,
    /// It knows less: never published.
    Less,
    /// It knows something more and something less: never published, and asked for again.
    Other,
}

impl DayState {
    /// The field of a day: `daily/20240301`.
    pub fn field(dataset: &str, day: NaiveDate) -> String {
        format!("{dataset}/{}", day.format("%Y%m%d"))
    }

    /// Reads a field. One that does not read counts as a day that was never asked for.
    pub fn read(text: &str) -> Option<DayState> {
        serde_json::from_str(text).ok()
    }

    /// As it is stored.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a row of `symbol`, by its current number, is beside those that were published.
    pub fn news<R: Record>(&self, symbol: Symbol, row: &R) -> News {
        if !self.present.has(symbol) {
            return News::First;
        }
        let (mut more, mut less) = (false, false);
        for (at, field) in nullable::<R>() {
            let was_null = self.nulls.get(field.name).is_some_and(|of| of.has(symbol));
            let is_null = row.get(at) == Cell::Null;
            more |= was_null && !is_null;
            less |= is_null && !was_null;
        }
        match (more, less) {
            (false, true) => News::Less,
            (true, true) => News::Other,
            (true, false) => News::More,
            (false, false) => News::Same,
        }
    }

    /// Takes note of rows that are handed over; `current` gives the number a security trades under today.
    pub fn take<R: Record>(&mut self, rows: &[R], current: impl Fn(Symbol) -> Symbol) {
        for row in rows {
            let symbol = current(row.symbol());
            self.present.insert(symbol);
            self.refused.remove(symbol);
            for (at, field) in nullable::<R>() {
                if row.get(at) == Cell::Null {
                    self.nulls.entry(field.name.to_owned()).or_default().insert(symbol);
                } else if let Some(of) = self.nulls.get_mut(field.name) {
                    of.remove(symbol);
                }
            }
        }
        self.nulls.retain(|_, of| !of.is_empty());
    }
}

/// Securities that had a row of `dataset` on the last day before `day`, not longer ago than the exchanges are ever
/// closed. `days` holds states by their fields.
pub fn before(days: &BTreeMap<String, DayState>, dataset: &str, day: NaiveDate) -> Symbols {
    let from = DayState::field(dataset, day - Days::new(CLOSED_DAYS_MAX));
    let earlier = days.range(from..DayState::field(dataset, day)).rev();
    earlier.map(|(_, state)| &state.present).find(|present| !present.is_empty()).cloned().unwrap_or_default()
}

fn nullable<R: Record>() -> impl Iterator<Item = (usize, &'static Field)> {
    R::FIELDS.iter().enumerate().filter(|(_, field)| field.nullable)
}

#[cfg(test)]
mod tests {
    use sqep::RefDay;

    use super::*;

    fn row(symbol: &str, adjust: Option<f64>, st: Option<bool>) -> RefDay {
        let (symbol, frame) = (symbol.parse().unwrap(), "2024-03-01".parse().unwrap());
        RefDay { symbol, frame, adjust, st, buy_limit: Some(11.0), sell_limit: Some(9.0) }
    }

    fn news(state: &DayState, row: &RefDay) -> News {
        state.news(row.symbol, row)
    }

    fn after(rows: &[RefDay]) -> DayState {
        let mut state = DayState::default();
        state.take(rows, |symbol| symbol);
        state.tries = 1;
        DayState::read(&state.text()).unwrap()
    }

    #[test]
    fn a_row_that_knows_less_is_never_news() {
        let state = after(&[row("000001.SZ", Some(1.0), None), row("000002.SZ", None, None)]);
        for (row, news) in [
            (row("000001.SZ", Some(1.0), None), News::Same),
            (row("000001.SZ", Some(1.0), Some(true)), News::More),
            (row("000001.SZ", None, Some(true)), News::Other),
            (row("000001.SZ", None, None), News::Less),
            (row("000002.SZ", Some(2.0), None), News::More),
            (row("000003.SZ", None, None), News::First),
        ] {
            assert_eq!(state.news(row.symbol(), &row), news, "{row:?}");
        }
    }

    #[test]
    fn a_closed_day_lets_in_whoever_has_no_row_and_nothing_that_is_there() {
        let mut state =
            after(&[row("000001.SZ", Some(1.0), Some(false)), row("000002.SZ", None, Some(false))]);
        state.closed = true;
        let mut state = DayState::read(&state.text()).unwrap();
        assert_eq!(news(&state, &row("000001.SZ", Some(1.0), Some(false))), News::Same);
        assert_eq!(news(&state, &row("000002.SZ", Some(1.0), Some(false))), News::More);
        // Whether it was missing, suspended or on no list.
        assert_eq!(news(&state, &row("000003.SZ", None, None)), News::First);
        let late = [row("000002.SZ", Some(1.0), Some(false)), row("000003.SZ", Some(1.0), Some(false))];
        state.take(&late, |symbol| symbol);
        assert_eq!((state.present.len(), state.nulls.len()), (3, 0));
    }

    #[test]
    fn the_day_before_is_the_last_that_has_rows_and_no_other_dataset_nor_year() {
        let state = |symbol| after(&[row(symbol, None, None)]);
        let days = BTreeMap::from([
            ("funds/20240102".to_owned(), state("510050.SH")),
            ("funds/20240229".to_owned(), state("510300.SH")),
            ("funds/20240301".to_owned(), DayState::default()),
            ("stocks/20240301".to_owned(), state("000001.SZ")),
        ]);
        let names = |day: &str| -> Vec<String> {
            before(&days, "funds", day.parse().unwrap()).iter().map(|symbol| symbol.to_string()).collect()
        };
        assert_eq!(names("2024-03-04"), ["510300.SH"]);
        assert!(names("2024-02-29").is_empty());
        assert_eq!(names("2024-01-15"), ["510050.SH"]);
    }
}
