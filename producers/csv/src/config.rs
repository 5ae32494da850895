//! What can be configured: the sections of every producer, and `csv`.
//!
//! Knows keys, defaults and limits; must not know what a file holds nor how it is read.

use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};
pub use sqep::app::{AliasChoice, SymbolSettings};
use sqep::{
    app::{CalendarSettings, HttpSettings, Outward, PublishSettings},
    meter::Meters,
    redis::{RedisSettings, keys::StreamSettings},
};

/// The whole configuration of `sqep-csv`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The server.
    pub redis: RedisSettings,
    /// The stream.
    pub stream: StreamSettings,
    /// How entries are written.
    pub publish: PublishSettings,
    /// Sessions of the exchanges.
    pub calendar: CalendarSettings,
    /// Metrics and health.
    pub http: HttpSettings,
    /// How securities are named.
    pub symbol: SymbolSettings,
    /// Files and how they are read.
    pub csv: CsvSettings,
}

/// Section `csv`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsvSettings {
    /// Name of the source on the stream, in its ledger and in its letters.
    pub source: String,
    /// The dialect: `auto` recognises each file by its header, a name takes a built-in one, a path ending in `.toml`
    /// one of your own.
    pub dialect: String,
    /// Files, folders (searched for `.csv`, `.txt` and `.tsv`, plain, `.gz` or `.zst`), patterns, or `-`. A single
    /// text or a list; arguments of the command line are added.
    #[serde(deserialize_with = "one_or_many")]
    pub paths: Vec<String>,
    /// Goes on looking for new and grown files; `--once` ends instead when every file is done.
    pub watch: bool,
    /// Ignores the ledger: every file is published again from its first row, as a later version.
    pub force: bool,
    /// Files parsed at the same time; 0 takes one a core.
    pub max_workers: usize,

    /// The exchange of bare codes, `SH`, `SZ` or `BJ`; it is never guessed from digits.
    pub exchange: Option<String>,
    /// What the prices are, where the file does not say it: `raw` or `adjusted`. Adjusted ones are refused.
    pub price_basis: Option<String>,
    /// The unit of volume, above what the dialect says: `shares` or `lots` (手, 100 shares).
    pub vol_unit: Option<String>,
    /// The unit of turnover, above what the dialect says: `yuan` or `thousand_yuan` (千元).
    pub amount_unit: Option<String>,

    /// Files of adjust factors (`adj_factor`), joined into day bars as these are published, or published as `ref:1d`.
    /// When side files change later, the bars they are joined into are published again, as later versions.
    #[serde(deserialize_with = "one_or_many")]
    pub adj_factor: Vec<String>,
    /// Files of price limits (`stk_limit`).
    #[serde(deserialize_with = "one_or_many")]
    pub stk_limit: Vec<String>,
    /// Files of days under special treatment (`stock_st`).
    #[serde(deserialize_with = "one_or_many")]
    pub stock_st: Vec<String>,

    /// Rows handed on at once.
    pub rows_block_max: usize,
    /// Memory for the text of files, bytes, shared by all workers; a larger file is read twice instead.
    pub text_bytes_max: u64,
    /// Rows of one file that may stand out of order, over which repeated ones are found.
    pub keys_max: usize,
    /// Where standard input is kept while it is read; by default the system's folder for temporary files.
    pub spool: Option<PathBuf>,

    /// Seconds between two looks at the folders where the system announces no changes.
    pub rescan_s: u64,
    /// Milliseconds without a change after which a file counts as written …
    pub quiet_ms: u64,
    /// … and seconds after which it is read although it still changes.
    pub busy_s_max: u64,
}

impl Default for CsvSettings {
    fn default() -> CsvSettings {
        CsvSettings {
            source: "csv".to_owned(),
            dialect: "auto".to_owned(),
            paths: Vec::new(),
            watch: true,
            force: false,
            max_workers: 0,
            exchange: None,
            price_basis: None,
            vol_unit: None,
            amount_unit: None,
            adj_factor: Vec::new(),
            stk_limit: Vec::new(),
            stock_st: Vec::new(),
            rows_block_max: 8_192,
            text_bytes_max: 32 << 20,
            keys_max: 1_000_000,
            spool: None,
            rescan_s: 30,
            quiet_ms: 300,
            busy_s_max: 10,
        }
    }
}

impl Config {
    /// The sections the publishing loop needs.
    pub fn outward<'a>(&'a self, meters: &'a Meters) -> Outward<'a> {
        let Config { redis, stream, publish, calendar, .. } = self;
        Outward { redis, stream, publish, calendar, meters }
    }
}

/// A list, or a single text, as the environment and `--set` give it.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a path or a list of paths")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut paths = Vec::new();
            while let Some(path) = list.next_element()? {
                paths.push(path);
            }
            Ok(paths)
        }
    }

    deserializer.deserialize_any(OneOrMany)
}
