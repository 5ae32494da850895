//! One source's way onto a stream: a transaction guarded by its cursor.

use anyhow::{Context, anyhow};
use redis::{Pipeline, Value};

use super::{Connection, Server, keys::Keys, keys::StreamSettings, reply};
use crate::{
    Cursors, EntryId, Stamp, Totals,
    letter::Letter,
    transport::{Outgoing, Outlet, Published, Transaction, TransportError},
    wire,
};

/// Publishes for one source.
#[derive(Debug)]
pub struct RedisOutlet {
    server: Server,
    settings: StreamSettings,
    source: String,
    connection: Option<Connection>,
    judged: bool,
    asked: u32,
    /// Memory or dead letters held the source back when last asked.
    full: bool,
}

/// Fields of an original entry that a letter keeps at most.
const FIELDS_MAX: usize = 1_000;
/// A prefix keeps a source's own names apart from ours.
const FIELD: &str = "f:";

impl RedisOutlet {
    /// For `source` on the stream of the settings.
    pub fn new(server: Server, settings: StreamSettings, source: &str) -> RedisOutlet {
        RedisOutlet {
            server,
            settings,
            source: source.to_owned(),
            connection: None,
            judged: false,
            asked: 0,
            full: false,
        }
    }

    fn keys(&self, partition: u16) -> Keys {
        Keys::new(&self.settings.prefix, self.settings.kind, partition)
    }

    async fn connected(&mut self) -> Result<Connection, TransportError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = self.server.connect().await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    /// Only one source a stream, unless shared.
    async fn alone(&self, connection: &mut Connection) -> Result<(), TransportError> {
        let key = self.keys(0).source();
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg(&key).arg(&self.source).arg("NX").ignore().cmd("GET").arg(&key);
        let (owner,): (String,) = connection.ask_all(&pipeline).await?;
        if owner == self.source || self.settings.share {
            return Ok(());
        }
        let (stream, source) = (self.keys(0).stream().to_owned(), &self.source);
        Err(TransportError::Wrong(anyhow!(
            "stream {stream} is fed by source {owner:?}; {source:?} would overwrite its rows. Use another \
             stream.prefix, or set stream.share = true if the last one shall win"
        )))
    }

    async fn stored(&self, connection: &mut Connection) -> Result<Cursors, TransportError> {
        let cursor = self.keys(0).cursor(&self.source);
        let fields: Vec<(String, String)> = connection.ask(redis::cmd("HGETALL").arg(&cursor)).await?;
        let mut cursors = Cursors::default();
        for (name, value) in fields {
            match (name.as_str(), name.strip_prefix(FIELD)) {
                (_, Some(field)) => drop(cursors.fields.insert(field.to_owned(), value)),
                ("seq", _) => cursors.stamp.seq = value.parse().unwrap_or(0),
                ("writer", _) => cursors.stamp.writer = value,
                ("totals", _) => cursors.totals = serde_json::from_str::<Totals>(&value).unwrap_or_default(),
                _ => {}
            }
        }
        Ok(cursors)
    }

    fn add(&self, pipeline: &mut Pipeline, entry: &Outgoing) {
        let records = entry.records.to_string();
        let keys = self.keys(entry.partition);
        let command = pipeline.cmd("XADD").arg(keys.stream()).arg("*");
        let fields = wire::envelope(entry.kind, &self.source, entry.encoding, &records, &entry.payload);
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        command.ignore();
    }

