//! Code and `schemas/` name the same features, in both directions, and the number of the set changes with what they are.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;

use std::{collections::BTreeMap, fs, path::PathBuf};

use chrono::{NaiveTime, TimeDelta};
use serde::{Deserialize, de::DeserializeOwned};
use sqep::Calendar;
use sqep_features::{
    Length, MinuteFeatures, Row,
    list::{COUNT, Feature, LIST, VALID_FROM, WARM_UP_MAX},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DayList {
    #[serde(rename = "type")]
    name: String,
    kinds: Vec<String>,
    set: u32,
    valid_from: u32,
    field: Vec<Field>,
    feature: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MinuteList {
    #[serde(rename = "type")]
    name: String,
    kinds: Vec<String>,
    set: u32,
    features: String,
    field: Vec<Field>,
    differs: Vec<Differs>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    unit: String,
    nullable: bool,
    meaning: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    formula: String,
    parameters: BTreeMap<String, f64>,
    unit: String,
    min: Option<f64>,
    max: Option<f64>,
    warm_up: u32,
    reference: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Differs {
    name: String,
    formula: String,
}

impl From<&Feature> for Entry {
    fn from(feature: &Feature) -> Entry {
        let Feature { name, formula, parameters, unit, min, max, warm_up, reference, .. } = *feature;
        Entry {
            name: name.to_owned(),
            formula: formula.to_owned(),
            parameters: parameters.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
            unit: unit.to_owned(),
            min,
            max,
            warm_up,
            reference: reference.to_owned(),
        }
    }
}

fn load<T: DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("schemas/{name}: {error}"))
}

#[test]
fn the_list_of_the_code_is_the_list_of_the_schema() {
    let list: DayList = load("feature_1d.toml");
    assert_eq!((list.name.as_str(), list.kinds), ("SQEP-FEATURE-DAY", vec!["feature:1d".to_owned()]));
    assert_eq!(list.valid_from, VALID_FROM);
    let names: Vec<_> = list.field.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["symbol", "frame", "valid", "set", "bar_version"]);
    for (entry, feature) in list.feature.iter().zip(&LIST) {
        assert_eq!(*entry, Entry::from(feature), "schemas/feature_1d.toml beside src/table.rs");
    }
    assert_eq!(list.feature.len(), COUNT);
}

#[test]
fn minute_features_differ_where_their_schema_says_so_and_nowhere_else() {
    let list: MinuteList = load("feature_1m.toml");
    assert_eq!((list.name.as_str(), list.kinds), ("SQEP-FEATURE-MINUTE", vec!["feature:1m".to_owned()]));
    assert_eq!(list.features, "feature_1d.toml");
    let days: DayList = load("feature_1d.toml");
    let but_for_time = |fields: Vec<Field>| -> Vec<Field> {
        fields.into_iter().filter(|field| field.name != "frame" && field.name != "bar_version").collect()
    };
    assert_eq!(but_for_time(list.field), but_for_time(days.field));
    let differs = LIST.iter().filter_map(|feature| {
        Some(Differs { name: feature.name.to_owned(), formula: feature.minute_formula?.to_owned() })
    });
    assert_eq!(list.differs, differs.collect::<Vec<_>>());
}

#[test]
fn warm_up_and_places_are_what_the_kernel_takes_them_for() {
    assert_eq!(LIST.iter().map(|feature| feature.warm_up).max(), Some(WARM_UP_MAX));
    let mut names: Vec<_> = LIST.iter().map(|feature| feature.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), COUNT);
}

/// FNV-1a over the bits of rows.
fn bits<'a>(rows: impl Iterator<Item = &'a Row>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = rows.flat_map(|row| {
        let values = row.values().map(|value| value.to_bits().to_le_bytes());
        values.into_iter().flatten().chain([u8::from(row.valid)]).collect::<Vec<_>>()
    });
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// Rows of the edge series.
fn day_proof() -> u64 {
    let golden = common::read(common::EDGE);
    let bars: Vec<_> = golden.iter().map(|bar| bar.day_bar("600000.SH".parse().unwrap())).collect();
    bits(common::day_rows(&bars).iter())
}

/// Rows of the same bars as if they were minutes, 241 a day.
fn minute_proof() -> u64 {
    let calendar = Calendar::published();
    let open = NaiveTime::from_hms_opt(9, 30, 0).unwrap();
    let noon = NaiveTime::from_hms_opt(13, 1, 0).unwrap();
    let after = |from: NaiveTime, minutes: usize| from + TimeDelta::minutes(minutes.try_into().unwrap());
    let labels: Vec<_> =
        (0..121).map(|at| after(open, at)).chain((0..120).map(|at| after(noon, at))).collect();
    let days = calendar.sessions("2024-03-01".parse().unwrap(), calendar.last());
    let frames = days.flat_map(|day| labels.iter().map(move |&label| day.and_time(label)));
    let symbol = "600000.SH".parse().unwrap();
    let (mut features, mut rows) = (MinuteFeatures::new(symbol), Vec::new());
    for (golden, frame) in common::read(common::EDGE).iter().zip(frames) {
        let bar = golden.minute_bar(symbol, frame);
        features.push(&bar, 1, &golden.facts, &calendar, &mut rows).unwrap();
    }
    assert_eq!(rows.len(), 600 - 3, "three auctions are part of their minutes");
    bits(rows.iter().map(|minute| &minute.row))
}

/// A formula that changes changes bits, bits change the proof, the proof is part of the number of the set.
#[test]
fn whoever_changes_a_bit_of_a_row_changes_the_number_of_the_set() {
    for (length, name, proof) in
        [(Length::Day, "feature_1d.toml", day_proof()), (Length::Minute, "feature_1m.toml", minute_proof())]
    {
        assert_eq!(
            length.proof(),
            proof,
            "rows have other bits than before: if that is meant, write {proof:#018x} into Length::proof in \
             src/list.rs and the new number of the set into schemas/{name}"
        );
    }
    let (day, minute): (DayList, MinuteList) = (load("feature_1d.toml"), load("feature_1m.toml"));
    assert_eq!(day.set, Length::Day.set(), "set of schemas/feature_1d.toml");
    assert_eq!(minute.set, Length::Minute.set(), "set of schemas/feature_1m.toml");
    assert_ne!(day.set, minute.set);
}
