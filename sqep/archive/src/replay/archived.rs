//! An archive as a source: its current rows, each with the source and the version it had.
//!
//! Knows the order of folders and where it stopped; must not know who is given the rows.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use anyhow::Context;
use chrono::{NaiveDate, NaiveTime, TimeDelta};
use sqep::{Chunk, Kind, Past, Record, Row, publish::partition_of};
use tokio::time::Instant;

use super::{
    given::{Fetch, cursor},
    pace::{Pace, Shelf, Speed, moment},
};
use crate::{Block, Filter, Folder, Reader};

/// Rows of one chunk at most.
const CHUNK_ROWS_MAX: usize = 20_000;
/// Rows of a block, planned: about a transaction of the publisher. A block is in memory three times, as it is read, named
/// and cut into chunks.
const BLOCK_ROWS_MAX: usize = 24_000;

/// Which rows of an archive a group is given.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) root: PathBuf,
    pub(super) kind: Kind,
    pub(super) filter: Filter,
    /// Versions above this are wanted.
    pub(super) above: u64,
    /// By partition: versions above this come with the stream.
    pub(super) upto: Vec<u64>,
    pub(super) speed: Speed,
}

impl Wanted {
    fn wants<R: Record>(&self, row: &Row<R>) -> bool {
        let partitions = u16::try_from(self.upto.len()).unwrap_or(u16::MAX);
        let partition = usize::from(partition_of(row.record.symbol(), partitions));
        row.version > self.above && self.upto.get(partition).is_none_or(|&upto| row.version <= upto)
    }
}

/// The rows of an archive. A place is a folder and a security, or with a pace a day.
#[derive(Debug)]
pub(super) struct Archived<R> {
    wanted: Wanted,
    reader: Option<Reader<R>>,
    /// With a pace: the days still to come.
    days: VecDeque<NaiveDate>,
    pace: Option<Pace>,
}

impl<R: Record> Archived<R> {
    pub(super) fn new(wanted: Wanted) -> Archived<R> {
        Archived { wanted, reader: None, days: VecDeque::new(), pace: None }
    }

    fn named(&self, rows: Vec<Row<R>>, sources: &[Arc<str>]) -> Vec<Named<R>> {
        let name = |row: &Row<R>| sources.get(usize::from(row.source)).map_or_else(|| "".into(), Arc::clone);
        let wanted = rows.into_iter().filter(|row| self.wanted.wants(row));
        wanted.map(|row| Named { record: row.record, version: row.version, source: name(&row) }).collect()
    }

    /// All rows of a day: the reader's order is by security, a day's is by frame.
    async fn day(&self, day: NaiveDate) -> anyhow::Result<Vec<Named<R>>> {
        let begin = day.and_time(NaiveTime::MIN);
        let end = day.succ_opt().map_or(begin, |next| next.and_time(NaiveTime::MIN) - TimeDelta::seconds(1));
        let asked = &self.wanted.filter;
        let filter = Filter {
            from: Some(asked.from.map_or(begin, |from| from.max(begin))),
            to: Some(asked.to.map_or(end, |to| to.min(end))),
            symbols: asked.symbols.clone(),
        };
        let (root, kind) = (self.wanted.root.clone(), self.wanted.kind);
        let read = move || {
            let (mut reader, mut rows) = (Reader::<R>::open(&root, kind, filter)?, Vec::new());
            while let Some(block) = reader.next()? {
                rows.extend(block.rows);
            }
            Ok::<_, crate::Error>((rows, reader.sources().to_vec()))
        };
        let (rows, sources) =
            tokio::task::spawn_blocking(read).await.context("the reading of the archive was cut off")??;
        Ok(self.named(rows, &sources))
    }