    async fn counted_groups(&self, connection: &mut Connection) -> Result<Option<String>, TransportError> {
        for partition in 0..self.settings.partitions {
            let keys = self.keys(partition);
            let backlogs = backlogs(connection, &keys).await?;
            let named = &self.settings.groups;
            for name in named.iter().filter(|name| !backlogs.groups.iter().any(|group| group.name == **name))
            {
                if backlogs.length > self.settings.backlog_entries_max {
                    return Ok(Some(format!("group {name:?} of stream.groups has settled nothing yet")));
                }
            }
            let counts = |name: &String| named.is_empty() || named.contains(name);
            let over =
                |group: &&Backlog| counts(&group.name) && group.unsettled > self.settings.backlog_entries_max;
            if let Some(group) = backlogs.groups.iter().find(over) {
                let (stream, max) = (keys.stream(), self.settings.backlog_entries_max);
                return Ok(Some(format!(
                    "group {:?} has {} unsettled entries on {stream}, more than stream.backlog_entries_max = {max}; \
                     start its reader",
                    group.name, group.unsettled
                )));
            }
        }
        Ok(None)
    }

    async fn memory(&self, connection: &mut Connection) -> Result<Option<String>, TransportError> {
        let health = connection.health().await?;
        let percent = self.settings.memory_percent_max;
        if health.bytes_max > 0 && health.used_bytes * 100 > health.bytes_max * percent {
            let (used, max) = (health.used_bytes >> 20, health.bytes_max >> 20);
            return Ok(Some(format!(
                "redis uses {used} MiB, over {percent} % of its maxmemory of {max} MiB"
            )));
        }
        dead_room(connection, &self.keys(0), self.settings.dead_bytes_max, 0).await
    }
}

/// Whether the dead letters of a partition have room for `bytes` more.
pub(super) async fn dead_room(
    connection: &mut Connection,
    keys: &Keys,
    bytes_max: u64,
    bytes: usize,
) -> Result<Option<String>, TransportError> {
    let dead = keys.dead();
    let used: Option<u64> = connection.ask(redis::cmd("MEMORY").arg("USAGE").arg(&dead)).await?;
    let after = used.unwrap_or(0).saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    Ok((after > bytes_max).then(|| {
        format!(
            "the dead letters in {dead} have reached stream.dead_bytes_max = {bytes_max}: look at them, then delete \
             what is not needed or raise the limit"
        )
    }))
}

/// How far a group is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) name: String,
    pub(super) pending: u64,
    pub(super) unsettled: u64,
    pub(super) delivered: EntryId,
}

/// All groups of one stream, and its length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Backlogs {
    pub(super) length: u64,
    pub(super) groups: Vec<Backlog>,
}

/// Unsettled = pending + never handed out. The server's own figure for the latter is nil or wrong once a stream was
/// trimmed ahead of a group; then the length of the stream bounds it.
pub(super) async fn backlogs(connection: &mut Connection, keys: &Keys) -> Result<Backlogs, TransportError> {
    let length: u64 = connection.ask(redis::cmd("XLEN").arg(keys.stream())).await?;
    let groups = connection.try_ask(redis::cmd("XINFO").arg("GROUPS").arg(keys.stream())).await?;
    let Some(Value::Array(groups)) = groups else { return Ok(Backlogs { length, groups: Vec::new() }) };
    let last = last_id(connection, keys).await?;
    let groups = groups.iter().map(|group| {
        let delivered = reply::member(group, "last-delivered-id").map(reply::id).unwrap_or_default();
        let pending = reply::number(reply::member(group, "pending")).unwrap_or(0);
        let lag =
            if delivered >= last { 0 } else { reply::number(reply::member(group, "lag")).unwrap_or(length) };
        let name = reply::member(group, "name").map(reply::text).unwrap_or_default();
        Backlog { name, pending, unsettled: pending + lag.min(length), delivered }
    });
    Ok(Backlogs { length, groups: groups.collect() })
}

/// The last id a stream gave out; zero for a stream that is not there.
pub(super) async fn last_id(connection: &mut Connection, keys: &Keys) -> Result<EntryId, TransportError> {
    let info = connection.try_ask(redis::cmd("XINFO").arg("STREAM").arg(keys.stream())).await?;
    Ok(info
        .as_ref()
        .and_then(|info| reply::member(info, "last-generated-id"))
        .map(reply::id)
        .unwrap_or_default())
}

