//! What the server says of a stream, without a word of what the stream holds.
//!
//! `XINFO STREAM` brings the first and the last entry along, however large they are; a script leaves them behind.

use redis::{Script, Value};

use super::{Connection, keys::Keys, reply};
use crate::{EntryId, transport::TransportError};

/// KEYS: stream.
const LOOK: &str = "
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local info, found = redis.call('XINFO', 'STREAM', KEYS[1]), {}
for at = 1, #info, 2 do found[info[at]] = info[at + 1] end
local first = found['first-entry']
return {found['last-generated-id'], first and first[1] or '', found['entries-added'] or 0, found['length']}";

/// How a stream stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// The last id it gave out.
    pub(super) last: EntryId,
    /// The first id still there; of an empty stream the one after the last.
    pub(super) first: EntryId,
    /// Entries it was ever given.
    pub(super) added: u64,
    /// Entries still there.
    pub(super) length: u64,
}

/// Looks at a stream; `None`: there is none.
pub(super) async fn look(connection: &mut Connection, keys: &Keys) -> Result<Option<Look>, TransportError> {
    let script = Script::new(LOOK);
    let found: Option<Vec<Value>> = connection.run(&script.key(keys.stream())).await?;
    Ok(found.map(|found| {
        let last = found.first().map(reply::id).unwrap_or_default();
        let first = found.get(1).map(reply::text).and_then(|text| text.parse().ok());
        let number = |at: usize| reply::number(found.get(at)).unwrap_or(0);
        Look { last, first: first.unwrap_or(last.next()), added: number(2), length: number(3) }
    }))
}

/// The last id a stream gave out; zero for a stream that is not there.
pub(super) async fn last_id(connection: &mut Connection, keys: &Keys) -> Result<EntryId, TransportError> {
    Ok(look(connection, keys).await?.unwrap_or_default().last)
}

/// KEYS: stream. ARGV: after count. Answers how many entries come after an id, of so many, and the last of them.
const PAGE: &str = "
local page = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return {#page, page[1] and page[#page][1] or ''}";

/// How many entries lie at or before `at`, counting those no longer there: what the server needs for its lag.
pub(super) async fn entries_read(
    connection: &mut Connection,
    keys: &Keys,
    at: EntryId,
) -> Result<u64, TransportError> {
    /// The server holds so many entries twice while it counts.
    const COUNT: u64 = 8;
    let Some(Look { last, first, added, length }) = look(connection, keys).await? else { return Ok(0) };
    if at < first {
        return Ok(added.saturating_sub(length));
    }
    let (script, mut after, mut unread) = (Script::new(PAGE), at, 0u64);
    while after < last {
        let mut call = script.key(keys.stream());
        let (count, upto): (u64, String) = connection.run(call.arg(after.to_string()).arg(COUNT)).await?;
        let Ok(upto) = upto.parse() else { break };
        (after, unread) = (upto, unread + count);
    }
    Ok(added.saturating_sub(unread))
}
