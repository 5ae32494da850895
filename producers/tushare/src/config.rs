//! What can be configured: the sections of every producer, `tushare` (how the service is asked) and `fetch` (what for).
//!
//! Knows keys, defaults and limits; must not know what an answer holds.

use std::path::PathBuf;

use anyhow::bail;
use chrono::NaiveTime;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
pub use sqep::app::{AliasChoice, SymbolSettings};
use sqep::{
    Kind, Symbol,
    app::{CalendarSettings, HttpSettings, Outward, PublishSettings},
    kind::NotSent,
    meter::Meters,
    redis::{RedisSettings, keys::StreamSettings},
    symbol::Class,
};

use crate::client::ClientSettings;

/// The whole configuration of `sqep-tushare`.
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
    /// How the service is asked.
    pub tushare: ClientSettings,
    /// What it is asked for, and when.
    pub fetch: FetchSettings,
}

/// Section `fetch`.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSettings {
    /// Name of the source on the stream and in its letters.
    pub source: String,
    /// Where the gap ledger is.
    pub state_dir: PathBuf,

    /// Day bars of all stocks.
    pub stocks: bool,
    /// Day bars of all funds (`fund_daily`, 5,000 points).
    pub funds: bool,
    /// Indices, such as `["000300.SH"]`: their day bars, or their minute bars.
    pub indices: Vec<String>,
    /// Securities of minute bars; empty: every listed stock. A call gives about 33 days of one of them.
    pub symbols: Vec<String>,
    /// What is joined into day bars and asked for `ref:1d`: `adjust`, `st`, `limits`. An account that may not ask for one
    /// of them leaves it out, and it stays null.
    pub join: Vec<Join>,
    /// A daemon of day bars also publishes `ref:1d` before the open, on a stream of its own.
    pub ref_day: bool,
    /// A daemon of minute bars asks for each minute as it ends (`rt_min`).
    pub live: bool,

    /// How often a day is asked for in all, before what is missing of it counts as unexplained.
    pub tries_max: u32,
    /// Seconds between the first two tries of a daemon; the pause doubles from try to try …
    pub retry_s: u64,
    /// … up to so many seconds.
    pub retry_s_max: u64,
    /// Days before today that a daemon looks after.
    pub lookback_days: u64,
    /// Days, or ranges of a code, asked for at the same time.
    pub ahead_max: usize,

    /// From when on factors, limits and ST of the day are asked for, wall clock of Asia/Shanghai.
    #[serde(with = "clock")]
    pub ref_at: NaiveTime,
    /// From when on `ref:1d` goes out without what is late.
    #[serde(with = "clock")]
    pub ref_until: NaiveTime,
    /// From when on the day bars of the day are asked for.
    #[serde(with = "clock")]
    pub bars_at: NaiveTime,
    /// From when on the index bars of the day are asked for.
    #[serde(with = "clock")]
    pub indices_at: NaiveTime,
    /// From when on the minute bars of the day are asked for.
    #[serde(with = "clock")]
    pub minutes_at: NaiveTime,
    /// Seconds after the end of a minute at which it is asked for live.
    pub live_delay_s: u64,
}

/// A word of `fetch.join`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Join {
    /// `adj_factor`, or `fund_adj`.
    Adjust,
    /// `stock_st`, or `namechange`.
    St,
    /// `stk_limit`.
    Limits,
}

impl Join {
    const ALL: [Join; 3] = [Join::Adjust, Join::St, Join::Limits];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Join::Adjust => "adjust",
            Join::St => "st",
            Join::Limits => "limits",
        }
    }
}

impl Serialize for Join {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Join {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Join, D::Error> {
        let text = String::deserialize(deserializer)?;
        Join::ALL
            .into_iter()
            .find(|join| join.word() == text)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not adjust, st or limits")))
    }
}

impl Default for FetchSettings {
    fn default() -> FetchSettings {
        let at = |hour, minute| NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or(NaiveTime::MIN);
        FetchSettings {
            source: "tushare".to_owned(),
            state_dir: PathBuf::from("tushare-state"),
            stocks: true,
            funds: false,
            indices: Vec::new(),
            symbols: Vec::new(),
            join: Join::ALL.to_vec(),
            ref_day: true,
            live: false,
            tries_max: 2,
            retry_s: 600,
            retry_s_max: 3_600,
            lookback_days: 10,
            ahead_max: 8,
            ref_at: at(8, 45),
            ref_until: at(9, 25),
            bars_at: at(16, 0),
            indices_at: at(19, 0),
            minutes_at: at(19, 30),
            live_delay_s: 3,
        }
    }
}

impl FetchSettings {
    /// Refuses what cannot work, and names the key.
    pub fn check(&self, kind: Kind) -> anyhow::Result<()> {
        for (key, none) in [
            ("tries_max", self.tries_max == 0),
            ("ahead_max", self.ahead_max == 0),
            ("retry_s", self.retry_s == 0),
        ] {
            if none {
                bail!("fetch.{key} is 0: at least 1 is needed");
            }
        }
        if self.retry_s_max < self.retry_s {
            bail!("fetch.retry_s_max is {}, less than fetch.retry_s, {}", self.retry_s_max, self.retry_s);
        }
        for index in &self.indices {
            let symbol: Symbol = index.parse().map_err(|error| anyhow::anyhow!("fetch.indices: {error}"))?;
            if symbol.class() != Class::Index {
                bail!(
                    "fetch.indices: {index} is no index; stocks and funds of minute bars go in fetch.symbols"
                );
            }
        }
        for symbol in &self.symbols {
            symbol.parse::<Symbol>().map_err(|error| anyhow::anyhow!("fetch.symbols: {error}"))?;
        }
        if kind.is_feature() {
            bail!(NotSent(kind));
        }
        if kind == Kind::BarDay && !self.stocks && !self.funds && self.indices.is_empty() {
            bail!("fetch.stocks, fetch.funds and fetch.indices name nothing to fetch");
        }
        Ok(())
    }

    /// Whether a table is joined.
    pub fn joins(&self, join: Join) -> bool {
        self.join.contains(&join)
    }
}

impl Config {
    /// The sections the publishing loop needs.
    pub fn outward<'a>(&'a self, meters: &'a Meters) -> Outward<'a> {
        let Config { redis, stream, publish, calendar, .. } = self;
        Outward { redis, stream, publish, calendar, meters }
    }
}

/// Times of the day as `16:00`.
mod clock {
    use chrono::NaiveTime;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const FORM: &str = "%H:%M";

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(time: &NaiveTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.format(FORM))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        NaiveTime::parse_from_str(&text, FORM)
            .map_err(|_| D::Error::custom(format!("{text:?} is no time of the day like \"16:00\"")))
    }
}
