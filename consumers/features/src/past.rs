//! The past of some securities: what an archive holds of them, and what lies on the stream after it. Knows where bars and the
//! facts of days are found and in which order they are handed out; must not compute or publish anything.

mod facts;

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use chrono::{Datelike, Months, NaiveDate, NaiveTime, TimeDelta};
use sqep::{
    Calendar, EntryId, Kind, Mark, Record, Row,
    check::Checker,
    record::Cell,
    redis::{Server, inspect::Inspector, keys::Keys},
};
use sqep_archive::{Error, Filter, Home, Reader, Symbols, Versions, mark};
use tokio::runtime::{Handle, RuntimeFlavor};

use self::facts::{Known, archived_facts, learn};
use crate::{Facts, engine::Engine, security::Extent};

/// Rows of an archive read at once, planned: a bar of the past takes three times its row here.
const BLOCK_ROWS_MAX: usize = 32_768;
/// Milliseconds one look at a stream waits.
const WAIT_MS: u64 = 1;

/// Where the past of a partition is found.
#[derive(Debug, Clone)]
pub(crate) struct Past<E> {
    pub(crate) server: Server,
    pub(crate) prefix: String,
    pub(crate) partition: u16,
    /// Over how many partitions securities are spread.
    pub(crate) partitions: u16,
    /// The archive of bars and facts, if there is one.
    pub(crate) archive: Option<PathBuf>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) engine: PhantomData<fn() -> E>,
}

/// A stream as far as a past needs to know it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub(crate) born: String,
    pub(crate) trimmed: EntryId,
    pub(crate) last: EntryId,
}

/// A part of the past is nowhere any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} was trimmed up to {trimmed}, and {}", match archived {
    Some((root, id)) => format!("the archive {} holds it up to {id} only: run its sqep-parquet", root.display()),
    None => "there is no archive of it: name one in features.archive".to_owned(),
})]
pub(crate) struct Gap {
    kind: Kind,
    trimmed: EntryId,
    /// The archive there is, and up to where it holds the kind.
    archived: Option<(PathBuf, EntryId)>,
}

/// A bar of the past: every version of it that was asked for, the newest last.
#[derive(Debug)]
pub(crate) struct Item<B> {
    pub(crate) versions: Vec<(u64, B)>,
    pub(crate) facts: Facts,
    /// Version of the record that says the facts; 0: none does.
    pub(crate) facts_version: u64,
}

impl<B> Item<B> {
    /// The bar that counts.
    pub(crate) fn newest(&self) -> Option<&(u64, B)> {
        self.versions.last()
    }
}

/// Bars by security and time, with their versions.
type Waiting<B> = BTreeMap<(i32, i64), Vec<(u64, B)>>;

impl<E: Engine> Past<E> {
    /// How the stream of a kind stands.
    pub(crate) async fn stream(&self, kind: Kind) -> anyhow::Result<Stream> {
        let keys = Keys::new(&self.prefix, kind, self.partition);
        let mut inspector = Inspector::connect(&self.server).await?;
        let found = inspector.stream(keys.stream()).await?;
        Ok(Stream { born: found.born, trimmed: found.trimmed, last: found.last })
    }

    /// Up to where the archive holds a stream; `None`: nothing of it.
    pub(crate) fn archived(&self, kind: Kind, stream: &Stream) -> anyhow::Result<Option<Mark>> {
        let Some(root) = &self.archive else { return Ok(None) };
        let found = mark(&Home::new(root, kind), self.partition)?;
        Ok(found.filter(|mark| mark.born == stream.born))
    }

    /// Walks over the past of some securities, oldest first: the archive, and the stream up to `upto`. The error is a
    /// [`Gap`] where an archive of bars or facts is not followed by the stream. Without an archive the stream is what there is, and whoever
    /// walks asks whether that is whole.
    pub(crate) async fn walk(&self, wanted: Symbols, upto: EntryId) -> anyhow::Result<Walk<E>> {
        let mut walk = self.archive_walk(wanted.clone(), upto.version())?;
        let (bars, after) = self.after(E::BARS).await?;
        if after < bars.trimmed && self.archive.is_some() {
            return Err(self.gap(E::BARS, &bars, after).into());
        }
        let upto = upto.min(bars.last);
        self.scan::<E::Bar>(E::BARS, after, upto, &wanted, |row| {
            let key = (row.record.symbol().get(), row.record.time());
            walk.waiting.entry(key).or_default().push((row.version, row.record));
        })
        .await?;
        match self.join_stream(&mut walk).await? {
            Some(gap) => Err(gap.into()),
            None => Ok(walk),
        }
    }

