//! Whether the database is as it should be, asked once for all sinks of a program, and anew after it was away. Knows what is
//! asked; must not know rows.

use std::{collections::BTreeSet, sync::Arc};

use sqep::Record;
use tokio::sync::Mutex;

use crate::{ClickHouseError, Store, cluster::holder, mark, mark::Key, schema};

/// What the sinks of a program know together of their server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ready(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Counts how often the server was found in order; 0: never yet.
    round: u64,
    /// Somebody found it otherwise since.
    doubted: bool,
    /// Settings that it knows.
    settings: Arc<BTreeSet<String>>,
    /// Whether its table held rows.
    filled: bool,
}

/// What was found of a server that is in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// The round in which it was asked.
    pub(crate) round: u64,
    /// Whether its table held rows then.
    pub(crate) filled: bool,
}

impl Ready {
    /// Asks the server what it can, applies what is missing of the schema, and makes sure that rows could be inserted;
    /// whoever comes second takes over what was found.
    pub(crate) async fn assure<R: Record>(
        &self,
        store: &mut Store,
        key: &Key,
    ) -> Result<Found, ClickHouseError> {
        let mut known = self.0.lock().await;
        if known.round == 0 || known.doubted {
            store.greet().await?;
            let was_there = schema::compare::<R>(store, &key.table()).await?;
            schema::migrate(store).await?;
            let filled = holds_rows(store, key, was_there).await?;
            may_insert(store, &key.table()).await?;
            if known.round == 0 && filled {
                schema::try_dictionary(store).await;
            }
            *known = Known { round: known.round + 1, doubted: false, settings: store.known(), filled };
        }
        store.knows(Arc::clone(&known.settings));
        Ok(Found { round: known.round, filled: known.filled })
    }

    /// The server may be another than in that round.
    pub(crate) async fn doubt(&self, round: u64) {
        let mut known = self.0.lock().await;
        known.doubted |= known.round == round;
    }
}

/// Whether the table of a kind holds rows; where it does not, no mark may speak of any. It is there by now: one that was put
/// aside cannot be asked, and keeps its marks. One that was made just now is asked for its own part of a cluster.
async fn holds_rows(store: &Store, key: &Key, was_there: bool) -> Result<bool, ClickHouseError> {
    let table = if was_there { key.table() } else { holder(&key.table(), &store.config().cluster) };
    let filled = mark::is_filled(store, &table).await?;
    if !filled {
        mark::forget(store, key, &table).await?;
    }
    Ok(filled)
}

/// Inserts nothing, which asks for the right to.
pub(crate) async fn may_insert(store: &Store, table: &str) -> Result<(), ClickHouseError> {
    for table in [table, "sqep_mark", "symbol"] {
        let sql = format!("INSERT INTO {table} SELECT * FROM {table} WHERE 0");
        store.run(&sql, &format!("insert into {table}")).await?;
    }
    Ok(())
}
