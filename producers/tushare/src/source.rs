//! The service as a source: work in order, some of it begun ahead, one chunk a piece.
//!
//! Knows order, cursor fields and when there is nothing more; must not know tables nor bars. A piece of work and the
//! field that says it is done travel in one chunk, so that a crash repeats at most the pieces that were begun.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sqep::{Chunk, Cursors, Source};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

pub use crate::errand::Errand;
use crate::{
    client::{ApiError, Reach},
    desk::Desk,
    gaps::{CodeGaps, DayGaps},
    halts::Halts,
    job::{Done, Feed, Found, Job},
    live,
    plan::{Dataset, Range, Work},
    range::Ranges,
    state::{self, DayState},
    summary::Summary,
    symbols::Symbols,
    universe::Universe,
    weigh::{Days, Verdict, weigh},
};

/// How long the piece in front is waited for before what was gathered is published without it.
const PATIENCE: Duration = Duration::from_millis(50);
/// A daemon looks at its clock at least this often.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// A piece of work that was begun.
#[derive(Debug)]
struct Begun<R> {
    work: Work,
    /// When it was asked for: what it lacks is judged by that time.
    asked: NaiveDateTime,
    task: AbortOnDropHandle<Result<Done<R>, ApiError>>,
}

/// Records of the service.
#[derive(Debug)]
pub struct TushareSource<R> {
    desk: Arc<Desk>,
    errand: Errand,
    /// What was handed over of days, not only what is stored.
    days: BTreeMap<String, DayState>,
    /// What was handed over of codes.
    ranges: BTreeMap<String, Ranges>,
    /// Who was suspended, as far as it was asked for since the last look.
    halts: Arc<Halts>,
    /// The last live minute that was handed over, and the last that was begun.
    live: Option<NaiveDateTime>,
    live_begun: Option<NaiveDateTime>,
    universe: Option<Arc<Universe>>,
    planned: bool,
    waiting: VecDeque<Work>,
    begun: VecDeque<Begun<R>>,
    /// A daemon asks again for these not before.
    later: HashMap<String, NaiveDateTime>,
    failed: Option<anyhow::Error>,
    /// A stop was asked for: nothing more comes, and who waits will be told.
    stopped: bool,
    idle: bool,
    summary: Summary,
}

impl<R: Feed> TushareSource<R> {
    /// A source with an errand.
    pub fn new(desk: Arc<Desk>, errand: Errand) -> TushareSource<R> {
        TushareSource {
            desk,
            errand,
            days: BTreeMap::new(),
            ranges: BTreeMap::new(),
            halts: Arc::default(),
            live: None,
            live_begun: None,
            universe: None,
            planned: false,
            waiting: VecDeque::new(),
            begun: VecDeque::new(),
            later: HashMap::new(),
            failed: None,
            stopped: false,
            idle: false,
            summary: Summary::default(),
        }
    }

    /// What became of the days so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Begins work, in order, as far ahead as memory allows; a minute that has just ended goes before all else.
    fn begin(&mut self) {
        let Some(universe) = self.universe.clone() else { return };
        if self.errand == Errand::Daemon
            && let Some(work) = self.desk.live_work(&universe, self.live_begun.max(self.live))
        {
            if let Work::Live { label, .. } = work {
                self.live_begun = Some(label);
            }
            let begun = self.begun_work(work, &universe);
            self.begun.push_front(begun);
        }
        while self.begun.len() < self.desk.settings.ahead_max {
            let Some(work) = self.waiting.pop_front() else { return };
            let begun = self.begun_work(work, &universe);
            self.begun.push_back(begun);
        }
    }

    fn begun_work(&self, work: Work, universe: &Arc<Universe>) -> Begun<R> {
        let state = self.days.get(&work.field()).cloned().unwrap_or_default();
        let asked = self.desk.tables.now();
        let job = Job {
            desk: Arc::clone(&self.desk),
            universe: Arc::clone(universe),
            tries: self.errand.tries(&work, state.tries, asked.date(), self.desk.settings.tries_max),
            over: self.errand.over(asked),
            first_row: self.ranges.get(&work.field()).and_then(Ranges::first_row),
            halts: Arc::clone(&self.halts),
            fresh: matches!(self.errand, Errand::Again(_) | Errand::Anew(_)) || state.tries > 0,
            again: matches!(self.errand, Errand::Anew(_)),
            before: self.before(&work),
            state,
            live: self.live,
            work,
        };
        Begun { work, asked, task: AbortOnDropHandle::new(tokio::spawn(R::fetch(job))) }
    }

