//! One source's way onto a stream: a transaction guarded by its cursor.

use anyhow::{Context, anyhow};
use redis::{Pipeline, Value};

use super::{
    Connection, Server,
    groups::counts,
    keys::{Keys, StreamSettings},
    look::last_id,
    replay,
    room::{Backlog, claimed, dead_room, parted},
    trim::Trimmer,
};
use crate::{
    Cursors, Stamp, Totals,
    letter::Letter,
    transport::{Outgoing, Outlet, Published, Transaction, TransportError, end_of_replay},
    wire,
};

/// Publishes for one source.
#[derive(Debug)]
pub struct RedisOutlet {
    server: Server,
    settings: StreamSettings,
    source: String,
    /// The group that is given a past by this outlet.
    replayed_to: Option<String>,
    /// Its replay on each partition.
    replays: Vec<(Keys, String, replay::State)>,
    connection: Option<Connection>,
    judged: bool,
    asked: u32,
    /// Memory or dead letters held the source back when last asked.
    full: bool,
    trimmer: Trimmer,
}

/// Entries of a past that lie ready at most, a partition: some 64 MiB.
const REPLAY_ENTRIES_MAX: u64 = 1_000;
/// A prefix keeps a source's own names apart from ours.
const FIELD: &str = "f:";

impl RedisOutlet {
    /// For `source` on the stream of the settings.
    pub fn new(server: Server, settings: StreamSettings, source: &str) -> RedisOutlet {
        RedisOutlet {
            trimmer: Trimmer::new(&settings),
            server,
            settings,
            source: source.to_owned(),
            replayed_to: None,
            replays: Vec::new(),
            connection: None,
            judged: false,
            asked: 0,
            full: false,
        }
    }

    /// For the past that is replayed to `group`, on streams of its own that hold what `group` has not settled.
    pub fn replaying(server: Server, settings: StreamSettings, group: &str) -> RedisOutlet {
        let settings = StreamSettings {
            groups: vec![group.to_owned()],
            backlog_entries_max: settings.backlog_entries_max.min(REPLAY_ENTRIES_MAX),
            trim_interval_s: 0,
            ..settings
        };
        let replayed_to = Some(group.to_owned());
        RedisOutlet { replayed_to, ..RedisOutlet::new(server, settings, replay::SOURCE) }
    }

    fn keys(&self, partition: u16) -> Keys {
        let keys = Keys::new(&self.settings.prefix, self.settings.kind, partition);
        match &self.replayed_to {
            Some(group) => keys.replay(group),
            None => keys,
        }
    }

    async fn connected(&mut self) -> Result<Connection, TransportError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = self.server.connect().await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    /// A past is published only to a group that waits for it.
    async fn awaited(&mut self, connection: &mut Connection) -> Result<(), TransportError> {
        let Some(group) = self.replayed_to.clone() else { return Ok(()) };
        let begun = self.replays.first().map(|(_, _, state)| state.id.clone());
        self.replays.clear();
        for partition in 0..self.settings.partitions {
            let keys = Keys::new(&self.settings.prefix, self.settings.kind, partition);
            let Some(state) = replay::state(connection, &keys, &group).await? else {
                return Err(TransportError::Wrong(anyhow!(
                    "the replay to group {group:?} on {} is gone from the server: its reader has finished it, the \
                     server was emptied, or the group was retired; see `sqep status`, and begin again if need be",
                    keys.stream()
                )));
            };
            if begun.as_ref().is_some_and(|begun| *begun != state.id) {
                return Err(TransportError::Wrong(anyhow!(
                    "the replay to group {group:?} on {} was retired and another begun meanwhile: this one ends here",
                    keys.stream()
                )));
            }
            self.replays.push((keys, group.clone(), state));
        }
        Ok(())
    }

    /// Only one source a stream, unless shared.
    async fn alone(&self, connection: &mut Connection) -> Result<(), TransportError> {
        let key = self.keys(0).source();
        let owner = connection.first(&key, &self.source).await?;
        if owner == self.source || self.settings.share {
            return Ok(());
        }
        let (stream, source) = (self.keys(0).stream().to_owned(), &self.source);
        Err(TransportError::Wrong(anyhow!(
            "stream {stream} is fed by source {owner:?}; {source:?} would overwrite its rows. Use another \
             stream.prefix, or set stream.share = true if the last one shall win"
        )))
    }

    /// Says over how many partitions the stream is spread, where nobody has.
    async fn part(&self, connection: &mut Connection) -> Result<(), TransportError> {
        let (first, partitions) = (self.keys(0), self.settings.partitions);
        connection.first(&first.partitions(), &partitions.to_string()).await?;
        parted(connection, &first, partitions).await
    }

    fn add(&self, pipeline: &mut Pipeline, entry: &Outgoing) {
        let records = entry.records.to_string();
        let keys = self.keys(entry.partition);
        let command = pipeline.cmd("XADD").arg(keys.stream()).arg("*");
        let source = entry.source.as_deref().unwrap_or(&self.source);
        let fields = wire::envelope(entry.kind, source, entry.encoding, &records, &entry.payload);
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        command.ignore();
    }

