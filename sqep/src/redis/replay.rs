//! Replays: the past that a group is given on a stream of its own before it reads the stream itself.
//!
//! Knows what a replay is to the server; must not know where the past comes from.

use redis::{Script, Value};
use serde::{Deserialize, Serialize};

use super::{
    Connection, Server,
    keys::{Keys, StreamSettings},
    lease::unique,
    look::{entries_read, last_id},
    pins::PINS,
    reply,
    room::parted,
};
use crate::{
    EntryId,
    transport::{self, TransportError},
};

/// KEYS: stream groups replays trimmed, then those of the replay: its stream, its cursor, and what is beside them. ARGV:
/// group pin entries-read state floor raise writer.
/// Answers the state of a replay under way, `exists` for a group that reads without one, `trimmed` where what is after the
/// pin is not all there any more, or `begun`. The group is made first, at the pin: from here on it keeps on the stream what
/// its past is read from and what comes after it. The cursor is signed by this replay: whoever gave an earlier one to a
/// group of this name is refused.
const BEGIN: &str = "
local state = redis.call('HGET', KEYS[3], ARGV[1])
if state then return state end
if before(ARGV[2], redis.call('GET', KEYS[4]) or '0-0') then return 'trimmed' end
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if info[2] == ARGV[1] then return 'exists' end
  end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM', 'ENTRIESREAD', ARGV[3])
if ARGV[6] == 'raise' then redis.call('XSETID', KEYS[1], ARGV[2]) end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for at = 5, #KEYS do redis.call('DEL', KEYS[at]) end
redis.call('XGROUP', 'CREATE', KEYS[5], ARGV[1], '0', 'MKSTREAM')
redis.call('XSETID', KEYS[5], ARGV[5])
redis.call('HSET', KEYS[6], 'seq', 0, 'writer', ARGV[7])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
return 'begun'";

/// KEYS: lease replays stream groups, then those of the replay. ARGV: token group after entries-read. The group goes on with
/// the stream where its past ends. It is moved first: should the server refuse that, the replay still stands.
const END: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('XGROUP', 'SETID', KEYS[3], ARGV[2], ARGV[3], 'ENTRIESREAD', ARGV[4])
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[2])
for at = 5, #KEYS do redis.call('DEL', KEYS[at]) end
return 1";

/// The source that publishes a replay, in its cursor.
pub const SOURCE: &str = "replay";

/// What the server keeps of a replay to one group on one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Tells this replay from another.
    pub id: String,
    /// Where the past comes from and which of it, in words.
    pub what: String,
    /// Where the group goes on with the stream itself.
    pub after: EntryId,
    /// Whether all of the past lies ready.
    pub done: bool,
}

impl State {
    fn text(&self) -> Result<String, TransportError> {
        serde_json::to_string(self).map_err(|error| TransportError::Wrong(error.into()))
    }

    /// The same once all of the past lies ready, as it is stored.
    pub(super) fn done(&self) -> String {
        State { done: true, ..self.clone() }.text().unwrap_or_default()
    }

    pub(super) fn how_far(&self, begun: bool) -> transport::Replay {
        transport::Replay { after: self.after, done: self.done, begun }
    }
}

/// The replay under way to a group on a partition.
pub(super) async fn state(
    connection: &mut Connection,
    keys: &Keys,
    group: &str,
) -> Result<Option<State>, TransportError> {
    let text: Option<String> = connection.ask(redis::cmd("HGET").arg(keys.replays()).arg(group)).await?;
    text.map(|text| read(&text, keys, group)).transpose()
}

/// The groups of a partition that are being given the past.
pub(super) async fn groups(connection: &mut Connection, keys: &Keys) -> Result<Vec<String>, TransportError> {
    connection.ask(redis::cmd("HKEYS").arg(keys.replays())).await
}

/// Whether a group is on the stream of a partition.
async fn reads_group(connection: &mut Connection, keys: &Keys, group: &str) -> Result<bool, TransportError> {
    let groups = connection.try_ask(redis::cmd("XINFO").arg("GROUPS").arg(keys.stream())).await?;
    let Some(Value::Array(groups)) = groups else { return Ok(false) };
    let named = |info: &Value| reply::member(info, "name").map(reply::text).as_deref() == Some(group);
    Ok(groups.iter().any(named))
}

fn read(text: &str, keys: &Keys, group: &str) -> Result<State, TransportError> {
    let field = || format!("{} holds no replay under {group:?}", keys.replays());
    serde_json::from_str(text).map_err(|error| TransportError::Wrong(anyhow::anyhow!(error).context(field())))
}

/// Removes a replay that was read to its end, if the lease is still ours.
pub(super) async fn end(
    connection: &mut Connection,
    keys: &Keys,
    group: &str,
    lease: &str,
    token: &str,
) -> Result<i64, TransportError> {
    let Some(state) = state(connection, keys, group).await? else { return Ok(0) };
    let (after, read_so_far) = (state.after, entries_read(connection, keys, state.after).await?);
    let script = Script::new(END);
    let mut call = script.key(lease);
    call.key(keys.replays()).key(keys.stream()).key(keys.groups());
    call.key(keys.of_replay(group, SOURCE).as_slice());
    connection.run(call.arg(token).arg(group).arg(after.to_string()).arg(read_so_far)).await
}

/// How a stream stands before a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// Tells this stream from another of the same name.
    pub born: String,
    /// The last id it gave out.
    pub last: EntryId,
    /// Up to where it was trimmed.
    pub trimmed: EntryId,
}

