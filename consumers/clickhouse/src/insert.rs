//! The inserts of a batch, one a partition of the table. Knows how rows travel; must not know what becomes of a failure.

use std::{collections::VecDeque, sync::Mutex};

use sqep::{Batch, Record};

use crate::{
    ClickHouseError, Store,
    rows::{Packer, columns},
};

/// Inserts of a batch on their way at the same time: while the server finishes one, it takes the next.
const INSERTS_MAX: usize = 2;

/// Inserts the rows of a batch; `Ok` means that all of them are there. Dropped, what was not acknowledged comes again.
pub(crate) async fn insert<R: Record>(
    store: &Store,
    table: &str,
    batch: &Batch<'_, R>,
    parts: Vec<Vec<usize>>,
) -> Result<(), ClickHouseError> {
    let names: Vec<_> = columns::<R>().map(|(name, _)| name).collect();
    let format = if store.config().validate { "RowBinaryWithNamesAndTypes" } else { "RowBinary" };
    let way = Way {
        store,
        sql: format!("INSERT INTO {table} ({}) FORMAT {format}", names.join(", ")),
        doing: format!("inserting into {table}"),
    };
    let waiting = Mutex::new(VecDeque::from(parts));
    let lanes: [_; INSERTS_MAX] = std::array::from_fn(|_| way.one_by_one(batch, &waiting));
    let [one, two] = lanes;
    tokio::try_join!(one, two).map(drop)
}

/// Where and as what rows go.
struct Way<'a> {
    store: &'a Store,
    sql: String,
    doing: String,
}

impl Way<'_> {
    /// Inserts one part after the other until none waits.
    async fn one_by_one<R: Record>(
        &self,
        batch: &Batch<'_, R>,
        waiting: &Mutex<VecDeque<Vec<usize>>>,
    ) -> Result<(), ClickHouseError> {
        let next = || waiting.lock().map(|mut parts| parts.pop_front()).unwrap_or_default();
        while let Some(positions) = next() {
            self.part(batch, &positions).await?;
        }
        Ok(())
    }

    async fn part<R: Record>(
        &self,
        batch: &Batch<'_, R>,
        positions: &[usize],
    ) -> Result<(), ClickHouseError> {
        let mut packer = Packer::new(batch, positions, self.store.config().validate);
        let mut insert = self.store.insert(&self.sql);
        while let Some(piece) = packer.piece()? {
            insert.send(piece).await.map_err(|error| self.store.error(&self.doing, error))?;
        }
        // Without an end the server may keep a part of the rows, and the caller was told nothing.
        insert.end().await.map_err(|error| self.store.error(&self.doing, error))
    }
}
