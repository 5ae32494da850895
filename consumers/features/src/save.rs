//! State as bytes, and back to the same bits. Knows numbers and their order; must not know what a state holds nor where
//! bytes are kept.
//!
//! Numbers are little-endian, floats by their bits. There is no padding and no choice: equal states give equal bytes.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};

/// Something whose state is numbers.
pub(crate) trait Save: Sized {
    /// Appends the state.
    fn save(&self, out: &mut Vec<u8>);
    /// Takes the state from where the reader stands.
    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError>;
}

/// Bytes that are no snapshot of this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Another set of features, or the other kind of bar.
    #[error(
        "snapshot is of feature set {found}, this program computes {wanted}; rebuild it from the archive"
    )]
    Set {
        /// The set the bytes name.
        found: u32,
        /// The set of this program.
        wanted: u32,
    },
    /// The bytes are not those that were written.
    #[error("snapshot is spoilt: its bytes do not give the hash at its end; rebuild it from the archive")]
    Spoilt,
    /// Cut off, or followed by something.
    #[error("snapshot has {found} bytes where {wanted} are needed; rebuild it from the archive")]
    Length {
        /// Bytes there.
        found: usize,
        /// Bytes needed, as far as they were read.
        wanted: usize,
    },
    /// A number that no state holds.
    #[error("snapshot holds {value} as {field}; rebuild it from the archive")]
    Value {
        /// What it stands for.
        field: &'static str,
        /// The number.
        value: i64,
    },
}

/// Reads numbers from bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let short = SnapshotError::Length { found: self.bytes.len(), wanted: self.at + N };
        let chunk = self.bytes[self.at..].first_chunk().ok_or(short)?;
        self.at += N;
        Ok(*chunk)
    }

    /// The next bytes as they are.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], SnapshotError> {
        let end = self.at.saturating_add(count);
        let short = SnapshotError::Length { found: self.bytes.len(), wanted: end };
        let bytes = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(bytes)
    }

    /// Whether everything was read.
    pub(crate) fn end(&self) -> Result<(), SnapshotError> {
        if self.at == self.bytes.len() {
            return Ok(());
        }
        Err(SnapshotError::Length { found: self.bytes.len(), wanted: self.at })
    }
}

macro_rules! number {
    ($($number:ty),*) => {$(
        impl Save for $number {
            fn save(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
                Ok(<$number>::from_le_bytes(reader.take()?))
            }
        }
    )*};
}

number!(u8, u32, u64, i32, i64, f64);

impl<T: Save + Copy + Default, const N: usize> Save for [T; N] {
    fn save(&self, out: &mut Vec<u8>) {
        for value in self {
            value.save(out);
        }
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut values = [T::default(); N];
        for value in &mut values {
            *value = T::load(reader)?;
        }
        Ok(values)
    }
}

impl Save for bool {
    fn save(&self, out: &mut Vec<u8>) {
        u8::from(*self).save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        match u8::load(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(SnapshotError::Value { field: "a truth value", value: value.into() }),
        }
    }
}

impl<T: Save> Save for Option<T> {
    fn save(&self, out: &mut Vec<u8>) {
        self.is_some().save(out);
        if let Some(value) = self {
            value.save(out);
        }
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        bool::load(reader)?.then(|| T::load(reader)).transpose()
    }
}

impl Save for NaiveDate {
    fn save(&self, out: &mut Vec<u8>) {
        self.num_days_from_ce().save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let value = i32::load(reader)?;
        NaiveDate::from_num_days_from_ce_opt(value)
            .ok_or(SnapshotError::Value { field: "a date", value: value.into() })
    }
}

impl Save for NaiveDateTime {
    fn save(&self, out: &mut Vec<u8>) {
        self.and_utc().timestamp().save(out);
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let value = i64::load(reader)?;
        DateTime::from_timestamp(value, 0)
            .map(|time| time.naive_utc())
            .ok_or(SnapshotError::Value { field: "a time", value })
    }
}
