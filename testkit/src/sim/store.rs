//! The simulated sink: a table by key that keeps the highest version, and a mark.

use std::{collections::BTreeMap, time::Duration};

use rand::Rng;
use sqep::{Appetite, Batch, DayBar, EntryId, Mark, Record, Row, Sink, Symbol, WriteError};

use super::{Poison, Shared};

/// What the sink holds, and what it noticed.
#[derive(Debug, Default)]
pub struct Store {
    rows: BTreeMap<(Symbol, i64), (u64, DayBar)>,
    mark: Option<Mark>,
    /// Readers whose batch was refused and is not yet written, and how many records each was handed since.
    owing: BTreeMap<u64, usize>,
    outage: u32,
    /// The sink that alone may write at the moment, by its number.
    locked: Option<u64>,
}

impl Store {
    /// The current record of each key.
    pub fn current(&self) -> BTreeMap<(Symbol, i64), DayBar> {
        self.rows.iter().map(|(&key, &(_, bar))| (key, bar)).collect()
    }

    /// The mark kept last.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Whether a reader's sink keeps the others out.
    pub(super) fn is_locked_by(&self, reader: u64) -> bool {
        self.locked == Some(reader)
    }

    pub(super) fn owes(&self, reader: u64) -> bool {
        self.owing.contains_key(&reader)
    }

    /// Records that a reader was handed since its batch was refused.
    pub(super) fn ahead(&mut self, reader: u64) -> Option<&mut usize> {
        self.owing.get_mut(&reader)
    }

    pub(super) fn forgive(&mut self, reader: u64) {
        self.owing.remove(&reader);
    }

    fn put(&mut self, row: &Row<DayBar>) {
        let place = self.rows.entry(row.record.key()).or_insert((row.version, row.record));
        if row.version >= place.0 {
            *place = (row.version, row.record);
        }
    }
}

/// Writes into the store of a [`Shared`] world.
#[derive(Debug)]
pub struct StoreSink {
    world: Shared,
    poison: Poison,
    records_max: usize,
    reader: u64,
    /// Batch and version written last, to see that parts keep their order.
    order: Option<(EntryId, EntryId, u64)>,
}

impl StoreSink {
    /// The sink of one reader; it can never take records of `poison`.
    pub fn new(world: Shared, poison: Poison, records_max: usize, reader: u64) -> StoreSink {
        StoreSink { world, poison, records_max, reader, order: None }
    }

    /// Rows of a batch come in the order of the stream, also when it is written in parts.
    fn in_order(&mut self, batch: &Batch<'_, DayBar>) -> bool {
        let sorted = batch.rows.is_sorted_by_key(|row| row.version);
        let (Some(first), Some(last)) = (batch.rows.first(), batch.rows.last()) else { return true };
        let before = self.order.replace((batch.first, batch.last, last.version));
        let follows = before.is_none_or(|(from, to, version)| {
            (from, to) != (batch.first, batch.last) || first.version >= version
        });
        sorted && follows
    }
}

/// A process that ends lets go of everything.
impl Drop for StoreSink {
    fn drop(&mut self) {
        let store = &mut self.world.lock().store;
        if store.is_locked_by(self.reader) {
            store.locked = None;
        }
    }
}

fn later() -> WriteError {
    WriteError::Later(std::io::Error::other("the store is down at the moment").into())
}

impl Sink for StoreSink {
    type Record = DayBar;

    fn appetite(&self) -> Appetite {
        Appetite { records_max: self.records_max, wait_max: Duration::from_millis(50) }
    }

    async fn write(&mut self, batch: &Batch<'_, DayBar>) -> Result<(), WriteError> {
        self.world.step().await;
        let pause = {
            let mut world = self.world.lock();
            world.happens(|faults| faults.pause)
        };
        if pause {
            // A process stopped for longer than its lease, and let go again in the middle of a write.
            tokio::time::sleep(Duration::from_secs(90)).await;
        }
        let poisoned = batch.rows.iter().any(|row| row.record.symbol.get() == self.poison.0);
        let ordered = poisoned || self.in_order(batch);
        let mut world = self.world.lock();
        world.promise(ordered, "rows of one batch were written out of order");
        if world.store.outage == 0 && world.happens(|faults| faults.sink / 8) {
            let outage = world.rng.random_range(10..40);
            world.store.outage = outage;
        }
        world.store.outage = world.store.outage.saturating_sub(1);
        if world.store.outage > 0 || world.happens(|faults| faults.sink) {
            self.order = None;
            world.store.owing.entry(self.reader).or_default();
            if world.rng.random() {
                // Taken in part or in whole, and then the answer was lost.
                let taken = world.rng.random_range(0..=batch.rows.len());
                let good = |row: &&Row<DayBar>| row.record.symbol.get() != self.poison.0;
                batch.rows[..taken].iter().filter(good).for_each(|row| world.store.put(row));
            }
            return Err(later());
        }
        if poisoned {
            world.store.owing.remove(&self.reader);
            return Err(WriteError::Never(std::io::Error::other("no such column").into()));
        }
        batch.rows.iter().for_each(|row| world.store.put(row));
        world.store.owing.remove(&self.reader);
        Ok(())
    }

    async fn save(&mut self, _partition: u16, mark: &Mark) -> Result<(), WriteError> {
        self.world.step().await;
        let mut world = self.world.lock();
        if world.happens(|faults| faults.sink) {
            return Err(later());
        }
        world.store.mark = Some(mark.clone());
        Ok(())
    }

    async fn mark(&mut self, _partition: u16) -> Result<Option<Mark>, WriteError> {
        // A reader that asks takes up anew: it may write a batch again.
        self.order = None;
        let mut world = self.world.lock();
        let emptied = world.happens(|faults| faults.emptied);
        let store = &mut world.store;
        if store.locked.is_some_and(|reader| reader != self.reader) {
            return Err(later());
        }
        if emptied && store.mark.as_ref().is_some_and(Mark::is_in_replay) {
            (store.rows, store.mark) = (BTreeMap::new(), None);
        }
        store.locked = Some(self.reader);
        Ok(store.mark.clone())
    }

    async fn release(&mut self, _partition: u16) {
        let store = &mut self.world.lock().store;
        if store.is_locked_by(self.reader) {
            store.locked = None;
        }
    }
}
