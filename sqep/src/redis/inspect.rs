//! How streams stand, for people: lengths, memory, groups, lag, dead letters. Reads only, disturbs nobody.

use redis::Value;
use serde::Serialize;

use super::{Connection, Server, keys::Keys, look::look, outlet::stored, reply, room::backlogs};
use crate::{Cursors, EntryId, Kind, transport::TransportError, wire::Entry};

/// One stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatus {
    /// Key.
    pub stream: String,
    /// Entries.
    pub entries: u64,
    /// Entries it was ever given.
    pub added: u64,
    /// Bytes of the server's memory.
    pub bytes: u64,
    /// First id still there.
    pub first: EntryId,
    /// Last id given out.
    pub last: EntryId,
    /// Tells this stream from one of the same name; empty where nobody has said.
    pub born: String,
    /// Up to where it was trimmed.
    pub trimmed: EntryId,
    /// Source that feeds it.
    pub source: Option<String>,
    /// What its source counted, as JSON.
    pub totals: Option<serde_json::Value>,
    /// Dead letters.
    pub dead_letters: u64,
    /// Bytes of dead letters.
    pub dead_bytes: u64,
    /// Groups.
    pub groups: Vec<GroupStatus>,
}

/// One group of a stream.
#[derive(Debug, Clone, Serialize)]
pub struct GroupStatus {
    /// Name.
    pub group: String,
    /// Entries handed out and not settled.
    pub pending: u64,
    /// Entries never handed out, counted by ourselves where the server's figure cannot be trusted.
    pub lag: u64,
    /// Up to where it has settled.
    pub settled: Option<EntryId>,
    /// Up to where entries were handed out.
    pub delivered: EntryId,
    /// The oldest entry handed out and not settled.
    pub oldest_pending: Option<EntryId>,
    /// Milliseconds between the stream's last entry and the last one settled.
    pub lag_ms: u64,
    /// Who reads: `host/pid/start/token`.
    pub holder: Option<String>,
    /// Milliseconds the lease is still good for.
    pub lease_ms: Option<u64>,
}

/// Looks at one server.
#[derive(Debug)]
pub struct Inspector {
    connection: Connection,
}

impl Inspector {
    /// Connects.
    pub async fn connect(server: &Server) -> Result<Inspector, TransportError> {
        Ok(Inspector { connection: server.connect().await? })
    }

    /// Keys of all streams under `prefix`, sorted.
    pub async fn streams(&mut self, prefix: &str) -> Result<Vec<String>, TransportError> {
        let (mut cursor, mut keys) = (0u64, Vec::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{prefix}:{{*}}"))
                .arg("COUNT")
                .arg(1000)
                .arg("TYPE")
                .arg("stream");
            let (next, mut page): (u64, Vec<String>) = self.connection.ask(&scan).await?;
            keys.append(&mut page);
            cursor = next;
            if cursor == 0 {
                keys.sort_unstable();
                keys.dedup();
                return Ok(keys);
            }
        }
    }

    /// Over how many partitions a stream is spread, as its first source said.
    pub async fn partitions(&mut self, prefix: &str, kind: Kind) -> Result<Option<u16>, TransportError> {
        self.connection.ask(redis::cmd("GET").arg(Keys::new(prefix, kind, 0).partitions())).await
    }