    /// Securities that had a row on the day before.
    fn before(&self, work: &Work) -> Symbols {
        match *work {
            Work::Day { dataset, day } => state::before(&self.days, dataset.name(), day),
            Work::Range { .. } | Work::Live { .. } => Symbols::default(),
        }
    }

    /// Finds out what is to be done. Safe to drop while it waits.
    async fn plan(&mut self) -> Result<(), ApiError> {
        let now = self.desk.tables.now();
        let universe = self.desk.tables.universe().await?;
        self.universe = Some(Arc::clone(&universe));
        self.halts = Arc::default();
        let span = match &self.errand {
            Errand::Again(works) | Errand::Anew(works) => {
                self.waiting = works.iter().copied().collect();
                self.planned = true;
                return Ok(());
            }
            Errand::Span(span) => *span,
            Errand::Daemon => {
                let from = now.date() - chrono::Days::new(self.desk.settings.lookback_days);
                Range { from, to: now.date() }
            }
        };
        let later = &self.later;
        let held = |work: &Work| later.get(&work.field()).is_some_and(|&then| then > now);
        let works = self.desk.plan(&universe, span, &self.days, &self.ranges);
        self.waiting = works.into_iter().filter(|work| !held(work)).collect();
        self.planned = true;
        Ok(())
    }

    /// How long there is nothing to look at but what was begun.
    fn pause(&self) -> Duration {
        let now = self.desk.tables.now();
        let retry = Duration::from_secs(self.desk.settings.retry_s).min(LOOK_MAX);
        let minute = self.desk.live_grid().and_then(|grid| live::next(grid, now, self.desk.live_delay()));
        let minute = minute.and_then(|then| (then - now).to_std().ok()).unwrap_or(retry);
        retry.min(minute)
    }

    /// Takes what a task brought. `None`: nothing to hand over.
    fn take(
        &mut self,
        (work, asked): (Work, NaiveDateTime),
        done: Result<Done<R>, ApiError>,
    ) -> Option<Chunk<R>> {
        let Done { chunk, found } = match done {
            Ok(done) => done,
            Err(error) => {
                self.refused(&work, error);
                return None;
            }
        };
        match (work, found) {
            (_, Found::Day(day)) => self.take_day(&work, chunk, day.0, &day.1),
            (Work::Range { from, to, .. }, Found::Range(days)) => {
                self.take_range((&work, asked), chunk, Range { from, to }, &days)
            }
            (Work::Live { label, .. }, _) => {
                self.live = Some(label);
                Some(chunk)
            }
            _ => None,
        }
    }

    fn take_day(
        &mut self,
        work: &Work,
        chunk: Chunk<R>,
        state: DayState,
        gaps: &DayGaps,
    ) -> Option<Chunk<R>> {
        if self.waits(work, gaps) {
            self.summary.day(gaps);
            self.hold(work);
            return None;
        }
        self.told(gaps);
        if !state.closed {
            self.hold(work);
        }
        self.days.insert(work.field(), state);
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
        let field = work.field();
        let mut ranges = self.ranges.get(&field).cloned().unwrap_or_default();
        let terms = self.errand.terms(asked, self.desk.settings.lookback_days);
        let verdict = weigh(days, ranges.first_row(), terms);
        if !verdict.late.is_empty() {
            self.hold(work);
            self.summary.late();
            chunk.records.retain(|record| !verdict.late.contains(&record.session()));
        }
        if !verdict.take(range, &mut ranges, |days| self.has_session(days)) {
            return None;
        }
        self.note_range(work, range, days, verdict);
        chunk.origin = work.to_string().into();
        chunk.cursor.push((field.clone(), Some(ranges.to_string())));
        self.ranges.insert(field, ranges);
        Some(chunk)
    }

    fn has_session(&self, Range { from, to }: Range) -> bool {
        self.universe.as_ref().is_none_or(|of| !of.sessions(&self.desk.calendar, from, to).is_empty())
    }

    /// Notes what is missing of a range. As soon as the first row of a code is known, nothing before it is; single days
    /// that are asked for again do not come in order and tell nothing of that kind.
    fn note_range(&mut self, work: &Work, range: Range, days: &Days, verdict: Verdict) {
        let Work::Range { dataset, symbol, .. } = *work else { return };
        self.summary.range(verdict.missing.len());
        let in_order = matches!(self.errand, Errand::Span(_) | Errand::Daemon) && !days.listed;
        let begins = in_order && verdict.first_row.is_some_and(|first| first >= range.from);
        let from = if begins { NaiveDate::MIN } else { range.from };
        let gaps = CodeGaps::new(dataset.name(), symbol, &verdict.missing, verdict.halted);
        if let Err(error) = self.desk.gaps.put_code(gaps, &(from..=range.to)) {
            tracing::warn!("{error:#}");
        }
    }

