//! What becomes of the days of a code: done, late, or on record as missing. Knows one answer and what was known before
//! it; must not know the service, the clock nor rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use crate::{
    code_gaps::Part,
    range::{Range, Ranges},
};

/// A session that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    /// The rows that are there, of those that should be.
    pub part: Part,
    /// Whether a suspension for a part of the day explains all that is missing.
    pub halted: bool,
}

/// What an answer says of the days of a code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Days {
    /// The day of its first row.
    pub first_row: Option<NaiveDate>,
    /// Whether a list says from when to when there should be rows. Of funds and indices none does.
    pub listed: bool,
    /// Sessions that are whole, as runs of them.
    pub whole: Vec<Range>,
    /// Sessions on which the code was suspended.
    pub suspended: BTreeSet<NaiveDate>,
    /// Sessions that are not whole, of those on which there should be rows.
    pub lacks: BTreeMap<NaiveDate, Lack>,
    /// Sessions of which rows are held back that know less than those on the stream.
    pub held: BTreeMap<NaiveDate, Part>,
}

/// What is not expected to come any more, and what may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The last day whose rows do not come by themselves any more.
    pub over: NaiveDate,
    /// The first day that is waited for although no row of the code was ever seen.
    pub recent: NaiveDate,
}

/// What becomes of the days that are not whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Asked for again.
    pub late: BTreeMap<NaiveDate, Part>,
    /// On record as missing.
    pub missing: BTreeMap<NaiveDate, Part>,
    /// On record as suspended for a part of the day.
    pub halted: BTreeMap<NaiveDate, Part>,
    /// On record as known better before.
    pub held: BTreeMap<NaiveDate, Part>,
    /// The day of the first row ever seen.
    pub first_row: Option<NaiveDate>,
}

/// Weighs an answer; `known` is the day of the first row that was seen before it. Days before the first row of a code
/// that no list has are no gaps; as long as there is none, old days are, and recent ones are waited for.
pub fn weigh(days: &Days, known: Option<NaiveDate>, terms: Terms) -> Verdict {
    let first_row = known.into_iter().chain(days.first_row).min();
    let mut verdict = Verdict { first_row, ..Verdict::default() };
    for (&day, lack) in &days.lacks {
        if !days.listed && first_row.is_some_and(|first| day < first) {
            // The code was not there yet.
        } else if day > terms.over {
            // What a pause leaves out, and what is not there yet, look the same.
            verdict.late.insert(day, lack.part);
        } else if lack.halted {
            verdict.halted.insert(day, lack.part);
        } else if !days.listed && first_row.is_none() && day >= terms.recent {
            verdict.late.insert(day, lack.part);
        } else {
            verdict.missing.insert(day, lack.part);
        }
    }
    for (&day, &part) in &days.held {
        let days = if day > terms.over { &mut verdict.late } else { &mut verdict.held };
        days.insert(day, part);
    }
    verdict
}

impl Verdict {
    /// Adds the days of a range that are done to those of the code; whether there were any. `has_session` says whether
    /// there is a session among some days.
    pub fn take(&self, range: Range, ranges: &mut Ranges, has_session: impl Fn(Range) -> bool) -> bool {
        let mut done = self.done(range);
        done.retain(|&done| has_session(done));
        for &done in &done {
            ranges.add(done, &has_session);
        }
        ranges.set_first_row(self.first_row);
        !done.is_empty()
    }

    /// The days of a range that are done: all but those that are late.
    fn done(&self, range: Range) -> Vec<Range> {
        let mut done = Vec::new();
        let mut next = Some(range.from);
        for &late in self.late.keys().filter(|&&late| range.holds(late)) {
            done.extend(next.zip(late.pred_opt()).map(|(from, to)| Range { from, to }));
            next = late.succ_opt();
        }
        done.extend(next.map(|from| Range { from, to: range.to }));
        done.retain(|range| range.from <= range.to);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// Nothing of the days from the second to the sixth of March.
    fn nothing(listed: bool, first_row: Option<&str>) -> Days {
        let lack = Lack { part: Part { rows: 0, of: 1 }, halted: false };
        let lacks = (2..=6).map(|of| (NaiveDate::from_ymd_opt(2026, 3, of).unwrap(), lack)).collect();
        Days { first_row: first_row.map(day), listed, lacks, ..Days::default() }
    }

    fn weighed(days: &Days, known: Option<&str>, over: &str) -> (usize, usize) {
        let terms = Terms { over: day(over), recent: day("2026-03-04") };
        let verdict = weigh(days, known.map(day), terms);
        (verdict.late.len(), verdict.missing.len())
    }

    #[test]
    fn days_before_the_first_row_are_no_gaps_and_days_after_it_are() {
        assert_eq!(weighed(&nothing(false, Some("2026-03-04")), None, "2026-03-06"), (0, 3));
        assert_eq!(weighed(&nothing(false, None), Some("2026-02-02"), "2026-03-06"), (0, 5));
        assert_eq!(weighed(&nothing(false, None), Some("2026-04-01"), "2026-03-06"), (0, 0));
        assert_eq!(weighed(&nothing(true, Some("2026-03-04")), None, "2026-03-06"), (0, 5));
    }

    #[test]
    fn a_code_without_any_row_is_waited_for_where_its_days_are_recent() {
        assert_eq!(weighed(&nothing(false, None), None, "2026-03-06"), (3, 2));
        assert_eq!(weighed(&nothing(true, None), None, "2026-03-06"), (0, 5));
    }

    #[test]
    fn days_that_are_not_over_are_late_and_all_others_of_the_range_are_done() {
        let mut days = nothing(false, None);
        days.lacks.retain(|&of, _| of == day("2026-03-04") || of == day("2026-03-06"));
        let terms = Terms { over: day("2026-03-03"), recent: day("2026-03-01") };
        let verdict = weigh(&days, Some(day("2026-02-02")), terms);
        let range = Range { from: day("2026-03-02"), to: day("2026-03-06") };
        let texts: Vec<String> = verdict.done(range).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["2026-03-02..2026-03-03", "2026-03-05..2026-03-05"]);
    }
}
