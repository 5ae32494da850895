//! What became of the days of a run, for the last line it prints. Knows counts; must not know how they came about.

use std::{collections::BTreeMap, fmt};

use chrono::NaiveDate;

use crate::gaps::DayGaps;

/// How complete a day is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Complete,
    Gaps,
    Unconfirmed,
    Open,
    Withheld,
}

/// What a run found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    days: BTreeMap<(String, NaiveDate), State>,
    /// Days of codes that are not there yet.
    late: usize,
    ranges: usize,
    missing: usize,
    withheld: usize,
    failed: usize,
    unrecorded: usize,
}

impl Summary {
    /// Takes note of a day; the last word on it counts.
    pub fn day(&mut self, gaps: &DayGaps) {
        let state = match (gaps.is_whole(), gaps.closed) {
            (true, _) => State::Complete,
            (false, true) => State::Gaps,
            (false, false) if gaps.is_unconfirmed() => State::Unconfirmed,
            (false, false) => State::Open,
        };
        self.days.insert((gaps.dataset.clone(), gaps.day), state);
    }

    /// Takes note of a day whose answer was refused as a whole.
    pub fn withheld_day(&mut self, gaps: &DayGaps) {
        self.days.insert((gaps.dataset.clone(), gaps.day), State::Withheld);
    }

    /// Counts another answer that was refused as a whole.
    pub fn withheld(&mut self) {
        self.withheld += 1;
    }

    /// Counts a line of the gap ledger that could not be written.
    pub fn unrecorded(&mut self) {
        self.unrecorded += 1;
    }

    /// Lines of the gap ledger that could not be written.
    pub fn lost_records(&self) -> usize {
        self.unrecorded
    }

    /// Answers that were refused as a whole.
    pub fn refused_whole(&self) -> usize {
        self.count(State::Withheld) + self.withheld
    }

    /// Counts a range of a code, and the days that are missing of it.
    pub fn range(&mut self, missing: usize) {
        self.ranges += 1;
        self.missing += missing;
    }

    /// Counts a code whose rows of today are not there yet.
    pub fn late(&mut self) {
        self.late += 1;
    }

    /// Counts a question that the service does not take.
    pub fn failed(&mut self) {
        self.failed += 1;
    }

    /// Questions that the service does not take.
    pub fn failures(&self) -> usize {
        self.failed
    }

    fn count(&self, wanted: State) -> usize {
        self.days.values().filter(|&&state| state == wanted).count()
    }

    /// Whether anything was closed with gaps.
    pub fn has_gaps(&self) -> bool {
        self.count(State::Gaps) + self.missing > 0
    }

    /// Days, and days of codes, that are not complete yet.
    pub fn open(&self) -> usize {
        self.count(State::Open) + self.late
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [complete, gaps, open] =
            [State::Complete, State::Gaps, State::Open].map(|state| self.count(state));
        write!(f, "days: {complete} complete, {gaps} closed with gaps, {open} not complete yet")?;
        match self.count(State::Unconfirmed) {
            0 => {}
            days => write!(f, ", {days} to be confirmed by a second answer")?,
        }
        match self.refused_whole() {
            0 => {}
            answers => write!(f, ", {answers} answers refused as a whole")?,
        }
        if self.ranges + self.late > 0 {
            let Summary { ranges, missing, late, .. } = self;
            write!(f, "; ranges of codes: {ranges}, days missing of them: {missing}, not there yet: {late}")?;
        }
        Ok(())
    }
}
