//! The section `[clickhouse]` of the configuration: where the server is and how it is loaded. Must not connect.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use sqep::secret::Secret;

use crate::ClickHouseError;

/// The systemd credential that holds the password.
const CREDENTIAL: &str = "clickhouse.password";
/// An insert is one block of the server's, which holds it in memory.
const RECORDS_MAX: usize = 1_000_000;

/// Where and how to load.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The server's HTTP interface, `http://host:8123` or `https://host:8443`.
    pub url: String,
    /// The database; it must be there.
    pub database: String,
    /// The user.
    pub user: String,
    /// The password, from the environment; better in a file.
    pub password: Secret,
    /// A file that holds the password; a systemd credential `clickhouse.password` is found by itself.
    pub password_file: Option<PathBuf>,
    /// The CA that signed the server's certificate (PEM); by default those of the system.
    pub tls_ca_file: Option<PathBuf>,
    /// The cluster, as `remote_servers` of the servers names it; empty: one server.
    pub cluster: String,
    /// Records at which a batch is full, at most 1,000,000; fewer where they would take more than 104 MiB, as features do. Two
    /// batches are in memory, one written and one read ahead.
    pub records_max: usize,
    /// Seconds a batch may wait to fill.
    pub wait_s_max: u64,
    /// Seconds a connection may take.
    pub connect_timeout_s_max: u64,
    /// Seconds without progress after which a request is given up; a statement for a cluster is given three quarters of them.
    pub timeout_s_max: u64,
    /// How rows travel to the server.
    pub compression: Compression,
    /// Names and types of the columns travel with each insert, and the server compares them with its own.
    pub validate: bool,
    /// Lets the server drop an insert that comes again whole, known by the hash of its rows, as far as its tables keep such
    /// hashes. It saves nothing that `FINAL` does not, and where a server died between the hash and the rows it drops rows
    /// that are nowhere.
    pub deduplicate: bool,
}

/// How rows travel to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are: fastest up to a network of a gigabit.
    None,
    /// LZ4: half the bytes for a little work.
    Lz4,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            url: "http://127.0.0.1:8123".to_owned(),
            database: "default".to_owned(),
            user: "default".to_owned(),
            password: Secret::default(),
            password_file: None,
            tls_ca_file: None,
            cluster: String::new(),
            records_max: 1_000_000,
            wait_s_max: 5,
            connect_timeout_s_max: 5,
            timeout_s_max: 120,
            compression: Compression::None,
            validate: true,
            deduplicate: false,
        }
    }
}

impl Config {
    /// Refuses what cannot be meant.
    pub fn validate(&self) -> Result<(), ClickHouseError> {
        let refuse =
            |key, value: &str, rule| Err(ClickHouseError::Config { key, value: value.to_owned(), rule });
        let address = self.url.strip_prefix("http://").or_else(|| self.url.strip_prefix("https://"));
        if address.is_none_or(|address| address.is_empty() || address.contains(['@', '?', '#'])) {
            return refuse(
                "url",
                &sqep::redis::without_password(&self.url),
                "http:// or https:// and a place, user and password in keys of their own",
            );
        }
        for (key, name) in [("database", &self.database), ("cluster", &self.cluster)] {
            if name.contains(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)) {
                return refuse(key, name, "a name of letters, digits and _ - .");
            }
        }
        if self.database.is_empty() {
            return refuse("database", "", "the name of a database, like \"default\"");
        }
        if !(1..=RECORDS_MAX).contains(&self.records_max) {
            return refuse("records_max", &self.records_max.to_string(), "1 to 1000000");
        }
        if self.timeout_s_max == 0 || self.connect_timeout_s_max == 0 {
            return refuse("timeout_s_max", "0", "a second or more, as connect_timeout_s_max");
        }
        Ok(())
    }

    /// How long a request may stand still.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s_max)
    }

    /// The password, wherever it is kept; it is read again for every start.
    pub(crate) fn secret(&self) -> anyhow::Result<Secret> {
        let found = Secret::find(self.password_file.as_deref(), CREDENTIAL, "password of ClickHouse")?;
        Ok(found.unwrap_or_else(|| self.password.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused_by_key_and_value() {
        assert!(Config::default().validate().is_ok());
        let told = |config: Config| config.validate().expect_err("must be refused").to_string();
        let url = |url: &str| Config { url: url.to_owned(), ..Config::default() };
        assert!(told(url("tcp://host:9000")).contains("clickhouse.url"));
        assert!(!told(url("http://me:hunter2@host:8123")).contains("hunter2"));
        assert!(told(Config { records_max: 2_000_000, ..Config::default() }).contains("2000000"));
        assert!(told(Config { database: "a`b".to_owned(), ..Config::default() }).contains("a`b"));
        assert!(told(Config { timeout_s_max: 0, ..Config::default() }).contains("timeout_s_max"));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let parsed: Result<Config, _> = serde_json::from_str(r#"{"urll": "http://host:8123"}"#);
        assert!(parsed.expect_err("unknown key").to_string().contains("urll"));
    }
}
