//! Names of places on a stream: entry ids, versions and marks. Must not know how a server stores them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The id of an entry: the server's milliseconds and a sequence number within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryId {
    /// Milliseconds since 1970, by the server's clock.
    pub ms: u64,
    /// Order within the millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before the first entry of any stream.
    pub const ZERO: EntryId = EntryId { ms: 0, seq: 0 };

    /// Joins both halves.
    pub const fn new(ms: u64, seq: u64) -> EntryId {
        EntryId { ms, seq }
    }

    /// The version of the records of this entry: ms × 2²⁰ + seq. Higher wins.
    ///
    /// A millisecond holds at most 2²⁰ − 1 entries of their own version; beyond that they share the last one.
    pub const fn version(self) -> u64 {
        const LAST: u64 = (1 << 20) - 1;
        let seq = if self.seq > LAST { LAST } else { self.seq };
        (self.ms << 20) | seq
    }

    /// The id whose records have this version.
    pub const fn of_version(version: u64) -> EntryId {
        EntryId { ms: version >> 20, seq: version & ((1 << 20) - 1) }
    }

    /// The last id that could exist before it; the first one of all has none.
    #[must_use]
    pub const fn previous(self) -> EntryId {
        match (self.ms, self.seq.checked_sub(1)) {
            (ms, Some(seq)) => EntryId { ms, seq },
            (0, None) => EntryId::ZERO,
            (ms, None) => EntryId { ms: ms - 1, seq: u64::MAX },
        }
    }

    /// The next id that could exist.
    #[must_use]
    pub const fn next(self) -> EntryId {
        match self.seq.checked_add(1) {
            Some(seq) => EntryId { ms: self.ms, seq },
            None => EntryId { ms: self.ms + 1, seq: 0 },
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// A text that is no entry id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry id {0:?} is not milliseconds-sequence, like \"1700000000000-0\"")]
pub struct EntryIdError(String);

impl FromStr for EntryId {
    type Err = EntryIdError;

    fn from_str(text: &str) -> Result<EntryId, EntryIdError> {
        let error = || EntryIdError(text.to_owned());
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        Ok(EntryId { ms: ms.parse().map_err(|_| error())?, seq: seq.parse().map_err(|_| error())? })
    }
}

impl TryFrom<String> for EntryId {
    type Error = EntryIdError;

    fn try_from(text: String) -> Result<EntryId, EntryIdError> {
        text.parse()
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> String {
        id.to_string()
    }
}

/// How far a sink holds everything: the stream's `born` and the last id. Kept with the sink's own data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Tells this stream from another of the same name, after a flush or on another server.
    pub born: String,
    /// Everything up to and including this entry is durable in the sink.
    pub id: EntryId,
    /// The mark as it stood a while before (`reader.crash_s_max`): a server that still knows this entry has crashed
    /// and lost its last seconds, one that does not runs on an older file.
    #[serde(default)]
    pub before: EntryId,
}

impl Mark {
    /// What a sink keeps while it is given the past: nothing yet, and no stream it could go on with by itself.
    pub fn in_replay() -> Mark {
        Mark { born: "replay".to_owned(), id: EntryId::ZERO, before: EntryId::ZERO }
    }

    /// Whether the sink was being given the past.
    pub fn is_in_replay(&self) -> bool {
        *self == Mark::in_replay()
    }
}
