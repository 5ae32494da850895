//! Where a reader takes up: the sink's mark held against the stream and the group. Pure: decides, does nothing.

use std::{fmt, str::FromStr, time::Duration};

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use crate::{EntryId, Kind, Mark, transport::Standing};

/// Where a group without any history begins. There is no default: one end floods, the other loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Start {
    /// With the oldest entry the stream still holds.
    Earliest,
    /// With the first entry that comes after the group is made.
    Latest,
    /// With everything an archive holds, then the stream after the archive's mark.
    Archive,
    /// With the first entry after this one.
    After(EntryId),
}

impl FromStr for Start {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Start, StartError> {
        match text {
            "earliest" => return Ok(Start::Earliest),
            "latest" => return Ok(Start::Latest),
            "archive" => return Ok(Start::Archive),
            _ => {}
        }
        if let Ok(id) = text.parse::<EntryId>() {
            return Ok(Start::After(id.previous()));
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| StartError(text.to_owned()))?;
        let ms = u64::try_from(time.timestamp_millis()).map_err(|_| StartError(text.to_owned()))?;
        // Entries of that very millisecond belong to it.
        Ok(Start::After(EntryId::new(ms.saturating_sub(1), u64::MAX)))
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Earliest => f.write_str("earliest"),
            Start::Latest => f.write_str("latest"),
            Start::Archive => f.write_str("archive"),
            Start::After(id) => write!(f, "{}", id.next()),
        }
    }
}

impl TryFrom<String> for Start {
    type Error = StartError;

    fn try_from(text: String) -> Result<Start, StartError> {
        text.parse()
    }
}

impl From<Start> for String {
    fn from(start: Start) -> String {
        start.to_string()
    }
}

/// A text that is no place to start at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place to start at: \"earliest\", \"latest\", \"archive\", the id of an entry such as \
     1709256660000-0, or a time such as 2024-03-01T09:31:00+08:00"
)]
pub struct StartError(String);

/// What to do before reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Group and mark agree.
    GoOn,
    /// Raise the stream's ids above `floor`, keep `mark` in the sink, then place the group at the mark.
    Place {
        /// Ids given out from now on must be above this.
        floor: EntryId,
        /// The mark to keep first.
        mark: Mark,
        /// Why, for the log; empty on a first start.
        because: &'static str,
    },
}

/// Why a reader stops instead of guessing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// First start without a word on where to begin.
    #[error(
        "group {group:?} reads {stream} for the first time and reader.start is not set; \
         set it to \"earliest\" (everything the stream still holds), \"latest\" (only what comes from now on), \
         \"archive\" (what reader.archive holds, then the stream), or to the id or the time of an entry"
    )]
    NoStart {
        /// Group.
        group: String,
        /// Stream.
        stream: String,
    },
    /// The sink has lost its data, or is another one.
    #[error(
        "group {group:?} on {stream} has settled up to {settled}, but the sink holds no mark of it: the sink was \
         emptied or is another one. Give this sink a group of its own (reader.group), or let it read everything that \
         is left again: {}",
        resume(group, stream)
    )]
    NoMark {
        /// Group.
        group: String,
        /// Stream.
        stream: String,
        /// The group's mark.
        settled: EntryId,
    },
    /// The stream is another than the one the mark speaks of, and somebody already reads it as this group.
    #[error(
        "the sink's mark speaks of stream {marked:?}, but {stream} was born as {born:?} and group {group:?} exists on \
         it: another server, or two sinks under one group. Check redis.url and reader.group, then: {}",
        resume(group, stream)
    )]
    OtherStream {
        /// Group.
        group: String,
        /// Stream.
        stream: String,
        /// `born` of the mark.
        marked: String,
        /// `born` of the stream.
        born: String,
    },
    /// The server has lost entries the sink already holds: an older snapshot or append-only file.
    #[error(
        "{stream} ends at {last}, but the sink of group {group:?} holds entries up to {mark}: the server runs on an \
         older snapshot or append-only file. Restore the newer one, or go on with this one: {}",
        resume(group, stream)
    )]
    Behind {
        /// Group.
        group: String,
        /// Stream.
        stream: String,
        /// Last id of the stream.
        last: EntryId,
        /// The sink's mark.
        mark: EntryId,
    },
    /// The past a sink was being given is not there any more.
    #[error(
        "the sink of group {group:?} was being given the past of {stream}, and the server knows nothing of that replay \
         any more: it was emptied or is another one. Run `sqep replay --into {group}` again (twice is once by key), or go \
         on with what the stream holds: {}",
        resume(group, stream)
    )]
    ReplayGone {
        /// Group.
        group: String,
        /// Stream.
        stream: String,
    },
    /// The sink has lost what it was given of the past.
    #[error(
        "group {group:?} was handed a part of the past of {stream}, but its sink holds no mark of that: the sink was \
         emptied or is another one, and the part that was settled is not given again. End the group (`sqep group retire \
         {group} --kind {kind}`), then let it be given the past anew: with reader.start = \"archive\" start the reader again, \
         else run `sqep replay --into {group} --kind {kind}` as before"
    )]
    PastLost {
        /// Group.
        group: String,
        /// Stream.
        stream: String,
        /// What it holds.
        kind: Kind,
    },
    /// The start asked for is not on the stream any more.
    #[error(
        "reader.start asks for what comes after {at}, but {stream} was trimmed up to {trimmed}: start with \
         \"earliest\", or with \"archive\", which has what is gone"
    )]
    StartGone {
        /// Stream.
        stream: String,
        /// Where to start.
        at: EntryId,
        /// Where the stream begins.
        trimmed: EntryId,
    },
    /// Only a program that can read an archive can start with one.
    #[error(
        "reader.start = \"archive\" needs reader.archive, the folder of the archive group {group:?} starts with"
    )]
    NoArchive {
        /// Group.
        group: String,
    },
    /// Entries the sink has not seen are gone.
    #[error(
        "{stream} was trimmed up to {trimmed}, but the sink of group {group:?} holds entries only up to {mark}: what \
         lies between is not on the stream any more. Restore the sink's data or replay from an archive, then: {}",
        resume(group, stream)
    )]
    Trimmed {
        /// Group.
        group: String,
        /// Stream.
        stream: String,
        /// Where the stream begins.
        trimmed: EntryId,
        /// The sink's mark.
        mark: EntryId,
    },
}