    /// Before the open, what is known of the day goes out as a whole or not yet.
    fn waits(&self, work: &Work, gaps: &DayGaps) -> bool {
        let Work::Day { dataset: Dataset::Ref, day } = *work else { return false };
        !gaps.lacks.is_empty() && self.desk.tables.now() < day.and_time(self.desk.settings.ref_until)
    }

    /// Asks for it again later.
    fn hold(&mut self, work: &Work) {
        let now = self.desk.tables.now();
        let retry = TimeDelta::seconds(i64::try_from(self.desk.settings.retry_s).unwrap_or(i64::MAX / 1_000));
        self.later.insert(work.field(), now + retry);
    }

    /// Notes what is missing of a day.
    fn told(&mut self, gaps: &DayGaps) {
        self.summary.day(gaps);
        if let Err(error) = self.desk.gaps.put(gaps) {
            tracing::warn!("{error:#}");
        }
        gaps.tell();
    }

    /// A daemon outlives what passes; a run that ends says why it cannot.
    fn refused(&mut self, work: &Work, error: ApiError) {
        let until = match &error {
            ApiError::Quota { until, .. } => Some(*until),
            _ => None,
        };
        let passes = matches!(error.reach(), Reach::Moment | Reach::Ask)
            || matches!(error, ApiError::Quota { .. } | ApiError::Rate { .. });
        if error == ApiError::Stopped {
            self.stopped = true;
        } else if self.errand == Errand::Daemon && passes {
            tracing::warn!("{work}: {error}");
            self.hold(work);
            if let Some(until) = until {
                self.later.insert(work.field(), until);
            }
        } else if error.reach() == Reach::Ask {
            // One code that the service does not take says nothing about the others.
            tracing::error!("{work}: {error}");
            self.summary.failed();
        } else {
            self.fail(anyhow::Error::new(error));
        }
    }

    fn fail(&mut self, error: anyhow::Error) {
        self.begun.clear();
        self.waiting.clear();
        self.failed = Some(error);
    }

    /// Waits, and finds out what is to be done. Safe to drop while it waits.
    async fn look(&mut self) -> anyhow::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.stopped {
            return std::future::pending().await;
        }
        if self.planned {
            sleep(self.pause()).await;
            self.planned = false;
        }
        match self.plan().await {
            Err(ApiError::Stopped) => self.stopped = true,
            Err(error) if self.errand == Errand::Daemon && error.reach() == Reach::Moment => {
                tracing::warn!("{error}");
                self.planned = true;
            }
            planned => planned?,
        }
        Ok(())
    }

    /// Announces a wait once.
    fn announce(&mut self) -> bool {
        !mem::replace(&mut self.idle, true)
    }
}

impl<R: Feed> Source for TushareSource<R> {
    type Record = R;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        self.begun.clear();
        self.waiting.clear();
        self.days.clear();
        self.ranges.clear();
        self.live = None;
        for (name, text) in &cursors.fields {
            if name.starts_with(live::PREFIX) {
                self.live = live::read(text);
            } else if let Some(ranges) = Ranges::read(text) {
                self.ranges.insert(name.clone(), ranges);
            } else if let Some(state) = DayState::read(text) {
                self.days.insert(name.clone(), state);
            } else {
                tracing::warn!(field = name, "a cursor field does not read; its day counts as new");
            }
        }
        self.live_begun = None;
        (self.planned, self.idle) = (false, false);
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        loop {
            self.begin();
            let wait = if self.idle { self.pause() } else { PATIENCE };
            let Some(begun) = self.begun.front_mut() else {
                if self.planned && self.failed.is_none() && !self.stopped && self.errand != Errand::Daemon {
                    return Ok(None);
                }
                if self.announce() {
                    return Ok(Some(Chunk::empty("")));
                }
                self.look().await?;
                continue;
            };
            let Ok(ended) = timeout(wait, &mut begun.task).await else {
                if self.announce() {
                    return Ok(Some(Chunk::empty("")));
                }
                continue;
            };
            let (work, asked) = (begun.work, begun.asked);
            self.begun.pop_front();
            match ended {
                Ok(done) => {
                    if let Some(chunk) = self.take((work, asked), done) {
                        self.idle = false;
                        return Ok(Some(chunk));
                    }
                }
                Err(error) => self.fail(anyhow::anyhow!("{work}: the task came to an untimely end: {error}")),
            }
        }
    }
}
