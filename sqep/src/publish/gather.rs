//! Chunks on their way into one transaction: judged, counted, packed into entries.
//!
//! Knows what a transaction is made of; must not know when one is due nor where it goes.

use std::{collections::BTreeMap, mem, sync::Arc};

use anyhow::{Context, bail};

use super::{Publisher, partition_of};
use crate::{
    Chunk, Past, Record, Refusal, Source, Stamp, Totals,
    check::Checker,
    codec::pack::{PAYLOAD_BYTES_MAX, Packed, Packer},
    letter::Letter,
    transport::{Outgoing, Transaction},
};

/// What stopped the gathering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// A transaction is full; there may be more at once.
    Full,
    /// Nothing more is at hand; asking again may wait.
    Drained,
    /// Nothing will ever come again.
    Ended,
}

/// A transaction to publish, if anything was gathered.
pub(super) struct Ready {
    pub(super) transaction: Option<Transaction>,
    pub(super) filled: Filled,
}

/// Chunks on their way into one transaction.
pub(super) struct Gathered<'a, R> {
    publisher: &'a Publisher,
    writer: &'a str,
    packers: Vec<Packer>,
    records: usize,
    runs: Vec<Run<R>>,
    letters: Vec<Letter>,
    counts: Totals,
    cursor: BTreeMap<String, Option<String>>,
}

