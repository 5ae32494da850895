//! The sink: batches become inserts. Knows what a batch is and when it is durable; must not try again or acknowledge.

use std::{collections::BTreeSet, marker::PhantomData, time::Duration};

use sqep::{Appetite, Batch, Kind, Mark, Record, Row, Sink, Symbol, WriteError};
use tokio::task::JoinSet;

use crate::{ClickHouseError, Store, mark, rows, schema, securities, split::split};

/// Inserts on their way at the same time: while the server takes one, the next is made.
const INSERTS_MAX: usize = 2;
/// What the rows of a batch may take in memory.
const BATCH_BYTES_MAX: usize = 128 << 20;

/// Writes batches of one kind into the table of that kind.
///
/// **Why a record that comes twice does no harm.** The table is a `ReplacingMergeTree` by version with the key (symbol,
/// frame), and a key never leaves its partition: of the rows of a key the views (`bar_1d_current` and those made of it) show
/// the one of the highest version, and rows of the same key and version are the same row. An insert that comes again whole is
/// moreover known by its token, a hash of its rows, and dropped by the server; one that was broken off may leave some of its
/// rows, which come again. The mark is kept only after the inserts of the batches before it were acknowledged; lost, it makes
/// records come again and nothing else.
#[derive(Debug)]
pub struct ClickHouseSink<R> {
    store: Store,
    kind: Kind,
    table: String,
    /// Whether the schema was seen to be in order.
    ready: bool,
    /// Securities that `symbol` has.
    met: BTreeSet<Symbol>,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> ClickHouseSink<R> {
    /// A sink of the database, which is asked for nothing yet.
    pub fn new(store: Store, kind: Kind) -> Result<ClickHouseSink<R>, ClickHouseError> {
        let table = kind.table();
        if !R::fits(kind) {
            return Err(ClickHouseError::Kind { record: R::TYPE, table });
        }
        Ok(ClickHouseSink { store, kind, table, ready: false, met: BTreeSet::new(), record: PhantomData })
    }

    /// Asks the server what it can, applies what is missing of the schema, and makes sure that rows could be inserted.
    pub async fn prepare(&mut self) -> Result<(), ClickHouseError> {
        if !self.ready {
            self.store.greet().await?;
            schema::compare::<R>(&self.store, &self.table).await?;
            schema::migrate(&self.store).await?;
            self.may_insert().await?;
            self.ready = true;
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
        self.may_insert().await
    }

    /// Inserts nothing, which asks for the right to.
    async fn may_insert(&self) -> Result<(), ClickHouseError> {
        for table in [self.table.as_str(), "sqep_mark", "symbol"] {
            let sql = format!("INSERT INTO {table} SELECT * FROM {table} WHERE 0");
            self.store.run(&sql, &format!("insert into {table}")).await?;
        }
        Ok(())
    }

    async fn put(&mut self, batch: &Batch<'_, R>) -> Result<(), ClickHouseError> {
        self.prepare().await?;
        self.meet(batch).await?;
        // Dropped with this future, and each insert with it: what was not acknowledged comes again.
        let mut inserts = JoinSet::new();
        for positions in split(batch.rows).into_values() {
            if inserts.len() >= INSERTS_MAX
                && let Some(done) = inserts.join_next().await
            {
                done??;
            }
            inserts.spawn(self.insert(batch, &positions)?);
        }
        while let Some(done) = inserts.join_next().await {
            done??;
        }
        Ok(())
    }

    /// The insert of the rows of one partition, ready to be sent.
    fn insert(
        &self,
        batch: &Batch<'_, R>,
        positions: &[usize],
    ) -> Result<impl Future<Output = Result<(), ClickHouseError>> + use<R>, ClickHouseError> {
        let config = self.store.config();
        let packed = rows::pack(batch, positions, config.validate)?;
        let columns: Vec<_> = rows::columns::<R>().map(|(name, _)| name).collect();
        let format = if config.validate { "RowBinaryWithNamesAndTypes" } else { "RowBinary" };
        let sql = format!("INSERT INTO {} ({}) FORMAT {format}", self.table, columns.join(", "));
        let token = config.deduplicate.then_some(packed.token);
        let (store, doing) = (self.store.clone(), format!("inserting into {}", self.table));
        Ok(async move { store.insert(sql, packed.pieces, token, &doing).await })
    }

    /// Makes securities known before their first bar.
    async fn meet(&mut self, batch: &Batch<'_, R>) -> Result<(), ClickHouseError> {
        let symbols: BTreeSet<_> = batch.rows.iter().map(|row| row.record.symbol()).collect();
        let new: BTreeSet<_> = symbols.difference(&self.met).copied().collect();
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
        let config = self.store.config();
        let records_max = config.records_max.min(BATCH_BYTES_MAX / size_of::<Row<R>>());
        Appetite { records_max, wait_max: Duration::from_secs(config.wait_s_max) }
    }

    async fn write(&mut self, batch: &Batch<'_, R>) -> Result<(), WriteError> {
        self.put(batch).await.map_err(ClickHouseError::judged)
    }

    async fn save(&mut self, partition: u16, mark: &Mark) -> Result<(), WriteError> {
        mark::save(&self.store, self.kind, partition, mark).await.map_err(ClickHouseError::judged)
    }

    async fn mark(&mut self, partition: u16) -> Result<Option<Mark>, WriteError> {
        let found = match self.prepare().await {
            Ok(()) => mark::load(&self.store, self.kind, partition).await,
            Err(error) => Err(error),
        };
        found.map_err(|error| match error {
            // A damaged mark or a table of another shape does not mend by itself; a server that is away does.
            ClickHouseError::Mark { .. } => WriteError::Never(error.into()),
            _ => WriteError::Later(error.into()),
        })
    }
}