/// How a group stands to its past, over all partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// It is nowhere.
    New,
    /// It waits for its past, or for a part of it.
    Waits(State),
    /// All of its past lies ready, or was read.
    Given(State),
    /// It reads the stream, without a replay.
    Reads,
    /// It reads these partitions and is not on the others.
    Torn(Vec<u16>),
}

/// What came of the wish to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The group waits for its past, on every partition.
    Waits,
    /// Another replay to this group is under way.
    Other(State),
    /// The group reads already, without a replay.
    Exists,
    /// The stream was trimmed meanwhile: what the past is read from is not all there.
    Trimmed,
}

/// What a group is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// By partition: where the group goes on with the stream once its past is settled.
    pub after: Vec<EntryId>,
    /// By partition: what comes after this stays on the stream until then.
    pub pins: Vec<EntryId>,
    /// No row of the past is newer.
    pub newest: EntryId,
    /// Where the past comes from and which of it, in words.
    pub what: String,
}

/// Begins and ends the giving of a past to one group, on all partitions of a stream.
#[derive(Debug)]
pub struct Replayer {
    connection: Connection,
    keys: Vec<Keys>,
    group: String,
}

impl Replayer {
    /// Connects.
    pub async fn connect(
        server: &Server,
        settings: &StreamSettings,
        group: &str,
    ) -> Result<Replayer, TransportError> {
        let mut connection = server.connect().await?;
        let keys = |partition| Keys::new(&settings.prefix, settings.kind, partition);
        parted(&mut connection, &keys(0), settings.partitions.max(1)).await?;
        let keys = (0..settings.partitions.max(1)).map(keys).collect();
        Ok(Replayer { connection, keys, group: group.to_owned() })
    }

    /// How each partition stands.
    pub async fn before(&mut self) -> Result<Vec<Before>, TransportError> {
        let mut all = Vec::new();
        for keys in &self.keys {
            let connection = &mut self.connection;
            let born = connection.first(&keys.born(), &unique()).await?;
            let trimmed: Option<String> = connection.ask(redis::cmd("GET").arg(keys.trimmed())).await?;
            let last = last_id(connection, keys).await?;
            let trimmed = trimmed.and_then(|text| text.parse().ok()).unwrap_or_default();
            all.push(Before { born, last, trimmed });
        }
        Ok(all)
    }

    /// How the group stands now.
    pub async fn stands(&mut self) -> Result<Stands, TransportError> {
        let (mut states, mut reads) = (Vec::new(), Vec::new());
        for (partition, keys) in (0..).zip(&self.keys) {
            if let Some(state) = state(&mut self.connection, keys, &self.group).await? {
                states.push(state);
            } else if reads_group(&mut self.connection, keys, &self.group).await? {
                reads.push(partition);
            }
        }
        Ok(match (states.iter().find(|state| !state.done), states.first()) {
            (Some(waits), _) => Stands::Waits(waits.clone()),
            (None, Some(given)) => Stands::Given(given.clone()),
            (None, None) if reads.is_empty() => Stands::New,
            (None, None) if reads.len() == self.keys.len() => Stands::Reads,
            (None, None) => Stands::Torn(reads),
        })
    }

    /// Makes the group on every partition where it does not wait yet, as a part of the replay that was begun first.
    pub async fn begin(&mut self, wish: &Wish) -> Result<Begun, TransportError> {
        let mut id = unique();
        for at in 0..self.keys.len() {
            match self.begin_on(at, wish, &id).await?.as_str() {
                "begun" => {}
                "exists" => return Ok(Begun::Exists),
                "trimmed" => return Ok(Begun::Trimmed),
                text => {
                    let state = read(text, &self.keys[at], &self.group)?;
                    if state.what != wish.what {
                        return Ok(Begun::Other(state));
                    }
                    id = state.id;
                }
            }
        }
        Ok(Begun::Waits)
    }

    async fn begin_on(&mut self, at: usize, wish: &Wish, id: &str) -> Result<String, TransportError> {
        let (keys, group) = (&self.keys[at], &self.group);
        let (after, pin) = (wish.after[at], wish.pins[at]);
        let state = State { id: id.to_owned(), what: wish.what.clone(), after, done: false }.text()?;
        let read_so_far = entries_read(&mut self.connection, keys, pin).await?;
        let last = last_id(&mut self.connection, keys).await?;
        let script = Script::new(&format!("{PINS}{BEGIN}"));
        let mut call = script.key(keys.stream());
        call.key(keys.groups()).key(keys.replays()).key(keys.trimmed());
        call.key(keys.of_replay(group, SOURCE).as_slice());
        call.arg(group).arg(pin.to_string()).arg(read_so_far).arg(state);
        call.arg(wish.newest.max(last).to_string());
        // The server lost entries that the archive has: their ids are not given out again.
        call.arg(if after > last { "raise" } else { "" }).arg(format!("replay/{id}"));
        self.connection.run(&call).await
    }

    /// By partition: where the group goes on with the stream; zero where it does already.
    pub async fn after(&mut self) -> Result<Vec<EntryId>, TransportError> {
        let mut after = Vec::new();
        for keys in &self.keys {
            let state = state(&mut self.connection, keys, &self.group).await?;
            after.push(state.map_or(EntryId::ZERO, |state| state.after));
        }
        Ok(after)
    }

    /// Entries of the past that the group has not settled yet.
    pub async fn unsettled(&mut self) -> Result<u64, TransportError> {
        let mut unsettled = 0;
        for keys in &self.keys {
            let lane = keys.replay(&self.group);
            unsettled += self.connection.ask::<u64>(redis::cmd("XLEN").arg(lane.stream())).await?;
        }
        Ok(unsettled)
    }
}
