//! What can be configured: the sections of every consumer, and `{{ident}}`.
//!
//! Knows keys, defaults and limits; must not write anything.

use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use sqep::{
    app::{CalendarSettings, HttpSettings, Inward, ReaderSettings},
    meter::Meters,
    redis::{RedisSettings, keys::StreamSettings},
};

/// The store's section, for messages.
pub const SECTION: &str = "{{ident}}";

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The server.
    pub redis: RedisSettings,
    /// The stream.
    pub stream: StreamSettings,
    /// How the stream is read.
    pub reader: ReaderSettings,
    /// Sessions of the exchanges.
    pub calendar: CalendarSettings,
    /// Metrics and health.
    pub http: HttpSettings,
    /// The files.
    #[serde(rename = "{{ident}}")]
    pub store: StoreSettings,
}

/// Section `{{ident}}`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Folder of the files; made at the first start.
    pub root: PathBuf,
    /// Records at which a batch is written.
    pub records_max: usize,
    /// Seconds a batch may wait to fill.
    pub wait_s_max: u64,
}

impl Default for StoreSettings {
    fn default() -> StoreSettings {
        StoreSettings { root: PathBuf::new(), records_max: 50_000, wait_s_max: 1 }
    }
}

impl Settings {
    /// The sections the delivering loop needs.
    pub fn inward<'a>(&'a self, meters: &'a Meters) -> Inward<'a> {
        let Settings { redis, stream, reader, calendar, .. } = self;
        Inward { redis, stream, reader, calendar, meters }
    }
}

impl StoreSettings {
    /// Refuses what cannot be meant.
    pub fn validate(&self) -> anyhow::Result<()> {
        if self.root.as_os_str().is_empty() {
            bail!("{SECTION}.root is not set: name the folder the files go to, like \"/var/lib/sqep/lines\"");
        }
        if self.records_max == 0 {
            bail!("{SECTION}.records_max is 0, expected 1 or more");
        }
        Ok(())
    }
}
