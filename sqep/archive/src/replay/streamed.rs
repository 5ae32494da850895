//! What a stream still holds as a source: for a group that is to have a part of it, or all of it at a speed of its own.
//!
//! Knows entries in order, partition by partition; must not know who is given the rows.

use std::{marker::PhantomData, sync::Arc};

use anyhow::{Context, bail};
use sqep::{
    Chunk, EntryId, Past, Record, Refusal,
    check::Finding,
    redis::{Server, inspect::Inspector},
    wire::Entry,
};

use super::{
    given::{Fetch, cursor},
    pace::{Pace, Shelf, Speed, moment},
};
use crate::Filter;

/// Which entries of a stream a group is given.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// The stream of a partition, as a key.
    pub(super) stream: String,
    /// What comes after this is wanted.
    pub(super) after: EntryId,
    /// What comes after this is read from the stream itself.
    pub(super) upto: EntryId,
}

/// The rows of a stream. A place is a partition and an entry.
#[derive(Debug)]
pub(super) struct Streamed<R> {
    server: Server,
    spans: Vec<Span>,
    filter: Filter,
    inspector: Option<Inspector>,
    at: (usize, EntryId),
    pace: Option<Pace>,
    speed: Speed,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Streamed<R> {
    pub(super) fn new(server: Server, spans: Vec<Span>, filter: Filter, speed: Speed) -> Streamed<R> {
        let at = (0, EntryId::ZERO);
        let record = PhantomData;
        Streamed { server, spans, filter, inspector: None, at, pace: None, speed, record }
    }

    fn chunk(&self, entry: &Entry) -> Chunk<R> {
        let mut chunk = Chunk::empty(&format!("entry {}", entry.id));
        let opened = match entry.open::<R>() {
            Ok(opened) => opened,
            Err(unreadable) => {
                let field = unreadable.field.to_owned();
                let findings = vec![Finding { reason: unreadable.reason, field, value: unreadable.why }];
                let (symbol, raw) = (String::new(), String::new());
                chunk.refused.push(Refusal { row: 0, rows: entry.claimed(), symbol, findings, raw });
                return chunk;
            }
        };
        let own = entry.id.version();
        let versions = opened.decoded.versions.unwrap_or_else(|| vec![own; opened.decoded.records.len()]);
        let rows = opened.decoded.records.into_iter().zip(versions);
        let (records, versions) = rows.filter(|(record, _)| self.filter.holds(record)).unzip();
        chunk.records = records;
        chunk.past = Some(Past { source: Arc::from(&*opened.source), versions });
        chunk
    }
}

impl<R: Record> Streamed<R> {
    /// What a group pins stays, unless it does not count and its hours are over: then what was read last may not be what
    /// came next.
    async fn still_there(&mut self, span: &Span, after: EntryId) -> anyhow::Result<()> {
        let Some(inspector) = &mut self.inspector else { return Ok(()) };
        let trimmed = inspector.trimmed(&span.stream).await?;
        if after < span.upto && trimmed > after {
            bail!(
                "{} was trimmed up to {trimmed} while its past was read at {after}: the group is none of stream.groups \
                 and stream.keep_hours_max is over. Retire the group, name it in stream.groups, and begin again",
                span.stream
            );
        }
        Ok(())
    }
}

impl<R: Record> Fetch for Streamed<R> {
    type Record = R;

    async fn begin(&mut self, place: Option<&str>) -> anyhow::Result<()> {
        self.pace = Pace::of(self.speed);
        self.at = (0, EntryId::ZERO);
        if let Some(place) = place {
            let unknown = || format!("the stored place {place:?} of the replay is not one of a stream");
            let (partition, id) = place.split_once(' ').with_context(unknown)?;
            self.at = (partition.parse().with_context(unknown)?, id.parse().with_context(unknown)?);
        }
        self.inspector = Some(Inspector::connect(&self.server).await?);
        Ok(())
    }

    async fn fetch(&mut self, shelf: &mut Shelf<R>) -> anyhow::Result<bool> {
        let (partition, seen) = self.at;
        let Some(span) = self.spans.get(partition).cloned() else { return Ok(false) };
        let after = seen.max(span.after);
        let entries = match &mut self.inspector {
            Some(inspector) if after < span.upto => inspector.read(&span.stream, after, 1).await?,
            _ => Vec::new(),
        };
        self.still_there(&span, after).await?;
        let upto = span.upto;
        let mut none = true;
        for entry in entries.into_iter().filter(|entry| entry.id <= upto) {
            none = false;
            self.at = (partition, entry.id);
            let mut chunk = self.chunk(&entry);
            chunk.cursor = cursor(format!("{partition} {}", entry.id));
            let moment = chunk.records.first().and_then(moment);
            let due = self.pace.as_mut().zip(moment).map(|(pace, moment)| pace.due(moment));
            shelf.put(due, chunk);
        }
        if none {
            self.at = (partition + 1, EntryId::ZERO);
        }
        Ok(true)
    }
}
