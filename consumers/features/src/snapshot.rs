//! The frame of a snapshot: which set and security it is of, and whether its bytes are as they were. Must not know what a
//! state holds nor where snapshots are kept.

use sqep::Symbol;

use crate::{
    hash::Hash,
    list::Length,
    save::{Reader, Save, SnapshotError},
};

/// Bytes of the hash at the end.
const HASH_BYTES: usize = 8;

/// Begins a snapshot; the state follows.
pub(crate) fn begin(length: Length, symbol: Symbol) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    length.set().save(&mut out);
    symbol.get().save(&mut out);
    out
}

/// Ends a snapshot.
pub(crate) fn seal(mut out: Vec<u8>) -> Vec<u8> {
    Hash::new().bytes(&out).whole().save(&mut out);
    out
}

/// Opens a snapshot of this set; the state follows.
pub(crate) fn open(length: Length, bytes: &[u8]) -> Result<(Symbol, Reader<'_>), SnapshotError> {
    let (found, wanted) = (u32::load(&mut Reader::new(bytes))?, length.set());
    if found != wanted {
        return Err(SnapshotError::Set { found, wanted });
    }
    let short = SnapshotError::Length { found: bytes.len(), wanted: HASH_BYTES };
    let (state, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or(short)?;
    if Hash::new().bytes(state).whole() != u64::from_le_bytes(*hash) {
        return Err(SnapshotError::Spoilt);
    }
    let mut reader = Reader::new(state);
    u32::load(&mut reader)?;
    let value = i32::load(&mut reader)?;
    let illegal = |_| SnapshotError::Value { field: "a symbol", value: value.into() };
    Ok((Symbol::from_i32(value).map_err(illegal)?, reader))
}
