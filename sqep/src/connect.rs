//! What a connector implements: [`Source`] for a producer, [`Sink`] for a consumer.
//!
//! Knows the hand-over between a connector and its loop; must not know Redis, time or any vendor. A connector neither
//! loops, retries, acknowledges nor buries: that is [`crate::publish`] and [`crate::deliver`].

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{EntryId, Mark, Reason, Record, check::Finding, codec::json};

/// What a source has published so far, as stored beside the stream in the same transaction as the records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursors {
    /// Guards the next transaction.
    pub stamp: Stamp,
    /// One value a file or dataset, in the source's own words.
    pub fields: BTreeMap<String, String>,
    /// What became of the rows so far.
    pub totals: Totals,
}

/// Which transaction was the last. The next one is refused unless it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Transactions so far.
    pub seq: u64,
    /// Who wrote the last one, anew for each connection: after a flush or a fail-over another may have come to the same
    /// `seq`.
    pub writer: String,
}

/// What became of rows: read = appended + refused + skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows the source read.
    pub read: u64,
    /// Records on the stream.
    pub appended: u64,
    /// Entries on the stream.
    pub entries: u64,
    /// Rows refused, by reason; each is in the dead letters.
    pub refused: BTreeMap<Reason, u64>,
    /// Rows that are no bars, by reason.
    pub skipped: BTreeMap<Reason, u64>,
    /// Findings that do not refuse, by reason.
    pub warned: BTreeMap<Reason, u64>,
}

impl Totals {
    /// Rows refused, all reasons.
    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Rows skipped, all reasons.
    pub fn skipped(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Whether nothing vanished.
    pub fn balances(&self) -> bool {
        self.read == self.appended + self.refused() + self.skipped()
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Totals) {
        self.read += other.read;
        self.appended += other.appended;
        self.entries += other.entries;
        for (mine, theirs) in [
            (&mut self.refused, &other.refused),
            (&mut self.skipped, &other.skipped),
            (&mut self.warned, &other.warned),
        ] {
            for (&reason, &count) in theirs {
                *mine.entry(reason).or_default() += count;
            }
        }
    }

    /// The counts since `start`, an earlier state of the same totals.
    #[must_use]
    pub fn since(&self, start: &Totals) -> Totals {
        let minus = |now: &BTreeMap<Reason, u64>, then: &BTreeMap<Reason, u64>| {
            now.iter()
                .map(|(&reason, &count)| (reason, count - then.get(&reason).copied().unwrap_or(0)))
                .filter(|&(_, count)| count > 0)
                .collect()
        };
        Totals {
            read: self.read - start.read,
            appended: self.appended - start.appended,
            entries: self.entries - start.entries,
            refused: minus(&self.refused, &start.refused),
            skipped: minus(&self.skipped, &start.skipped),
            warned: minus(&self.warned, &start.warned),
        }
    }
}

/// What became of records: fetched = written + buried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Records taken off the stream and settled; an unreadable entry counts as what it claims to hold.
    pub fetched: u64,
    /// Records durable in the sink.
    pub written: u64,
    /// Records in the dead letters, by reason.
    pub buried: BTreeMap<Reason, u64>,
    /// Entries settled.
    pub entries: u64,
}

impl Account {
    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Account) {
        self.fetched += other.fetched;
        self.written += other.written;
        self.entries += other.entries;
        for (&reason, &count) in &other.buried {
            *self.buried.entry(reason).or_default() += count;
        }
    }

    /// Whether nothing vanished.
    pub fn balances(&self) -> bool {
        self.fetched == self.written + self.buried.values().sum::<u64>()
    }
}

/// A row that does not become a record, kept in the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Line of the file, or position in the entry, from 1.
    pub row: u64,
    /// How many rows this stands for: 1, or all rows of a file or symbol that is refused whole.
    pub rows: u64,
    /// The security as far as it is known, else the vendor's text.
    pub symbol: String,
    /// The rules it broke. The first names the refusal.
    pub findings: Vec<Finding>,
    /// The row as it came.
    pub raw: String,
}

impl Refusal {
    /// A record that broke rules; `row` is its line, or its position from 1.
    pub fn of<R: Record>(row: u64, record: &R, findings: Vec<Finding>) -> Refusal {
        let raw =
            serde_json::to_string(&json::object(record, None)).unwrap_or_else(|error| error.to_string());
        Refusal { row, rows: 1, symbol: record.symbol().to_string(), findings, raw }
    }

    /// The reason that names it.
    pub fn reason(&self) -> Option<Reason> {
        self.findings.first().map(|finding| finding.reason)
    }

    /// Adds its rows to a count by reason.
    pub fn count(&self, counts: &mut BTreeMap<Reason, u64>) {
        if let Some(reason) = self.reason() {
            *counts.entry(reason).or_default() += self.rows;
        }
    }
}

