//! One partition at work: bars and facts of days in, rows out, the state kept. Knows the order in which state, stream and
//! snapshot change; must not know a formula, nor who delivers.
//!
//! An input is taken into the state, its rows are put on the stream, the last of them together with the cursor that says
//! so, and only then may a snapshot hold it. What is begun and not finished stays noted (`todo`), and whoever comes with
//! an input finishes it first: a batch that comes again after an error finds itself known and its rows waiting.

mod again;
mod out;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::NaiveDate;
use sqep::{
    Calendar, EntryId, Mark, Record, RefDay, Row,
    meter::{Loop, Meters},
    redis::latest::Latest,
};
use tokio::time::Instant;

use self::again::Older;
pub(crate) use self::state::Nowhere;
use crate::{
    Facts,
    engine::Engine,
    outbox::Outbox,
    past::{Past, day_of, midnight},
    security::{Said, Security, Told, fresh},
    store::Store,
};

/// Bars taken, and rows of one transaction.
const PIECE_ROWS_MAX: usize = 8_000;
/// How often is told how a long computation goes.
const SAY: Duration = Duration::from_secs(10);

/// Where an input came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Bars,
    Facts,
}

impl Input {
    const fn word(self) -> &'static str {
        match self {
            Input::Bars => "bars",
            Input::Facts => "facts",
        }
    }
}

/// What is begun and not on the stream.
#[derive(Debug)]
struct Todo<R> {
    rows: Vec<R>,
    /// Securities with late bars at hand.
    late: BTreeSet<i32>,
    older: BTreeMap<i32, Older>,
    /// Inputs that are done with it, and their last entries.
    done: Vec<(Input, EntryId)>,
    publish: bool,
}

impl<R> Default for Todo<R> {
    fn default() -> Self {
        Todo {
            rows: Vec::new(),
            late: BTreeSet::new(),
            older: BTreeMap::new(),
            done: Vec::new(),
            publish: false,
        }
    }
}

/// How a desk goes about its work.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    /// How often a snapshot is due.
    pub(crate) snapshot_every: Duration,
    /// How long the stream of features keeps a row at most; `None`: without end.
    pub(crate) keeps: Option<Duration>,
    /// Where newest rows are kept, if they are.
    pub(crate) latest: Option<Arc<Latest>>,
    /// Whoever delivers is told here that long work goes on.
    pub(crate) meters: Meters,
}

/// One partition.
pub(crate) struct Desk<E: Engine> {
    pub(crate) partition: u16,
    pub(crate) past: Past<E>,
    pub(crate) store: Store,
    pub(crate) outbox: Outbox<E::Feature>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) habits: Habits,
    /// Each in a place of its own: a table of them would be copied whole as it grows.
    securities: HashMap<i32, Box<Security<E>>>,
    marks: HashMap<Input, Mark>,
    /// Securities whose past was not whole when what they owe was asked for: not asked again until a bar comes again.
    unpaid: HashSet<i32>,
    todo: Option<Todo<E::Feature>>,
    /// Up to where the rows of an input are on the stream, as far as this desk knows.
    published: HashMap<Input, EntryId>,
    /// Whether what is owed waits for entries that the stream still holds.
    deferred: bool,
    /// The last entry of bars that was taken.
    upto: EntryId,
    /// The last entry of a past that was taken.
    given: EntryId,
    /// Whether the newest rows on the server may be older than those on the stream.
    latest_due: bool,
    loaded: bool,
    saved: Option<Instant>,
    /// When something came last.
    moved: Option<Instant>,
    refused: u64,
}

impl<E: Engine> Desk<E> {
    pub(crate) fn new(past: Past<E>, store: Store, outbox: Outbox<E::Feature>, habits: Habits) -> Desk<E> {
        Desk {
            partition: past.partition,
            calendar: Arc::clone(&past.calendar),
            past,
            store,
            outbox,
            latest_due: habits.latest.is_some(),
            habits,
            securities: HashMap::new(),
            marks: HashMap::new(),
            unpaid: HashSet::new(),
            deferred: false,
            todo: None,
            published: HashMap::new(),
            upto: EntryId::ZERO,
            given: EntryId::ZERO,
            loaded: false,
            saved: None,
            moved: None,
            refused: 0,
        }
    }