    /// The bars of a walk that has not begun once more, for whoever counts them: the archive is read anew, the stream is not.
    pub(crate) fn count(&self, walk: &Walk<E>) -> anyhow::Result<Walk<E>> {
        let again = self.archive_walk(walk.wanted.clone(), walk.version_max)?;
        Ok(Walk { waiting: walk.waiting.clone(), joins: false, ..again })
    }

    /// Walks over what an archive holds up to a version, with the facts of the stream as well; and what is missing of the
    /// facts, if anything is.
    pub(crate) async fn archived_walk(
        &self,
        wanted: Symbols,
        version_max: u64,
    ) -> anyhow::Result<(Walk<E>, Option<Gap>)> {
        let mut walk = self.archive_walk(wanted, version_max)?;
        let gap = self.join_stream(&mut walk).await?;
        Ok((walk, gap))
    }

    /// Walks over what an archive holds up to a version.
    pub(crate) fn archive_walk(&self, wanted: Symbols, version_max: u64) -> anyhow::Result<Walk<E>> {
        let filter = Filter { symbols: wanted.clone(), ..Filter::default() };
        let reader = self.archive.as_deref().map(|root| reader::<E::Bar>(root, E::BARS, filter));
        Ok(Walk {
            reader: reader.transpose()?.flatten(),
            archive: self.archive.clone(),
            wanted,
            version_max,
            waiting: BTreeMap::new(),
            heard: Known::new(),
            known: None,
            joins: E::JOINED,
            engine: PhantomData,
        })
    }

    /// A stream, and the entry after which the archive does not hold it.
    async fn after(&self, kind: Kind) -> anyhow::Result<(Stream, EntryId)> {
        let stream = self.stream(kind).await?;
        let after = self.archived(kind, &stream)?.map_or(EntryId::ZERO, |mark| mark.id);
        Ok((stream, after))
    }

    fn gap(&self, kind: Kind, stream: &Stream, after: EntryId) -> Gap {
        Gap { kind, trimmed: stream.trimmed, archived: self.archive.clone().map(|root| (root, after)) }
    }

    /// Shows the rows of entries after one and up to another.
    async fn scan<R: Record>(
        &self,
        kind: Kind,
        mut after: EntryId,
        upto: EntryId,
        wanted: &Symbols,
        mut visit: impl FnMut(Row<R>),
    ) -> anyhow::Result<()> {
        let keys = Keys::new(&self.prefix, kind, self.partition);
        let (mut inspector, mut checker) =
            (Inspector::connect(&self.server).await?, Checker::new(&self.calendar));
        while after < upto {
            let entries = inspector.read(keys.stream(), after, WAIT_MS).await?;
            for entry in entries.iter().filter(|entry| entry.id <= upto) {
                // Whoever delivers buries what does not open.
                let Ok(opened) = entry.open::<R>() else { continue };
                let versions = opened.decoded.versions.unwrap_or_default();
                for (at, record) in opened.decoded.records.into_iter().enumerate() {
                    let version = versions.get(at).copied().unwrap_or_else(|| entry.id.version());
                    if wanted.contains(record.symbol().get()) && checker.admit(&record, kind).is_ok() {
                        visit(Row { record, version, source: 0 });
                    }
                }
            }
            let Some(last) = entries.last() else { break };
            after = last.id;
        }
        Ok(())
    }
}

/// Bars of the past, block by block.
pub(crate) struct Walk<E: Engine> {
    reader: Option<Reader<E::Bar>>,
    archive: Option<PathBuf>,
    wanted: Symbols,
    version_max: u64,
    /// Rows of the stream that are not handed out yet.
    waiting: Waiting<E::Bar>,
    /// Facts of the stream.
    heard: Known,
    /// Facts of the month handed out last.
    known: Option<(NaiveDate, Known)>,
    /// Whether facts are looked for.
    joins: bool,
    engine: PhantomData<fn() -> E>,
}

impl<E: Engine> Walk<E> {
    /// Whether an archive is part of this.
    pub(crate) fn is_archived(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether the stream alone is the whole past of a security.
    pub(crate) fn reaches(&self, symbol: i32, known: Extent) -> bool {
        let mut found = Extent::default();
        let bars = self.waiting.range((symbol, i64::MIN)..=(symbol, known.last));
        for (&(_, time), _) in bars {
            found.add(time);
        }
        found.covers(known)
    }

    /// The first bar the stream says something of that came after these versions of bars and of facts.
    pub(crate) fn lost_from(&self, symbol: i32, (bars, facts): (u64, u64)) -> Option<i64> {
        let bars = self.waiting.range((symbol, i64::MIN)..=(symbol, i64::MAX)).filter_map(
            |(&(_, time), versions)| versions.iter().any(|(version, _)| *version > bars).then_some(time),
        );
        let heard = self.heard.iter().filter(|((of, _), (version, _))| *of == symbol && *version > facts);
        bars.chain(heard.map(|((_, day), _)| midnight(*day))).min()
    }

    /// Folders of the archive that are not begun yet.
    pub(crate) fn left(&self) -> usize {
        self.reader.as_ref().map_or(0, |reader| reader.folders().count())
    }

    /// The next bars: of each security oldest first, one item a bar. `None` at the end; may be empty before.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Vec<Item<E::Bar>>>> {
        apart(|| self.read())
    }

