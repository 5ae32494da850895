//! Trimming that cannot lose: what nobody has to wait for goes, by id and never by length, and the id up to which it went
//! is kept for readers that come back.
//!
//! Knows who counts and how old entries are; must not know a sink nor when it is called.

use std::time::Duration;

use redis::{Script, Value};
use serde::Serialize;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    Connection, DENIED,
    groups::{Pin, counts, memory, share},
    keys::{Keys, StreamSettings},
    look::{Look, count, look},
    pins::PINS,
    reply,
};
use crate::{EntryId, transport::TransportError};

/// KEYS: stream groups trimmed grown. ARGV: dry, milliseconds to keep at least, milliseconds to keep at most (0: without
/// end), then the groups that count (none: those that exist). What holds back is judged and the stream trimmed in one
/// step, so that no group can come or fall back in between.
const TRIM: &str = "
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function ago(ms) return string.format('%.0f-0', math.max(now - ms, 0)) end
local keep, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local limit, floor = ago(keep), '0-0'
if most > 0 then floor = ago(math.max(most, keep)) end
local named, all = {}, #ARGV == 3
for i = 4, #ARGV do named[ARGV[i]] = true end
local found = pins(KEYS[1], KEYS[2])
for _, pin in ipairs(found) do
  local from = pin[2]
  if not (all or named[pin[1]]) and before(from, floor) then from = floor end
  if before(from, limit) then limit = from end
  named[pin[1]] = nil
end
if next(named) then limit = '0-0' end
if all and #found == 0 and before(floor, limit) then limit = floor end
local upto, count = '', 0
if limit ~= '0-0' then
  local last = redis.call('XREVRANGE', KEYS[1], '(' .. limit, '-', 'COUNT', 1)
  if last[1] then upto = last[1][1] end
end
if ARGV[1] == '0' then
  local bytes = redis.call('MEMORY', 'USAGE', KEYS[1]) or 0
  local each = math.floor(bytes / math.max(redis.call('XLEN', KEYS[1]), 1))
  if upto ~= '' then
    count = redis.call('XTRIM', KEYS[1], 'MINID', '=', limit)
    local trimmed = redis.call('GET', KEYS[3])
    if not trimmed or before(trimmed, upto) then redis.call('SET', KEYS[3], upto) end
  end
  local hour, info = math.floor(now / 3600000), redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then
      local seen = string.format('%.0f %.0f %.0f', now, info[i + 1], each)
      redis.call('HSETNX', KEYS[4], string.format('%.0f', hour), seen)
    end
  end
  for _, seen in ipairs(redis.call('HKEYS', KEYS[4])) do
    if tonumber(seen) < hour - 24 then redis.call('HDEL', KEYS[4], seen) end
  end
end
return {limit, upto, count, found}";

/// What became of one stream.
#[derive(Debug, Clone, Serialize)]
pub struct Trim {
    /// Stream.
    pub stream: String,
    /// Nothing was done, only said.
    pub dry: bool,
    /// Whether memory was so short that `keep_hours_min` did not hold.
    pub pressed: bool,
    /// What lies before this id may go.
    pub limit: EntryId,
    /// The last entry that went, or would.
    pub upto: Option<EntryId>,
    /// Entries that went; of a dry run see [`entries_upto`].
    pub entries: u64,
    /// What every group needs, and whether it counts.
    pub pins: Vec<Held>,
    /// Groups of `stream.groups` that are not there: they have settled nothing, so nothing may go.
    pub missing: Vec<String>,
}

/// A group that holds entries back.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// Whether it counts.
    pub counts: bool,
    /// What it needs.
    #[serde(flatten)]
    pub pin: Pin,
    /// Whether entries it still needed went, because it does not count and `keep_hours_max` has passed.
    pub lost: bool,
}

impl Trim {
    /// What was thrown away although somebody may have wanted it, in words.
    pub fn losses(&self) -> Vec<String> {
        let Some(upto) = self.upto else { return Vec::new() };
        let stream = &self.stream;
        if self.pins.is_empty() {
            return vec![format!(
                "{stream} was read by nobody for stream.keep_hours_max: what lay up to {upto} is gone unread"
            )];
        }
        let lost = |held: &Held| {
            format!(
                "group {:?} on {stream} does not count and is behind by more than stream.keep_hours_max: what it needed \
                 from {} up to {upto} is gone. Name it in stream.groups, start its reader, or retire it",
                held.pin.group, held.pin.from
            )
        };
        self.pins.iter().filter(|held| held.lost).map(lost).collect()
    }
}

