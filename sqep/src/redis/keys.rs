//! Names of keys. All keys of one partition share a hash tag, so that they share a slot of a cluster.

use serde::{Deserialize, Serialize};

use crate::{Kind, Symbol};

/// Section `stream` of every program's configuration.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSettings {
    /// What the stream holds: `bar:1d`, `bar:1m` and so on.
    pub kind: Kind,
    /// Separates worlds on one server.
    pub prefix: String,
    /// Over how many streams symbols are spread; the same for every program, for good.
    pub partitions: u16,
    /// Lets more than one source publish to one stream.
    pub share: bool,
    /// Groups that hold back producers and trimming; empty: those that exist.
    pub groups: Vec<String>,
    /// Entries a counted group may leave unsettled before producers wait.
    pub backlog_entries_max: u64,
    /// Percent of the server's `maxmemory` at which producers wait.
    pub memory_percent_max: u64,
    /// Bytes of dead letters a stream may have; over it, refusing and burying wait.
    pub dead_bytes_max: u64,
    /// Hours an entry stays at least, also when every counted group has settled it; fewer when memory is short
    /// (`memory_percent_max`).
    pub keep_hours_min: u64,
    /// Hours a group that does not count, or a stream nobody reads, keeps an entry at most; 0: without end.
    pub keep_hours_max: u64,
    /// Seconds between two trims by a publisher; 0: it leaves trimming to `sqep trim`.
    pub trim_interval_s: u64,
}

impl Default for StreamSettings {
    fn default() -> Self {
        StreamSettings {
            kind: Kind::BarDay,
            prefix: "sqep".to_owned(),
            partitions: 1,
            share: false,
            groups: Vec::new(),
            backlog_entries_max: 50_000,
            memory_percent_max: 80,
            dead_bytes_max: 256 << 20,
            keep_hours_min: 24,
            keep_hours_max: 168,
            trim_interval_s: 60,
        }
    }
}

/// The keys of one partition of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    stream: String,
}

impl Keys {
    /// Keys of a partition, e.g. `sqep:{bar:1d:0}`.
    pub fn new(prefix: &str, kind: Kind, partition: u16) -> Keys {
        Keys { stream: format!("{prefix}:{{{kind}:{partition}}}") }
    }

    /// The keys beside a stream known by its own key.
    pub fn of(stream: &str) -> Keys {
        Keys { stream: stream.to_owned() }
    }

    /// The stream of entries.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Hash: `seq`, `writer`, `totals`, and `f:` with the name of a file or dataset.
    pub fn cursor(&self, source: &str) -> String {
        format!("{}:cursor:{source}", self.stream)
    }

    /// Stream of dead letters.
    pub fn dead(&self) -> String {
        format!("{}:dead", self.stream)
    }

    /// Hash: reason → rows in the dead letters.
    pub fn dead_counts(&self) -> String {
        format!("{}:dead:counts", self.stream)
    }

    /// Hash: group → id up to which it has settled.
    pub fn groups(&self) -> String {
        format!("{}:groups", self.stream)
    }

    /// Holder and token of a group's lease, expiring.
    pub fn lease(&self, group: &str) -> String {
        format!("{}:lease:{group}", self.stream)
    }

    /// Where the operator lets a group go on; gone when its reader has heard it.
    pub fn resume(&self, group: &str) -> String {
        format!("{}:resume:{group}", self.stream)
    }

    /// Hash: hour → milliseconds of a look at the stream, entries added until then, bytes of one of them; of one day.
    pub fn grown(&self) -> String {
        format!("{}:grown", self.stream)
    }

    /// Random, set once.
    pub fn born(&self) -> String {
        format!("{}:born", self.stream)
    }

    /// The id up to which the stream was trimmed.
    pub fn trimmed(&self) -> String {
        format!("{}:trimmed", self.stream)
    }

    /// Over how many partitions the stream is spread; kept beside the first.
    pub fn partitions(&self) -> String {
        format!("{}:partitions", self.stream)
    }

    /// The stream on which one group is given the past, and the keys beside it.
    #[must_use]
    pub fn replay(&self, group: &str) -> Keys {
        Keys { stream: format!("{}:replay:{group}", self.stream) }
    }

    /// Every key of a past that is given to `group` by `source`: its stream first, then its cursor, then the others.
    pub(super) fn of_replay(&self, group: &str, source: &str) -> [String; 6] {
        let lane = self.replay(group);
        let (cursor, groups) = (lane.cursor(source), lane.groups());
        let (source, partitions, born) = (lane.source(), lane.partitions(), lane.born());
        [lane.stream, cursor, groups, source, partitions, born]
    }

    /// Hash: group → what is replayed to it and how far that is.
    pub fn replays(&self) -> String {
        format!("{}:replays", self.stream)
    }

    /// The newest record of a security.
    pub fn latest(&self, symbol: Symbol) -> String {
        format!("{}:latest:{}", self.stream, symbol.get())
    }

    /// The one source of the stream.
    pub fn source(&self) -> String {
        format!("{}:source", self.stream)
    }
}
