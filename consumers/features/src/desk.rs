//! One partition at work: bars and facts of days in, rows out, the state kept. Knows the order in which state, stream and
//! snapshot change; must not know a formula, nor who delivers.
//!
//! An input is taken into the state, its rows are put on the stream, the last of them together with the cursor that says
//! so, and only then may a snapshot hold it. What is begun and not finished stays noted (`todo`), and whoever comes with
//! an input finishes it first: a batch that comes again after an error finds itself known and its rows waiting.

mod state;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use chrono::NaiveDate;
use sqep::{Calendar, EntryId, Mark, Record, RefDay, Row, Symbol, redis::latest::Latest};
use sqep_archive::Symbols;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    Facts,
    engine::Engine,
    outbox::Outbox,
    past::{Item, Past, day_of},
    security::{Said, Security, Told},
    store::Store,
};

/// Rows of one transaction.
const PIECE_ROWS_MAX: usize = 8_000;
/// Securities whose past is walked at once.
const WALK_SECURITIES_MAX: usize = 250;
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

/// What a correction of a security's past means.
#[derive(Debug, Default)]
struct Older {
    /// Times of bars that came, with the lowest version that came now.
    bars: BTreeMap<i64, u64>,
    /// Rows from here on change whatever the bars say.
    from: Option<i64>,
    /// Rows of what came after these versions of bars and of facts were lost with their server.
    since: Option<(u64, u64)>,
}

/// What is begun and not on the stream.
#[derive(Debug)]
struct Todo<R> {
    rows: Vec<R>,
    older: BTreeMap<i32, Older>,
    /// Inputs that are done with it, and their last entries.
    done: Vec<(Input, EntryId)>,
    publish: bool,
}

impl<R> Default for Todo<R> {
    fn default() -> Self {
        Todo { rows: Vec::new(), older: BTreeMap::new(), done: Vec::new(), publish: false }
    }
}

/// One partition.
pub(crate) struct Desk<E: Engine> {
    pub(crate) partition: u16,
    pub(crate) past: Past<E>,
    pub(crate) store: Store,
    pub(crate) outbox: Outbox<E::Feature>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) snapshot_every: Duration,
    pub(crate) latest: Option<Arc<Latest>>,
    securities: HashMap<i32, Security<E>>,
    marks: HashMap<Input, Mark>,
    todo: Option<Todo<E::Feature>>,
    /// Up to where the rows of an input are on the stream, as far as this desk knows.
    published: HashMap<Input, EntryId>,
    /// The last entry of bars that was taken.
    upto: EntryId,
    loaded: bool,
    saved: Option<Instant>,
    refused: u64,
}

impl<E: Engine> Desk<E> {
    pub(crate) fn new(
        past: Past<E>,
        store: Store,
        outbox: Outbox<E::Feature>,
        snapshot_every: Duration,
        latest: Option<Arc<Latest>>,
    ) -> Desk<E> {
        Desk {
            partition: past.partition,
            calendar: Arc::clone(&past.calendar),
            past,
            store,
            outbox,
            snapshot_every,
            latest,
            securities: HashMap::new(),
            marks: HashMap::new(),
            todo: None,
            published: HashMap::new(),
            upto: EntryId::ZERO,
            loaded: false,
            saved: None,
            refused: 0,
        }
    }

    fn replaying(&self) -> bool {
        self.marks.get(&Input::Bars).is_some_and(Mark::is_in_replay)
    }

    // ---- what comes in ----

    /// Takes bars; when it returns their rows are on the stream.
    pub(crate) async fn bars(&mut self, rows: &[Row<E::Bar>], last: EntryId) -> anyhow::Result<()> {
        self.finish().await?;
        let looked_up = self.look_up(rows).await?;
        self.begin(Input::Bars, last).await?;
        if !self.replaying() {
            self.upto = self.upto.max(last);
        }
        let replaying = self.replaying();
        let Some(todo) = &mut self.todo else { return Ok(()) };
        for Row { record: bar, version, .. } in rows {
            let symbol = bar.symbol();
            let security = self.securities.entry(symbol.get()).or_insert_with(|| Security::new(symbol));
            if replaying && bar.time() <= security.last() {
                continue;
            }
            let day = day_of(bar);
            let facts = security.facts(day).or_else(|| looked_up.get(&(symbol.get(), day)).copied());
            match security.take(bar, *version, &facts.unwrap_or_default(), &self.calendar, &mut todo.rows) {
                Told::Taken | Told::Known => {}
                Told::Refused => self.refused += 1,
                Told::Older(time) => {
                    let at = todo.older.entry(symbol.get()).or_default().bars.entry(time).or_insert(*version);
                    *at = (*at).min(*version);
                }
            }
        }
        self.finish().await
    }