    /// A day's rows, frame by frame, each when it is due.
    fn lay_out(&mut self, day: NaiveDate, mut rows: Vec<Named<R>>, shelf: &mut Shelf<R>) {
        rows.sort_by(|a, b| (a.record.time(), &a.source).cmp(&(b.record.time(), &b.source)));
        let Some(mut pace) = self.pace else { return };
        let frames: Vec<Vec<Named<R>>> =
            rows.chunk_by(|a, b| a.record.time() == b.record.time()).map(<[_]>::to_vec).collect();
        let last = frames.len().saturating_sub(1);
        for (at, frame) in frames.into_iter().enumerate() {
            let due = frame.first().and_then(|row| moment(&row.record)).map(|moment| pace.due(moment));
            // A day that was begun is given again.
            let place = if at == last { day.to_string() } else { String::new() };
            put(shelf, due, &frame, place);
        }
        self.pace = Some(pace);
    }
}

/// A row with the name of its source.
#[derive(Debug, Clone)]
struct Named<R> {
    record: R,
    version: u64,
    source: Arc<str>,
}

/// Cuts rows, in their order, into chunks of one source: a security's past stays in order, whoever sent which of it. The last carries the place after all of them, if there is one.
fn put<R: Record>(shelf: &mut Shelf<R>, due: Option<Instant>, rows: &[Named<R>], place: String) {
    for run in rows.chunk_by(|a, b| a.source == b.source) {
        for part in run.chunks(CHUNK_ROWS_MAX) {
            let source = part.first().map_or_else(|| "".into(), |row| Arc::clone(&row.source));
            let chunk = Chunk {
                records: part.iter().map(|row| row.record).collect(),
                past: Some(Past { source, versions: part.iter().map(|row| row.version).collect() }),
                ..Chunk::empty("archive")
            };
            shelf.put(due, chunk);
        }
    }
    if !place.is_empty() {
        let cursor = cursor(place);
        match shelf.last() {
            Some(chunk) => chunk.cursor = cursor,
            None => shelf.put(due, Chunk { cursor, ..Chunk::empty("archive") }),
        }
    }
}

impl<R: Record> Fetch for Archived<R> {
    type Record = R;

    async fn begin(&mut self, place: Option<&str>) -> anyhow::Result<()> {
        let Wanted { root, kind, filter, .. } = &self.wanted;
        let mut reader = Reader::<R>::open(root, *kind, filter.clone())?.block_rows_max(BLOCK_ROWS_MAX);
        let unknown = || format!("the stored place {place:?} of the replay is not one of an archive");
        self.pace = Pace::of(self.wanted.speed);
        if self.pace.is_some() {
            let done: Option<NaiveDate> = place.map(str::parse).transpose().with_context(unknown)?;
            let periods = reader.folders().filter_map(Folder::period);
            let days = periods
                .flat_map(|(from, to)| from.date().iter_days().take_while(move |&day| day <= to.date()));
            // Whether a day has a session is not asked: what the archive has is given.
            self.days = days.filter(|&day| done.is_none_or(|done| day > done)).collect();
            return Ok(());
        }
        if let Some(place) = place {
            let (folder, last) = place.split_once(' ').with_context(unknown)?;
            let folder = folder.parse().ok().with_context(unknown)?;
            reader.start_after(folder, last.parse().with_context(unknown)?)?;
        }
        self.reader = Some(reader);
        Ok(())
    }

    /// Reads the next block or day on a thread that may block.
    async fn fetch(&mut self, shelf: &mut Shelf<R>) -> anyhow::Result<bool> {
        if self.pace.is_some() {
            let Some(day) = self.days.pop_front() else { return Ok(false) };
            let rows = self.day(day).await?;
            self.lay_out(day, rows, shelf);
            return Ok(true);
        }
        let Some(mut reader) = self.reader.take() else { return Ok(false) };
        let (reader, block) = tokio::task::spawn_blocking(move || {
            let block = reader.next();
            (reader, block)
        })
        .await
        .context("the reading of the archive was cut off")?;
        let sources = reader.sources().to_vec();
        self.reader = Some(reader);
        let Some(Block { folder, last, rows, .. }) = block? else { return Ok(false) };
        let rows = self.named(rows, &sources);
        put(shelf, None, &rows, format!("{folder} {last}"));
        Ok(true)
    }
}