    async fn counted_groups(&self, connection: &mut Connection) -> Result<Option<String>, TransportError> {
        for partition in 0..self.settings.partitions {
            let keys = self.keys(partition);
            let mut backlogs = claimed(connection, &keys, None).await?;
            // Only then asked for, since it needs the right to read bars: a user without it waits by the server's word.
            if backlogs.groups.iter().any(|group| group.unsettled > self.settings.backlog_entries_max)
                && let Ok(last) = last_id(connection, &keys).await
            {
                backlogs = claimed(connection, &keys, Some(last)).await?;
            }
            let named = &self.settings.groups;
            for name in named.iter().filter(|name| !backlogs.groups.iter().any(|group| group.name == **name))
            {
                if backlogs.length > self.settings.backlog_entries_max {
                    return Ok(Some(format!("group {name:?} of stream.groups has settled nothing yet")));
                }
            }
            let over = |group: &&Backlog| {
                counts(named, &group.name) && group.unsettled > self.settings.backlog_entries_max
            };
            // Most often none, and then nothing more is asked.
            let late: Vec<&Backlog> = backlogs.groups.iter().filter(over).collect();
            // Whoever is given the past is behind by design, and holds back nobody but the trimmer.
            let replayed =
                if late.is_empty() { Vec::new() } else { replay::groups(connection, &keys).await? };
            if let Some(group) = late.iter().find(|group| !replayed.contains(&group.name)) {
                let (stream, max) = (keys.stream(), self.settings.backlog_entries_max);
                return Ok(Some(format!(
                    "group {:?} has {} unsettled entries on {stream}, more than stream.backlog_entries_max = {max}: \
                     its reader is slower than this source, or does not run",
                    group.name, group.unsettled
                )));
            }
        }
        Ok(None)
    }

    async fn memory(&mut self, connection: &mut Connection) -> Result<Option<String>, TransportError> {
        let beside = Keys::new(&self.settings.prefix, self.settings.kind, 0);
        if self.replayed_to.is_some() {
            // Its group pins the stream: a server full of that is relieved by the past coming to its end. What lies ready
            // is bounded by itself.
            return dead_room(connection, &beside, self.settings.dead_bytes_max, 0).await;
        }
        let percent = self.settings.memory_percent_max;
        let mut health = connection.usage().await?;
        if health.over(percent) && self.trimmer.pressed(connection).await {
            health = connection.usage().await?;
        }
        if health.over(percent) {
            let (used, max) = (health.used_bytes >> 20, health.bytes_max >> 20);
            return Ok(Some(format!(
                "redis uses {used} MiB, over {percent} % of its maxmemory of {max} MiB"
            )));
        }
        dead_room(connection, &beside, self.settings.dead_bytes_max, 0).await
    }
}

/// What a source has published so far, as it is kept beside the first partition.
pub(super) async fn stored(
    connection: &mut Connection,
    first: &Keys,
    source: &str,
) -> Result<Cursors, TransportError> {
    let fields: Vec<(String, String)> =
        connection.ask(redis::cmd("HGETALL").arg(first.cursor(source))).await?;
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

/// Adds a letter to a pipeline.
fn bury(pipeline: &mut Pipeline, keys: &Keys, letter: &Letter) {
    let command = pipeline.cmd("XADD").arg(keys.dead()).arg("*");
    for (name, value) in letter.to_fields() {
        command.arg(name).arg(value);
    }
    command.ignore();
    for (reason, rows) in letter.counts() {
        pipeline.cmd("HINCRBY").arg(keys.dead_counts()).arg(reason.code()).arg(rows).ignore();
    }
}

impl Outlet for RedisOutlet {
    async fn open(&mut self) -> Result<Cursors, TransportError> {
        self.connection = None;
        let mut connection = self.connected().await?;
        if !self.judged {
            connection.fit().await?;
            self.judged = true;
        }
        // The cursor first: should a replay end from here on, it differs, and nothing goes where nobody reads.
        let cursors = stored(&mut connection, &self.keys(0), &self.source).await?;
        self.awaited(&mut connection).await?;
        self.alone(&mut connection).await?;
        self.part(&mut connection).await?;
        Ok(cursors)
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
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for entry in &transaction.entries {
            self.add(&mut pipeline, entry);
        }
        // What is replayed goes away; its letters stay beside the stream.
        let dead = Keys::new(&self.settings.prefix, self.settings.kind, 0);
        for letter in &transaction.letters {
            bury(&mut pipeline, &dead, letter);
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
        if transaction.changed.contains(&end_of_replay()) {
            for (keys, group, state) in &self.replays {
                pipeline.cmd("HSET").arg(keys.replays()).arg(group).arg(state.done()).ignore();
            }
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
        self.trimmer.now_and_then(&mut connection).await;
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
