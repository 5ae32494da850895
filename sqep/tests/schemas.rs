//! Code and `schemas/` say the same, in both directions: whoever changes one is told to change the other.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]
#![allow(clippy::struct_field_names, reason = "names of the schema files")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use chrono::{NaiveDate, NaiveTime, Timelike};
use serde::Deserialize;
use sqep::{
    DayBar, DayFeature, EntryId, Kind, MinuteBar, MinuteFeature, Reason, Record, RefDay, Severity, Symbol,
    codec::{self, Encoding, Limits, pack::PAYLOAD_BYTES_MAX},
    kind::Grid,
    record::{Field, Type},
    redis::keys::{Keys, StreamSettings},
    wire,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordSchema {
    #[serde(rename = "type")]
    name: String,
    alias: Option<String>,
    kinds: Vec<Kind>,
    field: Vec<FieldSchema>,
}

/// What the files of features say of their record; the list of features is held against the formulas elsewhere.
#[derive(Deserialize)]
struct FeatureSchema {
    #[serde(rename = "type")]
    name: String,
    kinds: Vec<Kind>,
    field: Vec<FieldSchema>,
}

#[derive(Deserialize)]
struct FeatureList {
    feature: Vec<FeatureName>,
}

#[derive(Deserialize)]
struct FeatureName {
    name: String,
    unit: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldSchema {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    unit: String,
    nullable: bool,
    meaning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasons {
    reason: Vec<ReasonSchema>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonSchema {
    code: String,
    severity: Severity,
    fact: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u64,
    stream: Stream,
    key: Vec<Named>,
    entry: Vec<Named>,
    letter: Vec<Named>,
    limits: WireLimits,
    version: Version,
    encoding: BTreeMap<String, BTreeMap<String, String>>,
    grid: Vec<GridSchema>,
    session: Vec<Session>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    key: String,
    example: String,
    prefix_default: String,
    partitions_default: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    holds: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLimits {
    packed_bytes_max: usize,
    records_max: usize,
    payload_bytes_max: usize,
    entry_fields_max: usize,
    entry_bytes_max: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    formula: String,
    seq_bits: u32,
    column: String,
    example_id: EntryId,
    example_version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GridSchema {
    kind: Kind,
    minutes: u32,
    labels: usize,
    auction: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    open: String,
    close: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

fn text(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn load<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    toml::from_str(&text(name)).unwrap_or_else(|e| panic!("schemas/{name}: {e}"))
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Symbol => "symbol",
        Type::Date => "date",
        Type::Minute => "minute",
        Type::Float => "float",
        Type::Bool => "bool",
        Type::Integer => "integer",
    }
}

fn field_of_code(field: &Field) -> (String, &'static str, String, bool) {
    (field.name.to_owned(), type_name(field.kind), field.unit.to_owned(), field.nullable)
}

/// The schema of a record of features: their list stands between `frame` and `valid`.
fn feature_schema(file: &str) -> RecordSchema {
    let FeatureSchema { name, kinds, mut field } = load(file);
    let list: FeatureList = load("feature_1d.toml");
    let feature = |FeatureName { name, unit }| {
        let (kind, meaning) = ("float".to_owned(), "a feature".to_owned());
        FieldSchema { name, kind, unit, nullable: true, meaning }
    };
    field.splice(2..2, list.feature.into_iter().map(feature));
    RecordSchema { name, alias: None, kinds, field }
}

fn record_schema(file: &str) -> RecordSchema {
    if file.starts_with("feature") { feature_schema(file) } else { load(file) }
}

/// The files that say what a record is.
const RECORDS: [&str; 5] =
    ["bar_1d.toml", "bar_1m.toml", "ref_1d.toml", "feature_1d.toml", "feature_1m.toml"];

fn same_record<R: Record>(file: &str) {
    let schema = record_schema(file);
    assert_eq!(schema.name, R::TYPE, "{file}: type");
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|&kind| R::fits(kind)).collect();
    assert_eq!(schema.kinds, kinds, "{file}: kinds");
    let stated: Vec<_> = schema
        .field
        .iter()
        .map(|field| (field.name.clone(), field.kind.as_str(), field.unit.clone(), field.nullable))
        .collect();
    let coded: Vec<_> = R::FIELDS.iter().map(field_of_code).collect();
    assert_eq!(stated, coded, "{file}: fields");
    assert!(schema.field.iter().all(|field| !field.meaning.is_empty()), "{file}: a field without a meaning");
}

#[test]
fn the_field_tables_are_those_of_the_code() {
    same_record::<DayBar>("bar_1d.toml");
    same_record::<MinuteBar>("bar_1m.toml");
    same_record::<RefDay>("ref_1d.toml");
    same_record::<DayFeature>("feature_1d.toml");
    same_record::<MinuteFeature>("feature_1m.toml");
}

#[test]
fn every_kind_is_carried_by_exactly_one_schema() {
    for kind in Kind::ALL {
        let carriers = RECORDS.iter().filter(|file| record_schema(file).kinds.contains(&kind)).count();
        assert_eq!(carriers, 1, "{kind}");
    }
}

#[test]
fn only_the_minute_bar_has_an_alias_and_it_is_the_originals_spelling() {
    assert_eq!(load::<RecordSchema>("bar_1m.toml").alias.as_deref(), Some(wire::MINITE));
    assert_eq!(load::<RecordSchema>("bar_1d.toml").alias, None);
    assert_eq!(load::<RecordSchema>("ref_1d.toml").alias, None);
}

#[test]
fn the_reasons_are_those_of_the_code_in_its_order() {
    let stated: Reasons = load("reasons.toml");
    let coded: Vec<ReasonSchema> = Reason::ALL
        .iter()
        .map(|reason| ReasonSchema {
            code: reason.code().to_owned(),
            severity: reason.severity(),
            fact: reason.fact().to_owned(),
        })
        .collect();
    for (at, reason) in coded.iter().enumerate() {
        assert_eq!(
            stated.reason.get(at),
            Some(reason),
            "schemas/reasons.toml, reason {} of the code",
            at + 1
        );
    }
    assert_eq!(
        stated.reason.len(),
        coded.len(),
        "schemas/reasons.toml names a reason that the code does not have"
    );
}

#[test]
fn reason_codes_are_unique_and_survive_serde() {
    for &reason in Reason::ALL {
        assert_eq!(Reason::ALL.iter().filter(|other| other.code() == reason.code()).count(), 1, "{reason}");
        assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{}\"", reason.code()));
    }
}

#[test]
fn the_limits_are_those_of_the_codec_and_the_envelope() {
    let limits = load::<Wire>("wire.toml").limits;
    assert_eq!(limits.packed_bytes_max, PAYLOAD_BYTES_MAX);
    assert_eq!(limits.records_max, Limits::WIRE.records_max);
    assert_eq!(limits.payload_bytes_max, Limits::WIRE.payload_bytes_max);
    assert_eq!((limits.entry_fields_max, limits.entry_bytes_max), (wire::FIELDS_MAX, wire::ENTRY_BYTES_MAX));
}

#[test]
fn the_version_formula_is_that_of_the_code() {
    let version = load::<Wire>("wire.toml").version;
    assert_eq!(version.example_id.version(), version.example_version);
    let (EntryId { ms, seq }, bits) = (version.example_id, version.seq_bits);
    assert_eq!((ms << bits) + seq, version.example_version);
    let last = (1 << bits) - 1;
    assert_eq!(EntryId::new(ms, last).version(), (ms << bits) + last);
    assert_eq!(EntryId::new(ms, u64::MAX).version(), (ms << bits) + last, "seq is capped");
    assert_eq!(version.formula, format!("ms × 2^{bits} + min(seq, 2^{bits} − 1)"));
    assert_eq!(version.column, codec::VERSION);
}

#[test]
fn the_arrow_types_are_those_of_the_codec() {
    let arrow = &load::<Wire>("wire.toml").encoding["arrow"];
    for kind in [Type::Symbol, Type::Date, Type::Minute, Type::Float, Type::Bool, Type::Integer] {
        assert_eq!(arrow[type_name(kind)], codec::arrow::data_type(kind).to_string());
    }
}

fn sample() -> (DayBar, MinuteBar) {
    let symbol = Symbol::from_i32(2_000_001).unwrap();
    let frame = NaiveDate::from_ymd_opt(2024, 3, 1).unwrap();
    let day = DayBar {
        symbol,
        frame,
        open: 10.51,
        high: 10.51,
        low: 10.51,
        close: 10.51,
        vol: 10.51,
        amount: None,
        adjust: Some(10.51),
        st: Some(true),
        buy_limit: None,
        sell_limit: None,
    };
    let frame = frame.and_hms_opt(9, 31, 0).unwrap();
    let minute =
        MinuteBar { symbol, frame, open: 1.0, high: 1.0, low: 1.0, close: 1.0, vol: 1.0, amount: None };
    (day, minute)
}

fn feature() -> DayFeature {
    DayFeature { set: 7, bar_version: 1_792_285_511_516_160_003, ..DayFeature::blank() }
}

#[test]
fn the_json_spellings_are_those_of_the_codec() {
    let wire: Wire = load("wire.toml");
    let (json, (day, minute)) = (&wire.encoding["json"], sample());
    let mut out = Vec::new();
    codec::encode(Encoding::Json, &[day], Some(&[wire.version.example_version]), &mut out).unwrap();
    let expected = format!(
        r#"[{{"symbol":{},"frame":"{}","open":{f},"high":{f},"low":{f},"close":{f},"vol":{f},"amount":{},"adjust":{f},"st":{},"buy_limit":null,"sell_limit":null,"version":{}}}]"#,
        json["symbol"],
        json["date"],
        json["null"],
        json["bool"],
        json["version"],
        f = json["float"],
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    codec::encode(Encoding::Json, &[minute], None, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains(&format!(r#""frame":"{}""#, json["minute"])));
    let mut out = Vec::new();
    codec::encode(Encoding::Json, &[feature()], None, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains(&format!(r#""bar_version":{}"#, json["integer"])));
}

#[test]
fn the_csv_spellings_are_those_of_the_codec() {
    let wire: Wire = load("wire.toml");
    let (csv, (day, minute)) = (&wire.encoding["csv"], sample());
    let mut out = Vec::new();
    codec::encode(Encoding::Csv, &[day], Some(&[wire.version.example_version]), &mut out).unwrap();
    let (f, null) = (&csv["float"], &csv["null"]);
    let expected = format!(
        "{},{},{f},{f},{f},{f},{f},{null},{f},{},{null},{null},{}\n",
        csv["symbol"], csv["date"], csv["bool"], csv["version"],
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    codec::encode(Encoding::Csv, &[minute], None, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains(&csv["minute"]));
    let mut out = Vec::new();
    codec::encode(Encoding::Csv, &[feature()], None, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().ends_with(&format!(",7,{}\n", csv["integer"])));
}

#[test]
fn the_encodings_are_those_of_the_codec() {
    let stated: Vec<String> = load::<Wire>("wire.toml").encoding.into_keys().collect();
    let mut coded: Vec<String> =
        Encoding::ALL.into_iter().map(|encoding| encoding.name().to_owned()).collect();
    coded.sort();
    assert_eq!(stated, coded);
}

fn minute_of_day(text: &str) -> u32 {
    let time = NaiveTime::parse_from_str(text, "%H:%M").unwrap();
    time.hour() * 60 + time.minute()
}

/// The labels of a grid as `wire.toml` states them.
fn stated_labels(grid: &GridSchema, sessions: &[Session]) -> Vec<u32> {
    let step = usize::try_from(grid.minutes).unwrap();
    let ends = sessions.iter().flat_map(|session| {
        (minute_of_day(&session.open)..=minute_of_day(&session.close)).step_by(step).skip(1)
    });
    grid.auction.iter().map(|label| minute_of_day(label)).chain(ends).collect()
}

#[test]
fn the_minute_grids_are_those_of_the_code() {
    let wire: Wire = load("wire.toml");
    assert_eq!(wire.grid.len(), Grid::ALL.len());
    for (grid, stated) in Grid::ALL.into_iter().zip(&wire.grid) {
        assert_eq!(stated.kind, Kind::BarMinute(grid));
        assert_eq!(stated.minutes, grid.minutes());
        let coded: Vec<u32> = (0..2 * 24 * 60).filter(|&minute| grid.is_label(minute)).collect();
        assert_eq!(stated_labels(stated, &wire.session), coded, "{}", stated.kind);
        assert_eq!(coded.len(), stated.labels, "{}", stated.kind);
    }
}

#[test]
fn the_keys_are_those_of_the_code() {
    let Wire { stream, key, .. } = load("wire.toml");
    let settings = StreamSettings::default();
    assert_eq!(
        (stream.prefix_default, stream.partitions_default),
        (settings.prefix.clone(), settings.partitions)
    );
    let keys = Keys::new(&settings.prefix, Kind::BarDay, 0);
    assert_eq!(stream.example, keys.stream());
    let form = stream.key.replace("KIND", Kind::BarDay.name()).replace("PARTITION", "0");
    assert_eq!(form.replace("PREFIX", &settings.prefix), keys.stream());
    let coded = [
        keys.cursor("SOURCE"),
        keys.source(),
        keys.dead(),
        keys.groups(),
        keys.lease("GROUP"),
        keys.born(),
        keys.trimmed(),
        keys.partitions(),
        keys.dead_counts(),
        keys.resume("GROUP"),
        keys.grown(),
        keys.replays(),
        keys.replay("GROUP").stream().to_owned(),
        keys.latest(Symbol::from_i32(1_600_000).unwrap()).replace("1600000", "SYMBOL"),
    ];
    let stated: Vec<String> = key.iter().map(|key| format!("{}:{}", stream.example, key.name)).collect();
    assert_eq!(stated, coded);
    assert!(key.iter().all(|key| key.kind.is_some() && !key.holds.is_empty()));
}

#[test]
fn the_entry_fields_are_those_of_the_code() {
    let Wire { v, entry, .. } = load("wire.toml");
    let coded = wire::envelope(DayBar::TYPE, "src", Encoding::Arrow, "0", &[]).map(|(name, _)| name);
    let stated: Vec<&str> = entry.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(stated, coded);
    assert_eq!(v.to_string(), wire::VERSION);
    assert!(entry.iter().all(|field| field.kind.is_none() && !field.holds.is_empty()));
}

#[test]
fn the_written_protocol_names_every_field_kind_reason_key_and_limit() {
    let protocol = text("SQEP.md");
    let says = |what: &str| assert!(protocol.contains(what), "schemas/SQEP.md does not mention {what}");
    for file in RECORDS {
        let schema = record_schema(file);
        says(&format!("`{}`", schema.name));
        schema.kinds.iter().for_each(|kind| says(&format!("`{kind}`")));
        schema.field.iter().for_each(|field| says(&format!("`{}`", field.name)));
    }
    for reason in Reason::ALL {
        let severity = serde_json::to_value(reason.severity()).unwrap();
        says(&format!("| `{reason}` | {} | {} |", severity.as_str().unwrap(), reason.fact()));
    }
    let wire: Wire = load("wire.toml");
    wire.key.iter().for_each(|key| {
        says(&format!("| `…:{}` | {} | {} |", key.name, key.kind.as_deref().unwrap_or_default(), key.holds));
    });
    wire.entry.iter().for_each(|field| says(&format!("| `{}` |", field.name)));
    wire.letter.iter().for_each(|field| says(&format!("| `{}` | {} |", field.name, field.holds)));
    wire.grid.iter().for_each(|grid| says(&format!("| `{}` | {} |", grid.kind, grid.labels)));
    for limit in ["64,000 bytes", "10,000 records", "1 MiB", "1,000 fields", "2 MiB"] {
        says(limit);
    }
    says(&wire.version.formula);
}

#[test]
fn every_file_of_the_folder_stands_in_its_index() {
    let index = text("README.md");
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || index.contains(&name), "schemas/README.md does not mention {name}");
    }
}
