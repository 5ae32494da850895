//! Records of days between the source that makes them and the source that publishes them. Knows what is published of each
//! security; must not know where records come from.
//!
//! The last record of each security and day lies there until it is pruned, so that whoever opens again finds it. A record
//! that knows less than what went out of its day, and one of an earlier day, does not go out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sqep::{Chunk, Cursors, DayBar, Record, RefDay, Refusal, Source, Symbol, record::Cell};
use tokio::sync::Notify;
use xxhash_rust::xxh3::xxh3_64;

/// Records of a chunk.
const CHUNK_RECORDS_MAX: usize = 4_096;
/// Before the name of a security in the cursor.
const PREFIX: &str = "day/";

/// A record of a day.
pub trait OfDay: Record {
    /// Its day.
    fn day(&self) -> NaiveDate;
}

impl OfDay for RefDay {
    fn day(&self) -> NaiveDate {
        self.frame
    }
}

impl OfDay for DayBar {
    fn day(&self) -> NaiveDate {
        self.frame
    }
}

/// Where records lie. Clones are the same shelf.
#[derive(Debug)]
pub struct Shelf<R>(Arc<Inner<R>>);

#[derive(Debug)]
struct Inner<R> {
    state: Mutex<State<R>>,
    news: Notify,
}

#[derive(Debug)]
struct State<R> {
    records: BTreeMap<(Symbol, NaiveDate), R>,
    /// Securities with a record that the source has not looked at.
    new: BTreeSet<Symbol>,
    refused: Vec<Refusal>,
    over: bool,
}

impl<R> Clone for Shelf<R> {
    fn clone(&self) -> Self {
        Shelf(Arc::clone(&self.0))
    }
}

impl<R> Default for Shelf<R> {
    fn default() -> Self {
        let state =
            State { records: BTreeMap::new(), new: BTreeSet::new(), refused: Vec::new(), over: false };
        Shelf(Arc::new(Inner { state: Mutex::new(state), news: Notify::new() }))
    }
}

impl<R: OfDay> Shelf<R> {
    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record in place of the one of its day.
    pub fn put(&self, record: R) {
        let mut state = self.state();
        state.new.insert(record.symbol());
        state.records.insert((record.symbol(), record.day()), record);
        self.0.news.notify_one();
    }

    /// A row that does not become a record.
    pub fn refuse(&self, refusal: Refusal) {
        self.state().refused.push(refusal);
        self.0.news.notify_one();
    }

    /// Takes away what is of earlier days.
    pub fn prune(&self, first: NaiveDate) {
        self.state().records.retain(|(_, day), _| *day >= first);
    }

    /// Nothing more will be put there.
    pub fn close(&self) {
        self.state().over = true;
        self.0.news.notify_one();
    }
}

/// What went out of a security last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Sent {
    day: NaiveDate,
    /// The values, and which of them are known.
    print: u64,
    known: u32,
}

impl Sent {
    fn of<R: OfDay>(record: &R) -> Sent {
        let cells: Vec<Cell> = (0..R::FIELDS.len()).map(|at| record.get(at)).collect();
        let known = cells.iter().enumerate().filter(|(_, cell)| !matches!(cell, Cell::Null));
        let known = known.fold(0, |known, (at, _)| known | 1 << at.min(31));
        Sent { day: record.day(), print: xxh3_64(format!("{cells:?}").as_bytes()), known }
    }

    /// Whether a record goes out after this one.
    fn is_followed_by(&self, next: &Sent) -> bool {
        let knows_as_much = next.known & self.known == self.known;
        next.day > self.day || next.day == self.day && next.print != self.print && knows_as_much
    }
}

/// A shelf as a source.
#[derive(Debug)]
pub struct ShelfSource<R> {
    shelf: Shelf<R>,
    sent: HashMap<Symbol, Sent>,
    idle: bool,
    origin: Arc<str>,
}

impl<R: OfDay> ShelfSource<R> {
    /// A source of what lies on a shelf.
    pub fn new(shelf: Shelf<R>) -> ShelfSource<R> {
        ShelfSource { shelf, sent: HashMap::new(), idle: false, origin: "agent".into() }
    }

    /// What is new and goes out.
    fn chunk(&mut self) -> Chunk<R> {
        let mut chunk = Chunk::empty(&self.origin);
        let mut state = self.shelf.state();
        chunk.refused = std::mem::take(&mut state.refused);
        while let Some(symbol) = state.new.pop_first() {
            let days = state.records.range((symbol, NaiveDate::MIN)..=(symbol, NaiveDate::MAX));
            let mut last = None;
            for record in days.map(|(_, record)| record) {
                let next = Sent::of(record);
                if self.sent.get(&symbol).is_none_or(|sent| sent.is_followed_by(&next)) {
                    self.sent.insert(symbol, next);
                    chunk.records.push(*record);
                    last = serde_json::to_string(&next).ok();
                }
            }
            chunk.cursor.extend(last.map(|last| (format!("{PREFIX}{symbol}"), Some(last))));
            if chunk.records.len() >= CHUNK_RECORDS_MAX {
                break;
            }
        }
        chunk
    }

    fn is_over(&self) -> bool {
        let state = self.shelf.state();
        state.over && state.new.is_empty() && state.refused.is_empty()
    }
}

impl<R: OfDay + Debug> Source for ShelfSource<R> {
    type Record = R;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        self.sent.clear();
        for (name, value) in &cursors.fields {
            let Some(code) = name.strip_prefix(PREFIX) else { continue };
            let sent = serde_json::from_str(value).with_context(|| format!("cursor field {name}"))?;
            self.sent.insert(code.parse()?, sent);
        }
        let mut state = self.shelf.state();
        let all: Vec<Symbol> = state.records.keys().map(|&(symbol, _)| symbol).collect();
        state.new.extend(all);
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        loop {
            let chunk = self.chunk();
            if !chunk.is_empty() {
                self.idle = false;
                return Ok(Some(chunk));
            }
            if self.is_over() {
                return Ok(None);
            }
            if !self.idle {
                self.idle = true;
                return Ok(Some(chunk));
            }
            self.shelf.0.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(day: &str, limit: Option<f64>) -> RefDay {
        RefDay {
            symbol: "600000.SH".parse().unwrap(),
            frame: day.parse().unwrap(),
            adjust: Some(1.0),
            st: None,
            buy_limit: limit,
            sell_limit: None,
        }
    }

    #[test]
    fn a_record_that_knows_less_or_is_of_an_earlier_day_does_not_go_out() {
        let shelf = Shelf::default();
        let mut source = ShelfSource::new(shelf.clone());
        for (record, goes) in [
            (known("2025-01-02", None), true),
            (known("2025-01-02", None), false),
            (known("2025-01-02", Some(11.0)), true),
            (known("2025-01-02", None), false),
            (known("2025-01-02", Some(12.0)), true),
            (known("2025-01-01", Some(13.0)), false),
            (known("2025-01-03", None), true),
        ] {
            shelf.put(record);
            assert_eq!(source.chunk().records.len(), usize::from(goes), "{record:?}");
        }
    }
}