    /// How one stream stands.
    pub async fn stream(&mut self, key: &str) -> Result<StreamStatus, TransportError> {
        let keys = Keys::of(key);
        let look = look(&mut self.connection, &keys).await?.unwrap_or_default();
        let first = if look.length == 0 { EntryId::ZERO } else { look.first };
        let mut facts = redis::pipe();
        facts.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(64);
        facts
            .cmd("GET")
            .arg(keys.source())
            .cmd("XLEN")
            .arg(keys.dead())
            .cmd("MEMORY")
            .arg("USAGE")
            .arg(keys.dead());
        let (bytes, source, dead_letters, dead_bytes): (Option<u64>, Option<String>, u64, Option<u64>) =
            self.connection.ask_all(&facts).await?;
        let mut facts = redis::pipe();
        facts.cmd("GET").arg(keys.born()).cmd("GET").arg(keys.trimmed());
        let (born, trimmed): (Option<String>, Option<String>) = self.connection.ask_all(&facts).await?;
        let totals = match &source {
            Some(source) => self.totals(&keys, source).await?,
            None => None,
        };
        let backlogs = backlogs(&mut self.connection, &keys).await?;
        let mut groups = Vec::new();
        for backlog in backlogs.groups {
            let (pending, lag) = (backlog.pending, backlog.unsettled - backlog.pending);
            let mut group =
                self.group(&keys, backlog.name, pending, lag, backlog.delivered, look.last).await?;
            // Who has settled nothing is behind as far as there is anything.
            group.lag_ms = group.lag_ms.min(look.last.ms.saturating_sub(first.ms));
            groups.push(group);
        }
        Ok(StreamStatus {
            stream: key.to_owned(),
            entries: backlogs.length,
            added: look.added,
            bytes: bytes.unwrap_or(0),
            first,
            last: look.last,
            born: born.unwrap_or_default(),
            trimmed: trimmed.and_then(|text| text.parse().ok()).unwrap_or_default(),
            source,
            totals,
            dead_letters,
            dead_bytes: dead_bytes.unwrap_or(0),
            groups,
        })
    }

    async fn totals(
        &mut self,
        keys: &Keys,
        source: &str,
    ) -> Result<Option<serde_json::Value>, TransportError> {
        let mut get = redis::cmd("HGET");
        let text: Option<String> = self.connection.ask(get.arg(keys.cursor(source)).arg("totals")).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    async fn group(
        &mut self,
        keys: &Keys,
        group: String,
        pending: u64,
        lag: u64,
        delivered: EntryId,
        last: EntryId,
    ) -> Result<GroupStatus, TransportError> {
        let mut facts = redis::pipe();
        facts.cmd("HGET").arg(keys.groups()).arg(&group);
        facts.cmd("GET").arg(keys.lease(&group)).cmd("PTTL").arg(keys.lease(&group));
        facts.cmd("XPENDING").arg(keys.stream()).arg(&group);
        let (settled, holder, ttl, summary): (Option<String>, Option<String>, i64, Value) =
            self.connection.ask_all(&facts).await?;
        let settled: Option<EntryId> = settled.and_then(|text| text.parse().ok());
        let oldest_pending = match summary {
            Value::Array(items) if pending > 0 => items.get(1).map(reply::id),
            _ => None,
        };
        let behind = pending + lag > 0;
        let lag_ms = if behind { last.ms.saturating_sub(settled.unwrap_or(delivered).ms) } else { 0 };
        Ok(GroupStatus {
            group,
            pending,
            lag,
            settled,
            delivered,
            oldest_pending,
            lag_ms,
            holder,
            lease_ms: u64::try_from(ttl).ok(),
        })
    }

    /// What a source has published to a stream so far.
    pub async fn cursors(
        &mut self,
        prefix: &str,
        kind: Kind,
        source: &str,
    ) -> Result<Cursors, TransportError> {
        stored(&mut self.connection, &Keys::new(prefix, kind, 0), source).await
    }

    /// The id up to which a stream was trimmed.
    pub async fn trimmed(&mut self, key: &str) -> Result<EntryId, TransportError> {
        let trimmed: Option<String> =
            self.connection.ask(redis::cmd("GET").arg(Keys::of(key).trimmed())).await?;
        Ok(trimmed.and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    /// Entries after `after`, waiting up to `wait_ms` for the first; for looking, not for delivery.
    pub async fn read(
        &mut self,
        key: &str,
        after: EntryId,
        wait_ms: u64,
    ) -> Result<Vec<Entry>, TransportError> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(16).arg("BLOCK").arg(wait_ms.clamp(1, 5_000)).arg("STREAMS").arg(key);
        let value: Value = self.connection.ask(read.arg(after.to_string())).await?;
        Ok(reply::entries_of_streams(value))
    }

    /// The newest dead letters of a stream, newest first, as names and values.
    pub async fn dead(&mut self, key: &str, count: usize) -> Result<Vec<Entry>, TransportError> {
        let mut range = redis::cmd("XREVRANGE");
        range.arg(Keys::of(key).dead()).arg("+").arg("-").arg("COUNT").arg(count);
        Ok(reply::entries(self.connection.ask(&range).await?))
    }

    /// Memory and durability of the server.
    pub async fn health(&mut self) -> Result<super::Health, TransportError> {
        self.connection.health().await
    }
}
