//! One group's way off a partition, under a lease: nothing is handed out or settled without it.

use std::{mem, time::Duration};

use redis::{Script, Value};
use tokio::time::Instant;
use tracing::warn;

use super::{
    Connection, Server,
    keys::{Keys, StreamSettings},
    lease::{Lease, Terms, release, unique},
    look::{entries_read, last_id},
    replay, reply,
    room::{dead_room, parted},
};
use crate::{
    EntryId,
    transport::{Held, Inlet, Settlement, Standing, TransportError},
    wire::{self, Entry},
};

/// Entries asked for at once: some 2 MiB of full ones.
const ENTRIES_MAX: usize = 32;
/// A blocking read is no longer than this, so that a stop is heard and a dead peer noticed.
pub(super) const BLOCK_MAX: Duration = Duration::from_secs(2);

/// How long entries are read one by one after a reply that was too large.
const CAREFUL: Duration = Duration::from_secs(60);

/// KEYS: stream lease groups resume. ARGV: token group at-id entries-read. Groups are made anew, which forgets what was
/// pending; the operator's word on where to go on has been heard then.
const PLACE: &str = "
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[2]) end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[2], ARGV[3], 'MKSTREAM', 'ENTRIESREAD', ARGV[4])
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('DEL', KEYS[4])
return 1";

/// KEYS: stream. ARGV: floor. Makes an empty stream if there is none, since only a stream has a last id.
const RAISE: &str = "
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XGROUP', 'CREATE', KEYS[1], 'sqep:raise', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[1], 'sqep:raise')
end
return redis.call('XSETID', KEYS[1], ARGV[1])";

/// KEYS: stream lease groups dead dead-counts. ARGV: token group mark n drop ids… then letters, each a count of values and its
/// fields, then a count of values and its rows by reason. Letters first: a script that fails half-way is not undone, and
/// a letter twice is better than an entry without one. A full server takes it: settling is what lets it be trimmed.
const SETTLE: &str = "#!lua flags=allow-oom
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local last = 5 + tonumber(ARGV[4])
local at = last + 1
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  redis.call('XADD', KEYS[4], '*', unpack(ARGV, at + 1, at + n))
  at = at + n + 1
  n = tonumber(ARGV[at])
  for i = at + 1, at + n, 2 do redis.call('HINCRBY', KEYS[5], ARGV[i], ARGV[i + 1]) end
  at = at + n + 1
end
at = 6
while at <= last do
  local upto = math.min(at + 999, last)
  redis.call('XACK', KEYS[1], ARGV[2], unpack(ARGV, at, upto))
  if ARGV[5] == 'drop' then redis.call('XDEL', KEYS[1], unpack(ARGV, at, upto)) end
  at = upto + 1
end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
return 1";

