//! What can be configured: the sections of every producer, and `qmt`.
//!
//! Knows keys, defaults and limits; must not know what a file or a message holds.

use std::path::PathBuf;

use anyhow::bail;
use chrono::{NaiveTime, TimeDelta};
use serde::{Deserialize, Deserializer, Serialize};
pub use sqep::app::{AliasChoice, SymbolSettings};
use sqep::{
    Kind, Symbol,
    app::{CalendarSettings, HttpSettings, Outward, PublishSettings},
    kind::Grid,
    meter::Meters,
    redis::{RedisSettings, keys::StreamSettings},
};

use crate::{secret::Token, units::VolUnit};

/// The whole configuration of `sqep-qmt`.
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
    /// Where bars come from.
    pub qmt: QmtSettings,
    /// The listener that agents dial.
    pub agent: AgentSettings,
}

/// Key `qmt.source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum SourceChoice {
    /// An agent beside QMT, by TCP.
    Agent,
    /// Recorded lines of an agent: files, folders, or standard input.
    Recording,
    /// The data folder of QMT.
    Dat,
    /// The data folder of TDX.
    Tdx,
}

impl TryFrom<String> for SourceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<SourceChoice, String> {
        match text.as_str() {
            "agent" => Ok(SourceChoice::Agent),
            "recording" => Ok(SourceChoice::Recording),
            "dat" => Ok(SourceChoice::Dat),
            "tdx" => Ok(SourceChoice::Tdx),
            _ => Err(format!("{text:?} is not agent, recording, dat or tdx")),
        }
    }
}

/// Whose local files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSource {
    /// QMT's.
    Dat,
    /// TDX's.
    Tdx,
}

/// What becomes of the opening auction, which QMT gives a bar of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum Auction {
    /// 09:30 stays: 241 bars a day.
    #[default]
    Keep,
    /// 09:30 is folded into 09:31: 240 bars a day.
    Fold,
}

impl TryFrom<String> for Auction {
    type Error = String;

    fn try_from(text: String) -> Result<Auction, String> {
        match text.as_str() {
            "keep" => Ok(Auction::Keep),
            "fold" => Ok(Auction::Fold),
            _ => Err(format!("{text:?} is not keep or fold")),
        }
    }
}

/// Section `qmt`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct QmtSettings {
    /// Where bars come from: `agent`, `recording`, `dat` or `tdx`.
    pub source: SourceChoice,
    /// Name of the source on the stream and in its letters.
    pub name: String,
    /// Folders or files of `dat`, `tdx` and `recording`; `-` reads a recording from standard input.
    #[serde(deserialize_with = "one_or_many")]
    pub paths: Vec<String>,
    /// The unit of volume, `lots` or `shares`. By default lots for QMT, shares for TDX, and what an agent says of itself;
    /// every row is held against it.
    pub vol_unit: Option<VolUnit>,
    /// The bar of the opening auction at 09:30: `keep`, or `fold` into 09:31.
    pub auction: Auction,
    /// Securities, such as `["600000.SH"]`. Empty: every file, or every code that the agent offers.
    #[serde(deserialize_with = "one_or_many")]
    pub codes: Vec<String>,
    /// Seconds between two looks at folders; `--once` looks once.
    pub rescan_s: u64,
    /// Seconds after the end of a minute at which its bar counts as final, when no later row shows it.
    pub grace_s: u64,
    /// The same for the last minute and for day bars, whose auction comes late.
    pub close_grace_s: u64,
    /// Whether an agent's day bars go out after the close, and what is known of a day (`ref:1d`) before its first bar, each
    /// on a stream of its own. Factors of vendors have different bases: a stream that another source feeds is refused.
    pub day_bars: bool,
    /// From when on factors, limits and ST of the day are asked for, wall clock of Asia/Shanghai.
    #[serde(with = "clock")]
    pub ref_at: NaiveTime,
}

impl Default for QmtSettings {
    fn default() -> QmtSettings {
        QmtSettings {
            source: SourceChoice::Agent,
            name: "qmt".to_owned(),
            paths: Vec::new(),
            vol_unit: None,
            auction: Auction::Keep,
            codes: Vec::new(),
            rescan_s: 60,
            grace_s: 5,
            close_grace_s: 10,
            day_bars: false,
            ref_at: NaiveTime::MIN + TimeDelta::minutes(8 * 60 + 45),
        }
    }
}

