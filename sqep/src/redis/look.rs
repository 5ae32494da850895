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

/// KEYS: stream. ARGV: after upto count. Answers how many entries come after an id, of so many, and the last of them.
const PAGE: &str = "
local page = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#page, page[1] and page[#page][1] or ''}";
/// The server holds so many entries twice while it counts.
const PAGE_ENTRIES_MAX: u64 = 8;

/// How many entries lie after one id and up to another, counted up to `max`, and the last of those.
async fn page(
    connection: &mut Connection,
    keys: &Keys,
    after: EntryId,
    upto: EntryId,
    max: u64,
) -> Result<Option<(u64, EntryId)>, TransportError> {
    let script = Script::new(PAGE);
    let mut call = script.key(keys.stream());
    call.arg(after.to_string()).arg(upto.to_string()).arg(max.min(PAGE_ENTRIES_MAX));
    let (count, last): (u64, String) = connection.run(&call).await?;
    Ok(last.parse().ok().map(|last| (count, last)))
}

/// The first entry after an id.
pub(super) async fn first_after(
    connection: &mut Connection,
    keys: &Keys,
    id: EntryId,
) -> Result<Option<EntryId>, TransportError> {
    const LAST: EntryId = EntryId::new(u64::MAX, u64::MAX);
    Ok(page(connection, keys, id, LAST, 1).await?.map(|(_, first)| first))
}

/// How many entries lie after one id and up to another; counts no further than past `max`.
pub(super) async fn count(
    connection: &mut Connection,
    keys: &Keys,
    mut after: EntryId,
    upto: EntryId,
    max: u64,
) -> Result<u64, TransportError> {
    let mut count = 0;
    while after < upto
        && count < max
        && let Some((more, last)) = page(connection, keys, after, upto, PAGE_ENTRIES_MAX).await?
    {
        (after, count) = (last, count + more);
    }
    Ok(count)
}

/// How many entries lie at or before `at`, counting those no longer there: what the server needs for its lag.
pub(super) async fn entries_read(
    connection: &mut Connection,
    keys: &Keys,
    at: EntryId,
) -> Result<u64, TransportError> {
    let Some(Look { last, first, added, length }) = look(connection, keys).await? else { return Ok(0) };
    if at < first {
        return Ok(added.saturating_sub(length));
    }
    Ok(added.saturating_sub(count(connection, keys, at, last, u64::MAX).await?))
}