    fn read(&mut self) -> anyhow::Result<Option<Vec<Item<E::Bar>>>> {
        let block = self.reader.as_mut().map(Reader::next).transpose()?.flatten();
        let mut rows: Vec<(u64, E::Bar)> = if let Some(block) = block {
            block.rows.into_iter().map(|row| (row.version, row.record)).collect()
        } else {
            self.reader = None;
            let rest = mem::take(&mut self.waiting);
            if rest.is_empty() {
                return Ok(None);
            }
            rest.into_values().flatten().collect()
        };
        self.add_waiting(&mut rows);
        rows.retain(|(version, _)| *version <= self.version_max);
        let key = |(version, bar): &(u64, E::Bar)| (bar.symbol(), bar.time(), *version);
        rows.sort_unstable_by_key(key);
        rows.dedup_by_key(|row| key(row));
        let bars = rows.chunk_by(|(_, a), (_, b)| a.key() == b.key());
        let items = bars.map(|versions| Item {
            versions: versions.to_vec(),
            facts: Facts::default(),
            facts_version: 0,
        });
        let mut items: Vec<_> = items.collect();
        if self.joins {
            self.join(&mut items)?;
        }
        Ok(Some(items))
    }

    /// Adds what the stream says of the securities of a block up to the block's last bar of each.
    fn add_waiting(&mut self, rows: &mut Vec<(u64, E::Bar)>) {
        if self.waiting.is_empty() {
            return;
        }
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for (_, bar) in &*rows {
            let end = ends.entry(bar.symbol().get()).or_insert(i64::MIN);
            *end = (*end).max(bar.time());
        }
        for (symbol, end) in ends {
            let keys: Vec<_> =
                self.waiting.range((symbol, i64::MIN)..=(symbol, end)).map(|(&key, _)| key).collect();
            rows.extend(keys.iter().filter_map(|key| self.waiting.remove(key)).flatten());
        }
    }

    fn join(&mut self, items: &mut [Item<E::Bar>]) -> anyhow::Result<()> {
        for item in items {
            let Some((_, bar)) = item.newest() else { continue };
            let (symbol, day) = (bar.symbol().get(), E::day(bar));
            let archived = self.month(day)?.get(&(symbol, day)).copied();
            let heard = self.heard.get(&(symbol, day)).copied();
            let best = [archived, heard].into_iter().flatten().max_by_key(|(version, _)| *version);
            (item.facts_version, item.facts) = best.unwrap_or_default();
        }
        Ok(())
    }

    /// What the archive knows of the month of a day.
    fn month(&mut self, day: NaiveDate) -> anyhow::Result<&Known> {
        let first = day.with_day(1).unwrap_or(day);
        if self.known.as_ref().is_none_or(|(month, _)| *month != first) {
            let mut known = Known::new();
            if let Some(root) = &self.archive {
                let last = first.checked_add_months(Months::new(1)).unwrap_or(first) - TimeDelta::days(1);
                archived_facts(root, &self.wanted, (first, last), |row| learn(&mut known, row))?;
            }
            self.known = Some((first, known));
        }
        self.known.as_ref().map(|(_, known)| known).context("no month was read")
    }
}

/// Every version an archive holds of a kind; `None` if it holds none of it yet.
fn reader<R: Record>(root: &Path, kind: Kind, filter: Filter) -> Result<Option<Reader<R>>, Error> {
    match Reader::open(root, kind, filter) {
        Ok(reader) => Ok(Some(reader.versions(Versions::All).block_rows_max(BLOCK_ROWS_MAX))),
        Err(Error::NoArchive { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads files where that keeps no other task waiting.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Minutes since 1970 of the midnight a day begins with.
pub(crate) fn midnight(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp().div_euclid(60)
}

/// The day of any record.
pub(crate) fn day_of<R: Record>(record: &R) -> NaiveDate {
    match record.get(1) {
        Cell::Date(date) => date,
        Cell::Minute(wall) => wall.date(),
        _ => NaiveDate::default(),
    }
}