/// Section `agent`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSettings {
    /// Address that agents dial. Other than loopback only with TLS, or through a tunnel's own interface.
    pub listen: String,
    /// The secret that agents show. Better by the environment (`SQEP__AGENT__TOKEN`), a file, or the systemd credential
    /// `qmt_token`.
    pub token: Token,
    /// A file that holds it.
    pub token_file: Option<PathBuf>,
    /// Certificate of the listener and those between it and the CA (PEM): the listener speaks TLS …
    pub tls_cert_file: Option<PathBuf>,
    /// … and its private key (PEM, unencrypted).
    pub tls_key_file: Option<PathBuf>,
    /// Connections at the same time, those that have not said who they are included.
    pub connections_max: usize,
    /// Bytes of a line.
    pub line_bytes_max: usize,
    /// Bytes of lines of all agents that wait to be taken. While Redis is away, agents are not read beyond it.
    pub queue_bytes_max: u32,
    /// Lines a second, over ten seconds.
    pub lines_per_s_max: u64,
    /// Seconds until an agent must have said who it is.
    pub hello_s_max: u64,
    /// Seconds without a whole line after which an agent counts as gone; it sends a heartbeat every second.
    pub silence_s_max: u64,
    /// Seconds of a session without a bar after which everything is subscribed again.
    pub stale_s_max: u64,
    /// Trading days before today that are asked for where nothing was published yet.
    pub history_days: u64,
    /// Securities of one request for history.
    pub request_codes_max: usize,
    /// Seconds until a request for history counts as failed and is made again.
    pub request_s_max: u64,
    /// Seconds that a run with `--once` waits for an agent, from its start and from the moment the last one is gone.
    pub once_patience_s_max: u64,
}

impl Default for AgentSettings {
    fn default() -> AgentSettings {
        AgentSettings {
            listen: "127.0.0.1:7878".to_owned(),
            token: Token::default(),
            token_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            connections_max: 8,
            line_bytes_max: 1 << 20,
            queue_bytes_max: 16 << 20,
            lines_per_s_max: 20_000,
            hello_s_max: 5,
            silence_s_max: 20,
            stale_s_max: 60,
            history_days: 0,
            request_codes_max: 200,
            request_s_max: 120,
            once_patience_s_max: 30,
        }
    }
}

impl AgentSettings {
    /// Bytes that may wait: a line at least.
    pub fn room_bytes(&self) -> u32 {
        self.queue_bytes_max.max(1 << 16)
    }
}

impl QmtSettings {
    /// Whose local files are read, if any.
    pub fn files(&self) -> Option<FileSource> {
        match self.source {
            SourceChoice::Dat => Some(FileSource::Dat),
            SourceChoice::Tdx => Some(FileSource::Tdx),
            SourceChoice::Agent | SourceChoice::Recording => None,
        }
    }

    /// The securities that are wanted; empty: all.
    pub fn symbols(&self) -> anyhow::Result<Vec<Symbol>> {
        let parse = |code: &String| code.parse().map_err(|error| anyhow::anyhow!("qmt.codes: {error}"));
        self.codes.iter().map(parse).collect()
    }

    /// Refuses what cannot work, and names the key.
    pub fn check(&self, kind: Kind) -> anyhow::Result<()> {
        self.symbols()?;
        if self.rescan_s == 0 {
            bail!("qmt.rescan_s is 0: at least 1 is needed");
        }
        if self.source != SourceChoice::Agent && self.paths.is_empty() {
            bail!("qmt.paths is empty: name the folder that QMT or TDX keeps its data in, or the recordings");
        }
        if self.source == SourceChoice::Agent && kind == Kind::BarDay {
            bail!(
                "stream.kind is {kind}: an agent gives minutes; set stream.kind = \"bar:1m\", or qmt.source"
            );
        }
        if self.day_bars && self.source != SourceChoice::Agent {
            bail!(
                "qmt.day_bars is for qmt.source = \"agent\"; local files give day bars by stream.kind = \"bar:1d\""
            );
        }
        let local = matches!(kind, Kind::BarDay | Kind::BarMinute(Grid::M1 | Grid::M5));
        if !local {
            bail!("stream.kind is {kind}: QMT and TDX keep bar:1d, bar:1m and bar:5m");
        }
        Ok(())
    }
}

impl Config {
    /// The sections the publishing loop needs.
    pub fn outward<'a>(&'a self, meters: &'a Meters) -> Outward<'a> {
        let Config { redis, stream, publish, calendar, .. } = self;
        Outward { redis, stream, publish, calendar, meters }
    }
}

/// A time of day, written `08:45`.
mod clock {
    use chrono::NaiveTime;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const FORM: &str = "%H:%M";

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(time: &NaiveTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.format(FORM))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        NaiveTime::parse_from_str(&text, FORM)
            .map_err(|_| D::Error::custom(format!("{text:?} is no time of day such as \"08:45\"")))
    }
}

/// A list, or a single text parted by commas, as the environment and `--set` give it.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        OneOrMany::Many(list) => list,
    })
}