impl<'a, R: Record> Gathered<'a, R> {
    pub(super) fn new(publisher: &'a Publisher, writer: &'a str) -> Self {
        let packer = || Packer::new(publisher.encoding, PAYLOAD_BYTES_MAX);
        Gathered {
            publisher,
            writer,
            packers: (0..publisher.partitions).map(|_| packer()).collect(),
            records: 0,
            runs: Vec::new(),
            letters: Vec::new(),
            counts: Totals::default(),
            cursor: BTreeMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.cursor.is_empty() && self.counts.read == 0
    }

    /// Gathers and encodes the transaction after the one of `stamp` and `totals`.
    pub(super) async fn prepare<S: Source<Record = R>>(
        &mut self,
        source: &mut S,
        stamp: &Stamp,
        totals: &Totals,
    ) -> anyhow::Result<Ready> {
        let filled = self.fill(source).await?;
        let next = Stamp { seq: stamp.seq + 1, writer: self.writer.to_owned() };
        let transaction = if self.is_empty() { None } else { Some(self.transaction(next, totals)?) };
        Ok(Ready { transaction, filled })
    }

    /// Takes chunks until a transaction is full or nothing more is at hand.
    async fn fill<S: Source<Record = R>>(&mut self, source: &mut S) -> anyhow::Result<Filled> {
        while self.records < self.publisher.records_max && self.letters.len() < 64 {
            match source.read().await? {
                None => return Ok(Filled::Ended),
                Some(chunk) if chunk.is_empty() => return Ok(Filled::Drained),
                Some(chunk) => self.take(chunk)?,
            }
        }
        Ok(Filled::Full)
    }

    /// Judges a chunk's records and adds what passes.
    fn take(&mut self, mut chunk: Chunk<R>) -> anyhow::Result<()> {
        self.counts.read += chunk.read();
        for (mine, theirs) in
            [(&mut self.counts.skipped, &chunk.skipped), (&mut self.counts.warned, &chunk.warned)]
        {
            for (&reason, &count) in theirs {
                *mine.entry(reason).or_default() += count;
            }
        }
        let mut refused = mem::take(&mut chunk.refused);
        self.check(chunk.records, chunk.past, &chunk.lines, &mut refused)?;
        for refusal in &refused {
            refusal.count(&mut self.counts.refused);
        }
        self.letters.extend(Letter::of_source(&self.publisher.source, &chunk.origin, &refused));
        self.cursor.extend(chunk.cursor);
        Ok(())
    }

    fn check(
        &mut self,
        records: Vec<R>,
        past: Option<Past>,
        lines: &[u64],
        refused: &mut Vec<Refusal>,
    ) -> anyhow::Result<()> {
        let (source, versions) = past.map_or((None, None), |past| (Some(past.source), Some(past.versions)));
        if let Some(versions) = &versions
            && versions.len() != records.len()
        {
            bail!("{} versions for {} records: a defect of the source", versions.len(), records.len());
        }
        let mut checker = Checker::new(&self.publisher.calendar);
        let run = Run::last(&mut self.runs, source);
        run.records.reserve(records.len());
        for (at, record) in records.into_iter().enumerate() {
            match checker.admit(&record, self.publisher.kind) {
                Ok(warnings) => {
                    for warning in warnings {
                        *self.counts.warned.entry(warning.reason).or_default() += 1;
                    }
                    run.records.push(record);
                    run.versions.extend(versions.as_ref().map(|versions| versions[at]));
                    self.records += 1;
                }
                Err(findings) => {
                    let place = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
                    let row = lines.get(at).copied().unwrap_or(place);
                    refused.push(Refusal::of(row, &record, findings));
                }
            }
        }
        Ok(())
    }

    /// Everything gathered, as the transaction `stamp` after `totals`; leaves nothing behind.
    fn transaction(&mut self, stamp: Stamp, totals: &Totals) -> anyhow::Result<Transaction> {
        let (records, runs) = (mem::take(&mut self.records), mem::take(&mut self.runs));
        let mut entries = Vec::new();
        for run in &runs {
            self.pack(run, &mut entries)?;
        }
        let mut counts = mem::take(&mut self.counts);
        counts.appended = u64::try_from(records)?;
        counts.entries = u64::try_from(entries.len())?;
        let mut totals = totals.clone();
        totals.add(&counts);
        let (mut changed, mut forget) = (Vec::new(), Vec::new());
        for (name, value) in mem::take(&mut self.cursor) {
            match value {
                Some(value) => changed.push((name, value)),
                None => forget.push(name),
            }
        }
        Ok(Transaction { entries, letters: mem::take(&mut self.letters), stamp, totals, changed, forget })
    }

    /// Encodes a run into entries of its partitions.
    fn pack(&mut self, run: &Run<R>, entries: &mut Vec<Outgoing>) -> anyhow::Result<()> {
        let (encoding, partitions) = (self.publisher.encoding, self.publisher.partitions);
        for (partition, packer) in (0..).zip(&mut self.packers) {
            let part;
            let part = if partitions == 1 {
                run
            } else {
                part = run.of_partition(partition, partitions);
                &part
            };
            let versions = run.source.is_some().then_some(part.versions.as_slice());
            for packed in packer.pack(&part.records, versions).context("cannot encode checked records")? {
                let Packed { records, payload } = packed;
                let source = run.source.clone();
                entries.push(Outgoing { partition, source, kind: R::TYPE, encoding, records, payload });
            }
        }
        Ok(())
    }
}

/// Records in a row that one source sent.
#[derive(Debug)]
struct Run<R> {
    /// The source of records that were on a stream before; `None`: the publishing one.
    source: Option<Arc<str>>,
    records: Vec<R>,
    /// One a record, if they were on a stream before; else empty.
    versions: Vec<u64>,
}

impl<R: Record> Run<R> {
    fn new(source: Option<Arc<str>>) -> Run<R> {
        Run { source, records: Vec::new(), versions: Vec::new() }
    }

    /// The run that records of `source` belong to.
    fn last(runs: &mut Vec<Run<R>>, source: Option<Arc<str>>) -> &mut Run<R> {
        let at = match runs.last() {
            Some(run) if run.source == source => runs.len() - 1,
            _ => {
                runs.push(Run::new(source));
                runs.len() - 1
            }
        };
        &mut runs[at]
    }

    /// Its records of one partition.
    fn of_partition(&self, partition: u16, partitions: u16) -> Run<R> {
        let mut part = Run::new(self.source.clone());
        for (at, record) in self.records.iter().enumerate() {
            if partition_of(record.symbol(), partitions) == partition {
                part.records.push(*record);
                part.versions.extend(self.versions.get(at));
            }
        }
        part
    }
}
