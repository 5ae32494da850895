//! The dead letters of a stream: found by who wrote them, why and when, counted, and removed for good.
//!
//! Knows where letters lie and how many rows of each reason there are; must not know what could be done about them: that is
//! [`super::redrive`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    str::FromStr,
};

use redis::Script;

use super::{Connection, keys::Keys, reply};
use crate::{
    EntryId, Reason,
    letter::{By, Letter, LetterError},
    transport::TransportError,
};

/// Letters read at once: the largest have some megabytes.
const PAGE: usize = 8;

/// KEYS: dead dead-counts. ARGV: id, then its rows by reason. A full server takes it, since it makes room.
const REMOVE: &str = "#!lua flags=allow-oom
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 2, #ARGV, 2 do
  if redis.call('HINCRBY', KEYS[2], ARGV[i], -ARGV[i + 1]) <= 0 then redis.call('HDEL', KEYS[2], ARGV[i]) end
end
return 1";

/// One letter among those of all partitions of a stream: `1700000000000-0`, or `3/1700000000000-0` on partition 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// Partition of the stream.
    pub partition: u16,
    /// Place among the letters of the partition; its milliseconds are when the letter was written.
    pub id: EntryId,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            0 => write!(f, "{}", self.id),
            partition => write!(f, "{partition}/{}", self.id),
        }
    }
}

impl FromStr for LetterId {
    type Err = LetterIdError;

    fn from_str(text: &str) -> Result<LetterId, LetterIdError> {
        let error = || LetterIdError(text.to_owned());
        let (partition, id) = text.split_once('/').unwrap_or(("0", text));
        Ok(LetterId {
            partition: partition.parse().map_err(|_| error())?,
            id: id.parse().map_err(|_| error())?,
        })
    }
}

/// A text that names no letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no letter: take one from `sqep dead list`, like 1700000000000-0 or 3/1700000000000-0")]
pub struct LetterIdError(String);

/// A letter in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub id: LetterId,
    /// The stream it is about.
    pub stream: String,
    /// The letter, or why this version cannot read it.
    pub letter: Result<Letter, LetterError>,
}

impl Found {
    /// When its rows were first seen, in milliseconds since 1970: when the entry was published, or else when the letter was
    /// written.
    pub fn first_seen_ms(&self) -> u64 {
        let origin = self.letter.as_ref().ok().filter(|letter| letter.by == By::Group);
        let origin = origin.and_then(|letter| letter.origin.parse::<EntryId>().ok());
        origin.map_or(self.id.id.ms, |origin| origin.ms)
    }
}

/// Which letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// With a row refused for this.
    pub reason: Option<Reason>,
    /// Written by this source or group.
    pub by: Option<(By, String)>,
    /// Written at or after this time, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Written before this time, in milliseconds since 1970.
    pub until_ms: Option<u64>,
    /// Only these; empty: all.
    pub ids: BTreeSet<LetterId>,
}

impl Filter {
    fn takes(&self, found: &Found) -> bool {
        let Ok(letter) = &found.letter else { return self.reason.is_none() && self.by.is_none() };
        let broke = |reason: Reason| {
            letter.refusals.iter().any(|refusal| refusal.findings.iter().any(|f| f.reason == reason))
        };
        let wrote = |(by, name): &(By, String)| letter.by == *by && letter.name == *name;
        self.reason.is_none_or(broke) && self.by.as_ref().is_none_or(wrote)
    }

    /// First and last id a partition's letters may have.
    fn range(&self) -> (EntryId, EntryId) {
        let first = EntryId::new(self.since_ms.unwrap_or(0), 0);
        let last = match self.until_ms {
            Some(ms) => EntryId::new(ms.saturating_sub(1), u64::MAX),
            None => EntryId::new(u64::MAX, u64::MAX),
        };
        (first, last)
    }
}

/// Walks the letters of some partitions, one partition after the other.
#[derive(Debug)]
pub struct Letters {
    connection: Connection,
    filter: Filter,
    newest_first: bool,
    /// What is still to be looked through: partition, keys, first and last id.
    ways: VecDeque<(u16, Keys, EntryId, EntryId)>,
}

impl Letters {
    /// Of these partitions, in their order; oldest or newest first within each.
    pub fn new(
        connection: Connection,
        partitions: &[(u16, Keys)],
        filter: Filter,
        newest_first: bool,
    ) -> Letters {
        let (first, last) = filter.range();
        let mut ways = VecDeque::new();
        for (partition, keys) in partitions {
            if filter.ids.is_empty() {
                ways.push_back((*partition, keys.clone(), first, last));
            }
            let wanted = filter.ids.iter().filter(|id| id.partition == *partition);
            ways.extend(wanted.map(|id| (*partition, keys.clone(), id.id, id.id)));
        }
        Letters { connection, filter, newest_first, ways }
    }

    /// The next few that the filter takes; `None`: no more. Letters written meanwhile may come too.
    pub async fn page(&mut self) -> Result<Option<Vec<Found>>, TransportError> {
        let Some((partition, keys, first, last)) = self.ways.pop_front() else { return Ok(None) };
        let (name, from, to) =
            if self.newest_first { ("XREVRANGE", last, first) } else { ("XRANGE", first, last) };
        let mut range = redis::cmd(name);
        range.arg(keys.dead()).arg(from.to_string()).arg(to.to_string()).arg("COUNT").arg(PAGE);
        let entries = reply::entries(self.connection.ask(&range).await?);
        if let Some(read) = entries.last().map(|entry| entry.id)
            && entries.len() == PAGE
            && read != to
        {
            let rest = if self.newest_first { (first, read.previous()) } else { (read.next(), last) };
            self.ways.push_front((partition, keys.clone(), rest.0, rest.1));
        }
        let found = entries.into_iter().map(|entry| Found {
            id: LetterId { partition, id: entry.id },
            stream: keys.stream().to_owned(),
            letter: Letter::of_fields(&entry.fields),
        });
        Ok(Some(found.filter(|found| self.filter.takes(found)).collect()))
    }
}

/// Removes a letter for good; `false`: it was gone already.
pub async fn remove(connection: &mut Connection, keys: &Keys, found: &Found) -> Result<bool, TransportError> {
    let script = Script::new(REMOVE);
    let mut call = script.key(keys.dead());
    call.key(keys.dead_counts()).arg(found.id.id.to_string());
    for (reason, rows) in found.letter.as_ref().map(Letter::counts).unwrap_or_default() {
        call.arg(reason.code()).arg(rows);
    }
    Ok(connection.run::<i64>(&call).await? == 1)
}

/// Rows in the dead letters of a partition, by reason code. Cheap: counted as letters are written, redriven and removed.
pub async fn by_reason(
    connection: &mut Connection,
    keys: &Keys,
) -> Result<BTreeMap<String, u64>, TransportError> {
    let mut facts = redis::pipe();
    facts.cmd("XLEN").arg(keys.dead()).cmd("HGETALL").arg(keys.dead_counts());
    let (letters, counts): (u64, BTreeMap<String, i64>) = connection.ask_all(&facts).await?;
    // Somebody deleted the letters by hand.
    if letters == 0 {
        return Ok(BTreeMap::new());
    }
    let positive = |(reason, rows): (String, i64)| u64::try_from(rows).ok().map(|rows| (reason, rows));
    Ok(counts.into_iter().filter_map(positive).filter(|(_, rows)| *rows > 0).collect())
}
