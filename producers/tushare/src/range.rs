//! Days of a code that are done, as its cursor field carries them. Knows spans of days and how they grow together; must
//! not know what is asked for nor which days are sessions.

use std::fmt;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// Between the ranges of a field.
const AND: char = ',';
/// Before the day of the first row.
const FIRST: char = ';';
/// Instead of the day of the first row: there was none yet.
const NO_ROW: &str = "-";

/// Days from one to another: `2024-01-02..2024-06-28`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
}

impl Range {
    /// Reads a range.
    pub fn read(text: &str) -> Option<Range> {
        let (from, to) = text.split_once("..")?;
        Some(Range { from: from.parse().ok()?, to: to.parse().ok()? })
    }

    /// Whether a day is one of its.
    pub fn holds(self, day: NaiveDate) -> bool {
        (self.from..=self.to).contains(&day)
    }
}

impl From<Range> for String {
    fn from(range: Range) -> String {
        range.to_string()
    }
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Range, String> {
        Range::read(&text).ok_or_else(|| format!("{text:?} is no range of days"))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

/// The days of a code that are done: `2024-01-02..2024-02-08,2024-05-06..2024-05-17`. What lies between two ranges is not.
///
/// The day of the first row ever seen follows after a semicolon where it is another than the first of all, and a hyphen
/// where there was none: `2024-01-02..2024-02-08;2024-01-15`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// By day; no two of them touch.
    done: Vec<Range>,
    first_row: Option<NaiveDate>,
}

impl Ranges {
    /// Reads a field.
    pub fn read(text: &str) -> Option<Ranges> {
        let (ranges, first) = text.split_once(FIRST).map_or((text, None), |(of, first)| (of, Some(first)));
        let done: Vec<Range> = ranges.split(AND).map(Range::read).collect::<Option<_>>()?;
        let first_row = match first {
            None => Some(done.first()?.from),
            Some(NO_ROW) => None,
            Some(day) => Some(day.parse().ok()?),
        };
        Some(Ranges { done, first_row })
    }

    /// Whether a day is done.
    pub fn holds(&self, day: NaiveDate) -> bool {
        self.done.iter().any(|range| range.holds(day))
    }

    /// The day of the first row ever seen.
    pub fn first_row(&self) -> Option<NaiveDate> {
        self.first_row
    }

    /// Takes note of the first row ever seen.
    pub fn set_first_row(&mut self, day: Option<NaiveDate>) {
        self.first_row = day;
    }

    /// The ranges, in order.
    pub fn done(&self) -> &[Range] {
        &self.done
    }

    /// Adds a range, and joins it with those next to it unless `apart` says that a session lies between.
    pub fn add(&mut self, range: Range, apart: impl Fn(Range) -> bool) {
        self.done.push(range);
        join(&mut self.done, apart);
    }
}

/// Sorts ranges and joins those that are next to each other unless `apart` says that a session lies between.
pub(crate) fn join(ranges: &mut Vec<Range>, apart: impl Fn(Range) -> bool) {
    ranges.sort_by_key(|range| (range.from, range.to));
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for &range in ranges.iter() {
        match joined.last_mut().filter(|last| !is_apart(**last, range, &apart)) {
            Some(last) => last.to = last.to.max(range.to),
            None => joined.push(range),
        }
    }
    *ranges = joined;
}

/// What is left of ranges without the days from one to another.
pub(crate) fn without(ranges: &[Range], from: NaiveDate, to: NaiveDate) -> Vec<Range> {
    let sides = |range: &Range| {
        let before = from.pred_opt().map(|end| Range { to: range.to.min(end), ..*range });
        let after = to.succ_opt().map(|start| Range { from: range.from.max(start), ..*range });
        before.into_iter().chain(after)
    };
    ranges.iter().flat_map(sides).filter(|range| range.from <= range.to).collect()
}

/// Whether a session lies between one range and a later one.
fn is_apart(range: Range, later: Range, apart: &impl Fn(Range) -> bool) -> bool {
    let between = range.to.succ_opt().zip(later.from.pred_opt()).map(|(from, to)| Range { from, to });
    between.is_some_and(|between| between.from <= between.to && apart(between))
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.done.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(&AND.to_string()))?;
        match self.first_row {
            None => write!(f, "{FIRST}{NO_ROW}"),
            Some(day) if self.done.first().is_some_and(|range| range.from == day) => Ok(()),
            Some(day) => write!(f, "{FIRST}{day}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqep::Calendar;

    use super::*;

    fn grown(field: &str, more: &[&str]) -> String {
        let calendar = Calendar::published();
        let mut ranges = Ranges::read(field).unwrap();
        for text in more {
            ranges
                .add(Range::read(text).unwrap(), |gap| calendar.sessions(gap.from, gap.to).next().is_some());
        }
        ranges.to_string()
    }

    #[test]
    fn what_lies_between_two_ranges_is_not_done() {
        let text = grown("2026-02-02..2026-02-13", &["2026-05-11..2026-05-22"]);
        assert_eq!(text, "2026-02-02..2026-02-13,2026-05-11..2026-05-22");
        let ranges = Ranges::read(&text).unwrap();
        let holds = |day: &str| ranges.holds(day.parse().unwrap());
        assert!(holds("2026-02-13") && holds("2026-05-11"));
        assert!(!holds("2026-03-02"));
    }

    #[test]
    fn ranges_grow_together_over_days_without_a_session_and_not_over_one() {
        assert_eq!(
            grown("2026-03-02..2026-03-06", &["2026-03-09..2026-03-10"]),
            "2026-03-02..2026-03-10",
            "over a weekend"
        );
        assert_eq!(
            grown("2026-03-02..2026-03-06", &["2026-03-10..2026-03-10"]),
            "2026-03-02..2026-03-06,2026-03-10..2026-03-10"
        );
        assert_eq!(
            grown("2026-03-02..2026-03-06", &["2026-03-10..2026-03-10", "2026-03-05..2026-03-09"]),
            "2026-03-02..2026-03-10"
        );
    }

    #[test]
    fn a_field_comes_back_from_its_text() {
        for (text, first) in [
            ("2024-01-02..2024-06-28", Some("2024-01-02")),
            ("2024-01-02..2024-06-28;2024-01-15", Some("2024-01-15")),
            ("2024-01-02..2024-06-28;-", None),
            ("2024-01-02..2024-06-28,2024-08-01..2024-08-02;-", None),
        ] {
            let ranges = Ranges::read(text).unwrap();
            assert_eq!(ranges.to_string(), text);
            assert_eq!(ranges.first_row(), first.map(|day| day.parse().unwrap()), "{text}");
        }
        for text in ["", "2024-01-02", "2024-01-02..x", "2024-01-02..2024-06-28;x"] {
            assert_eq!(Ranges::read(text), None, "{text}");
        }
    }
}