/// Who sent rows the first time, and their versions then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The source that published them.
    pub source: Arc<str>,
    /// The version of each record.
    pub versions: Vec<u64>,
}

/// What a source hands over: records, what it refused and skipped on the way, and the cursor after them.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk<R> {
    /// The file, or the vendor's dataset; named in every message about these rows.
    pub origin: Arc<str>,
    /// Rows that became records, in order.
    pub records: Vec<R>,
    /// Line of each record in `origin`, or empty where the source has no lines.
    pub lines: Vec<u64>,
    /// Rows that did not.
    pub refused: Vec<Refusal>,
    /// Rows that are no bars.
    pub skipped: BTreeMap<Reason, u64>,
    /// Findings that refuse nothing.
    pub warned: BTreeMap<Reason, u64>,
    /// Of records that were on a stream before: they keep their source and their versions.
    pub past: Option<Past>,
    /// Cursor fields to store with these records; a `None` removes the field.
    pub cursor: Vec<(String, Option<String>)>,
}

impl<R> Chunk<R> {
    /// A chunk without rows: nothing more at hand.
    pub fn empty(origin: &str) -> Chunk<R> {
        Chunk {
            origin: origin.into(),
            records: Vec::new(),
            lines: Vec::new(),
            refused: Vec::new(),
            skipped: BTreeMap::new(),
            warned: BTreeMap::new(),
            past: None,
            cursor: Vec::new(),
        }
    }

    /// Whether it neither holds nor moves anything.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.refused.is_empty()
            && self.skipped.is_empty()
            && self.cursor.is_empty()
    }

    /// Rows it accounts for.
    pub fn read(&self) -> u64 {
        let refused: u64 = self.refused.iter().map(|refusal| refusal.rows).sum();
        let records = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        records + refused + self.skipped.values().sum::<u64>()
    }
}

/// Where records come from. One implementation a vendor.
pub trait Source: Send {
    /// What it yields.
    type Record: Record;

    /// Takes up at `cursors`: at start, and again whenever the stored cursor is not the one written last (a lost
    /// reply, a twin, a flush, a fail-over). What was read and not published is read again.
    fn open(&mut self, cursors: &Cursors) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// The next chunk. `None`: nothing ever again. An empty chunk: nothing more at hand, publish what you have;
    /// only the call after an empty chunk may wait, and it must be safe to drop while it waits.
    fn read(&mut self) -> impl Future<Output = anyhow::Result<Option<Chunk<Self::Record>>>> + Send;
}

/// A record with its version and its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<R> {
    /// The record.
    pub record: R,
    /// Highest wins among records of one key.
    pub version: u64,
    /// Position of its source in [`Batch::sources`].
    pub source: u16,
}

/// What a sink gets: rows of whole entries, or a part of them when a batch is halved to find a culprit.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a, R> {
    /// Partition of the stream.
    pub partition: u16,
    /// First entry of the batch it was cut from.
    pub first: EntryId,
    /// Last entry of the batch it was cut from.
    pub last: EntryId,
    /// The rows, in stream order.
    pub rows: &'a [Row<R>],
    /// Names of the sources.
    pub sources: &'a [Arc<str>],
}

impl<R> Batch<'_, R> {
    /// The source of a row.
    pub fn source(&self, row: &Row<R>) -> &str {
        self.sources.get(usize::from(row.source)).map_or("", |name| name)
    }
}

/// How large a sink likes its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appetite {
    /// Records at which a batch is full.
    pub records_max: usize,
    /// How long a batch may wait to fill.
    pub wait_max: Duration,
}

/// What became of a write that failed. In doubt, `Later`: a wrong `Later` is a delay somebody sees, a wrong `Never` is a
/// good bar in the graveyard.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The same batch may succeed when the world has changed: server down, disk full.
    #[error(transparent)]
    Later(anyhow::Error),
    /// These rows can never be taken.
    #[error(transparent)]
    Never(anyhow::Error),
}

/// Where records go. One implementation a store. Its doc says why a record that comes twice does no harm.
pub trait Sink: Send {
    /// What it takes.
    type Record: Record;

    /// How large it likes its batches.
    fn appetite(&self) -> Appetite;

    /// Writes a batch. `Ok` means durable.
    fn write(
        &mut self,
        batch: &Batch<'_, Self::Record>,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Keeps the mark beside the data. May come late, never early.
    fn save(&mut self, partition: u16, mark: &Mark) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// The mark kept last, if any. `Later`: the store cannot be asked at the moment. `Never`: it cannot be read.
    fn mark(&mut self, partition: u16) -> impl Future<Output = Result<Option<Mark>, WriteError>> + Send;

    /// Lets go of what keeps other processes from the store, until the mark is asked for again: the lease may be
    /// another's, and who waits for a lease must not hold what its holder waits for.
    fn release(&mut self, _partition: u16) -> impl Future<Output = ()> + Send {
        async {}
    }
}