    fn replaying(&self) -> bool {
        self.marks.get(&Input::Bars).is_some_and(Mark::is_in_replay)
    }

    /// Whether rows are on the stream of bars that are still to be taken: what is delivered up to there only rebuilds.
    async fn behind(&self) -> anyhow::Result<bool> {
        let taken = if self.replaying() { self.given } else { self.upto };
        Ok(self.stored(Input::Bars).await?.is_some_and(|stored| stored > taken))
    }

    /// The entry of an input up to which rows are on the stream of features.
    async fn stored(&self, input: Input) -> anyhow::Result<Option<EntryId>> {
        let born = self.marks.get(&input).map_or("", |mark| mark.born.as_str());
        let stored = self.outbox.stored(&self.name(input)).await?;
        Ok(stored.as_deref().and_then(cursor).filter(|(of, _)| *of == born).map(|(_, id)| id))
    }

    /// Long work goes on: no standstill of who delivers.
    fn pulse(&self) {
        let meters = self.habits.meters.all();
        let delivers = |of: &Loop| !matches!(of, Loop::Publish { .. });
        meters.iter().filter(|meter| delivers(meter.of())).for_each(|meter| meter.busy());
    }

    /// Takes bars; when it returns their rows are on the stream.
    pub(crate) async fn bars(&mut self, rows: &[Row<E::Bar>], last: EntryId) -> anyhow::Result<()> {
        self.finish().await?;
        let looked_up = self.look_up(rows).await?;
        let more = self.more_than_these(rows, last).await?;
        self.begin(Input::Bars, last).await?;
        for piece in rows.chunks(PIECE_ROWS_MAX) {
            self.take_bars(piece, &looked_up, more);
            self.spill().await?;
        }
        let taken = if self.replaying() { &mut self.given } else { &mut self.upto };
        *taken = last.max(*taken);
        self.finish().await?;
        self.deferred = more;
        if more { Ok(()) } else { self.catch_up().await }
    }

    /// Whether some of these bars are older than what is at hand, and others wait behind them: a past that comes newest first
    /// is gone through once and not with every batch of it.
    async fn more_than_these(&self, rows: &[Row<E::Bar>], last: EntryId) -> anyhow::Result<bool> {
        let known = |row: &Row<E::Bar>| self.securities.get(&row.record.symbol().get());
        let is_older = |row: &Row<E::Bar>| known(row).is_some_and(|known| known.is_older(row.record.time()));
        Ok(!self.replaying() && rows.iter().any(is_older) && self.past.stream(E::BARS).await?.last > last)
    }

    fn take_bars(&mut self, rows: &[Row<E::Bar>], looked_up: &HashMap<(i32, NaiveDate), Facts>, more: bool) {
        let replaying = self.replaying();
        let Some(todo) = &mut self.todo else { return };
        // Bars whose rows are on the stream may come in other batches than before: what these owed then is owed again.
        let owes = replaying || more || !todo.publish;
        for Row { record: bar, version, .. } in rows {
            let symbol = bar.symbol();
            let security = self.securities.entry(symbol.get()).or_insert_with(|| fresh(symbol));
            if bar.time() <= security.extent().last {
                self.unpaid.remove(&symbol.get());
            }
            let day = day_of(bar);
            let facts = security.facts(day).or_else(|| looked_up.get(&(symbol.get(), day)).copied());
            let told =
                security.admit(bar, *version, &facts.unwrap_or_default(), &self.calendar, &mut todo.rows);
            if security.is_late() {
                todo.late.insert(symbol.get());
            }
            match told {
                Told::Taken | Told::Known => {}
                Told::Refused => self.refused += 1,
                // A past is not gone through again and again while it is given, but once at its end.
                Told::Older(time) if owes => security.owe(time),
                Told::Older(time) => {
                    let at = todo.older.entry(symbol.get()).or_default().bars.entry(time).or_insert(*version);
                    *at = (*at).min(*version);
                }
            }
        }
    }

