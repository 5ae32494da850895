//! The service as a source: work in order, some of it begun ahead, one chunk a piece.
//!
//! Knows order and when there is nothing more; must not know tables nor bars, nor what becomes of what came (`take`). A
//! piece of work and the field that says it is done travel in one chunk, so that a crash repeats at most the pieces
//! that were begun.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use chrono::NaiveDateTime;
use sqep::{Chunk, Cursors, Source};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

pub use crate::errand::Errand;
use crate::{
    client::{ApiError, Reach},
    desk::Desk,
    halts::Halts,
    handed::Handed,
    job::{Done, Feed, Job},
    later::Later,
    live::{self, Pace},
    plan::{Range, Work},
    report::Report,
    summary::Summary,
    trouble::Trouble,
    universe::Universe,
};

mod take;

/// How long the piece in front is waited for before what was gathered is published without it.
const PATIENCE: Duration = Duration::from_millis(50);

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
    handed: Handed,
    /// Who was suspended, as far as it was asked for since the last look.
    halts: Arc<Halts>,
    /// How far it got with live minutes.
    live: Pace,
    universe: Option<Arc<Universe>>,
    planned: bool,
    waiting: VecDeque<Work>,
    begun: VecDeque<Begun<R>>,
    /// What a daemon asks for again later.
    later: Later,
    /// Work whose answer was refused as a whole and told about.
    withheld: HashSet<String>,
    trouble: Trouble,
    failed: Option<anyhow::Error>,
    /// A stop was asked for: nothing more comes, and who waits will be told.
    stopped: bool,
    idle: bool,
    report: Report,
}

impl<R: Feed> TushareSource<R> {
    /// A source with an errand.
    pub fn new(desk: Arc<Desk>, errand: Errand) -> TushareSource<R> {
        let report = Report::new(desk.gaps.clone());
        TushareSource {
            desk,
            errand,
            handed: Handed::default(),
            halts: Arc::default(),
            live: Pace::default(),
            universe: None,
            planned: false,
            waiting: VecDeque::new(),
            begun: VecDeque::new(),
            later: Later::default(),
            withheld: HashSet::new(),
            trouble: Trouble::default(),
            failed: None,
            stopped: false,
            idle: false,
            report,
        }
    }

    /// What became of the days so far.
    pub fn summary(&self) -> &Summary {
        &self.report.summary
    }

    /// Whether all is done that the last look found: nothing is under way, and nothing waits to be begun.
    pub fn rests(&self) -> bool {
        self.planned && self.begun.is_empty() && self.waiting.is_empty()
    }

    /// The minute that has just ended. One after the other: two at a time would bring the same bars, or older ones last.
    fn live_work(&self, universe: &Universe) -> Option<Work> {
        let under_way = || self.begun.iter().any(|begun| matches!(begun.work, Work::Live { .. }));
        if self.errand != Errand::Daemon || under_way() {
            return None;
        }
        let work = self.desk.live_work(universe, self.live.begun.max(self.handed.live.newest()))?;
        (!self.later.is_shut(&work, self.desk.tables.now())).then_some(work)
    }

    /// Begins work, in order, as far ahead as memory allows; a minute that has just ended goes before all else.
    fn begin(&mut self) {
        let Some(universe) = self.universe.clone() else { return };
        if let Some(work) = self.live_work(&universe) {
            if let Work::Live { label, .. } = work {
                self.live.begun = Some(label);
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
        let state = self.handed.state(&work);
        let asked = self.desk.tables.now();
        let job = Job {
            desk: Arc::clone(&self.desk),
            universe: Arc::clone(universe),
            tries: self.errand.tries(&work, state.tries, asked.date(), self.desk.settings.tries_max),
            over: self.errand.over(asked),
            first_row: self.handed.ranges(&work).first_row(),
            halts: Arc::clone(&self.halts),
            fresh: self.errand.is_fresh(&work, state.tries),
            again: matches!(self.errand, Errand::Anew(_)),
            before: self.handed.before(&work),
            state,
            live: Arc::clone(&self.handed.live),
            work,
        };
        Begun { work, asked, task: AbortOnDropHandle::new(tokio::spawn(R::fetch(job))) }
    }

    /// The lists of securities and sessions. A daemon that has some goes on with them while they cannot be read anew.
    async fn lists(&self) -> Result<Arc<Universe>, ApiError> {
        match (self.desk.tables.universe().await, &self.universe) {
            (Err(error), Some(known))
                if self.errand == Errand::Daemon
                    && !matches!(error.reach(), Reach::Account | Reach::Stop) =>
            {
                tracing::warn!("{error}: the lists from before are used");
                Ok(Arc::clone(known))
            }
            (read, _) => read,
        }
    }

    /// Finds out what is to be done. Safe to drop while it waits.
    async fn plan(&mut self) -> Result<(), ApiError> {
        let now = self.desk.tables.now();
        let universe = self.lists().await?;
        self.universe = Some(Arc::clone(&universe));
        self.halts = Arc::default();
        if let Some(works) = self.errand.works() {
            self.waiting = works.into();
            self.planned = true;
            return Ok(());
        }
        let recent = || now.date() - chrono::Days::new(self.desk.settings.lookback_days);
        let span = if let Errand::Span(span) = self.errand {
            span
        } else {
            Range { from: recent(), to: now.date() }
        };
        let works = self.desk.plan(&universe, span, &self.handed);
        self.waiting = works.into_iter().filter(|work| !self.later.holds(work, now)).collect();
        self.planned = true;
        Ok(())
    }

    /// How long there is nothing to look at but what was begun.
    fn pause(&self) -> Duration {
        let now = self.desk.tables.now();
        let retry = Duration::from_secs(self.desk.settings.retry_s).min(self.desk.look_max);
        let minute = self.desk.live_grid().and_then(|grid| live::next(grid, now, self.desk.live_delay()));
        let minute = minute.and_then(|then| (then - now).to_std().ok()).unwrap_or(retry);
        retry.min(minute)
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
            Err(error) if self.errand == Errand::Daemon && error.passes() => {
                tracing::warn!("{error}: asked for again");
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
        self.handed = Handed::read(cursors);
        self.live = Pace::default();
        (self.planned, self.idle) = (false, false);
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        loop {
            self.begin();
            let wait = if self.idle { self.pause() } else { PATIENCE };
            let Some(begun) = self.begun.front_mut() else {
                if self.planned && self.failed.is_none() && !self.stopped && self.errand != Errand::Daemon {
                    self.failed = self.trouble.end();
                    if self.failed.is_none() {
                        return Ok(None);
                    }
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
