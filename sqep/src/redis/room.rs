//! How full a stream is: groups that are behind, dead letters, and whether all agree on its partitions. Reads only; must not
//! know who asks.

use anyhow::anyhow;
use redis::Value;

use super::{Connection, keys::Keys, look::last_id, reply};
use crate::{EntryId, transport::TransportError};

/// Holds the number of partitions against the stream's, which its first source sets: with another number the rows of a
/// symbol would lie on two streams, in no order.
pub(super) async fn parted(
    connection: &mut Connection,
    first: &Keys,
    partitions: u16,
) -> Result<(), TransportError> {
    let stored: Option<u16> = connection.ask(redis::cmd("GET").arg(first.partitions())).await?;
    let stored = stored.unwrap_or(partitions);
    if stored == partitions {
        return Ok(());
    }
    let stream = first.stream();
    Err(TransportError::Wrong(anyhow!(
        "stream {stream} is spread over {stored} partitions, and stream.partitions = {partitions}: the rows of a symbol \
         would lie on two streams, in no order. Set stream.partitions = {stored}; or, to change it, give the world a \
         new stream.prefix and fill that from the archive with `sqep replay`"
    )))
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
            "the dead letters in {dead} have reached stream.dead_bytes_max = {bytes_max}: look at them with `sqep dead \
             list`, then redrive or purge them, or raise the limit"
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
    let last = last_id(connection, keys).await?;
    claimed(connection, keys, Some(last)).await
}

/// As [`backlogs`]; where `last`, the stream's last id, is not at hand, by the server's figure alone.
pub(super) async fn claimed(
    connection: &mut Connection,
    keys: &Keys,
    last: Option<EntryId>,
) -> Result<Backlogs, TransportError> {
    let length: u64 = connection.ask(redis::cmd("XLEN").arg(keys.stream())).await?;
    let groups = connection.try_ask(redis::cmd("XINFO").arg("GROUPS").arg(keys.stream())).await?;
    let Some(Value::Array(groups)) = groups else { return Ok(Backlogs { length, groups: Vec::new() }) };
    let groups = groups.iter().map(|group| {
        let delivered = reply::member(group, "last-delivered-id").map(reply::id).unwrap_or_default();
        let pending = reply::number(reply::member(group, "pending")).unwrap_or(0);
        let lag = match last {
            Some(last) if delivered >= last => 0,
            _ => reply::number(reply::member(group, "lag")).unwrap_or(length),
        };
        let name = reply::member(group, "name").map(reply::text).unwrap_or_default();
        Backlog { name, pending, unsettled: pending + lag.min(length), delivered }
    });
    Ok(Backlogs { length, groups: groups.collect() })
}
