//! What can be configured: the sections of every producer, and `{{ident}}`.
//!
//! Knows keys, defaults and limits; must not know what a file holds nor how it is read.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use sqep::{
    app::{CalendarSettings, HttpSettings, Outward, PublishSettings},
    meter::Meters,
    redis::{RedisSettings, keys::StreamSettings},
};

/// The vendor's section, for messages.
pub const SECTION: &str = "{{ident}}";

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
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
    /// The vendor's files.
    #[serde(rename = "{{ident}}")]
    pub vendor: VendorSettings,
}

/// Section `{{ident}}`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct VendorSettings {
    /// Folder of the files, one a trading day.
    pub folder: PathBuf,
    /// Milliseconds between two looks at the folder; `--once` looks once.
    pub look_ms: u64,
}

impl Default for VendorSettings {
    fn default() -> VendorSettings {
        VendorSettings { folder: PathBuf::new(), look_ms: 1_000 }
    }
}

impl Settings {
    /// The sections the publishing loop needs.
    pub fn outward<'a>(&'a self, meters: &'a Meters) -> Outward<'a> {
        let Settings { redis, stream, publish, calendar, .. } = self;
        Outward { redis, stream, publish, calendar, meters }
    }

    /// The pause between two looks at the folder; `None`: one look.
    pub fn look(&self, once: bool) -> Option<Duration> {
        (!once).then(|| Duration::from_millis(self.vendor.look_ms.max(1)))
    }
}
