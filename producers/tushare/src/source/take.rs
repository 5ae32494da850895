//! What becomes of what a task brought: rows and a cursor field to hand over, another time to ask, or an end. Knows how
//! whole it must be; must not know when work is begun.

use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sqep::{Chunk, Reason};

use super::TushareSource;
use crate::{
    client::ApiError,
    errand::Errand,
    gaps::DayGaps,
    job::{Done, Feed, Found},
    plan::{Dataset, Range, Work},
    state::DayState,
    trouble::{Fate, Patience},
    weigh::{Days, weigh},
};

impl<R: Feed> TushareSource<R> {
    /// Takes what a task brought. `None`: nothing to hand over.
    pub(super) fn take(
        &mut self,
        (work, asked): (Work, NaiveDateTime),
        done: Result<Done<R>, ApiError>,
    ) -> Option<Chunk<R>> {
        let Done { chunk, found, withheld } = match done {
            Ok(done) => done,
            Err(error) => {
                self.refused(work, error);
                return None;
            }
        };
        self.trouble.passed();
        match (work, found) {
            (_, Found::Day(day)) => self.take_day(&work, chunk, day.0, &day.1, withheld),
            (Work::Range { from, to, .. }, Found::Range(_)) if withheld => {
                self.withhold(&work, chunk, Range { from, to })
            }
            (Work::Range { from, to, .. }, Found::Range(days)) => {
                self.take_range((&work, asked), chunk, Range { from, to }, &days)
            }
            (Work::Live { label, .. }, _) => {
                if withheld {
                    self.report.summary.withheld();
                } else {
                    self.handed.live = Some(label);
                }
                Some(chunk)
            }
            _ => None,
        }
    }

    /// Hands over the letter of an answer about a range that was refused as a whole, once; nothing of it is done.
    fn withhold(&mut self, work: &Work, mut chunk: Chunk<R>, range: Range) -> Option<Chunk<R>> {
        let (sessions, apart) = (self.sessions(range), self.apart());
        self.report.withheld_range(work, sessions, apart);
        self.hold(work);
        chunk.records.clear();
        chunk.origin = work.to_string().into();
        self.withheld.insert(work.to_string()).then_some(chunk)
    }

    fn take_day(
        &mut self,
        work: &Work,
        chunk: Chunk<R>,
        state: DayState,
        gaps: &DayGaps,
        withheld: bool,
    ) -> Option<Chunk<R>> {
        if self.waits(work, gaps) {
            self.report.summary.day(gaps);
            self.hold(work);
            return None;
        }
        if withheld {
            self.report.withheld_day(gaps);
        } else {
            self.report.day(gaps);
        }
        if !state.closed {
            self.hold(work);
        }
        // Of an answer that was refused as a whole too: its letter is written once.
        self.handed.days.insert(work.field(), state);
        Some(chunk)
    }

    /// All days of a range are done but those that are late, whose rows come as a whole.
    fn take_range(
        &mut self,
        (work, asked): (&Work, NaiveDateTime),
        mut chunk: Chunk<R>,
        range: Range,
        days: &Days,
    ) -> Option<Chunk<R>> {
        let (field, mut ranges, apart) = (work.field(), self.handed.ranges(work), self.apart());
        let terms = self.errand.terms(asked, self.desk.settings.lookback_days);
        let verdict = weigh(days, ranges.first_row(), terms);
        if !verdict.late.is_empty() {
            self.hold(work);
            self.report.summary.late();
            chunk.records.retain(|record| !verdict.late.contains_key(&record.session()));
        }
        if self.errand.is_lost(work) {
            let before = chunk.records.len();
            chunk.records.retain(|record| !ranges.holds(record.session()));
            let gone = u64::try_from(before - chunk.records.len()).unwrap_or(u64::MAX);
            *chunk.skipped.entry(Reason::Duplicate).or_default() += gone;
        }
        let done = verdict.take(range, &mut ranges, &apart);
        let in_order = matches!(self.errand, Errand::Span(_) | Errand::Daemon);
        self.report.range(work, days, &verdict, (in_order, done), apart);
        if !done {
            return None;
        }
        chunk.origin = work.to_string().into();
        chunk.cursor.push((field.clone(), Some(ranges.to_string())));
        self.handed.ranges.insert(field, ranges);
        Some(chunk)
    }

    fn sessions(&self, Range { from, to }: Range) -> Vec<NaiveDate> {
        self.universe.as_ref().map_or_else(Vec::new, |of| of.sessions(&self.desk.calendar, from, to))
    }

    /// Says whether there is a session among some days.
    fn apart(&self) -> impl Fn(Range) -> bool + use<R> {
        let (universe, desk) = (self.universe.clone(), Arc::clone(&self.desk));
        move |Range { from, to }| {
            universe.as_ref().is_none_or(|of| !of.sessions(&desk.calendar, from, to).is_empty())
        }
    }

    /// Before the open, what is known of the day goes out as a whole or not yet.
    fn waits(&self, work: &Work, gaps: &DayGaps) -> bool {
        let Work::Day { dataset: Dataset::Ref, day } = *work else { return false };
        !gaps.lacks.is_empty() && self.desk.tables.now() < day.and_time(self.desk.settings.ref_until)
    }

    /// Asks for it again later.
    fn hold(&mut self, work: &Work) {
        let again_at = self.again_at();
        self.later.insert(work.field(), again_at);
    }

    fn again_at(&self) -> NaiveDateTime {
        let retry = i64::try_from(self.desk.settings.retry_s).unwrap_or(i64::MAX / 1_000);
        self.desk.tables.now() + TimeDelta::seconds(retry)
    }

    /// A daemon outlives what passes; a run that ends does what it can and says why it cannot do more.
    fn refused(&mut self, work: Work, error: ApiError) {
        let patience = Patience {
            endless: self.errand == Errand::Daemon,
            again_at: self.again_at(),
            tries_max: self.desk.settings.tries_max,
            in_a_row_max: self.desk.settings.ahead_max,
        };
        let told = error.to_string();
        match self.trouble.fate(&work, error, patience) {
            Fate::At(then) => drop(self.later.insert(work.field(), then)),
            Fate::Last => self.waiting.push_back(work),
            Fate::Left => {}
            Fate::Never => {
                // One code that the service does not take says nothing about the others.
                tracing::error!("{work}: {told}");
                self.report.summary.failed();
            }
            Fate::End(error) => self.fail(anyhow::Error::new(error)),
            Fate::Stop => self.stopped = true,
        }
    }
}