/// What an operator says to let a reader go on. `--new`: also where the group itself is gone.
fn resume(group: &str, stream: &str) -> String {
    format!("run `sqep group resume {group} --new --stream '{stream}'`, or the reader once with --resume")
}

/// Who asks, for the messages, and how much loss of a crashed server is healed without asking.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Group.
    pub group: String,
    /// Stream, as a key.
    pub stream: String,
    /// Where to begin without any history.
    pub start: Option<Start>,
    /// A server that lost only entries younger than this, as the sink saw them come, has crashed and not been
    /// replaced: everything it still holds is read again, which is once by key.
    pub crash: Duration,
}

impl Asker {
    /// Decides.
    pub fn plan(&self, standing: &Standing, mark: Option<&Mark>) -> Result<Plan, MarkError> {
        let (group, stream) = (self.group.clone(), self.stream.clone());
        match (mark, standing.settled) {
            _ if standing.resume.is_some() => Ok(Asker::resume(standing, mark)),
            (Some(mark), _) if mark.is_in_replay() => Err(MarkError::ReplayGone { group, stream }),
            (None, None) => self.first(standing),
            (None, Some(settled)) => Err(MarkError::NoMark { group, stream, settled }),
            (Some(mark), Some(_)) if mark.born != standing.born => {
                let (marked, born) = (mark.born.clone(), standing.born.clone());
                Err(MarkError::OtherStream { group, stream, marked, born })
            }
            (Some(mark), None) if mark.born != standing.born => {
                let because = "the stream is a new one: everything on it is read";
                self.anew(standing, mark.id, because)
            }
            (Some(mark), _) if mark.id > standing.last => self.behind(standing, mark),
            (Some(mark), _) if mark.id < standing.trimmed => Err(self.trimmed(standing, mark.id)),
            (Some(mark), settled) if settled.is_none_or(|settled| mark.id < settled) => {
                let (floor, mark) = (mark.id, mark.clone());
                let because = "the group is gone or ahead of the sink: it goes on at the sink's mark";
                Ok(Plan::Place { floor, mark, because })
            }
            (Some(_), _) => Ok(Plan::GoOn),
        }
    }

    /// What is said of a sink that knows nothing of the past it was given.
    pub(crate) fn past_lost(&self, kind: Kind) -> MarkError {
        MarkError::PastLost { group: self.group.clone(), stream: self.stream.clone(), kind }
    }

    fn first(&self, standing: &Standing) -> Result<Plan, MarkError> {
        let at = match self.start {
            Some(Start::Earliest) => standing.trimmed,
            Some(Start::Latest) => standing.last,
            Some(Start::Archive) => return Err(MarkError::NoArchive { group: self.group.clone() }),
            Some(Start::After(at)) if at < standing.trimmed => {
                let (stream, trimmed) = (self.stream.clone(), standing.trimmed);
                return Err(MarkError::StartGone { stream, at, trimmed });
            }
            Some(Start::After(at)) => at.min(standing.last),
            None => {
                return Err(MarkError::NoStart { group: self.group.clone(), stream: self.stream.clone() });
            }
        };
        let mark = Mark { born: standing.born.clone(), id: at, before: at };
        Ok(Plan::Place { floor: EntryId::ZERO, mark, because: "" })
    }

    fn anew(&self, standing: &Standing, floor: EntryId, because: &'static str) -> Result<Plan, MarkError> {
        if standing.trimmed > EntryId::ZERO {
            return Err(self.trimmed(standing, EntryId::ZERO));
        }
        let mark = Mark { born: standing.born.clone(), id: EntryId::ZERO, before: EntryId::ZERO };
        Ok(Plan::Place { floor, mark, because })
    }

    fn behind(&self, standing: &Standing, mark: &Mark) -> Result<Plan, MarkError> {
        if standing.last >= mark.before {
            let because =
                "the server lost its last entries in a crash: everything it still holds is read again";
            let again = Mark { born: standing.born.clone(), id: standing.trimmed, before: standing.trimmed };
            return Ok(Plan::Place { floor: mark.id, mark: again, because });
        }
        Err(MarkError::Behind {
            group: self.group.clone(),
            stream: self.stream.clone(),
            last: standing.last,
            mark: mark.id,
        })
    }

    /// Entries that no group has to wait for may be trimmed: a reader that comes back for them must not miss them silently.
    fn trimmed(&self, standing: &Standing, mark: EntryId) -> MarkError {
        let (group, stream) = (self.group.clone(), self.stream.clone());
        MarkError::Trimmed { group, stream, trimmed: standing.trimmed, mark }
    }

    /// What the operator's word does in place of an error: go on where it says, by default with everything the stream
    /// still holds.
    pub fn resume(standing: &Standing, mark: Option<&Mark>) -> Plan {
        let at = standing.resume.unwrap_or_default().max(standing.trimmed);
        Plan::Place {
            floor: mark.map_or(EntryId::ZERO, |mark| mark.id),
            mark: Mark { born: standing.born.clone(), id: at, before: at },
            because: "resumed by the operator",
        }
    }
}
