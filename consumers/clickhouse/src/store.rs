//! One database: statements and inserts, each with a limit in time. Knows what the server can; must not know which rows
//! go where nor what an error means for a batch.

use std::{collections::BTreeSet, fmt, sync::Arc};

use bytes::Bytes;
use clickhouse::Client;
use tokio::time::timeout;

use crate::{
    ClickHouseError, Config,
    client::{Who, client},
};

/// Settings of an insert, in case the server knows them.
const ASYNC: &str = "async_insert";
/// Rows of one key are told apart when they are read, not when they arrive: an insert is a tenth faster.
const OPTIMIZE: &str = "optimize_on_insert";
const TOKEN: &str = "insert_deduplication_token";
/// One insert is one block, and a block is there or not: with a token, a block of an insert that was broken off would be taken
/// for the whole when it comes again.
const BLOCK: [(&str, &str); 3] = [
    ("max_insert_block_size", "100000000"),
    ("min_insert_block_size_rows", "100000000"),
    ("min_insert_block_size_bytes", "0"),
];
const DISTRIBUTED: [&str; 2] = ["distributed_foreground_insert", "insert_distributed_sync"];

/// A database on a server, or on a cluster of them.
#[derive(Clone)]
pub struct Store {
    client: Client,
    who: Who,
    config: Arc<Config>,
    /// Settings that the server knows; asked for at the start.
    known: BTreeSet<String>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("who", &self.who).field("known", &self.known).finish_non_exhaustive()
    }
}

impl Store {
    /// The database of a configuration; connects to nothing.
    pub fn new(config: Config) -> Result<Store, ClickHouseError> {
        config.validate()?;
        let (client, who) = (client(&config)?, Who::of(&config));
        Ok(Store { client, who, config: Arc::new(config), known: BTreeSet::new() })
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn who(&self) -> &Who {
        &self.who
    }

    /// Asks what the server is and can; the first word with it.
    pub(crate) async fn greet(&mut self) -> Result<String, ClickHouseError> {
        let version = self.ask("SELECT version()", "asking for the version").await?;
        let names =
            [ASYNC, OPTIMIZE, TOKEN].into_iter().chain(DISTRIBUTED).chain(BLOCK.map(|(name, _)| name));
        let names: Vec<_> = names.map(|name| format!("'{name}'")).collect();
        let sql = format!("SELECT name FROM system.settings WHERE name IN ({})", names.join(", "));
        let known = self.ask(&sql, "asking for its settings").await?;
        self.known = known.lines().map(str::to_owned).collect();
        Ok(version.trim().to_owned())
    }

    /// Does a statement that answers nothing.
    pub(crate) async fn run(&self, sql: &str, doing: &str) -> Result<(), ClickHouseError> {
        let done = timeout(self.config.timeout(), self.client.query_raw(sql).execute()).await;
        done.unwrap_or(Err(clickhouse::error::Error::TimedOut)).map_err(|error| self.error(doing, error))
    }

    /// Asks; the answer as tab-separated text.
    pub async fn ask(&self, sql: &str, doing: &str) -> Result<String, ClickHouseError> {
        let asked = async {
            let mut cursor = self.client.query_raw(sql).fetch_bytes("TabSeparated")?;
            cursor.collect().await
        };
        let answer = timeout(self.config.timeout(), asked).await;
        let answer = answer.unwrap_or(Err(clickhouse::error::Error::TimedOut));
        let answer = answer.map_err(|error| self.error(doing, error))?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Inserts; `Ok` means that all of it is there. `sql` ends with its format.
    pub(crate) async fn insert(
        &self,
        sql: String,
        body: Vec<Bytes>,
        token: Option<String>,
        doing: &str,
    ) -> Result<(), ClickHouseError> {
        let limit = Some(self.config.timeout());
        let mut insert = self.client.insert_formatted_with(sql).with_timeouts(limit, limit);
        for (name, value) in self.settings(token) {
            insert = insert.with_setting(name, value);
        }
        let sent = async {
            for piece in body {
                insert.send(piece).await?;
            }
            // Without an end the server may keep a part of the rows, and the caller was told nothing.
            insert.end().await
        };
        sent.await.map_err(|error| self.error(doing, error))
    }

    /// What an insert asks for, as far as the server knows the word.
    fn settings(&self, token: Option<String>) -> Vec<(&'static str, String)> {
        let mut settings = vec![(ASYNC, "0".to_owned()), (OPTIMIZE, "0".to_owned())];
        settings.extend(DISTRIBUTED.map(|name| (name, "1".to_owned())));
        settings.extend(BLOCK.map(|(name, value)| (name, value.to_owned())));
        settings.extend(token.map(|token| (TOKEN, token)));
        settings.retain(|(name, _)| self.known.contains(*name));
        settings
    }

    fn error(&self, doing: &str, error: clickhouse::error::Error) -> ClickHouseError {
        ClickHouseError::of(&self.who, doing, error)
    }
}

/// A text as a literal of a statement.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_for_nothing_it_does_not_know() {
        let mut store = Store::new(Config::default()).unwrap();
        assert!(store.settings(Some("t".to_owned())).is_empty());
        store.known = [ASYNC, TOKEN].map(str::to_owned).into();
        let settings = store.settings(Some("t".to_owned()));
        assert_eq!(settings, [(ASYNC, "0".to_owned()), (TOKEN, "t".to_owned())]);
    }

    #[test]
    fn a_literal_ends_where_it_should() {
        assert_eq!(quoted(r"a'b\c"), r"'a\'b\\c'");
    }
}