/// Trims one partition, or with `dry` says what would go. `None`: no such stream. `pressed`: memory is short, so that
/// `keep_hours_min` does not hold; what a counted group needs stays all the same.
pub async fn trim(
    connection: &mut Connection,
    keys: &Keys,
    settings: &StreamSettings,
    pressed: bool,
    dry: bool,
) -> Result<Option<Trim>, TransportError> {
    const HOUR_MS: u64 = 3_600_000;
    let keep = if pressed { 0 } else { settings.keep_hours_min.saturating_mul(HOUR_MS) };
    let source = [PINS, TRIM].concat();
    let script = Script::new(&source);
    let mut call = script.key(keys.stream());
    call.key(keys.groups()).key(keys.trimmed()).key(keys.grown());
    call.arg(u8::from(dry)).arg(keep).arg(settings.keep_hours_max.saturating_mul(HOUR_MS));
    for group in &settings.groups {
        call.arg(group);
    }
    let Some(reply): Option<Vec<Value>> = connection.run(&call).await? else { return Ok(None) };
    let upto: Option<EntryId> = reply.get(1).and_then(|value| reply::text(value).parse().ok());
    let held = |pin: Pin| {
        let lost = upto.is_some_and(|upto| pin.from <= upto);
        Held { counts: counts(&settings.groups, &pin.group), pin, lost }
    };
    let pins: Vec<Held> = reply.get(3).map(Pin::all).unwrap_or_default().into_iter().map(held).collect();
    let absent = |name: &&String| !pins.iter().any(|held| held.pin.group == **name);
    Ok(Some(Trim {
        stream: keys.stream().to_owned(),
        dry,
        pressed,
        limit: reply.first().map(reply::id).unwrap_or_default(),
        upto,
        entries: reply::number(reply.get(2)).unwrap_or(0),
        missing: settings.groups.iter().filter(absent).cloned().collect(),
        pins,
    }))
}

/// Whether the server's memory is so full that publishers wait.
pub async fn pressed(connection: &mut Connection, settings: &StreamSettings) -> Result<bool, TransportError> {
    Ok(connection.usage().await?.over(settings.memory_percent_max))
}

/// Trims all partitions beside a publisher. Its failures are said and hold nobody back.
#[derive(Debug)]
pub(super) struct Trimmer {
    settings: StreamSettings,
    last: Instant,
    /// A failure has been said; said again only after a success.
    said: bool,
    /// The server's user may not trim.
    denied: bool,
}

impl Trimmer {
    /// Short memory is looked after no more often than this.
    const PRESSED_PAUSE: Duration = Duration::from_secs(5);

    pub(super) fn new(settings: &StreamSettings) -> Trimmer {
        Trimmer { settings: settings.clone(), last: Instant::now(), said: false, denied: false }
    }

    fn may(&self, pause: Duration) -> bool {
        !self.denied && self.settings.trim_interval_s > 0 && self.last.elapsed() >= pause
    }

    /// Trims if the interval has passed.
    pub(super) async fn now_and_then(&mut self, connection: &mut Connection) {
        if self.may(Duration::from_secs(self.settings.trim_interval_s)) {
            self.run(connection, false).await;
        }
    }

    /// Trims because memory is short; `false`: it was tried a moment ago, or it may not.
    pub(super) async fn pressed(&mut self, connection: &mut Connection) -> bool {
        let may = self.may(Trimmer::PRESSED_PAUSE.min(Duration::from_secs(self.settings.trim_interval_s)));
        if may {
            self.run(connection, true).await;
        }
        may
    }

    async fn run(&mut self, connection: &mut Connection, pressed: bool) {
        self.last = Instant::now();
        for partition in 0..self.settings.partitions.max(1) {
            let keys = Keys::new(&self.settings.prefix, self.settings.kind, partition);
            match trim(connection, &keys, &self.settings, pressed, false).await {
                Ok(done) => self.told(done.as_ref()),
                Err(error) => return self.failed(&error),
            }
        }
    }

