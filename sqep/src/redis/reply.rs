//! Replies of the server as our types. Knows their shapes; must not send anything.

use redis::{FromRedisValue, Value};

use crate::{EntryId, wire::Entry};

/// Text of a reply, empty for anything else.
pub(super) fn text(value: &Value) -> String {
    String::from_redis_value_ref(value).unwrap_or_default()
}

pub(super) fn id(value: &Value) -> EntryId {
    text(value).parse().unwrap_or_default()
}

/// The value after `name` in a flat list of names and values (or in a map).
pub(super) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.chunks_exact(2).find(|pair| text(&pair[0]) == name).map(|pair| &pair[1]),
        Value::Map(pairs) => pairs.iter().find(|(key, _)| text(key) == name).map(|(_, value)| value),
        _ => None,
    }
}

pub(super) fn number(value: Option<&Value>) -> Option<u64> {
    value.and_then(|value| Option::<u64>::from_redis_value_ref(value).ok().flatten())
}

/// Entries of one stream out of the reply to `XREADGROUP` or `XREAD`; none for nil.
pub(super) fn entries_of_streams(value: Value) -> Vec<Entry> {
    let per_stream = match value {
        Value::Array(mut streams) if !streams.is_empty() => streams.swap_remove(0),
        Value::Map(mut streams) if !streams.is_empty() => return entries(streams.swap_remove(0).1),
        _ => return Vec::new(),
    };
    match per_stream {
        Value::Array(mut pair) if pair.len() == 2 => entries(pair.swap_remove(1)),
        _ => Vec::new(),
    }
}

/// Entries out of `[[id, [name, value, …]], …]`; an entry that was trimmed has nil for its fields.
pub(super) fn entries(value: Value) -> Vec<Entry> {
    let Value::Array(items) = value else { return Vec::new() };
    let entry = |item| {
        let Value::Array(mut pair) = item else { return None };
        let fields = match (pair.len(), pair.pop()) {
            (2, Some(Value::Array(flat))) => pairs(flat),
            _ => Vec::new(),
        };
        Some(Entry { id: id(pair.first()?), fields })
    };
    items.into_iter().filter_map(entry).collect()
}

fn pairs(flat: Vec<Value>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut flat = flat.into_iter().map(bytes);
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        pairs.push((name, value));
    }
    pairs
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        other => text(&other).into_bytes(),
    }
}
