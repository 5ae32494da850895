//! Groups as an operator sees and steers them: what each still needs of its stream, where it goes on, when it is done.
//!
//! Knows what Redis holds of a group; must not know its sink. A sink keeps its mark with its own data, so what is said here
//! about where to go on is left beside the stream as a word, which the group's reader obeys at its next start.

use redis::{Script, Value};
use serde::Serialize;

use super::{Connection, keys::Keys, pins::PINS, replay, reply, room::backlogs};
use crate::{EntryId, marks::Start, transport::TransportError};

/// KEYS: stream groups.
const SURVEY: &str = "
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
return pins(KEYS[1], KEYS[2])";

/// KEYS: stream groups lease resume born trimmed replays. ARGV: group at force new dry.
const RESUME: &str = "
local exists = redis.call('EXISTS', KEYS[1]) == 1
if not exists and redis.call('EXISTS', KEYS[5]) == 0 then return {'absent'} end
local holder = redis.call('GET', KEYS[3])
if holder and ARGV[3] == '0' then return {'held', holder} end
if redis.call('HEXISTS', KEYS[7], ARGV[1]) == 1 then return {'replay'} end
local known = redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1
local last = '0-0'
if exists then
  for _, pin in ipairs(pins(KEYS[1], KEYS[2])) do known = known or pin[1] == ARGV[1] end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = info[i + 1] end end
end
if not known and ARGV[4] == '0' then return {'unknown'} end
local trimmed, at = redis.call('GET', KEYS[6]) or '0-0', ARGV[2]
if at == 'earliest' then at = trimmed end
if at == 'latest' then at = last end
if before(at, trimmed) then return {'trimmed', trimmed} end
if before(last, at) then return {'beyond', last} end
if ARGV[5] == '0' then
  if exists then redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], at, 'MKSTREAM')
  redis.call('HSET', KEYS[2], ARGV[1], at)
  redis.call('SET', KEYS[4], at)
  redis.call('DEL', KEYS[3])
end
return {'done', at, last}";

/// KEYS: stream groups replays lease resume, then what is beside a replay. ARGV: group force dry.
const RETIRE: &str = "
local holder = redis.call('GET', KEYS[4])
if holder and ARGV[2] == '0' then return {'held', holder} end
local exists = redis.call('EXISTS', KEYS[1]) == 1
local pin = false
if exists then
  for _, each in ipairs(pins(KEYS[1], KEYS[2])) do if each[1] == ARGV[1] then pin = each end end
end
local known = pin or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 or redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1
if not known then return {'unknown'} end
if ARGV[3] == '0' then
  if pin then redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
  for at = 4, #KEYS do redis.call('DEL', KEYS[at]) end
end
return {'done', pin or {}}";

/// What a group still needs of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pin {
    /// Name.
    pub group: String,
    /// The first id it needs; what lies before is settled by it.
    pub from: EntryId,
    /// Up to where it has settled.
    pub settled: Option<EntryId>,
    /// Up to where entries were handed out.
    pub delivered: EntryId,
    /// The oldest entry handed out and not settled.
    pub lowest_pending: Option<EntryId>,
    /// Entries handed out and not settled.
    pub pending: u64,
}

impl Pin {
    pub(super) fn of(value: &Value) -> Pin {
        let part = |at: usize| match value {
            Value::Array(parts) => parts.get(at),
            _ => None,
        };
        let id = |at: usize| part(at).and_then(|value| reply::text(value).parse().ok());
        Pin {
            group: part(0).map(reply::text).unwrap_or_default(),
            from: id(1).unwrap_or_default(),
            settled: id(2),
            delivered: id(3).unwrap_or_default(),
            lowest_pending: id(4),
            pending: reply::number(part(5)).unwrap_or(0),
        }
    }

    pub(super) fn all(value: &Value) -> Vec<Pin> {
        match value {
            Value::Array(pins) => pins.iter().map(Pin::of).collect(),
            _ => Vec::new(),
        }
    }
}

/// Whether a group holds back producers and trimming: those of `stream.groups`, or every one if none is named.
pub(super) fn counts(named: &[String], group: &str) -> bool {
    named.is_empty() || named.iter().any(|name| name == group)
}

/// A group and what it costs.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Stream.
    pub stream: String,
    /// Whether it holds back producers and trimming.
    pub counts: bool,
    /// Whether it is there. A group of `stream.groups` that is not has settled nothing.
    pub exists: bool,
    /// What it needs.
    #[serde(flatten)]
    pub pin: Pin,
    /// Entries never handed out.
    pub lag: u64,
    /// Entries that stay because of it.
    pub pins_entries: u64,
    /// The memory they take, by the average of the stream.
    pub pins_bytes: u64,
    /// Who reads.
    pub holder: Option<String>,
    /// Milliseconds the lease is still good for.
    pub lease_ms: Option<u64>,
    /// Where the operator lets it go on, if its reader has not heard it yet.
    pub resumes: Option<EntryId>,
    /// The past it is being given before it reads the stream.
    pub replay: Option<replay::State>,
}

