//! Whether the database is as it should be, asked once for all sinks of a program, and anew after it was away. Knows what is
//! asked; must not know rows.

use std::{collections::BTreeSet, sync::Arc};

use sqep::Record;
use tokio::sync::Mutex;

use crate::{ClickHouseError, Store, mark, mark::Key, schema};

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
}

impl Ready {
    /// Asks the server what it can, applies what is missing of the schema, and makes sure that rows could be inserted;
    /// whoever comes second takes over what was found. Returns the round of the answer.
    pub(crate) async fn assure<R: Record>(
        &self,
        store: &mut Store,
        key: &Key,
    ) -> Result<u64, ClickHouseError> {
        let mut known = self.0.lock().await;
        if known.round == 0 || known.doubted {
            store.greet().await?;
            if !schema::compare::<R>(store, &key.table()).await? {
                // Made anew it is empty, whatever marks say.
                schema::make_marks(store).await?;
                mark::forget(store, key).await?;
            }
            schema::migrate(store).await?;
            may_insert(store, &key.table()).await?;
            *known = Known { round: known.round + 1, doubted: false, settings: store.known() };
        }
        store.knows(Arc::clone(&known.settings));
        Ok(known.round)
    }

    /// The server may be another than in that round.
    pub(crate) async fn doubt(&self, round: u64) {
        let mut known = self.0.lock().await;
        known.doubted |= known.round == round;
    }
}

/// Inserts nothing, which asks for the right to.
pub(crate) async fn may_insert(store: &Store, table: &str) -> Result<(), ClickHouseError> {
    for table in [table, "sqep_mark", "symbol"] {
        let sql = format!("INSERT INTO {table} SELECT * FROM {table} WHERE 0");
        store.run(&sql, &format!("insert into {table}")).await?;
    }
    Ok(())
}
