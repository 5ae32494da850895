//! The configuration of the operator's tool: the sections it reads, and those of other programs that may stand in the
//! same file.

use serde::{Deserialize, de::IgnoredAny};
use sqep::{
    app::CalendarSettings,
    redis::{RedisSettings, keys::StreamSettings},
};

/// What may be said in the file, the environment and with `--set`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Server.
    pub(crate) redis: RedisSettings,
    /// Stream.
    pub(crate) stream: StreamSettings,
    /// Archive.
    pub(crate) parquet: sqep_parquet::Config,
    /// Sessions.
    pub(crate) calendar: CalendarSettings,
    /// Of `sqep-csv`.
    #[serde(rename = "csv")]
    _csv: IgnoredAny,
    /// Of producers.
    #[serde(rename = "publish")]
    _publish: IgnoredAny,
    /// Of consumers.
    #[serde(rename = "reader")]
    _reader: IgnoredAny,
}
