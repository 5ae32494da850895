//! Entries that must decode for ever. They were written by pyarrow, Python's `json` and `csv`
//! (`testkit/python/golden.py`), not by our encoder; what must come out stands beside each.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;
use sqep::{
    Calendar, DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, RefDay, Severity,
    check::Checker,
    codec::{self, Encoding},
    kind::Grid,
    record::Cell,
};

/// What must come out of a payload: cells as text, floats as the sixteen hexadecimal digits of their bits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    records: Vec<Vec<Value>>,
    versions: Option<Vec<u64>>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas/golden")
}

fn read(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_else(|e| panic!("schemas/golden/{name}: {e}"))
}

fn expected(stem: &str) -> Expected {
    serde_json::from_slice(&read(&format!("{stem}.expected.json"))).unwrap_or_else(|e| panic!("{stem}: {e}"))
}

/// Payload files by case: `bar_1d.v1` → its encodings.
fn cases() -> BTreeMap<String, Vec<Encoding>> {
    let mut cases: BTreeMap<String, Vec<Encoding>> = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".expected.json") {
            continue;
        }
        let (stem, extension) = name.rsplit_once('.').unwrap();
        cases
            .entry(stem.to_owned())
            .or_default()
            .push(extension.parse().unwrap_or_else(|e| panic!("{name}: {e}")));
    }
    cases
}

fn text(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Symbol(symbol) => symbol.get().to_string().into(),
        Cell::Date(date) => date.to_string().into(),
        Cell::Minute(wall) => wall.to_string().into(),
        Cell::Float(value) => format!("{:016x}", value.to_bits()).into(),
        Cell::Bool(value) => value.into(),
        Cell::Integer(value) => value.to_string().into(),
    }
}

fn texts<R: Record>(record: &R) -> Vec<Value> {
    (0..R::FIELDS.len()).map(|at| text(record.get(at))).collect()
}

fn decodes<R: Record>(stem: &str, encoding: Encoding, kind: Kind) {
    let file = format!("{stem}.{encoding}");
    let expected = expected(stem);
    let decoded = codec::decode::<R>(encoding, &read(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let records: Vec<Vec<Value>> = decoded.records.iter().map(texts).collect();
    assert_eq!(records, expected.records, "{file}");
    // An empty payload holds no versions to speak of.
    let versions = decoded.versions.filter(|versions| !versions.is_empty());
    assert_eq!(versions, expected.versions, "{file}");
    legal(&decoded.records, kind, &file);
    comes_back(&decoded.records, expected.versions.as_deref(), &file);
}

/// Golden records are such as a program may send.
fn legal<R: Record>(records: &[R], kind: Kind, file: &str) {
    let calendar = Calendar::published();
    let mut checker = Checker::new(&calendar);
    for record in records {
        let findings = checker.check(record, kind);
        assert!(findings.iter().all(|f| f.reason.severity() == Severity::Warn), "{file}: {findings:?}");
    }
}

/// Our own encoders carry the same values.
fn comes_back<R: Record>(records: &[R], versions: Option<&[u64]>, file: &str) {
    for encoding in Encoding::ALL {
        let mut payload = Vec::new();
        codec::encode(encoding, records, versions, &mut payload).unwrap();
        let again =
            codec::decode::<R>(encoding, &payload).unwrap_or_else(|e| panic!("{file} as {encoding}: {e}"));
        let (before, after): (Vec<_>, Vec<_>) =
            (records.iter().map(texts).collect(), again.records.iter().map(texts).collect());
        assert_eq!(after, before, "{file} as {encoding}");
        assert_eq!(again.versions.as_deref(), versions, "{file} as {encoding}");
    }
}

fn decodes_as_its_name_says(stem: &str, encoding: Encoding) {
    let (name, wire) = stem.rsplit_once('.').unwrap();
    assert_eq!(wire, "v1", "{stem}: golden entries of this wire version");
    match name.split('-').next() {
        Some("bar_1d") => decodes::<DayBar>(stem, encoding, Kind::BarDay),
        Some("bar_1m") => decodes::<MinuteBar>(stem, encoding, Kind::BarMinute(Grid::M1)),
        Some("ref_1d") => decodes::<RefDay>(stem, encoding, Kind::RefDay),
        Some("feature_1d") => decodes::<DayFeature>(stem, encoding, Kind::FeatureDay),
        Some("feature_1m") => decodes::<MinuteFeature>(stem, encoding, Kind::FeatureMinute),
        _ => panic!("schemas/golden/{stem}: no record of that name"),
    }
}

#[test]
fn golden_entries_decode_for_ever() {
    let cases = cases();
    for (stem, encodings) in &cases {
        for &encoding in encodings {
            decodes_as_its_name_says(stem, encoding);
        }
    }
    // Entries are added, never removed.
    let entries: usize = cases.values().map(Vec::len).sum();
    assert!(entries >= 25, "only {entries} golden entries are left");
}

#[test]
fn every_record_has_a_golden_entry_of_every_encoding() {
    let cases = cases();
    let records = ["bar_1d.v1", "bar_1m.v1", "ref_1d.v1", "feature_1d.v1", "feature_1m.v1"];
    for stem in records.into_iter().chain(["bar_1d-version.v1", "bar_1d-empty.v1"]) {
        let encodings = cases.get(stem).unwrap_or_else(|| panic!("schemas/golden/{stem}.* is gone"));
        for encoding in Encoding::ALL {
            assert!(encodings.contains(&encoding), "schemas/golden/{stem}.{encoding} is gone");
        }
    }
}

#[test]
fn the_golden_records_try_the_edges_of_a_double() {
    let bits: Vec<Value> = expected("bar_1d.v1").records.into_iter().flatten().collect();
    for edge in [5e-324, f64::MIN_POSITIVE, f64::MAX, 0.1 + 0.2, 9_007_199_254_740_992.0, 1e22, 0.0] {
        assert!(bits.contains(&text(Cell::Float(edge))), "{edge:e} is in no golden record");
    }
    assert!(bits.contains(&Value::Null));
}