/// Adds a letter to a pipeline.
fn bury(pipeline: &mut Pipeline, dead: &str, letter: &Letter) {
    let command = pipeline.cmd("XADD").arg(dead).arg("*");
    for (name, value) in letter_fields(letter) {
        command.arg(name).arg(value);
    }
    command.ignore();
}

/// A letter as fields of an entry: who, what, why, and the fields of the original behind `e:`.
pub(super) fn letter_fields(letter: &Letter) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = serde_json::to_vec(&letter.refusals).unwrap_or_default();
    let own: [(&str, Vec<u8>); 7] = [
        ("v", wire::VERSION.into()),
        ("by", letter.by.name().into()),
        ("name", letter.name.clone().into()),
        ("origin", letter.origin.clone().into()),
        ("reason", letter.reason().into()),
        ("n", letter.rows().to_string().into()),
        ("rows", rows),
    ];
    // An entry of ours has six fields; of a foreign one as many are kept as a script can pass on.
    let original = letter
        .fields
        .iter()
        .take(FIELDS_MAX)
        .map(|(name, value)| ([b"e:", name.as_slice()].concat(), value.clone()));
    own.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value)).chain(original).collect()
}

impl Outlet for RedisOutlet {
    async fn open(&mut self) -> Result<Cursors, TransportError> {
        self.connection = None;
        let mut connection = self.connected().await?;
        if !self.judged {
            connection.fit().await?;
            self.judged = true;
        }
        self.alone(&mut connection).await?;
        self.stored(&mut connection).await
    }

    async fn publish(
        &mut self,
        expected: &Stamp,
        transaction: &Transaction,
    ) -> Result<Published, TransportError> {
        let mut connection = self.connected().await?;
        let keys = self.keys(0);
        let cursor = keys.cursor(&self.source);
        let mut guard = redis::pipe();
        guard.cmd("WATCH").arg(&cursor).ignore().cmd("HMGET").arg(&cursor).arg("seq").arg("writer");
        let ((seq, writer),): ((Option<u64>, Option<String>),) = connection.ask_all(&guard).await?;
        if seq.unwrap_or(0) != expected.seq || writer.unwrap_or_default() != expected.writer {
            connection.ask::<()>(&redis::cmd("UNWATCH")).await?;
            return Ok(Published::Conflict);
        }
        let (first, others): (Vec<&Outgoing>, Vec<&Outgoing>) =
            transaction.entries.iter().partition(|entry| entry.partition == 0);
        if !others.is_empty() {
            let mut pipeline = redis::pipe();
            for entry in others {
                self.add(&mut pipeline, entry);
            }
            connection.ask_all::<()>(&pipeline).await?;
        }
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for entry in first {
            self.add(&mut pipeline, entry);
        }
        for letter in &transaction.letters {
            bury(&mut pipeline, &keys.dead(), letter);
        }
        let totals = serde_json::to_string(&transaction.totals)
            .context("totals as text")
            .map_err(TransportError::Wrong)?;
        let set = pipeline.cmd("HSET").arg(&cursor);
        set.arg("seq").arg(transaction.stamp.seq).arg("writer").arg(&transaction.stamp.writer);
        set.arg("totals").arg(totals);
        for (name, value) in &transaction.changed {
            set.arg(format!("{FIELD}{name}")).arg(value);
        }
        for name in &transaction.forget {
            pipeline.cmd("HDEL").arg(&cursor).arg(format!("{FIELD}{name}")).ignore();
        }
        match connection.ask_all::<Value>(&pipeline).await? {
            Value::Nil => Ok(Published::Conflict),
            _ => Ok(Published::Done),
        }
    }

    async fn room(&mut self) -> Result<Option<String>, TransportError> {
        let mut connection = self.connected().await?;
        if let Some(reason) = self.counted_groups(&mut connection).await? {
            return Ok(Some(reason));
        }
        self.asked = self.asked.wrapping_add(1);
        if !self.full && self.asked % 8 != 1 {
            return Ok(None);
        }
        let reason = self.memory(&mut connection).await?;
        self.full = reason.is_some();
        Ok(reason)
    }
}
