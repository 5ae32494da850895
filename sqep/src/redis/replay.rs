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
    room::parted,
};
use crate::{
    EntryId,
    transport::{self, TransportError},
};

/// KEYS: stream groups replays replay-stream trimmed. ARGV: group pin entries-read state floor raise.
/// Answers the state of a replay under way, `exists` for a group that reads without one, `trimmed` where what is after the
/// pin is not all there any more, or `begun`. The group is made first, at the pin: from here on it keeps on the stream what
/// its past is read from and what comes after it.
const BEGIN: &str = "
local state = redis.call('HGET', KEYS[3], ARGV[1])
if state then return state end
if before(ARGV[2], redis.call('GET', KEYS[5]) or '0-0') then return 'trimmed' end
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if info[2] == ARGV[1] then return 'exists' end
  end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM', 'ENTRIESREAD', ARGV[3])
if ARGV[6] == 'raise' then redis.call('XSETID', KEYS[1], ARGV[2]) end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[4])
redis.call('XGROUP', 'CREATE', KEYS[4], ARGV[1], '0', 'MKSTREAM')
redis.call('XSETID', KEYS[4], ARGV[5])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
return 'begun'";

/// KEYS: lease replays stream groups, then what is beside the replay. ARGV: token group after entries-read. The group goes
/// on with the stream where its past ends.
const END: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('XGROUP', 'SETID', KEYS[3], ARGV[2], ARGV[3], 'ENTRIESREAD', ARGV[4])
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
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

    pub(super) fn how_far(&self) -> transport::Replay {
        transport::Replay { after: self.after, done: self.done }
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
    let lane = keys.replay(group);
    let mut call = script.key(lease);
    call.key(keys.replays())
        .key(keys.stream())
        .key(keys.groups())
        .key(lane.stream())
        .key(lane.groups())
        .key(lane.cursor(SOURCE));
    call.key(lane.source()).key(lane.partitions()).key(lane.born()).key(lane.dead());
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

/// What came of the wish to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The group was made and waits for its past.
    New,
    /// A replay to this group is under way: it goes on.
    GoesOn(State),
    /// The group reads already, without a replay.
    Exists,
    /// The stream was trimmed meanwhile: what the past is read from is not all there.
    Trimmed,
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
            connection.ask::<Value>(redis::cmd("SET").arg(keys.born()).arg(unique()).arg("NX")).await?;
            let mut facts = redis::pipe();
            facts.cmd("GET").arg(keys.born()).cmd("GET").arg(keys.trimmed());
            let (born, trimmed): (String, Option<String>) = connection.ask_all(&facts).await?;
            let last = last_id(connection, keys).await?;
            let trimmed = trimmed.and_then(|text| text.parse().ok()).unwrap_or_default();
            all.push(Before { born, last, trimmed });
        }
        Ok(all)
    }

    /// Makes the group on every partition, to go on after `after[partition]` once the past is settled; until then it keeps
    /// what comes after `pins[partition]`. `newest` is an id that no row of the past is newer than.
    pub async fn begin(
        &mut self,
        after: &[EntryId],
        pins: &[EntryId],
        newest: EntryId,
        what: &str,
    ) -> Result<Begun, TransportError> {
        let (id, mut begun) = (unique(), Begun::New);
        for ((keys, &after), &pin) in self.keys.iter().zip(after).zip(pins) {
            let state = State { id: id.clone(), what: what.to_owned(), after, done: false };
            let text = state.text()?;
            let (read_so_far, group) = (entries_read(&mut self.connection, keys, pin).await?, &self.group);
            let last = last_id(&mut self.connection, keys).await?;
            let floor = newest.max(last);
            let script = Script::new(&format!("{PINS}{BEGIN}"));
            let mut call = script.key(keys.stream());
            call.key(keys.groups()).key(keys.replays()).key(keys.replay(group).stream());
            call.key(keys.trimmed())
                .arg(group)
                .arg(pin.to_string())
                .arg(read_so_far)
                .arg(text)
                .arg(floor.to_string());
            // The server lost entries that the archive has: their ids are not given out again.
            call.arg(if after > last { "raise" } else { "" });
            match self.connection.run::<String>(&call).await?.as_str() {
                "begun" => {}
                "exists" => return Ok(Begun::Exists),
                "trimmed" => return Ok(Begun::Trimmed),
                text => begun = Begun::GoesOn(read(text, keys, group)?),
            }
        }
        Ok(begun)
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