    fn told(&mut self, done: Option<&Trim>) {
        self.said = false;
        let Some(done) = done else { return };
        for loss in done.losses() {
            warn!("{loss}");
        }
        if let (Some(upto), entries) = (done.upto, done.entries) {
            debug!(stream = done.stream, %upto, entries, "trimmed");
        }
    }

    fn failed(&mut self, error: &TransportError) {
        let text = format!("{error:#}");
        self.denied = text.contains(DENIED);
        if self.denied {
            info!("this user of redis may not trim: leaving it to `sqep trim`");
        } else if !self.said {
            warn!("cannot trim, and goes on without: {text}");
        }
        self.said = true;
    }
}

/// Entries a dry run counts at most: it has to read them.
pub const COUNTED_MAX: u64 = 10_000;

/// How many entries lie up to `upto`, counted up to [`COUNTED_MAX`].
pub async fn entries_upto(
    connection: &mut Connection,
    keys: &Keys,
    upto: EntryId,
) -> Result<u64, TransportError> {
    count(connection, keys, EntryId::ZERO, upto, COUNTED_MAX).await
}

/// When the server's memory is full, if streams go on growing as they did in the last day and nothing were trimmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Bytes in use.
    pub used_bytes: u64,
    /// `maxmemory`; 0: no limit, so that the machine's memory is the limit.
    pub bytes_max: u64,
    /// Bytes that came in a day.
    pub day_bytes: u64,
    /// Milliseconds this rests on.
    pub seen_ms: u64,
    /// Milliseconds until memory is full; `None`: no limit, or nothing comes.
    pub full_in_ms: Option<u64>,
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Looks at `streams`, which should be all of the server's, and adds up how they grow.
pub async fn forecast(connection: &mut Connection, streams: &[Keys]) -> Result<Forecast, TransportError> {
    let health = connection.usage().await?;
    let time: (u64, u64) = connection.ask(&redis::cmd("TIME")).await?;
    let now = time.0 * 1_000 + time.1 / 1_000;
    let mut forecast =
        Forecast { used_bytes: health.used_bytes, bytes_max: health.bytes_max, ..Forecast::default() };
    for keys in streams {
        let Some((since, bytes)) = growth(connection, keys, now).await? else { continue };
        let seen = now.saturating_sub(since).max(HOUR_MS);
        forecast.day_bytes += share(bytes, DAY_MS, seen);
        forecast.seen_ms = forecast.seen_ms.max(seen);
    }
    if health.bytes_max > 0 && forecast.day_bytes > 0 {
        let free = health.bytes_max.saturating_sub(health.used_bytes);
        forecast.full_in_ms = Some(share(DAY_MS, free, forecast.day_bytes));
    }
    Ok(forecast)
}

/// Since when how many bytes came: within the last day, if trimming has noted it.
async fn growth(
    connection: &mut Connection,
    keys: &Keys,
    now: u64,
) -> Result<Option<(u64, u64)>, TransportError> {
    let Some(Look { first, added, length, .. }) = look(connection, keys).await? else { return Ok(None) };
    let noted: Vec<(String, String)> = connection.ask(redis::cmd("HGETALL").arg(keys.grown())).await?;
    let noted: Vec<Point> = noted.iter().filter_map(|(_, text)| Point::read(text)).collect();
    let bytes = memory(connection, keys.stream()).await?;
    let held = (length > 0).then(|| Point {
        ms: first.ms,
        added: added.saturating_sub(length),
        entry_bytes: share(bytes, 1, length),
    });
    let points = || noted.iter().copied().chain(held);
    let within = |point: &Point| now.saturating_sub(point.ms) <= DAY_MS;
    let Some(since) = points().filter(within).min().or(points().max()) else { return Ok(None) };
    // A stream that is empty at the moment had entries of some size.
    let entry_bytes =
        held.map_or_else(|| noted.iter().map(|point| point.entry_bytes).max(), |held| Some(held.entry_bytes));
    let came = added.saturating_sub(since.added);
    Ok(Some((since.ms, came.saturating_mul(entry_bytes.unwrap_or(0)))))
}

/// How far a stream had grown at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    ms: u64,
    /// Entries added until then.
    added: u64,
    /// What one of them took.
    entry_bytes: u64,
}

impl Point {
    fn read(text: &str) -> Option<Point> {
        let mut parts = text.split(' ').map(str::parse);
        let mut next = || parts.next()?.ok();
        Some(Point { ms: next()?, added: next()?, entry_bytes: next()? })
    }
}