    /// Takes what is known of days; when it returns the rows that change are on the stream.
    ///
    /// Where bars are still behind their rows on the stream, those rows were computed without a fact that is new: they are
    /// owed, and a snapshot says so before a cursor says that the fact is done.
    pub(crate) async fn facts(&mut self, rows: &[Row<RefDay>], last: EntryId) -> anyhow::Result<()> {
        self.finish().await?;
        let (behind, replaying) = (self.behind().await?, self.replaying());
        let before = self.known_before(rows).await?;
        self.begin(Input::Facts, last).await?;
        let Some(todo) = &mut self.todo else { return Ok(()) };
        let (mut changed, mut owes) = (Vec::new(), behind && todo.publish);
        for Row { record, version, .. } in rows {
            let symbol = record.symbol;
            let security = self.securities.entry(symbol.get()).or_insert_with(|| fresh(symbol));
            let said = Said { day: record.frame, version: *version, facts: Facts::from(record) };
            if before.get(&(symbol.get(), said.day)) == Some(&said.facts) {
                continue;
            }
            let told = security.hear(said, &self.calendar, &mut todo.rows);
            if told != Told::Known {
                changed.push((symbol.get(), midnight(record.frame)));
            }
            match told {
                Told::Older(_) if replaying => owes = true,
                Told::Older(time) => {
                    let older = todo.older.entry(symbol.get()).or_default();
                    older.from = Some(older.from.map_or(time, |from| from.min(time)));
                }
                Told::Taken | Told::Known | Told::Refused => {}
            }
        }
        // The snapshot knows these facts: who comes with them again is told that they are known.
        let owed = changed.iter().filter(|_| owes);
        for (symbol, time) in owed {
            self.securities.entry(*symbol).and_modify(|security| security.owe(*time));
        }
        if owes && !changed.is_empty() {
            self.write_snapshot().await?;
        }
        self.finish().await?;
        self.catch_up().await
    }

    /// What rows far back were computed with, where facts of their days come again: most often the same.
    async fn known_before(&self, rows: &[Row<RefDay>]) -> anyhow::Result<HashMap<(i32, NaiveDate), Facts>> {
        let mut came: HashMap<(i32, NaiveDate), u64> = HashMap::new();
        for Row { record, version, .. } in rows {
            let symbol = record.symbol.get();
            if self.securities.get(&symbol).is_some_and(|known| known.is_far_back(record.frame)) {
                let lowest = came.entry((symbol, record.frame)).or_insert(*version);
                *lowest = (*lowest).min(*version);
            }
        }
        self.past.facts_before(&came).await
    }

    /// Facts of days that nothing was heard of: it was said too long ago, before the state was built, or of a past that is given.
    async fn look_up(&self, rows: &[Row<E::Bar>]) -> anyhow::Result<HashMap<(i32, NaiveDate), Facts>> {
        if !E::JOINED {
            return Ok(HashMap::new());
        }
        let unknown = |row: &&Row<E::Bar>| {
            let known = self.securities.get(&row.record.symbol().get());
            known.is_none_or(|known| known.facts(day_of(&row.record)).is_none())
        };
        let missing: Vec<_> =
            rows.iter().filter(unknown).map(|row| (row.record.symbol(), day_of(&row.record))).collect();
        let days = missing.iter().map(|(_, day)| *day);
        let (Some(from), Some(to)) = (days.clone().min(), days.max()) else { return Ok(HashMap::new()) };
        self.past.facts(&missing.iter().map(|(symbol, _)| *symbol).collect(), (from, to)).await
    }

    /// Notes an input; rows of one that the stream has already only rebuild the state.
    async fn begin(&mut self, input: Input, last: EntryId) -> anyhow::Result<()> {
        let publish = self.stored(input).await?.is_none_or(|stored| last > stored);
        self.moved = Some(Instant::now());
        self.todo = Some(Todo { done: vec![(input, last)], publish, ..Todo::default() });
        Ok(())
    }
}

/// Stream and entry of a cursor.
fn cursor(text: &str) -> Option<(&str, EntryId)> {
    let (born, id) = text.rsplit_once(' ')?;
    Some((born, id.parse().ok()?))
}
