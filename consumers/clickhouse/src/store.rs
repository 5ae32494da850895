//! One database: statements and inserts, each with a limit in time. Knows what the server can; must not know which rows
//! go where nor what an error means for a batch.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use clickhouse::{Client, insert_formatted::InsertFormatted};
use tokio::time::timeout;

use crate::{
    ClickHouseError, Config,
    client::{Who, client},
};

/// Settings of an insert, in case the server knows them.
const ASYNC: &str = "async_insert";
/// Rows of one key are told apart when they are read, not when they arrive: an insert is a tenth faster.
const OPTIMIZE: &str = "optimize_on_insert";
/// One insert is one block: it is there or not.
const BLOCK: [(&str, &str); 3] = [
    ("max_insert_block_size", "100000000"),
    ("min_insert_block_size_rows", "100000000"),
    ("min_insert_block_size_bytes", "0"),
];
/// An insert that comes again is taken as any other, whatever hash the server knows: a server may have kept the hash of rows
/// it did not keep. An older and a newer word for it.
const TWICE: [(&str, &str); 2] = [("insert_deduplicate", "0"), ("deduplicate_insert", "disable")];
/// Seconds a statement for a cluster may take.
const DDL: &str = "distributed_ddl_task_timeout";
const DISTRIBUTED: [&str; 2] = ["distributed_foreground_insert", "insert_distributed_sync"];

/// The oldest server with all that the views need: parameters anywhere in them, and calls of each other.
const OLDEST: (u32, u32) = (24, 3);

/// A database on a server, or on a cluster of them.
#[derive(Clone)]
pub struct Store {
    client: Client,
    who: Who,
    config: Arc<Config>,
    /// Settings that the server knows; asked for at the start.
    known: Arc<BTreeSet<String>>,
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
        Ok(Store { client, who, config: Arc::new(config), known: Arc::default() })
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
        self.is_new_enough(version.trim())?;
        let names = [ASYNC, OPTIMIZE, DDL].into_iter().chain(DISTRIBUTED);
        let names = names.chain(BLOCK.iter().chain(&TWICE).map(|(name, _)| *name));
        let names: Vec<_> = names.map(|name| format!("'{name}'")).collect();
        let sql = format!("SELECT name FROM system.settings WHERE name IN ({})", names.join(", "));
        let known = self.ask(&sql, "asking for its settings").await?;
        self.known = Arc::new(known.lines().map(str::to_owned).collect());
        Ok(version.trim().to_owned())
    }

    fn is_new_enough(&self, version: &str) -> Result<(), ClickHouseError> {
        let mut numbers = version.split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => Err(ClickHouseError::Old {
                place: self.who.place.clone(),
                found: version.to_owned(),
                needed: format!("{}.{}", OLDEST.0, OLDEST.1),
            }),
            // What names itself otherwise may know what it does.
            _ => Ok(()),
        }
    }

    /// Settings that the server knows.
    pub(crate) fn known(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.known)
    }

    /// Takes over what another has found out of the same server.
    pub(crate) fn knows(&mut self, settings: Arc<BTreeSet<String>>) {
        self.known = settings;
    }

    /// Does a statement that answers nothing.
    pub(crate) async fn run(&self, sql: &str, doing: &str) -> Result<(), ClickHouseError> {
        let mut query = self.client.query_raw(sql);
        if sql.contains(" ON CLUSTER ") && self.known.contains(DDL) {
            query = query.with_setting(DDL, self.ddl_timeout().as_secs().to_string());
        }
        let done = timeout(self.config.timeout(), query.execute()).await;
        done.unwrap_or(Err(clickhouse::error::Error::TimedOut)).map_err(|error| self.error(doing, error))
    }

    /// A cluster that is slow or lacks a server says so itself before we lose patience.
    fn ddl_timeout(&self) -> Duration {
        (self.config.timeout() * 3 / 4).max(Duration::from_secs(1))
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

    /// An insert that is open for bytes; `sql` ends with its format.
    pub(crate) fn insert(&self, sql: &str) -> InsertFormatted {
        let limit = Some(self.config.timeout());
        let mut insert = self.client.insert_formatted_with(sql).with_timeouts(limit, limit);
        for (name, value) in self.settings() {
            insert = insert.with_setting(name, value);
        }
        insert
    }

    /// Inserts what is at hand as a whole; `Ok` means that all of it is there.
    pub(crate) async fn insert_all(
        &self,
        sql: &str,
        body: Bytes,
        doing: &str,
    ) -> Result<(), ClickHouseError> {
        let mut insert = self.insert(sql);
        let sent = async {
            insert.send(body).await?;
            insert.end().await
        };
        sent.await.map_err(|error| self.error(doing, error))
    }

    /// What an insert asks for, as far as the server knows the word.
    fn settings(&self) -> Vec<(&'static str, &'static str)> {
        let mut settings = vec![(ASYNC, "0"), (OPTIMIZE, "0")];
        settings.extend(DISTRIBUTED.map(|name| (name, "1")));
        settings.extend(BLOCK);
        if !self.config.deduplicate {
            settings.extend(TWICE);
        }
        settings.retain(|(name, _)| self.known.contains(*name));
        settings
    }

    pub(crate) fn error(&self, doing: &str, error: clickhouse::error::Error) -> ClickHouseError {
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

    fn store(config: Config, known: &[&str]) -> Store {
        let mut store = Store::new(config).unwrap();
        store.knows(Arc::new(known.iter().copied().map(str::to_owned).collect()));
        store
    }

    #[test]
    fn a_server_is_asked_for_nothing_it_does_not_know() {
        assert!(store(Config::default(), &[]).settings().is_empty());
        let known = [ASYNC, "insert_deduplicate"];
        assert_eq!(store(Config::default(), &known).settings(), [(ASYNC, "0"), ("insert_deduplicate", "0")]);
        let once = Config { deduplicate: true, ..Config::default() };
        assert_eq!(store(once, &known).settings(), [(ASYNC, "0")]);
    }

    #[test]
    fn a_server_that_is_too_old_is_told_by_both_versions() {
        let store = store(Config::default(), &[]);
        for version in ["24.3", "24.3.1.2672", "25.8.2.29", "26.9.2.1", "head"] {
            store.is_new_enough(version).unwrap();
        }
        for version in ["18.16.1", "23.12.6.19", "24.2.3.70"] {
            let told = store.is_new_enough(version).unwrap_err();
            assert!(told.is_usage());
            assert!(
                told.to_string().contains(&format!("version {version}, this program needs 24.3")),
                "{told}"
            );
        }
    }

    #[test]
    fn a_cluster_loses_patience_before_we_do() {
        for seconds in [1, 2, 120] {
            let store = store(Config { timeout_s_max: seconds, ..Config::default() }, &[]);
            assert!(store.ddl_timeout() <= store.config().timeout());
            assert!(store.ddl_timeout().as_secs() >= 1);
        }
        assert_eq!(store(Config::default(), &[]).ddl_timeout().as_secs(), 90);
    }

    #[test]
    fn a_literal_ends_where_it_should() {
        assert_eq!(quoted(r"a'b\c"), r"'a\'b\\c'");
    }
}
