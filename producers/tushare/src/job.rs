//! A piece of work in the hands of a task: from what is asked for to rows and how complete they are.
//!
//! Knows which kind of record comes by which kind of work; must not know order, cursors nor the clock.

use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};
use sqep::{Chunk, DayBar, MinuteBar, Record, RefDay, Symbol, kind::Grid};

use crate::{
    client::ApiError,
    codes::{self, Question},
    desk::Desk,
    gaps::DayGaps,
    halts::Halts,
    live::{self, Last, Minutes},
    market::{self, Ground},
    plan::{Dataset, Range, Scope, Work},
    state::DayState,
    symbols::Symbols,
    universe::Universe,
    weigh::Days,
};

/// A record that the service has.
pub trait Feed: Record {
    /// Does a piece of work.
    fn fetch(job: Job) -> impl Future<Output = Result<Done<Self>, ApiError>> + Send;

    /// The session it belongs to.
    fn session(&self) -> NaiveDate;
}

/// A piece of work in the hands of a task.
#[derive(Debug)]
pub struct Job {
    /// What it works with.
    pub desk: Arc<Desk>,
    /// Who is listed.
    pub universe: Arc<Universe>,
    /// The work.
    pub work: Work,
    /// What was published of its day.
    pub state: DayState,
    /// The last live minutes that were handed over.
    pub live: Arc<Last>,
    /// How often to ask, as long as something is missing.
    pub tries: u32,
    /// The last day whose rows do not come by themselves any more.
    pub over: NaiveDate,
    /// The first row that was ever seen of its code.
    pub first_row: Option<NaiveDate>,
    /// Who was suspended.
    pub halts: Arc<Halts>,
    /// Whether no answer kept counts.
    pub fresh: bool,
    /// Securities that had a row on the day before, as far as that is at hand.
    pub before: Symbols,
    /// Whether rows that were published are published once more.
    pub again: bool,
}

/// A piece of work that is done.
#[derive(Debug)]
pub struct Done<R> {
    /// The rows.
    pub chunk: Chunk<R>,
    /// How complete they are.
    pub found: Found,
    /// Whether an answer was refused as a whole: then no cursor moves.
    pub withheld: bool,
}

/// What was found out about the completeness of a piece of work.
#[derive(Debug)]
pub enum Found {
    /// Of a day of the market.
    Day(Box<(DayState, DayGaps)>),
    /// Of a range of a code.
    Range(Days),
    /// Of live minutes: the last of each security by now.
    Live(Arc<Last>),
    /// Nothing.
    Nothing,
}

impl<R> From<codes::Answer<R>> for Done<R> {
    fn from(answer: codes::Answer<R>) -> Done<R> {
        Done { chunk: answer.chunk, found: Found::Range(answer.days), withheld: answer.withheld }
    }
}

impl<R> Done<R> {
    /// Work of another kind of stream, which no plan holds.
    fn nothing(work: &Work) -> Done<R> {
        Done { chunk: Chunk::empty(&work.to_string()), found: Found::Nothing, withheld: false }
    }
}

impl Job {
    fn ground(&self) -> Ground<'_> {
        Ground {
            tables: &self.desk.tables,
            universe: &self.universe,
            settings: &self.desk.settings,
            calendar: &self.desk.calendar,
        }
    }

    /// The live minute of every code that is wanted.
    async fn live_minute(self, grid: Grid, label: NaiveDateTime) -> Result<Done<MinuteBar>, ApiError> {
        let today = label.date();
        let scope =
            Scope::new(self.desk.kind, &self.desk.settings, &self.universe, Range { from: today, to: today });
        let symbols: Vec<Symbol> = scope.codes.iter().map(|&(_, symbol)| symbol).collect();
        let lists = live::lists(&symbols, self.desk.live_rows_max);
        let Minutes { chunk, last, withheld } =
            live::minutes(&self.ground(), grid, lists, &self.live, label).await?;
        Ok(Done { chunk, found: Found::Live(Arc::new(last)), withheld })
    }

    fn question(&self, dataset: Dataset, symbol: Symbol, range: Range) -> Question<'_> {
        let &Job { tries, fresh, first_row, over, .. } = self;
        Question { dataset, symbol, range, tries, fresh, first_row, over, halts: &self.halts }
    }

    async fn day<R: market::Daily>(self, dataset: Dataset, day: NaiveDate) -> Result<Done<R>, ApiError> {
        let question = market::Question {
            dataset,
            day,
            state: self.state.clone(),
            tries: self.tries,
            over: day <= self.over,
            fresh: self.fresh,
            before: self.before.clone(),
            again: self.again,
        };
        let answer = market::fetch::<R>(&self.ground(), question).await?;
        let found = Found::Day(Box::new((answer.state, answer.gaps)));
        Ok(Done { chunk: answer.chunk, found, withheld: answer.withheld })
    }
}

impl Feed for DayBar {
    async fn fetch(job: Job) -> Result<Done<DayBar>, ApiError> {
        match job.work {
            Work::Day { dataset, day } => job.day(dataset, day).await,
            Work::Range { dataset, symbol, from, to } => {
                let question = job.question(dataset, symbol, Range { from, to });
                Ok(codes::index(&job.ground(), question).await?.into())
            }
            Work::Live { .. } => Ok(Done::nothing(&job.work)),
        }
    }

    fn session(&self) -> NaiveDate {
        self.frame
    }
}

impl Feed for RefDay {
    async fn fetch(job: Job) -> Result<Done<RefDay>, ApiError> {
        match job.work {
            Work::Day { dataset, day } => job.day(dataset, day).await,
            Work::Range { .. } | Work::Live { .. } => Ok(Done::nothing(&job.work)),
        }
    }

    fn session(&self) -> NaiveDate {
        self.frame
    }
}

impl Feed for MinuteBar {
    async fn fetch(job: Job) -> Result<Done<MinuteBar>, ApiError> {
        match job.work {
            Work::Day { .. } => Ok(Done::nothing(&job.work)),
            Work::Live { grid, label } => job.live_minute(grid, label).await,
            Work::Range { dataset, symbol, from, to } => {
                let question = job.question(dataset, symbol, Range { from, to });
                Ok(codes::minutes(&job.ground(), job.desk.kind, question).await?.into())
            }
        }
    }

    fn session(&self) -> NaiveDate {
        self.frame.date()
    }
}
