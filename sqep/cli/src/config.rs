//! The configuration of the operator's tool: the sections it reads, and those of other programs that may stand in the
//! same file.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use sqep::{
    app::{CalendarSettings, SymbolSettings, Usage},
    redis::{RedisSettings, Server, keys::StreamSettings},
};
use sqep_csv::config::CsvSettings;

use crate::audit::settings::AuditSettings;

/// What may be said in the file, the environment and with `--set`.
#[derive(Debug, Default, Deserialize, Serialize)]
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
    /// Audits.
    pub(crate) audit: AuditSettings,
    /// Files, as `sqep-csv` reads them.
    pub(crate) csv: CsvSettings,
    /// Names of securities, as `sqep-csv` reads them.
    pub(crate) symbol: SymbolSettings,
    /// Of producers.
    #[serde(rename = "publish", skip_serializing)]
    _publish: IgnoredAny,
    /// Of consumers.
    #[serde(rename = "reader", skip_serializing)]
    _reader: IgnoredAny,
    /// Of a producer.
    #[serde(rename = "tushare", skip_serializing)]
    _tushare: IgnoredAny,
    /// Of a producer.
    #[serde(rename = "qmt", skip_serializing)]
    _qmt: IgnoredAny,
    /// Of a producer.
    #[serde(rename = "agent", skip_serializing)]
    _agent: IgnoredAny,
    /// Of a producer.
    #[serde(rename = "fetch", skip_serializing)]
    _fetch: IgnoredAny,
    /// Of a consumer.
    #[serde(rename = "clickhouse", skip_serializing)]
    _clickhouse: IgnoredAny,
    /// Of a chained step.
    #[serde(rename = "features", skip_serializing)]
    _features: IgnoredAny,
    /// Of a chained step.
    #[serde(rename = "output", skip_serializing)]
    _output: IgnoredAny,
    /// Of daemons.
    #[serde(rename = "http", skip_serializing)]
    _http: IgnoredAny,
}

impl Config {
    /// The server, as it is configured.
    pub(crate) fn server(&self) -> anyhow::Result<Server> {
        Ok(Server::new(&self.redis).map_err(Usage)?)
    }
}
