//! What is told of what was found: the summary of the run and the gap ledger. Knows days and codes; must not know how
//! they were asked for. A ledger that cannot be written is told, counted, and loses no bar.

use chrono::NaiveDate;

use crate::{
    code_gaps::CodeGaps,
    gaps::{DayGaps, Gaps},
    plan::Work,
    range::Range,
    summary::Summary,
    weigh::{Days, Verdict},
};

/// Tells.
#[derive(Debug)]
pub(crate) struct Report {
    gaps: Gaps,
    pub(crate) summary: Summary,
}

impl Report {
    pub(crate) fn new(gaps: Gaps) -> Report {
        Report { gaps, summary: Summary::default() }
    }

    /// Notes how complete a day is.
    pub(crate) fn day(&mut self, gaps: &DayGaps) {
        self.summary.day(gaps);
        let written = self.gaps.put(gaps);
        self.written(written);
        gaps.tell();
    }

    /// Notes a day whose answer was refused as a whole.
    pub(crate) fn withheld_day(&mut self, gaps: &DayGaps) {
        self.day(gaps);
        self.summary.withheld_day(gaps);
        tracing::warn!("{} {}: the answer is refused as a whole: units_or_adjusted", gaps.day, gaps.dataset);
    }

    /// Notes a range whose answer was refused as a whole; `sessions` are those of the range.
    pub(crate) fn withheld_range(
        &mut self,
        work: &Work,
        sessions: Vec<NaiveDate>,
        apart: impl Fn(Range) -> bool,
    ) {
        self.summary.withheld();
        tracing::warn!("{work}: the answer is refused as a whole: units_or_adjusted");
        if let Work::Range { dataset, symbol, from, to } = *work {
            let gaps = CodeGaps::refused(dataset.name(), symbol, sessions);
            let written = self.gaps.put_code(gaps, Range { from, to }, apart);
            self.written(written);
        }
    }

    /// Notes what is missing of a range, and counts it where any of its days is done. As soon as the first row of a
    /// code is known, nothing before it is; single days that are asked for again do not come `in_order` and tell
    /// nothing of that kind.
    pub(crate) fn range(
        &mut self,
        work: &Work,
        days: &Days,
        verdict: &Verdict,
        (in_order, done): (bool, bool),
        apart: impl Fn(Range) -> bool,
    ) {
        let Work::Range { dataset, symbol, from, to } = *work else { return };
        if done {
            self.summary.range(verdict.missing.len() + verdict.held.len());
        }
        let begins = in_order && !days.listed && verdict.first_row.is_some_and(|first| first >= from);
        let from = if begins { NaiveDate::MIN } else { from };
        let gaps = CodeGaps::new(dataset.name(), symbol, days, verdict);
        let written = self.gaps.put_code(gaps, Range { from, to }, apart);
        self.written(written);
    }

    fn written(&mut self, written: anyhow::Result<()>) {
        if let Err(error) = written {
            tracing::warn!("{error:#}");
            self.summary.unrecorded();
        }
    }
}
