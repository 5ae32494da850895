//! One function a decoder: any bytes decode within the limits or are refused with a reason, and never panic.
//!
//! Knows what each decoder promises of what it lets through; must not know where bytes come from. Shared by
//! `cargo fuzz` and by the test `fuzz` of the core crate.

use std::{
    io::Cursor,
    path::Path,
    sync::{Arc, LazyLock},
};

use arrow_array::Array as _;
use sqep::{
    Calendar, DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, RefDay, Symbol,
    codec::{Decoded, Encoding, Limits, arrow, decode, encode},
    letter::Letter,
    wire::Entry,
};
use sqep_csv::{
    config::Config,
    dialect,
    load::{self, Options},
};

/// A decoder under attack.
pub type Target = fn(&[u8]);

/// All of them, by the name of their fuzz target.
pub const ALL: [(&str, Target); 10] = [
    ("arrow_rows", arrow_rows),
    ("arrow_columns", arrow_columns),
    ("json", json),
    ("csv", csv),
    ("entry", entry),
    ("letter", letter),
    ("symbol", symbol),
    ("config", config),
    ("dialect", dialect),
    ("csv_file", csv_file),
];

/// Arrow payloads as records.
pub fn arrow_rows(data: &[u8]) {
    all_records(Encoding::Arrow, data);
}

/// JSON payloads as records.
pub fn json(data: &[u8]) {
    all_records(Encoding::Json, data);
}

/// CSV payloads as records.
pub fn csv(data: &[u8]) {
    all_records(Encoding::Csv, data);
}

fn all_records(encoding: Encoding, data: &[u8]) {
    records::<DayBar>(encoding, data);
    records::<MinuteBar>(encoding, data);
    records::<RefDay>(encoding, data);
    records::<DayFeature>(encoding, data);
    records::<MinuteFeature>(encoding, data);
}

/// What decodes is within the limits, and comes back the same from its own encoding.
fn records<R: Record>(encoding: Encoding, payload: &[u8]) {
    let Ok(decoded) = decode::<R>(encoding, payload) else { return };
    assert!(decoded.records.len() <= Limits::WIRE.records_max);
    assert!(decoded.versions.as_ref().is_none_or(|versions| versions.len() == decoded.records.len()));
    for through in Encoding::ALL {
        // What no check lets through, such as a frame in an hour that never was, need not encode.
        let Some(bytes) = encoded(through, &decoded) else { continue };
        if through == Encoding::Arrow && bytes.len() <= Limits::WIRE.payload_bytes_max {
            let again = decode::<R>(through, &bytes).expect("our own bytes decode");
            assert_eq!(
                encoded(through, &again).as_deref(),
                Some(&*bytes),
                "the same records, the same bytes"
            );
        }
    }
}

fn encoded<R: Record>(encoding: Encoding, decoded: &Decoded<R>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    encode(encoding, &decoded.records, decoded.versions.as_deref(), &mut bytes).ok()?;
    Some(bytes)
}

/// Arrow payloads as columns, which a sink could take without a detour over records.
pub fn arrow_columns(data: &[u8]) {
    let max = Limits::WIRE.records_max;
    let Ok(batches) = arrow::columns(data, max) else { return };
    let rows: usize = batches.iter().map(arrow_array::RecordBatch::num_rows).sum();
    assert!(rows <= max);
    for batch in &batches {
        let days = arrow::records::<DayBar>(batch);
        assert!(days.is_err() || days.is_ok_and(|days| days.len() == batch.num_rows()));
        drop(arrow::records::<MinuteBar>(batch));
        drop(arrow::records::<RefDay>(batch));
        drop(arrow::records::<DayFeature>(batch));
        drop(arrow::records::<MinuteFeature>(batch));
        // Every value of every column is where it should be.
        for column in batch.columns() {
            column.to_data().validate_full().expect("a column that was let through is whole");
        }
    }
}

/// Fields of an entry out of bytes: of each, one byte for the name, two for the length, then the value.
pub fn fields(mut data: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    const NAMES: [&str; 16] = [
        "v", "type", "src", "enc", "n", "p", "by", "name", "origin", "reason", "rows", "cut", "e:v", "e:p",
        "e:", "",
    ];
    let mut fields = Vec::new();
    while let [name, low, high, rest @ ..] = data {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (value, after) = rest.split_at(length);
        let name =
            NAMES.get(usize::from(*name)).map_or_else(|| vec![*name; 3], |name| name.as_bytes().to_vec());
        fields.push((name, value.to_vec()));
        data = after;
    }
    fields
}

/// The envelope of an entry.
pub fn entry(data: &[u8]) {
    let entry = Entry { id: sqep::EntryId::new(1_700_000_000_000, 0), fields: fields(data) };
    assert!((1..=10_000).contains(&entry.claimed()));
    opened::<DayBar>(&entry);
    opened::<MinuteBar>(&entry);
    opened::<RefDay>(&entry);
    opened::<DayFeature>(&entry);
    opened::<MinuteFeature>(&entry);
}

fn opened<R: Record>(entry: &Entry) {
    match entry.open::<R>() {
        Ok(opened) => {
            let versions = opened.decoded.versions.iter().flatten();
            assert!(versions.into_iter().all(|version| *version <= entry.id.version()));
            assert!(opened.decoded.records.len() <= Limits::WIRE.records_max);
        }
        Err(unreadable) => assert!(!unreadable.why.is_empty()),
    }
}

/// Dead letters, which are read again to be shown and redriven.
pub fn letter(data: &[u8]) {
    if let Ok(letter) = Letter::of_fields(&fields(data)) {
        let again = Letter::of_fields(&letter.to_fields());
        assert_eq!(again.as_ref(), Ok(&letter), "what was read is written so that it reads the same");
    }
}

/// Texts of symbols, in every form.
pub fn symbol(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(symbol) = text.parse::<Symbol>() {
        assert_eq!(symbol.to_string().parse(), Ok(symbol));
        assert_eq!(Symbol::from_i32(symbol.get()), Ok(symbol));
    }
}

/// Configuration files.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = toml::from_str::<Config>(text) {
        let again = toml::to_string(&config);
        assert!(again.is_err() || again.is_ok_and(|text| toml::from_str::<Config>(&text).is_ok()));
    }
}

/// Descriptions of dialects.
pub fn dialect(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(dialect::read(text, "fuzz"));
    }
}

/// CSV files: their dialect is recognised, their rows are read.
pub fn csv_file(data: &[u8]) {
    static CALENDAR: LazyLock<Arc<Calendar>> = LazyLock::new(|| Arc::new(Calendar::published()));
    let mut options = Options::new(Kind::BarDay, Arc::clone(&CALENDAR));
    options.exchange = Some(sqep::Exchange::SZ);
    options.keys_max = 1_000;
    let file = Cursor::new(data.to_vec());
    let Ok(mut loaded) = load::open_stream::<DayBar>(Path::new("000001.csv"), file, &options, 0) else {
        return;
    };
    let (rows, mut seen) = (loaded.rows(), 0u64);
    while let Ok(Some(block)) = loaded.next() {
        let refused: u64 = block.refused.iter().map(|refusal| refusal.rows).sum();
        let skipped: u64 = block.skipped.values().sum();
        seen += u64::try_from(block.records.len()).expect("fits") + refused + skipped;
    }
    assert_eq!(seen, rows, "every row is a record, refused or skipped");
}
