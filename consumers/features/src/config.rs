//! The configuration file of `sqep-features`. Knows keys, units and defaults; must not act on them.

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use serde::{Deserialize, Serialize};
use sqep::{
    Kind,
    app::{CalendarSettings, HttpSettings, PublishSettings, ReaderSettings},
    kind::Grid,
    redis::{RedisSettings, keys::StreamSettings},
};

/// The whole file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Server.
    pub redis: RedisSettings,
    /// The stream of bars it reads: `bar:1d` or `bar:1m`.
    pub stream: StreamSettings,
    /// The stream of features it feeds.
    pub output: OutputSettings,
    /// Reading.
    pub reader: ReaderSettings,
    /// Publishing.
    pub publish: PublishSettings,
    /// Sessions.
    pub calendar: CalendarSettings,
    /// Metrics and health.
    pub http: HttpSettings,
    /// The program's own.
    pub features: FeatureSettings,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            redis: RedisSettings::default(),
            stream: StreamSettings::default(),
            output: OutputSettings::default(),
            reader: ReaderSettings::default(),
            publish: PublishSettings { records_max: 8_000, ..PublishSettings::default() },
            calendar: CalendarSettings::default(),
            http: HttpSettings::default(),
            features: FeatureSettings::default(),
        }
    }
}

/// Section `output`: what the stream of features keeps, which is five times as wide as that of bars. Prefix, partitions and
/// the limits on memory and letters are those of `stream`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSettings {
    /// Groups that hold back this program and trimming; empty: those that exist.
    pub groups: Vec<String>,
    /// Entries (some 140 rows each) a counted group may leave unsettled before this program waits.
    pub backlog_entries_max: u64,
    /// Hours an entry stays at least, also when every counted group has settled it.
    pub keep_hours_min: u64,
    /// Hours that a group which does not count, or a stream nobody reads, keeps an entry at most; 0: without end.
    pub keep_hours_max: u64,
    /// Seconds between two trims; 0: left to `sqep trim`.
    pub trim_interval_s: u64,
}

impl Default for OutputSettings {
    fn default() -> OutputSettings {
        OutputSettings {
            groups: Vec::new(),
            backlog_entries_max: 20_000,
            keep_hours_min: 4,
            keep_hours_max: 48,
            trim_interval_s: 60,
        }
    }
}

/// Section `features`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureSettings {
    /// Folder of the snapshots.
    pub state: PathBuf,
    /// Archive of the bars (and of `ref:1d`), for corrections older than what is at hand and for a lost snapshot; default:
    /// `reader.archive`, or else what the streams still hold.
    pub archive: Option<PathBuf>,
    /// Seconds between two snapshots at least. One that is due waits for a pause of two seconds, and where none comes until
    /// four times as many seconds are over.
    pub snapshot_s: u64,
    /// Bars taken at once at most.
    pub records_max: usize,
    /// Bars taken at once at most while the past is given (`sqep replay`, `reader.start = "archive"`): each of these batches
    /// ends with a snapshot, and waits up to 5 s to fill.
    pub past_records_max: usize,
    /// Milliseconds a batch may wait to fill; 0: what is there is taken. A server that has nothing else to do looks after
    /// short waits ten times a second only.
    pub wait_ms_max: u64,
    /// Keeps each security's newest row in Redis as well, a hash a security.
    pub latest: bool,
    /// Hours after which such a row expires.
    pub latest_expire_hours: u64,
}

impl Default for FeatureSettings {
    fn default() -> FeatureSettings {
        FeatureSettings {
            state: PathBuf::from("features"),
            archive: None,
            snapshot_s: 60,
            records_max: 40_000,
            past_records_max: 100_000,
            wait_ms_max: 0,
            latest: false,
            latest_expire_hours: 264,
        }
    }
}

impl Config {
    /// Refuses what cannot be meant, and names the key.
    pub fn check(&self) -> anyhow::Result<()> {
        let kind = self.stream.kind;
        if !matches!(kind, Kind::BarDay | Kind::BarMinute(Grid::M1)) {
            bail!("stream.kind = \"{kind}\" has no features: choose bar:1d or bar:1m");
        }
        let FeatureSettings { records_max, past_records_max, .. } = self.features;
        for (key, value) in [("records_max", records_max), ("past_records_max", past_records_max)] {
            if value == 0 {
                bail!("features.{key} is 0: at least 1 is needed");
            }
        }
        if self.features.state.as_os_str().is_empty() {
            bail!("features.state is empty: name a folder for the snapshots");
        }
        Ok(())
    }

    /// Kind of the stream it feeds.
    pub fn kind(&self) -> Kind {
        if self.stream.kind == Kind::BarDay { Kind::FeatureDay } else { Kind::FeatureMinute }
    }

    /// The stream of features.
    pub fn out(&self) -> StreamSettings {
        let OutputSettings { groups, backlog_entries_max, keep_hours_min, keep_hours_max, trim_interval_s } =
            self.output.clone();
        StreamSettings {
            kind: self.kind(),
            groups,
            backlog_entries_max,
            keep_hours_min,
            keep_hours_max,
            trim_interval_s,
            ..self.stream.clone()
        }
    }

    /// The stream of facts.
    pub fn refs(&self) -> StreamSettings {
        StreamSettings { kind: Kind::RefDay, ..self.stream.clone() }
    }

    /// The archive that the past is looked up in.
    pub fn archive(&self) -> Option<PathBuf> {
        self.features.archive.clone().or_else(|| self.reader.archive.clone())
    }

    /// How long the stream of features keeps a row at most; `None`: without end.
    pub fn output_keeps(&self) -> Option<Duration> {
        let hours = self.output.keep_hours_max;
        (hours > 0).then(|| Duration::from_secs(hours.saturating_mul(3_600)))
    }

    /// How often a snapshot is due.
    pub fn snapshot_every(&self) -> Duration {
        Duration::from_secs(self.features.snapshot_s)
    }
}
