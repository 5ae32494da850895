//! Where a reader takes up: the sink's mark held against the stream and the group. Pure: decides, does nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{EntryId, Mark, transport::Standing};

/// Where a group without any history begins. There is no default: one end floods, the other loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest entry the stream still holds.
    Earliest,
    /// With the first entry that comes after the group is made.
    Latest,
}

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
         set it to \"earliest\" (everything the stream still holds) or \"latest\" (only what comes from now on)"
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
         is left again: run it once with --resume"
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
         it: another server, or two sinks under one group. Check redis.url and reader.group, then run it once with \
         --resume"
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
         older snapshot or append-only file. Restore the newer one, or go on with this one: run it once with --resume"
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
    /// Entries the sink has not seen are gone.
    #[error(
        "{stream} was trimmed up to {trimmed}, but the sink of group {group:?} holds entries only up to {mark}: what \
         lies between is not on the stream any more. Restore the sink's data or replay from an archive, then run \
         it once with --resume"
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
            (Some(mark), settled) if settled.is_none_or(|settled| mark.id < settled) => {
                let (floor, mark) = (mark.id, mark.clone());
                let because = "the group is gone or ahead of the sink: it goes on at the sink's mark";
                self.untrimmed(standing, Plan::Place { floor, mark, because })
            }
            (Some(_), _) => Ok(Plan::GoOn),
        }
    }

    fn first(&self, standing: &Standing) -> Result<Plan, MarkError> {
        let at = match self.start {
            Some(Start::Earliest) => standing.trimmed,
            Some(Start::Latest) => standing.last,
            None => {
                return Err(MarkError::NoStart { group: self.group.clone(), stream: self.stream.clone() });
            }
        };
        let mark = Mark { born: standing.born.clone(), id: at, before: at };
        Ok(Plan::Place { floor: EntryId::ZERO, mark, because: "" })
    }

    fn anew(&self, standing: &Standing, floor: EntryId, because: &'static str) -> Result<Plan, MarkError> {
        let mark = Mark { born: standing.born.clone(), id: EntryId::ZERO, before: EntryId::ZERO };
        self.untrimmed(standing, Plan::Place { floor, mark, because })
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

    fn untrimmed(&self, standing: &Standing, plan: Plan) -> Result<Plan, MarkError> {
        match &plan {
            Plan::Place { mark, .. } if mark.id < standing.trimmed => Err(MarkError::Trimmed {
                group: self.group.clone(),
                stream: self.stream.clone(),
                trimmed: standing.trimmed,
                mark: mark.id,
            }),
            _ => Ok(plan),
        }
    }

    /// What `--resume` does in place of an error: read everything the stream still holds again.
    pub fn resume(standing: &Standing, mark: Option<&Mark>) -> Plan {
        Plan::Place {
            floor: mark.map_or(EntryId::ZERO, |mark| mark.id),
            mark: Mark { born: standing.born.clone(), id: standing.trimmed, before: standing.trimmed },
            because: "resumed by the operator",
        }
    }
}
