//! Both sides, key by key, in the order of keys. Knows what is a difference; must not know where rows come from nor how it
//! is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    vec::IntoIter,
};

use chrono::{DateTime, NaiveDate, TimeDelta};
use serde::Serialize;
use sqep::{Record, Row, record::Type};
use sqep_archive::{Block, Folder, Reader};

use super::spool::{Item, Spool, hash};

/// What a key of the archive is that the other side does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    /// A difference.
    Differs,
    /// Nothing: the other side no longer holds everything.
    Ignored,
}

/// Keys and their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Keys.
    pub(crate) keys: u64,
    /// Sum of the hashes.
    pub(crate) hash: u64,
}

impl Tally {
    fn add(&mut self, hash: u64) {
        self.keys += 1;
        self.hash = self.hash.wrapping_add(hash);
    }
}

/// One day, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Day {
    /// Current rows of the archive.
    pub(crate) archive: Tally,
    /// Winners of the other side.
    pub(crate) against: Tally,
    /// Keys that only the other side holds.
    pub(crate) missing: u64,
    /// Keys that only the archive holds.
    pub(crate) extra: u64,
    /// Keys of both whose fields differ.
    pub(crate) differ: u64,
}

impl Day {
    /// Keys that are not the same.
    pub(crate) fn wrong(&self) -> u64 {
        self.missing + self.extra + self.differ
    }

    fn add(&mut self, day: &Day) {
        self.archive = Tally {
            keys: self.archive.keys + day.archive.keys,
            hash: self.archive.hash.wrapping_add(day.archive.hash),
        };
        self.against = Tally {
            keys: self.against.keys + day.against.keys,
            hash: self.against.hash.wrapping_add(day.against.hash),
        };
        self.missing += day.missing;
        self.extra += day.extra;
        self.differ += day.differ;
    }
}

/// How a key is not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Only the other side holds it.
    NotInArchive,
    /// Only the archive holds it.
    OnlyInArchive,
    /// Both do.
    Differs,
}

/// A field that differs, as text; empty: null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FieldPair {
    pub(crate) field: &'static str,
    pub(crate) archive: String,
    pub(crate) against: String,
}

/// A key that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Symbol and [`Record::time`].
    pub(crate) key: (i32, i64),
    pub(crate) how: How,
    /// Which fields, once somebody has looked.
    pub(crate) fields: Vec<FieldPair>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) days: BTreeMap<NaiveDate, Day>,
    /// The first ones.
    pub(crate) differences: Vec<Difference>,
    /// Rows of the archive that lost to another of their key: older versions and copies. Compaction removes them.
    pub(crate) superseded: u64,
    /// Keys whose row in the archive is newer than any the stream holds; not compared.
    pub(crate) newer: u64,
}

impl Found {
    pub(crate) fn total(&self) -> Day {
        let mut total = Day::default();
        self.days.values().for_each(|day| total.add(day));
        total
    }

    pub(crate) fn wrong(&self) -> u64 {
        self.total().wrong()
    }
}

/// The comparison at work: the keys of one period of the other side, in order, and the archive's beside them.
pub(crate) struct Compare {
    extra: Extra,
    show: usize,
    found: Found,
    period: Option<Folder>,
    items: Peekable<IntoIter<Item>>,
}

impl Compare {
    pub(crate) fn new(extra: Extra, show: usize) -> Compare {
        let items = Vec::new().into_iter().peekable();
        Compare { extra, show, found: Found::default(), period: None, items }
    }

    /// Reads the archive past the other side.
    pub(crate) fn run<R: Record>(mut self, mut reader: Reader<R>, mut spool: Spool) -> anyhow::Result<Found> {
        let mut left = spool.periods();
        while let Some(block) = reader.next()? {
            self.go_to::<R>(Some(block.folder), &mut left, &mut spool)?;
            self.block(&block);
        }
        self.go_to::<R>(None, &mut left, &mut spool)?;
        Ok(self.found)
    }

    /// Ends the period at hand and every one before `period`, and begins that.
    fn go_to<R: Record>(
        &mut self,
        period: Option<Folder>,
        left: &mut BTreeSet<Folder>,
        spool: &mut Spool,
    ) -> anyhow::Result<()> {
        if period.is_some() && self.period == period {
            return Ok(());
        }
        self.rest::<R>();
        while let Some(&next) = left.first()
            && period.is_none_or(|period| next <= period)
        {
            left.remove(&next);
            self.items = spool.take(next)?.into_iter().peekable();
            if Some(next) != period {
                self.rest::<R>();
            }
        }
        self.period = period;
        Ok(())
    }

    /// What is left of the other side is not in the archive.
    fn rest<R: Record>(&mut self) {
        while let Some(item) = self.items.next() {
            self.missing::<R>(item);
        }
    }

    fn block<R: Record>(&mut self, block: &Block<R>) {
        let shown = u64::try_from(block.rows.len()).unwrap_or(u64::MAX);
        self.found.superseded += block.stored.saturating_sub(shown);
        for row in &block.rows {
            self.row(row);
        }
    }

    fn row<R: Record>(&mut self, row: &Row<R>) {
        let key = (row.record.symbol().get(), row.record.time());
        while let Some(item) = self.items.next_if(|item| item.key() < key) {
            self.missing::<R>(item);
        }
        let other = self.items.next_if(|item| item.key() == key);
        let hash = hash(&row.record);
        match other {
            None if self.extra == Extra::Ignored => {}
            None => {
                let day = self.day::<R>(key.1);
                day.archive.add(hash);
                day.extra += 1;
                self.keep(key, How::OnlyInArchive);
            }
            Some(item) if self.extra == Extra::Ignored && row.version > item.order => self.found.newer += 1,
            Some(item) => {
                let day = self.day::<R>(key.1);
                day.archive.add(hash);
                day.against.add(item.hash);
                if item.hash != hash {
                    day.differ += 1;
                    self.keep(key, How::Differs);
                }
            }
        }
    }

    fn missing<R: Record>(&mut self, item: Item) {
        let day = self.day::<R>(item.time);
        day.against.add(item.hash);
        day.missing += 1;
        self.keep(item.key(), How::NotInArchive);
    }

    fn day<R: Record>(&mut self, time: i64) -> &mut Day {
        self.found.days.entry(date::<R>(time)).or_default()
    }

    fn keep(&mut self, key: (i32, i64), how: How) {
        if self.found.differences.len() < self.show {
            self.found.differences.push(Difference { key, how, fields: Vec::new() });
        }
    }
}

/// The moment of a [`Record::time`], as wall clock.
pub(crate) fn moment<R: Record>(time: i64) -> chrono::NaiveDateTime {
    let in_days = R::FIELDS.get(1).is_some_and(|field| field.kind == Type::Date);
    let span = if in_days { TimeDelta::try_days(time) } else { TimeDelta::try_minutes(time) };
    let epoch = DateTime::UNIX_EPOCH.naive_utc();
    span.and_then(|span| epoch.checked_add_signed(span)).unwrap_or(epoch)
}

fn date<R: Record>(time: i64) -> NaiveDate {
    moment::<R>(time).date()
}
