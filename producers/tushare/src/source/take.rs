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
    later::Pause,
    lesser::Published,
    live::Last,
    plan::{Dataset, Range, Work},
    range::Ranges,
    state::DayState,
    trouble::{Fate, Patience},
    weigh::{Days, Terms, weigh},
};

/// What the account may not ask for is tried again after this long: points are bought.
const SHUT_FOR: TimeDelta = TimeDelta::hours(1);

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
        self.later.came(&work, asked);
        match (work, found) {
            (_, Found::Day(day)) => self.take_day(&work, chunk, day.0, &day.1, withheld),
            (Work::Range { from, to, .. }, Found::Range(_)) if withheld => {
                self.withhold(&work, chunk, Range { from, to })
            }
            (Work::Range { from, to, .. }, Found::Range(days)) => {
                self.take_range((&work, asked), chunk, Range { from, to }, days)
            }
            (Work::Live { label, .. }, Found::Live(last)) => {
                self.take_live(label, last, withheld);
                Some(chunk)
            }
            _ => None,
        }
    }

    /// Takes note of what goes out live.
    fn take_live(&mut self, label: NaiveDateTime, last: Arc<Last>, withheld: bool) {
        if withheld {
            self.report.summary.withheld();
        } else {
            self.live.tell(label, last.newest());
        }
        self.handed.live = last;
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
            self.later.until(work, self.again_at());
            return None;
        }
        if withheld {
            self.report.withheld_day(gaps);
        } else {
            self.report.day(gaps);
        }
        if state.closed {
            self.later.done(work);
        } else if gaps.is_unconfirmed() {
            // It is confirmed by nothing that comes before the day is over.
            self.hold_until(work, Errand::over_at(gaps.day));
        } else {
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
        mut days: Days,
    ) -> Option<Chunk<R>> {
        let (field, mut ranges, apart) = (work.field(), self.handed.ranges(work), self.apart());
        let terms = self.errand.terms(asked, self.desk.settings.lookback_days);
        if !self.errand.is_lost(work) {
            self.published(work, &ranges, terms).hold_back(&mut chunk, &mut days);
        }
        let verdict = weigh(&days, ranges.first_row(), terms);
        if verdict.late.is_empty() {
            self.later.done(work);
        } else {
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
        self.report.range(work, &days, &verdict, (in_order, done), apart);
        if !done {
            return None;
        }
        chunk.origin = work.to_string().into();
        chunk.cursor.push((field.clone(), Some(ranges.to_string())));
        self.handed.ranges.insert(field, ranges);
        Some(chunk)
    }

    /// What may be on the stream of a code.
    fn published<'a>(&self, work: &Work, ranges: &'a Ranges, terms: Terms) -> Published<'a> {
        let gaps = match *work {
            Work::Range { symbol, .. } => self.desk.gaps.code(symbol).unwrap_or_default(),
            Work::Day { .. } | Work::Live { .. } => None,
        };
        let live = self.handed.live.newest().map(|newest| Range { from: terms.recent, to: newest.date() });
        Published { ranges, gaps, live }
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

    /// Asks for it again later, and later still from time to time.
    fn hold(&mut self, work: &Work) {
        self.hold_until(work, NaiveDateTime::MIN);
    }

    /// The same, but not before `least`.
    fn hold_until(&mut self, work: &Work, least: NaiveDateTime) {
        let settings = &self.desk.settings;
        let pause = Pause { first_s: settings.retry_s, s_max: settings.retry_s_max };
        self.later.hold(work, self.desk.tables.now(), pause, least);
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
            shut_until: self.desk.tables.now() + SHUT_FOR,
            tries_max: self.desk.settings.tries_max,
            in_a_row_max: self.desk.settings.ahead_max,
        };
        let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
        let told = format!("{error}{advice}");
        match self.trouble.fate(&work, error, patience) {
            Fate::At(then) => self.later.until(&work, then),
            Fate::Last => self.waiting.push_back(work),
            Fate::Left => {}
            Fate::Never => {
                // One code that the service does not take says nothing about the others.
                tracing::error!("{work}: {told}");
                self.report.summary.failed();
            }
            Fate::Shut(until) => {
                if self.later.shut(&work, until) {
                    tracing::error!(
                        "{work}: {told}; everything else goes on, and this is tried again every hour"
                    );
                }
                let (later, now) = (&self.later, self.desk.tables.now());
                self.waiting.retain(|other| !later.is_shut(other, now));
            }
            Fate::End(error) => self.fail(anyhow::Error::new(error)),
            Fate::Stop => self.stopped = true,
        }
    }
}