    /// Takes what is known of days; when it returns the rows that change are on the stream.
    pub(crate) async fn facts(&mut self, rows: &[Row<RefDay>], last: EntryId) -> anyhow::Result<()> {
        self.finish().await?;
        self.begin(Input::Facts, last).await?;
        let Some(todo) = &mut self.todo else { return Ok(()) };
        for Row { record, version, .. } in rows {
            let symbol = record.symbol;
            let security = self.securities.entry(symbol.get()).or_insert_with(|| Security::new(symbol));
            let said = Said { day: record.frame, version: *version, facts: Facts::from(record) };
            if let Told::Older(time) = security.hear(said, &self.calendar, &mut todo.rows) {
                let older = todo.older.entry(symbol.get()).or_default();
                older.from = Some(older.from.map_or(time, |from| from.min(time)));
            }
        }
        self.finish().await
    }

    /// Facts of days that were heard too long ago.
    async fn look_up(&self, rows: &[Row<E::Bar>]) -> anyhow::Result<HashMap<(i32, NaiveDate), Facts>> {
        if !E::JOINED {
            return Ok(HashMap::new());
        }
        let unknown = |row: &&Row<E::Bar>| {
            let security = self.securities.get(&row.record.symbol().get());
            security.is_some_and(|security| security.facts(day_of(&row.record)).is_none())
        };
        let missing: Vec<_> =
            rows.iter().filter(unknown).map(|row| (row.record.symbol(), day_of(&row.record))).collect();
        let days = missing.iter().map(|(_, day)| *day);
        let (Some(from), Some(to)) = (days.clone().min(), days.max()) else { return Ok(HashMap::new()) };
        self.past.facts(&missing.iter().map(|(symbol, _)| *symbol).collect(), (from, to)).await
    }

    /// Notes an input; rows of one that the stream has already only rebuild the state.
    async fn begin(&mut self, input: Input, last: EntryId) -> anyhow::Result<()> {
        let born = self.marks.get(&input).map_or("", |mark| mark.born.as_str());
        let stored = self.outbox.stored(&self.name(input)).await?;
        let stored = stored.as_deref().and_then(cursor).filter(|(of, _)| *of == born);
        let publish = stored.is_none_or(|(_, id)| last > id);
        self.todo = Some(Todo { done: vec![(input, last)], publish, ..Todo::default() });
        Ok(())
    }

    // ---- what goes out ----

    /// Puts everything that is begun on the stream.
    async fn finish(&mut self) -> anyhow::Result<()> {
        let lost = self.lost().await?;
        if self.todo.is_none() && lost.is_none() {
            return Ok(());
        }
        let mut todo = self.todo.take().unwrap_or_default();
        if let Some(since) = lost {
            self.restore_lost(since, &mut todo);
        }
        let finished = self.work_off(&mut todo).await;
        if finished.is_err() {
            self.todo = Some(todo);
        }
        finished
    }

    /// After which versions rows are missing from the stream that were there: its server was killed and lost its last
    /// seconds, or was emptied.
    async fn lost(&self) -> anyhow::Result<Option<(u64, u64)>> {
        let mut since = [u64::MAX; 2];
        for (at, input) in [Input::Bars, Input::Facts].into_iter().enumerate() {
            let Some(&published) = self.published.get(&input) else { continue };
            let stored = self.outbox.stored(&self.name(input)).await?;
            let stored = stored.as_deref().and_then(cursor).map_or(EntryId::ZERO, |(_, id)| id);
            if stored < published {
                since[at] = if self.replaying() { 0 } else { stored.version() };
            }
        }
        Ok((since != [u64::MAX; 2]).then_some((since[0], since[1])))
    }

    /// Notes that rows are to be put on the stream once more.
    fn restore_lost(&mut self, since: (u64, u64), todo: &mut Todo<E::Feature>) {
        warn!("the stream of {} has lost rows it had: they are computed again", E::FEATURES);
        for &symbol in self.securities.keys() {
            todo.older.entry(symbol).or_default().since = Some(since);
        }
        todo.rows.clear();
        todo.publish = true;
        for (&input, &id) in &self.published {
            if todo.done.iter().all(|(of, _)| *of != input) {
                todo.done.push((input, id));
            }
        }
    }

    fn name(&self, input: Input) -> String {
        format!("{}:{}", input.word(), self.partition)
    }