/// All groups of a stream, and those of `named` that are missing.
pub async fn list(
    connection: &mut Connection,
    keys: &Keys,
    named: &[String],
) -> Result<Vec<Group>, TransportError> {
    let source = [PINS, SURVEY].concat();
    let survey: Value = connection.run(Script::new(&source).key(keys.stream()).key(keys.groups())).await?;
    let backlogs = backlogs(connection, keys).await?;
    let bytes = memory(connection, keys.stream()).await?;
    let mut groups = Vec::new();
    for pin in Pin::all(&survey) {
        let unsettled =
            backlogs.groups.iter().find(|backlog| backlog.name == pin.group).map_or(0, |b| b.unsettled);
        let mut facts = redis::pipe();
        facts.cmd("GET").arg(keys.lease(&pin.group)).cmd("PTTL").arg(keys.lease(&pin.group));
        facts.cmd("GET").arg(keys.resume(&pin.group));
        let (holder, ttl, resumes): (Option<String>, i64, Option<String>) =
            connection.ask_all(&facts).await?;
        let replay = replay::state(connection, keys, &pin.group).await?;
        let pinned = unsettled.min(backlogs.length);
        groups.push(Group {
            stream: keys.stream().to_owned(),
            counts: counts(named, &pin.group),
            exists: true,
            lag: unsettled.saturating_sub(pin.pending),
            pins_entries: pinned,
            pins_bytes: share(bytes, pinned, backlogs.length),
            pin,
            holder,
            lease_ms: u64::try_from(ttl).ok(),
            resumes: resumes.and_then(|text| text.parse().ok()),
            replay,
        });
    }
    let absent = |name: &&String| !groups.iter().any(|group| group.pin.group == **name);
    let absent: Vec<Group> =
        named.iter().filter(absent).map(|name| missing(keys, name, backlogs.length, bytes)).collect();
    groups.extend(absent);
    Ok(groups)
}

/// A group that counts and is not there: everything on the stream waits for it.
fn missing(keys: &Keys, name: &str, entries: u64, bytes: u64) -> Group {
    let pin = Pin {
        group: name.to_owned(),
        from: EntryId::ZERO,
        settled: None,
        delivered: EntryId::ZERO,
        lowest_pending: None,
        pending: 0,
    };
    Group {
        stream: keys.stream().to_owned(),
        counts: true,
        exists: false,
        pin,
        lag: entries,
        pins_entries: entries,
        pins_bytes: bytes,
        holder: None,
        lease_ms: None,
        resumes: None,
        replay: None,
    }
}

/// Bytes of the server's memory that a key takes.
pub(super) async fn memory(connection: &mut Connection, key: &str) -> Result<u64, TransportError> {
    let mut usage = redis::cmd("MEMORY");
    let bytes: Option<u64> = connection.ask(usage.arg("USAGE").arg(key).arg("SAMPLES").arg(64)).await?;
    Ok(bytes.unwrap_or(0))
}

/// What `part` of `whole` entries take of the bytes of all.
pub(super) fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    let all = u128::from(bytes) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// What became of a word to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steered<T> {
    /// It was done, or would have been in a dry run.
    Done(T),
    /// A reader is at work: this is its lease.
    Held(String),
    /// No such group.
    Unknown,
    /// No such stream.
    Absent,
    /// The group is being given its past.
    Replay,
    /// That place is not on the stream any more: it begins after this id.
    Trimmed(EntryId),
    /// That place is not on the stream yet: it ends with this id.
    Beyond(EntryId),
}

/// Where a group goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// After this entry.
    pub at: EntryId,
    /// The last one of the stream.
    pub last: EntryId,
}

/// How a word to a group is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct How {
    /// Takes the lease from a reader that is at work.
    pub force: bool,
    /// Makes the group where there is none.
    pub new: bool,
    /// Says what would be done, and does nothing.
    pub dry: bool,
}

fn flag(set: bool) -> u8 {
    u8::from(set)
}

/// Makes `group` anew after `at`, and leaves its reader the word to go on there whatever the mark of its sink says.
/// [`Start::Earliest`] loses nothing that is still there: what comes twice is once by key.
pub async fn resume(
    connection: &mut Connection,
    keys: &Keys,
    group: &str,
    at: Start,
    how: How,
) -> Result<Steered<Resumed>, TransportError> {
    let source = [PINS, RESUME].concat();
    let script = Script::new(&source);
    let mut call = script.key(keys.stream());
    call.key(keys.groups()).key(keys.lease(group)).key(keys.resume(group)).key(keys.born());
    call.key(keys.trimmed()).key(keys.replays()).arg(group).arg(at.to_string());
    call.arg(flag(how.force)).arg(flag(how.new)).arg(flag(how.dry));
    let reply: Vec<Value> = connection.run(&call).await?;
    let id = |at: usize| reply.get(at).map(reply::id).unwrap_or_default();
    Ok(steered(&reply, || Resumed { at: id(1), last: id(2) }))
}

/// Ends `group` for good: nothing waits for it any more. Returns what it still needed.
pub async fn retire(
    connection: &mut Connection,
    keys: &Keys,
    group: &str,
    how: How,
) -> Result<Steered<Option<Pin>>, TransportError> {
    let source = [PINS, RETIRE].concat();
    let script = Script::new(&source);
    let mut call = script.key(keys.stream());
    call.key(keys.groups()).key(keys.replays()).key(keys.lease(group)).key(keys.resume(group));
    call.key(keys.of_replay(group, replay::SOURCE).as_slice());
    call.arg(group).arg(flag(how.force)).arg(flag(how.dry));
    let reply: Vec<Value> = connection.run(&call).await?;
    let pin = match reply.get(1) {
        Some(pin @ Value::Array(parts)) if !parts.is_empty() => Some(Pin::of(pin)),
        _ => None,
    };
    Ok(steered(&reply, || pin))
}

fn steered<T>(reply: &[Value], done: impl FnOnce() -> T) -> Steered<T> {
    let what = reply.first().map(reply::text).unwrap_or_default();
    let second = reply.get(1);
    match what.as_str() {
        "done" => Steered::Done(done()),
        "held" => Steered::Held(second.map(reply::text).unwrap_or_default()),
        "trimmed" => Steered::Trimmed(second.map(reply::id).unwrap_or_default()),
        "beyond" => Steered::Beyond(second.map(reply::id).unwrap_or_default()),
        "absent" => Steered::Absent,
        "replay" => Steered::Replay,
        _ => Steered::Unknown,
    }
}
