//! The sink: batches become inserts. Knows what a batch is and when it is durable; must not try again or acknowledge.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    time::Duration,
};

use sqep::{Appetite, Batch, Mark, Record, Row, Sink, Symbol, WriteError};
use tokio_util::sync::CancellationToken;

use crate::{
    ClickHouseError, Key, Store, insert, mark, ready, ready::Ready, schema, securities, split::split,
};

/// What the rows of a batch may take in memory. There are two of them, the one that is written and the one that is read
/// ahead: 208 MiB together. Room to grow that no row has touched takes none.
const BATCH_BYTES_MAX: usize = 104 << 20;

/// Writes batches of one kind into the table of that kind.
///
/// **Why a record that comes twice does no harm.** The table is a `ReplacingMergeTree` by version with the key (symbol,
/// frame), and a key never leaves its partition: of the rows of a key the views (`bar_1d_current` and those made of it) show
/// the one of the highest version, and rows of the same key and version are the same row. One that was broken off may leave
/// some of its rows, which come again. The server is asked to drop nothing that it takes for known: it may know the hash of
/// rows that it lost. The mark is kept only after the inserts of the batches before it were acknowledged; lost, it makes
/// records come again and nothing else.
#[derive(Debug)]
pub struct ClickHouseSink<R> {
    store: Store,
    key: Key,
    table: String,
    records_max: usize,
    ready: Ready,
    /// The round in which the server was found in order by this sink.
    round: u64,
    /// Whether the marks were compared in that round.
    compared: bool,
    /// Securities that `symbol` has.
    met: BTreeSet<Symbol>,
    /// The marks that the server was last known to hold.
    marks: BTreeMap<u16, Mark>,
    /// Whether the table is known to hold rows.
    filled: bool,
    /// Partitions whose mark was told so.
    noted: BTreeSet<u16>,
    /// Is told when the database is not what it was: whoever reads must begin again.
    changed: CancellationToken,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> ClickHouseSink<R> {
    /// A sink of the database, which is asked for nothing yet.
    pub fn new(store: Store, key: Key) -> Result<ClickHouseSink<R>, ClickHouseError> {
        let table = key.table();
        if !R::fits(key.kind) {
            return Err(ClickHouseError::Kind { record: R::TYPE, table });
        }
        let records_max = store.config().records_max;
        Ok(ClickHouseSink {
            store,
            key,
            table,
            records_max,
            ready: Ready::default(),
            round: 0,
            compared: false,
            met: BTreeSet::new(),
            marks: BTreeMap::new(),
            filled: false,
            noted: BTreeSet::new(),
            changed: CancellationToken::new(),
            record: PhantomData,
        })
    }

    /// Another sink of the same program: what one finds out of the server the other need not ask. `changed` ends whoever reads
    /// for it, once the database is not what it was.
    #[must_use]
    pub fn beside(&self, records_max: usize, changed: CancellationToken) -> ClickHouseSink<R> {
        ClickHouseSink {
            store: self.store.clone(),
            key: self.key.clone(),
            table: self.table.clone(),
            records_max,
            ready: self.ready.clone(),
            round: 0,
            compared: false,
            met: BTreeSet::new(),
            marks: BTreeMap::new(),
            filled: false,
            noted: BTreeSet::new(),
            changed,
            record: PhantomData,
        }
    }

    /// Asks the server what it can, applies what is missing of the schema, and makes sure that rows could be inserted; once,
    /// and anew after the server was away.
    pub async fn prepare(&mut self) -> Result<(), ClickHouseError> {
        let found = self.ready.assure::<R>(&mut self.store, &self.key).await?;
        if found.round != self.round {
            (self.round, self.filled, self.compared) = (found.round, found.filled, false);
            self.met.clear();
            self.noted.clear();
        }
        if !self.compared {
            for &partition in self.marks.keys() {
                self.is_as_it_was(partition).await?;
            }
            self.compared = true;
        }
        Ok(())
    }

    /// As [`ClickHouseSink::prepare`], but writes nothing: what is missing of the schema is for a start to make.
    pub async fn check(&mut self) -> Result<(), ClickHouseError> {
        let version = self.store.greet().await?;
        schema::compare::<R>(&self.store, &self.table).await?;
        let missing = schema::missing(&self.store).await?.len();
        tracing::info!(version, missing, "clickhouse at {} answers", self.store.who().place);
        if missing > 0 {
            tracing::info!("the schema is made, or brought up to date, at the start");
            return Ok(());
        }
        ready::may_insert(&self.store, &self.table).await
    }

    /// Holds the mark that was kept last against the one that is there.
    async fn is_as_it_was(&self, partition: u16) -> Result<(), ClickHouseError> {
        let Some(known) = self.marks.get(&partition) else { return Ok(()) };
        let found = mark::load(&self.store, &self.key, partition).await?;
        if !mark::is_less(known, found.as_ref()) {
            return Ok(());
        }
        self.changed.cancel();
        let (place, database) = (self.store.who().place.clone(), self.store.who().database.clone());
        let found = found.map_or_else(|| "none".to_owned(), |mark| mark.id.to_string());
        Err(ClickHouseError::Changed { place, database, known: known.id.to_string(), found })
    }

    async fn put(&mut self, batch: &Batch<'_, R>) -> Result<(), ClickHouseError> {
        self.prepare().await?;
        self.meet(batch).await?;
        let parts = split(batch.rows);
        insert::insert(&self.store, &self.table, batch, parts).await?;
        self.filled |= !batch.rows.is_empty();
        self.note_rows(batch.partition).await
    }

    /// Lets the mark of a partition know of the first rows.
    async fn note_rows(&mut self, partition: u16) -> Result<(), ClickHouseError> {
        if self.filled && !self.noted.contains(&partition) {
            mark::note_rows(&self.store, &self.key, partition).await?;
            self.noted.insert(partition);
        }
        Ok(())
    }

    async fn keep(&mut self, partition: u16, mark: &Mark) -> Result<(), ClickHouseError> {
        self.prepare().await?;
        // The server may have been replaced between two questions, without one that failed.
        self.is_as_it_was(partition).await?;
        mark::save(&self.store, &self.key, partition, mark, self.filled).await?;
        self.marks.insert(partition, mark.clone());
        Ok(())
    }

    async fn held(&mut self, partition: u16) -> Result<Option<Mark>, ClickHouseError> {
        // Whoever asks begins again, with whatever there is.
        self.marks.remove(&partition);
        self.prepare().await?;
        self.noted.remove(&partition);
        self.note_rows(partition).await?;
        let found = mark::load(&self.store, &self.key, partition).await?;
        if let Some(mark) = &found {
            self.marks.insert(partition, mark.clone());
        }
        Ok(found)
    }

    /// What a failure makes of what is known.
    async fn after<T>(&self, done: Result<T, ClickHouseError>) -> Result<T, ClickHouseError> {
        if done.as_ref().is_err_and(ClickHouseError::casts_doubt) {
            self.ready.doubt(self.round).await;
        }
        done
    }

    /// Makes securities known before their first bar.
    async fn meet(&mut self, batch: &Batch<'_, R>) -> Result<(), ClickHouseError> {
        let (mut new, mut last) = (BTreeSet::new(), None);
        for row in batch.rows {
            let symbol = row.record.symbol();
            if last.replace(symbol) != Some(symbol) && !self.met.contains(&symbol) {
                new.insert(symbol);
            }
        }
        if !new.is_empty() {
            securities::meet(&self.store, &new).await?;
            self.met.extend(new);
        }
        Ok(())
    }
}

impl<R: Record> Sink for ClickHouseSink<R> {
    type Record = R;

