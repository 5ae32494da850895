//! What was published of a day, as its cursor field carries it: how far it got and what its rows did not know.
//!
//! Knows when a day is done and which row is news; must not know the service. The field travels in the transaction
//! that appends the rows it speaks of, so it is never ahead of them nor behind.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqep::{
    Record, Symbol,
    record::{Cell, Field},
};

use crate::symbols::Symbols;

/// How far a day got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DayState {
    /// Nothing more is asked of this day.
    pub closed: bool,
    /// How often the service was asked for all of it.
    pub tries: u32,
    /// Securities that have a row on the stream.
    pub rows: u64,
    /// Securities that should have a row and have none.
    #[serde(skip_serializing_if = "Symbols::is_empty")]
    pub missing: Symbols,
    /// Securities whose row was refused.
    #[serde(skip_serializing_if = "Symbols::is_empty")]
    pub refused: Symbols,
    /// Fields that rows on the stream leave null, and the securities of these rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub nulls: BTreeMap<String, Symbols>,
    /// Securities that have a row, as long as more may come. A closed day has all but those that are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<Symbols>,
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
        if !self.has(symbol) {
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
            (_, true) => News::Less,
            (true, false) => News::More,
            (false, false) => News::Same,
        }
    }

    fn has(&self, symbol: Symbol) -> bool {
        match &self.present {
            Some(present) => present.has(symbol),
            None => self.tries > 0 && !self.missing.has(symbol),
        }
    }

    /// Takes note of rows that are handed over; `current` gives the number a security trades under today.
    pub fn take<R: Record>(&mut self, rows: &[R], current: impl Fn(Symbol) -> Symbol) {
        let fresh = rows.iter().filter(|row| !self.has(current(row.symbol()))).count();
        self.rows += u64::try_from(fresh).unwrap_or(u64::MAX);
        if self.tries == 0 {
            self.present.get_or_insert_default();
        }
        for row in rows {
            let symbol = current(row.symbol());
            self.missing.0.remove(&symbol);
            if let Some(present) = &mut self.present {
                present.0.insert(symbol);
            }
            for (at, field) in nullable::<R>() {
                if row.get(at) == Cell::Null {
                    self.nulls.entry(field.name.to_owned()).or_default().0.insert(symbol);
                } else if let Some(of) = self.nulls.get_mut(field.name) {
                    of.0.remove(&symbol);
                }
            }
        }
        self.nulls.retain(|_, of| !of.is_empty());
    }

    /// Closes the day: what it knows suffices to tell later rows from these.
    pub fn close(&mut self) {
        self.closed = true;
        self.present = None;
    }
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
            (row("000001.SZ", None, Some(true)), News::Less),
            (row("000001.SZ", None, None), News::Less),
            (row("000002.SZ", Some(2.0), None), News::More),
            (row("000003.SZ", None, None), News::First),
        ] {
            assert_eq!(state.news(row.symbol(), &row), news, "{row:?}");
        }
    }

    #[test]
    fn a_closed_day_lets_in_what_was_missing_and_nothing_else() {
        let mut state =
            after(&[row("000001.SZ", Some(1.0), Some(false)), row("000002.SZ", None, Some(false))]);
        state.missing = ["000003.SZ".parse().unwrap()].into_iter().collect();
        state.close();
        assert_eq!(news(&state, &row("000001.SZ", Some(1.0), Some(false))), News::Same);
        assert_eq!(news(&state, &row("000002.SZ", Some(1.0), Some(false))), News::More);
        assert_eq!(news(&state, &row("000003.SZ", None, None)), News::First);
        let late = [row("000002.SZ", Some(1.0), Some(false)), row("000003.SZ", Some(1.0), Some(false))];
        state.take(&late, |symbol| symbol);
        assert_eq!((state.rows, state.missing.len(), state.nulls.len()), (3, 0, 0));
    }
}
