//! What a reader has in hand: entries not yet settled, the records they hold, and what of them is buried.
//!
//! Knows letters and counts; must not know the sink, the server or when a batch is due.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use crate::{
    Appetite, EntryId, Reason, Record, Refusal, Row,
    check::Finding,
    letter::Letter,
    wire::{Entry, Unreadable},
};

/// Entries of one batch at most, however few records they hold.
const ENTRIES_MAX: usize = 10_000;
/// Bytes of letters of one batch at most.
const LETTER_BYTES_MAX: usize = 16 << 20;

/// Entries read and not yet settled, with the records they hold.
pub(super) struct InHand<R> {
    pub(super) ids: Vec<EntryId>,
    pub(super) rows: Vec<Row<R>>,
    pub(super) sources: Vec<Arc<str>>,
    pub(super) letters: Vec<Letter>,
    pub(super) letter_bytes: usize,
    pub(super) buried: BTreeMap<Reason, u64>,
    pub(super) fetched: u64,
    pub(super) bytes: u64,
    pub(super) since: Option<Instant>,
}

impl<R> Default for InHand<R> {
    fn default() -> Self {
        InHand {
            ids: Vec::new(),
            rows: Vec::new(),
            sources: Vec::new(),
            letters: Vec::new(),
            letter_bytes: 0,
            buried: BTreeMap::new(),
            fetched: 0,
            bytes: 0,
            since: None,
        }
    }
}

/// An entry refused as a whole.
pub(super) fn whole(entry: &Entry, unreadable: Unreadable) -> Refusal {
    let finding =
        Finding { reason: unreadable.reason, field: unreadable.field.to_owned(), value: unreadable.why };
    Refusal {
        row: 0,
        rows: entry.claimed(),
        symbol: String::new(),
        findings: vec![finding],
        raw: String::new(),
    }
}

impl<R: Record> InHand<R> {
    /// Whether this is as much as is written at once.
    pub(super) fn is_full(&self, appetite: Appetite) -> bool {
        self.rows.len() >= appetite.records_max
            || self.ids.len() >= ENTRIES_MAX
            || self.letter_bytes >= LETTER_BYTES_MAX
    }

    pub(super) fn source(&mut self, name: &str) -> u16 {
        let known = self.sources.iter().position(|source| **source == *name);
        let at = known.unwrap_or_else(|| {
            self.sources.push(name.into());
            self.sources.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    pub(super) fn bury(&mut self, group: &str, entry: Entry, refusals: Vec<Refusal>) {
        self.count(&refusals);
        let letter = Letter::of_entry(group, entry.id, refusals, entry.fields);
        self.letter_bytes += letter.bytes();
        self.letters.push(letter);
    }

    /// Buries what the sink refused. The entry's bytes are not at hand any more; the record itself is.
    pub(super) fn bury_rows(&mut self, group: &str, refused: Vec<(Row<R>, String)>) {
        for (row, why) in refused {
            let finding = Finding { reason: Reason::SinkNever, field: String::new(), value: why };
            let id = EntryId::of_version(row.version);
            let refusal = Refusal::of(0, &row.record, vec![finding]);
            refusal.count(&mut self.buried);
            let source = self.sources.get(usize::from(row.source)).map_or("", |name| name);
            self.letters.push(Letter::of_record(group, id, source, refusal));
        }
    }

    pub(super) fn count(&mut self, refusals: &[Refusal]) {
        for refusal in refusals {
            refusal.count(&mut self.buried);
        }
    }
}
