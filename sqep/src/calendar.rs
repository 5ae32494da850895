//! The trading calendar of the three exchanges. Knows days; must not know files, vendors or today's date.

use std::{collections::BTreeSet, str::FromStr};

use chrono::{Datelike, NaiveDate, Weekday};

/// What the calendar says of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// The exchanges trade.
    Session,
    /// They do not.
    Closed,
    /// A weekday after the last day the calendar knows.
    Unknown,
}

/// Sessions of Shanghai and Shenzhen (Beijing keeps the same days): every weekday between `first` and `last` that is
/// no holiday. Days are bits, so that a check costs a shift.
#[derive(Debug, Clone)]
pub struct Calendar {
    first: NaiveDate,
    last: NaiveDate,
    open: Vec<bool>,
}

/// A calendar file that does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// A line that is neither a date nor `first` or `last` with one.
    #[error(
        "calendar line {line}: {text:?} is not \"first,DATE\", \"last,DATE\" or a closed weekday \"DATE\""
    )]
    Line {
        /// Line number, from 1.
        line: usize,
        /// The text.
        text: String,
    },
    /// `first` or `last` is missing.
    #[error("calendar names no {0} day; write a line \"{0},DATE\"")]
    Bound(&'static str),
}

impl Calendar {
    /// The calendar that ships with the protocol (`schemas/calendar/sse.csv`).
    ///
    /// # Panics
    /// Never: a test reads the same text.
    #[expect(clippy::expect_used, reason = "the text is compiled in and read by a test")]
    pub fn published() -> Calendar {
        include_str!("../../schemas/calendar/sse.csv").parse().expect("published calendar")
    }

    /// What kind of day a date is.
    pub fn day(&self, date: NaiveDate) -> Day {
        let at = usize::try_from(date.signed_duration_since(self.first).num_days());
        match at.ok().map(|at| self.open.get(at)) {
            Some(Some(true)) => Day::Session,
            Some(None) if !weekend(date) => Day::Unknown,
            _ => Day::Closed,
        }
    }

    /// Whether the exchanges trade on `date`.
    pub fn is_session(&self, date: NaiveDate) -> bool {
        self.day(date) == Day::Session
    }

    /// Sessions from `from` to `to`, both included.
    pub fn sessions(&self, from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = NaiveDate> + '_ {
        let from = from.max(self.first);
        from.iter_days()
            .take_while(move |&date| date <= to.min(self.last))
            .filter(|&date| self.is_session(date))
    }

    /// The first session the calendar knows: 1990-12-19.
    pub fn first(&self) -> NaiveDate {
        self.first
    }

    /// The last day the calendar knows.
    pub fn last(&self) -> NaiveDate {
        self.last
    }

    /// How many sessions it knows.
    pub fn len(&self) -> usize {
        self.open.iter().filter(|&&open| open).count()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn weekend(date: NaiveDate) -> bool {
    matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

impl FromStr for Calendar {
    type Err = CalendarError;

    /// Reads `first,DATE`, `last,DATE` and one closed weekday a line; `#` starts a comment.
    fn from_str(text: &str) -> Result<Calendar, CalendarError> {
        let (mut first, mut last, mut closed) = (None, None, BTreeSet::new());
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = || CalendarError::Line { line: at + 1, text: line.to_owned() };
            let date = |text: &str| text.parse::<NaiveDate>().map_err(|_| error());
            match line.split_once(',') {
                Some(("first", rest)) => first = Some(date(rest)?),
                Some(("last", rest)) => last = Some(date(rest)?),
                Some(_) => return Err(error()),
                None => {
                    closed.insert(date(line)?);
                }
            }
        }
        let first = first.ok_or(CalendarError::Bound("first"))?;
        let last = last.ok_or(CalendarError::Bound("last"))?;
        let open = first
            .iter_days()
            .take_while(|&date| date <= last)
            .map(|date| !weekend(date) && !closed.contains(&date))
            .collect();
        Ok(Calendar { first, last, open })
    }
}