    async fn work_off(&mut self, todo: &mut Todo<E::Feature>) -> anyhow::Result<()> {
        self.put_full(todo).await?;
        while !todo.older.is_empty() {
            let some: Vec<i32> = todo.older.keys().copied().take(WALK_SECURITIES_MAX).collect();
            self.compute_again(&some, todo).await?;
            todo.older.retain(|symbol, _| !some.contains(symbol));
        }
        if todo.publish {
            let cursors = todo.done.iter().map(|&(input, id)| {
                let born = self.marks.get(&input).map_or("", |mark| mark.born.as_str());
                (self.name(input), format!("{born} {id}"))
            });
            self.put(&todo.rows, cursors.collect()).await?;
        }
        for &(input, id) in &todo.done {
            let known = self.published.entry(input).or_default();
            *known = (*known).max(id);
        }
        Ok(())
    }

    /// Puts rows on the stream while there are more than fit into the last transaction.
    async fn put_full(&self, todo: &mut Todo<E::Feature>) -> anyhow::Result<()> {
        if !todo.publish {
            todo.rows.clear();
        }
        while todo.rows.len() > PIECE_ROWS_MAX {
            self.put(&todo.rows[..PIECE_ROWS_MAX], Vec::new()).await?;
            todo.rows.drain(..PIECE_ROWS_MAX);
        }
        Ok(())
    }

    async fn put(&self, rows: &[E::Feature], cursors: Vec<(String, String)>) -> anyhow::Result<()> {
        let told = self.outbox.put(rows.to_vec(), cursors).await?;
        told.await.context("the rows did not get on the stream")?;
        match &self.latest {
            Some(latest) if !rows.is_empty() => Ok(latest.keep(rows).await?),
            _ => Ok(()),
        }
    }

    /// Computes securities anew from their past; their rows from the first change on go out.
    async fn compute_again(&mut self, some: &[i32], todo: &mut Todo<E::Feature>) -> anyhow::Result<()> {
        let symbols: Symbols = some.iter().filter_map(|&symbol| Symbol::from_i32(symbol).ok()).collect();
        let mut walk = if self.replaying() {
            self.past.archive_walk(symbols, u64::MAX)?
        } else {
            self.past.walk(symbols, self.upto).await?
        };
        let mut anew: HashMap<i32, Security<E>> = HashMap::new();
        let mut changed = HashSet::new();
        let (mut said, mut bars) = (Instant::now(), 0usize);
        while let Some(items) = walk.next()? {
            bars += items.len();
            for item in &items {
                self.take_again(item, &todo.older, &mut anew, &mut changed, &mut todo.rows);
            }
            self.put_full(todo).await?;
            if said.elapsed() > SAY {
                said = Instant::now();
                info!(
                    securities = some.len(),
                    bars,
                    folders_left = walk.left(),
                    "computing again what was corrected"
                );
            }
        }
        self.securities.extend(anew);
        Ok(())
    }

    fn take_again(
        &self,
        item: &Item<E::Bar>,
        older: &BTreeMap<i32, Older>,
        anew: &mut HashMap<i32, Security<E>>,
        changed: &mut HashSet<i32>,
        rows: &mut Vec<E::Feature>,
    ) {
        let Some((version, bar)) = item.newest() else { return };
        let (symbol, time) = (bar.symbol().get(), bar.time());
        let (Some(known), Some(why)) = (self.securities.get(&symbol), older.get(&symbol)) else { return };
        // A past that reaches beyond what was delivered is not due yet.
        if time > known.last() {
            return;
        }
        if why.from.is_some_and(|from| minutes_of(bar) >= from)
            || why.differs(item, time)
            || why.is_lost(item)
        {
            changed.insert(symbol);
        }
        let security = anew.entry(symbol).or_insert_with(|| known.without_bars());
        let before = rows.len();
        security.take(bar, *version, &item.facts, &self.calendar, rows);
        if !changed.contains(&symbol) {
            rows.truncate(before);
        }
    }
}

impl Older {
    /// Whether rows from this bar on were lost.
    fn is_lost<B>(&self, item: &Item<B>) -> bool {
        let Some((bars, facts)) = self.since else { return false };
        item.facts_version > facts || item.versions.iter().any(|(version, _)| *version > bars)
    }

    /// Whether a bar that came says otherwise than what was known before it.
    fn differs<B: Record>(&self, item: &Item<B>, time: i64) -> bool {
        let Some(&came) = self.bars.get(&time) else { return false };
        let before = item.versions.iter().rev().find(|(version, _)| *version < came);
        let now = item.newest();
        before.map(|(_, bar)| bar) != now.map(|(_, bar)| bar)
    }
}

/// Minutes since 1970 of a bar, or of the midnight its day begins with.
fn minutes_of<R: Record>(bar: &R) -> i64 {
    match bar.get(1) {
        sqep::record::Cell::Date(_) => bar.time() * 24 * 60,
        _ => bar.time(),
    }
}

/// Stream and entry of a cursor.
fn cursor(text: &str) -> Option<(&str, EntryId)> {
    let (born, id) = text.rsplit_once(' ')?;
    Some((born, id.parse().ok()?))
}
