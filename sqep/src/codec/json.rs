//! The encoding `json`: an array of objects, frames as ISO text with offset, null or absent for unknown.

use std::{fmt, marker::PhantomData};

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};

use super::{CodecError, Decoded, Encoding, Filled, VERSION, position, type_name};
use crate::{
    Record, Symbol,
    record::{Cell, Type},
    shanghai,
};

fn malformed(error: &serde_json::Error) -> CodecError {
    CodecError::Malformed { encoding: Encoding::Json, why: error.to_string() }
}

/// A wall clock reading with its offset, `2024-03-01T09:31:00+08:00`.
pub(crate) fn iso(wall: NaiveDateTime) -> Option<String> {
    let instant = shanghai::instant_ms(wall)?;
    let offset = TimeDelta::milliseconds(wall.and_utc().timestamp_millis() - instant);
    Some(format!(
        "{}+{:02}:{:02}",
        wall.format("%Y-%m-%dT%H:%M:%S%.f"),
        offset.num_hours(),
        offset.num_minutes() % 60
    ))
}

struct RowJson<'a, R> {
    record: &'a R,
    version: Option<u64>,
}

impl<R: Record> Serialize for RowJson<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (at, field) in R::FIELDS.iter().enumerate() {
            match self.record.get(at) {
                Cell::Null => map.serialize_entry(field.name, &())?,
                Cell::Symbol(symbol) => map.serialize_entry(field.name, &symbol.get())?,
                Cell::Date(date) => map.serialize_entry(field.name, &date)?,
                Cell::Minute(wall) => map.serialize_entry(field.name, &iso(wall))?,
                Cell::Float(value) => map.serialize_entry(field.name, &value)?,
                Cell::Bool(value) => map.serialize_entry(field.name, &value)?,
                Cell::Integer(value) => map.serialize_entry(field.name, &value)?,
            }
        }
        if let Some(version) = self.version {
            map.serialize_entry(VERSION, &version)?;
        }
        map.end()
    }
}

/// One record as a JSON object, as it stands in a payload.
pub fn object<R: Record>(record: &R, version: Option<u64>) -> impl Serialize {
    RowJson { record, version }
}

pub(super) fn encode<R: Record>(
    records: &[R],
    versions: Option<&[u64]>,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut serializer = serde_json::Serializer::new(out);
    let write = |serializer: &mut serde_json::Serializer<&mut Vec<u8>>| {
        let mut sequence = serializer.serialize_seq(Some(records.len()))?;
        for (row, record) in records.iter().enumerate() {
            let version = versions.and_then(|versions| versions.get(row)).copied();
            sequence.serialize_element(&RowJson { record, version })?;
        }
        SerializeSeq::end(sequence)
    };
    write(&mut serializer).map_err(|e| malformed(&e))
}

pub(super) fn decode<R: Record>(payload: &[u8], records_max: usize) -> Result<Decoded<R>, CodecError> {
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let decoded = RowsSeed::<R> { records_max, record: PhantomData }.deserialize(&mut reader);
    let decoded = decoded.map_err(|e| malformed(&e))?;
    reader.end().map_err(|e| malformed(&e))?;
    Ok(decoded)
}

struct RowsSeed<R> {
    records_max: usize,
    record: PhantomData<R>,
}

impl<'de, R: Record> DeserializeSeed<'de> for RowsSeed<R> {
    type Value = Decoded<R>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decoded<R>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, R: Record> Visitor<'de> for RowsSeed<R> {
    type Value = Decoded<R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Decoded<R>, A::Error> {
        let (mut records, mut versions) = (Vec::new(), Vec::new());
        while let Some((record, version)) =
            rows.next_element_seed(RowSeed::<R> { row: records.len() + 1, record: PhantomData })?
        {
            if records.len() == self.records_max {
                return Err(A::Error::custom(super::too_many(records.len() + 1, self.records_max)));
            }
            records.push(record);
            versions.extend(version);
        }
        if !versions.is_empty() && versions.len() != records.len() {
            return Err(A::Error::custom("field \"version\" is missing in a part of the records"));
        }
        Ok(Decoded { versions: (!versions.is_empty()).then_some(versions), records })
    }
}

struct RowSeed<R> {
    row: usize,
    record: PhantomData<R>,
}

impl<'de, R: Record> DeserializeSeed<'de> for RowSeed<R> {
    type Value = (R, Option<u64>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, R: Record> Visitor<'de> for RowSeed<R> {
    type Value = (R, Option<u64>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut record, mut version, mut filled) = (R::blank(), None, Filled::default());
        while let Some(name) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            match position::<R>(&name) {
                Some(at) => {
                    let cell = map.next_value_seed(CellSeed { kind: R::FIELDS[at].kind })?;
                    if cell != Cell::Null {
                        filled.note(at);
                    }
                    record.set(at, cell);
                }
                None if name == VERSION => version = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        filled.missing::<R>(self.row).map_err(A::Error::custom)?;
        Ok((record, version))
    }
}

struct CellSeed {
    kind: Type,
}

impl<'de> DeserializeSeed<'de> for CellSeed {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        let unfit = |value: &str| D::Error::custom(format!("{value:?} is not {}", type_name(self.kind)));
        let cell = match self.kind {
            Type::Symbol => match Option::<i32>::deserialize(deserializer)? {
                None => None,
                Some(n) => Some(Cell::Symbol(Symbol::from_i32(n).map_err(D::Error::custom)?)),
            },
            Type::Float => Option::<f64>::deserialize(deserializer)?.map(Cell::Float),
            Type::Bool => Option::<bool>::deserialize(deserializer)?.map(Cell::Bool),
            Type::Integer => Option::<u64>::deserialize(deserializer)?.map(Cell::Integer),
            Type::Date | Type::Minute => {
                let text = Option::<std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                match text {
                    None => None,
                    Some(text) => Some(frame(self.kind, &text).ok_or_else(|| unfit(&text))?),
                }
            }
        };
        Ok(cell.unwrap_or(Cell::Null))
    }
}

fn frame(kind: Type, text: &str) -> Option<Cell> {
    if kind == Type::Date {
        return text.parse::<NaiveDate>().ok().map(Cell::Date);
    }
    let instant = DateTime::parse_from_rfc3339(text).ok()?;
    shanghai::wall(instant.timestamp_millis()).map(Cell::Minute)
}
