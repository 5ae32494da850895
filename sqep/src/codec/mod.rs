//! Records as bytes and back, in three encodings, each written once for all records.
//!
//! Knows fields and cells ([`crate::record`]); must not know streams, versions of entries or rules. Decoding any bytes
//! neither panics nor allocates more than the [limits](Limits) allow.

pub mod arrow;
mod csv;
pub mod json;
pub mod pack;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Record,
    record::{Field, Type},
};

/// How the payload of an entry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Arrow IPC stream: the default, some fifteen times faster than text.
    #[default]
    Arrow,
    /// Array of objects, frames as ISO text: for people and other languages.
    Json,
    /// Header-less rows in field order.
    Csv,
}

impl Encoding {
    /// All encodings.
    pub const ALL: [Encoding; 3] = [Encoding::Arrow, Encoding::Json, Encoding::Csv];

    /// The text in the entry's `enc` field.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Arrow => "arrow",
            Encoding::Json => "json",
            Encoding::Csv => "csv",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Encoding {
    type Err = CodecError;

    fn from_str(text: &str) -> Result<Encoding, CodecError> {
        Encoding::ALL
            .into_iter()
            .find(|encoding| encoding.name() == text)
            .ok_or_else(|| CodecError::Encoding(text.to_owned()))
    }
}

/// What a reader accepts of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records an entry.
    pub records_max: usize,
    /// Bytes of payload an entry.
    pub payload_bytes_max: usize,
}

impl Limits {
    /// The limits of the wire: 10,000 records and 1 MiB.
    pub const WIRE: Limits = Limits { records_max: 10_000, payload_bytes_max: 1 << 20 };
}

/// Records of one payload.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<R> {
    /// In the order of the payload.
    pub records: Vec<R>,
    /// The optional column `version`, one a record.
    pub versions: Option<Vec<u64>>,
}

/// Why a payload does not encode or decode.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// An `enc` that is none of ours.
    #[error("encoding {0:?} is not one of arrow, json, csv")]
    Encoding(String),
    /// Over a limit of the wire.
    #[error("{what} {got} is over the limit of {max}")]
    Limit {
        /// Records or bytes.
        what: &'static str,
        /// As found.
        got: usize,
        /// As allowed.
        max: usize,
    },
    /// A field that must be there is not, or is null.
    #[error("field {field:?} of record {row} is missing")]
    Missing {
        /// Which field.
        field: &'static str,
        /// Position in the payload, from 1.
        row: usize,
    },
    /// A value that its field cannot hold.
    #[error("field {field:?} of record {row} cannot hold {value}")]
    Value {
        /// Which field.
        field: String,
        /// Position in the payload, from 1.
        row: usize,
        /// The value as found.
        value: String,
    },
    /// A column of another type than its field.
    #[error("column {field:?} is {found}, expected {expected}")]
    Column {
        /// Which field.
        field: &'static str,
        /// Type as found.
        found: String,
        /// Type of the protocol.
        expected: String,
    },
    /// Bytes that are not of the encoding at all.
    #[error("payload is not {encoding}: {why}")]
    Malformed {
        /// The encoding it should have been.
        encoding: Encoding,
        /// What the parser said.
        why: String,
    },
}

/// Name of the optional last column.
pub const VERSION: &str = "version";

/// Appends the payload of `records` to `out`. `versions`, where given, has one number a record.
pub fn encode<R: Record>(
    encoding: Encoding,
    records: &[R],
    versions: Option<&[u64]>,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    match encoding {
        Encoding::Arrow => arrow::encode(records, versions, out),
        Encoding::Json => json::encode(records, versions, out),
        Encoding::Csv => csv::encode(records, versions, out),
    }
}

/// Reads a payload within the limits of the wire.
pub fn decode<R: Record>(encoding: Encoding, payload: &[u8]) -> Result<Decoded<R>, CodecError> {
    decode_within(encoding, payload, Limits::WIRE)
}

/// Reads a payload within `limits`.
pub fn decode_within<R: Record>(
    encoding: Encoding,
    payload: &[u8],
    limits: Limits,
) -> Result<Decoded<R>, CodecError> {
    if payload.len() > limits.payload_bytes_max {
        let max = limits.payload_bytes_max;
        return Err(CodecError::Limit { what: "payload bytes", got: payload.len(), max });
    }
    match encoding {
        Encoding::Arrow => arrow::decode(payload, limits.records_max),
        Encoding::Json => json::decode(payload, limits.records_max),
        Encoding::Csv => csv::decode(payload, limits.records_max),
    }
}

/// Position of a field by name.
fn position<R: Record>(name: &str) -> Option<usize> {
    R::FIELDS.iter().position(|field| field.name == name)
}

/// Which fields of a row have been filled, to find what is missing.
#[derive(Debug, Clone, Copy, Default)]
struct Filled(u64);

impl Filled {
    fn note(&mut self, at: usize) {
        self.0 |= 1 << at;
    }

    fn missing<R: Record>(self, row: usize) -> Result<(), CodecError> {
        let absent = |(at, field): &(usize, &Field)| !field.nullable && self.0 & (1 << at) == 0;
        match R::FIELDS.iter().enumerate().find(absent) {
            Some((_, field)) => Err(CodecError::Missing { field: field.name, row }),
            None => Ok(()),
        }
    }
}

fn too_many(got: usize, max: usize) -> CodecError {
    CodecError::Limit { what: "records", got, max }
}

const fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Symbol => "a symbol such as 2000001",
        Type::Date => "a date such as 2024-03-01",
        Type::Minute => "a time such as 2024-03-01 09:31:00",
        Type::Float => "a number",
        Type::Bool => "true or false",
        Type::Integer => "a whole number, not negative",
    }
}
