//! Repeated keys and days without volume among rows that are in no order. Knows keys and fingerprints, sorted; must not
//! know text.

use std::collections::HashSet;

use sqep::{Symbol, record::Cell};
use xxhash_rust::xxh3::Xxh3;

use crate::row::{CLOSE_MINUTE, FromRow, IDLE_MINUTES_MIN, MINUTES_A_DAY, day, has_volume};

/// What becomes of a record whose key the file repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The same record again.
    Duplicate,
    /// A later row says something else.
    Conflict,
}

/// A second look at securities whose rows are in no order: keeps the keys of all their records and sorts them.
#[derive(Debug)]
pub(crate) struct Sorter {
    keys: Vec<Key>,
    keys_max: usize,
    growing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    symbol: Symbol,
    time: i64,
    row: u64,
    print: u64,
    traded: bool,
}

impl Sorter {
    pub(crate) fn new(keys_max: usize, growing: bool) -> Sorter {
        Sorter { keys: Vec::new(), keys_max, growing }
    }

    /// Takes a record; false when there are too many.
    pub(crate) fn see<R: FromRow>(&mut self, row: u64, record: &R) -> bool {
        if self.keys.len() >= self.keys_max {
            return false;
        }
        let (symbol, time) = record.key();
        self.keys.push(Key { symbol, time, row, print: print(record), traded: has_volume(record) });
        true
    }

    /// Adds what the keys say of repeated records and of days without volume.
    pub(crate) fn sort<R: FromRow>(
        mut self,
        fates: &mut Vec<(u64, Fate)>,
        idle: &mut HashSet<(Symbol, i64)>,
    ) {
        self.keys.sort_unstable();
        for same in self.keys.chunk_by(|a, b| (a.symbol, a.time) == (b.symbol, b.time)) {
            let Some(mut winner) = same.first().copied() else { continue };
            for &key in same.iter().skip(1) {
                if key.print == winner.print {
                    fates.push((key.row, Fate::Duplicate));
                } else {
                    fates.push((winner.row, Fate::Conflict));
                    winner = key;
                }
            }
        }
        if !R::MINUTE {
            return;
        }
        let days: Vec<&[Key]> =
            self.keys.chunk_by(|a, b| (a.symbol, day(a.time)) == (b.symbol, day(b.time))).collect();
        for (at, same) in days.iter().enumerate() {
            let Some(last) = same.last() else { continue };
            let latest =
                days.get(at + 1).and_then(|next| next.first()).is_none_or(|next| next.symbol != last.symbol);
            let unfinished = self.growing && latest && last.time.rem_euclid(MINUTES_A_DAY) < CLOSE_MINUTE;
            let minutes = same.chunk_by(|a, b| a.time == b.time).count();
            let enough = u32::try_from(minutes).is_ok_and(|minutes| minutes >= IDLE_MINUTES_MIN);
            if !unfinished && enough && same.iter().all(|key| !key.traded) {
                idle.insert((last.symbol, day(last.time)));
            }
        }
    }
}

/// A fingerprint of all fields: equal records have equal ones.
fn print<R: FromRow>(record: &R) -> u64 {
    let mut hash = Xxh3::new();
    for at in 0..R::FIELDS.len() {
        let bits = match record.get(at) {
            Cell::Float(value) => value.to_bits(),
            Cell::Bool(value) => 2 + u64::from(value),
            Cell::Integer(value) => value,
            Cell::Null => u64::MAX,
            Cell::Symbol(_) | Cell::Date(_) | Cell::Minute(_) => 0,
        };
        hash.update(&bits.to_le_bytes());
    }
    hash.digest()
}