    fn appetite(&self) -> Appetite {
        let records_max = self.records_max.min(BATCH_BYTES_MAX / size_of::<Row<R>>());
        Appetite { records_max, wait_max: Duration::from_secs(self.store.config().wait_s_max) }
    }

    async fn write(&mut self, batch: &Batch<'_, R>) -> Result<(), WriteError> {
        let put = self.put(batch).await;
        self.after(put).await.map_err(ClickHouseError::judged)
    }

    async fn save(&mut self, partition: u16, mark: &Mark) -> Result<(), WriteError> {
        let kept = self.keep(partition, mark).await;
        self.after(kept).await.map_err(ClickHouseError::judged)
    }

    async fn mark(&mut self, partition: u16) -> Result<Option<Mark>, WriteError> {
        let found = self.held(partition).await;
        self.after(found).await.map_err(|error| match error {
            // A damaged mark does not mend by itself; a server that is away does.
            ClickHouseError::Mark { .. } => WriteError::Never(error.into()),
            _ => WriteError::Later(error.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use sqep::{DayBar, DayFeature, Kind, MinuteFeature};

    use super::*;
    use crate::Config;

    fn bytes<R: Record>(kind: Kind) -> usize {
        let config = Config { records_max: 1_000_000, ..Config::default() };
        let key = Key { kind, prefix: "sqep".to_owned(), group: "clickhouse".to_owned() };
        let sink = ClickHouseSink::<R>::new(Store::new(config).unwrap(), key).unwrap();
        sink.appetite().records_max * size_of::<Row<R>>()
    }

    #[test]
    fn two_batches_of_the_widest_rows_leave_a_quarter_of_300_mib() {
        let widest = [
            bytes::<DayBar>(Kind::BarDay),
            bytes::<DayFeature>(Kind::FeatureDay),
            bytes::<MinuteFeature>(Kind::FeatureMinute),
        ];
        for batch in widest {
            assert!(batch > 64 << 20, "{batch}");
            assert!(2 * batch <= 225 << 20, "{batch}");
        }
    }
}
