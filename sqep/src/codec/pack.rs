//! Cuts records into entries just under a size that memory allocators like.
//!
//! Knows payload sizes; must not know streams. An entry holds a key once, so that its records share one version.

use std::collections::HashSet;

use super::{CodecError, Encoding, Limits, encode};
use crate::Record;

/// Bytes of payload the publisher packs at most: just under 64 KiB, which costs a quarter more memory.
pub const PAYLOAD_BYTES_MAX: usize = 64_000;

/// One payload and how many records it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The payload.
    pub payload: Vec<u8>,
    /// Records in it.
    pub records: usize,
}

/// Cuts and encodes; remembers how many records of this encoding fit, so that it seldom encodes twice.
#[derive(Debug)]
pub struct Packer {
    encoding: Encoding,
    bytes_max: usize,
    fit: usize,
}

impl Packer {
    /// A packer of this encoding with entries of at most `bytes_max` bytes.
    pub fn new(encoding: Encoding, bytes_max: usize) -> Packer {
        Packer { encoding, bytes_max, fit: 700 }
    }

    /// Encodes `records` into as few entries as fit, in order. `versions` has one number a record, where given.
    pub fn pack<R: Record>(
        &mut self,
        records: &[R],
        versions: Option<&[u64]>,
    ) -> Result<Vec<Packed>, CodecError> {
        let mut packed = Vec::new();
        let mut rest = 0..records.len();
        while !rest.is_empty() {
            let window = rest.start..rest.end.min(rest.start + self.fit.min(Limits::WIRE.records_max));
            let unique = unique_prefix(&records[window.clone()]);
            let entry = self.entry(&records[window.clone()][..unique], versions.map(|all| &all[window]))?;
            rest.start += entry.records;
            packed.push(entry);
        }
        Ok(packed)
    }

    /// Encodes as many leading records as fit.
    fn entry<R: Record>(&mut self, records: &[R], versions: Option<&[u64]>) -> Result<Packed, CodecError> {
        let mut count = records.len();
        loop {
            let mut payload = Vec::with_capacity(self.bytes_max + 4096);
            encode(self.encoding, &records[..count], versions.map(|all| &all[..count]), &mut payload)?;
            let room = self.bytes_max.saturating_sub(payload.len());
            if payload.len() <= self.bytes_max || count == 1 {
                if count == self.fit && room * 50 > self.bytes_max {
                    // A fiftieth of the entry is unused: the next one may hold more.
                    self.fit += (count * room / payload.len().max(1)).max(1);
                }
                return Ok(Packed { payload, records: count });
            }
            count = (count * self.bytes_max / payload.len()).clamp(1, count - 1);
            self.fit = count;
        }
    }
}

/// How many leading records have different keys. Runs in order, up or down, need no memory.
pub(crate) fn unique_prefix<R: Record>(records: &[R]) -> usize {
    let rising = records.is_sorted_by(|a, b| a.key() < b.key());
    if rising || records.is_sorted_by(|a, b| a.key() > b.key()) {
        return records.len();
    }
    let mut seen = HashSet::with_capacity(records.len());
    records.iter().position(|record| !seen.insert(record.key())).unwrap_or(records.len())
}