/// KEYS: stream lease. ARGV: token group from bytes-max values-max. Slow: what is read passes through the script.
const READ_ONE: &str = "
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local found = redis.call('XREADGROUP', 'GROUP', ARGV[2], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], ARGV[3])
local entry = found and found[1][2][1]
if entry and entry[2] then
  local kept, room = {}, tonumber(ARGV[4])
  for at = 1, math.min(#entry[2], tonumber(ARGV[5])) do
    kept[at] = string.sub(entry[2][at], 1, math.max(room, 0))
    room = room - #kept[at]
  end
  entry[2] = kept
end
return found";

/// Reads for one group.
#[derive(Debug)]
pub struct RedisInlet {
    server: Server,
    settings: StreamSettings,
    keys: Keys,
    /// Where entries come from: the stream, or the past that is replayed to the group.
    lane: Keys,
    group: String,
    /// The token of the lease held last: a server that comes back may still know it.
    token: String,
    lease_time: Duration,
    patience: Option<Duration>,
    open: Option<Open>,
    judged: bool,
    /// Since when entries are read one by one: one of them was too large to be read beside others.
    careful: Option<Instant>,
}

/// A connection, the lease that goes with it, and the last id handed out.
#[derive(Debug)]
struct Open {
    connection: Connection,
    lease: Lease,
    seen: EntryId,
}

impl RedisInlet {
    /// For `group` on a partition of the stream of the settings. Another reader's lease is waited for as long as
    /// `patience`; `None`: for ever.
    pub fn new(
        server: Server,
        settings: StreamSettings,
        partition: u16,
        group: &str,
        lease_time: Duration,
        patience: Option<Duration>,
    ) -> RedisInlet {
        let keys = Keys::new(&settings.prefix, settings.kind, partition);
        RedisInlet {
            server,
            settings,
            lane: keys.clone(),
            keys,
            group: group.to_owned(),
            token: String::new(),
            lease_time,
            patience,
            open: None,
            judged: false,
            careful: None,
        }
    }

    fn opened(&mut self) -> Result<&mut Open, TransportError> {
        let closed = || TransportError::Gone(anyhow::anyhow!("the connection is closed"));
        self.open.as_mut().ok_or_else(closed)
    }

    /// `XREADGROUP` inside a transaction that watches the lease: a reader that was paused past its lease can neither
    /// take entries nor hide them in the group's pending list.
    async fn read(&mut self, from: &str) -> Result<Held<Vec<Entry>>, TransportError> {
        if self.careful.is_some_and(|since| since.elapsed() < CAREFUL) {
            return self.read_one(from).await;
        }
        let (stream, group) = (self.lane.stream().to_owned(), self.group.clone());
        let open = self.opened()?;
        loop {
            let mut guard = redis::pipe();
            guard.cmd("WATCH").arg(open.lease.key()).ignore().cmd("GET").arg(open.lease.key());
            let (token,): (Option<String>,) = open.connection.ask_all(&guard).await?;
            if token.as_deref() != Some(open.lease.token()) {
                return Ok(Held::Lost);
            }
            let mut read = redis::pipe();
            read.atomic().cmd("XREADGROUP").arg("GROUP").arg(&group).arg(&group);
            read.arg("COUNT").arg(ENTRIES_MAX).arg("STREAMS").arg(&stream).arg(from);
            match open.connection.ask_all::<Value>(&read).await? {
                // The lease was renewed in between: the same again.
                Value::Nil => {}
                Value::Array(mut replies) => {
                    return Ok(Held::Yes(replies.pop().map(reply::entries_of_streams).unwrap_or_default()));
                }
                _ => return Ok(Held::Yes(Vec::new())),
            }
        }
    }

    /// As [`RedisInlet::read`], one entry, and of that no more than shows that it is too large.
    async fn read_one(&mut self, from: &str) -> Result<Held<Vec<Entry>>, TransportError> {
        let (stream, group) = (self.lane.stream().to_owned(), self.group.clone());
        let open = self.opened()?;
        let script = Script::new(READ_ONE);
        let mut call = script.key(stream);
        call.key(open.lease.key()).arg(open.lease.token()).arg(group).arg(from);
        call.arg(wire::ENTRY_BYTES_MAX + 1).arg(2 * (wire::FIELDS_MAX + 1));
        match open.connection.run::<Value>(&call).await? {
            Value::Int(_) => Ok(Held::Lost),
            found => Ok(Held::Yes(reply::entries_of_streams(found))),
        }
    }

    /// Waits for an entry after the last one handed out, without taking it.
    async fn wait(&mut self, wait: Duration) -> Result<Option<EntryId>, TransportError> {
        let stream = self.lane.stream().to_owned();
        let open = self.opened()?;
        let millis = u64::try_from(wait.min(BLOCK_MAX).as_millis()).unwrap_or(0).max(1);
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(millis).arg("STREAMS").arg(stream);
        command.arg(open.seen.to_string());
        let came = reply::entries_of_streams(open.connection.ask::<Value>(&command).await?);
        Ok(came.last().map(|entry| entry.id))
    }

    async fn standing(&mut self) -> Result<Standing, TransportError> {
        let (keys, group) = (self.keys.clone(), self.group.clone());
        let open = self.opened()?;
        let born = open.connection.first(&keys.born(), &unique()).await?;
        let mut facts = redis::pipe();
        facts.cmd("GET").arg(keys.trimmed());
        facts.cmd("HGET").arg(keys.groups()).arg(&group).cmd("GET").arg(keys.resume(&group));
        let (trimmed, settled, resume): (Option<String>, Option<String>, Option<String>) =
            open.connection.ask_all(&facts).await?;
        let last = last_id(&mut open.connection, &keys).await?;
        let replay = replay::state(&mut open.connection, &keys, &group).await?;
        self.lane = if replay.is_some() { keys.replay(&group) } else { keys.clone() };
        let lane = self.lane.clone();
        let open = self.opened()?;
        let groups = open.connection.try_ask(redis::cmd("XINFO").arg("GROUPS").arg(lane.stream())).await?;
        let groups = match groups {
            Some(Value::Array(groups)) => groups,
            _ => Vec::new(),
        };
        let mine =
            groups.iter().find(|info| reply::member(info, "name").map(reply::text).as_ref() == Some(&group));
        let delivered = mine.and_then(|info| reply::member(info, "last-delivered-id")).map(reply::id);
        open.seen = delivered.unwrap_or_default();
        let parse = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let settled = delivered.map(|delivered| parse(settled).unwrap_or(delivered));
        let (trimmed, resume) = (parse(trimmed).unwrap_or_default(), parse(resume));
        // By the group of the past: what it settled is gone from there, what it was handed is remembered.
        let begun = delivered.is_some_and(|delivered| delivered > EntryId::ZERO);
        let replay = replay.map(|replay| replay.how_far(begun));
        Ok(Standing { born, settled, last, trimmed, resume, replay })
    }
}

fn kept(done: i64) -> Held<()> {
    if done == 1 { Held::Yes(()) } else { Held::Lost }
}

impl Inlet for RedisInlet {
    async fn open(&mut self) -> Result<Standing, TransportError> {
        let old = self.open.take();
        let mut connection = self.server.connect().await?;
        if !self.judged {
            connection.fit().await?;
            self.judged = true;
        }
        parted(
            &mut connection,
            &Keys::new(&self.settings.prefix, self.settings.kind, 0),
            self.settings.partitions,
        )
        .await?;
        if old.is_some_and(|old| old.connection.has_burst()) {
            warn!(
                "what lies on {} is too much to be read at once: reading one by one for {CAREFUL:?}",
                self.lane.stream()
            );
            self.careful = Some(Instant::now());
        }
        let key = self.keys.lease(&self.group);
        // Our own lease, kept over a reconnect, is taken over: let go of, it would pass to whoever stands by.
        let terms = Terms { time: self.lease_time, patience: self.patience, own: &self.token };
        let lease = Lease::take(&mut connection, &self.server, &key, &terms).await?;
        lease.token().clone_into(&mut self.token);
        self.open = Some(Open { connection, lease, seen: EntryId::ZERO });
        self.standing().await
    }

    async fn raise(&mut self, floor: EntryId) -> Result<(), TransportError> {
        let keys = self.keys.clone();
        let open = self.opened()?;
        if last_id(&mut open.connection, &keys).await? >= floor {
            return Ok(());
        }
        warn!("raising the ids of {} above {floor}: it is younger than what the sink holds", keys.stream());
        open.connection
            .run::<Value>(Script::new(RAISE).key(keys.stream()).arg(floor.to_string()))
            .await
            .map(drop)
    }

    async fn place(&mut self, at: EntryId) -> Result<Held<()>, TransportError> {
        let (keys, group) = (self.keys.clone(), self.group.clone());
        let open = self.opened()?;
        let read = entries_read(&mut open.connection, &keys, at).await?;
        let script = Script::new(PLACE);
        let mut call = script.key(keys.stream());
        call.key(open.lease.key()).key(keys.groups()).key(keys.resume(&group));
        call.arg(open.lease.token()).arg(&group).arg(at.to_string()).arg(read);
        let done: i64 = open.connection.run(&call).await?;
        open.seen = at;
        Ok(kept(done))
    }

    async fn pending(&mut self, after: EntryId) -> Result<Held<Vec<Entry>>, TransportError> {
        self.read(&after.to_string()).await
    }

    async fn next(&mut self, wait: Duration) -> Result<Held<Vec<Entry>>, TransportError> {
        let mut found = self.read(">").await?;
        if matches!(&found, Held::Yes(entries) if entries.is_empty()) && !wait.is_zero() {
            let came = self.wait(wait).await?;
            found = self.read(">").await?;
            if let (Some(came), Held::Yes(entries)) = (came, &found)
                && entries.is_empty()
            {
                // Somebody moved the group past it: waiting for it again would not be a wait.
                self.opened()?.seen = came;
            }
        }
        if let Held::Yes(entries) = &found
            && let Some(last) = entries.last()
        {
            self.opened()?.seen = last.id;
        }
        Ok(found)
    }

    async fn settle(&mut self, settlement: &Settlement) -> Result<Held<()>, TransportError> {
        let Some(mark) = settlement.ids.iter().max() else { return Ok(Held::Yes(())) };
        let (keys, lane, group) = (self.keys.clone(), self.lane.clone(), self.group.clone());
        let open = self.opened()?;
        let script = Script::new(SETTLE);
        let mut call = script.key(lane.stream());
        call.key(open.lease.key()).key(lane.groups()).key(keys.dead()).key(keys.dead_counts());
        call.arg(open.lease.token()).arg(&group).arg(mark.to_string()).arg(settlement.ids.len());
        // What was replayed has no other reader.
        call.arg(if lane == keys { "" } else { "drop" });
        for id in &settlement.ids {
            call.arg(id.to_string());
        }
        for letter in &settlement.letters {
            let (fields, counts) = (letter.to_fields(), letter.counts());
            call.arg(fields.len() * 2);
            for (name, value) in fields {
                call.arg(name).arg(value);
            }
            call.arg(counts.len() * 2);
            for (reason, rows) in counts {
                call.arg(reason.code()).arg(rows);
            }
        }
        Ok(kept(open.connection.run(&call).await?))
    }

    async fn burial_room(&mut self, bytes: usize) -> Result<Option<String>, TransportError> {
        let (keys, max) = (self.keys.clone(), self.settings.dead_bytes_max);
        dead_room(&mut self.opened()?.connection, &keys, max, bytes).await
    }

    async fn turn(&mut self) -> Result<Held<()>, TransportError> {
        let (keys, group) = (self.keys.clone(), self.group.clone());
        let open = self.opened()?;
        replay::end(&mut open.connection, &keys, &group, open.lease.key(), open.lease.token()).await.map(kept)
    }

    async fn close(&mut self) {
        // Also one that a connection which was cut off while it opened had taken.
        self.open = None;
        if self.token.is_empty() {
            return;
        }
        let (key, token) = (self.keys.lease(&self.group), mem::take(&mut self.token));
        // A connection of its own: the old one may still wait for an entry.
        let released = match self.server.connect().await {
            Ok(mut connection) => release(&mut connection, &key, &token).await,
            Err(error) => Err(error),
        };
        if let Err(error) = released {
            warn!("cannot give the lease back, it will pass: {error:#}");
        }
    }
}
