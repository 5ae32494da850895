//! The archive in the hands of others: pandas, polars, `DuckDB` and `ClickHouse` (as chDB) must read the values that were
//! written, before and after compaction.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{env, fs, path::Path, process::Command};

use serde_json::{Value, json};
use sqep::{DayBar, Kind, MinuteBar, Record, kind::Grid, record::Cell, shanghai};
use sqep_parquet::{Options, compact_root};

use crate::common::{date, day, minute, open, write};

const DAY: Kind = Kind::BarDay;
const MINUTE: Kind = Kind::BarMinute(Grid::M1);

/// Floats whose last bit shows whether a reader is exact.
const EXACT: [f64; 6] =
    [0.1 + 0.2, 263.150_000_000_000_03, f64::MIN_POSITIVE, 5e-324, 1.797_693_134_862_315_7e308, 1.0 / 3.0];

fn days() -> Vec<(DayBar, u64)> {
    let mut bars: Vec<_> = (0..300u32).map(|n| (day(n % 7, n * 5, n), u64::from(n) << 40)).collect();
    for (bar, value) in bars.iter_mut().zip(EXACT) {
        bar.0.open = value;
    }
    // A correction, in a later batch.
    bars.push((DayBar { close: 1.23, ..bars[0].0 }, u64::MAX));
    bars
}

/// One day's minutes, and one in the summer of 1991, when China's clocks were an hour ahead.
fn minutes() -> Vec<(MinuteBar, u64)> {
    let mut bars: Vec<_> = (0..120).map(|n| (minute(n % 3, n % 2, n), 9)).collect();
    let summer = chrono::NaiveDate::from_ymd_opt(1991, 7, 1).unwrap().and_hms_opt(9, 31, 0).unwrap();
    bars.push((MinuteBar { frame: summer, ..minute(1, 0, 1) }, 10));
    bars.push((MinuteBar { close: 1.23, ..bars[5].0 }, 11));
    bars
}

/// A row as the script compares it: floats by their bits, days as text, minutes as milliseconds since 1970 UTC.
fn plain<R: Record>(record: &R, version: u64) -> Value {
    let mut row = json!({ "source": "tushare", "version": version.to_string() });
    for (at, field) in R::FIELDS.iter().enumerate() {
        row[field.name] = match record.get(at) {
            Cell::Null => Value::Null,
            Cell::Symbol(symbol) => json!(symbol.get()),
            Cell::Date(date) => json!(date.to_string()),
            Cell::Minute(wall) => json!(shanghai::instant_ms(wall).unwrap()),
            Cell::Float(value) => json!(value.to_bits().to_string()),
            Cell::Bool(value) => json!(value),
            Cell::Integer(value) => json!(value.to_string()),
        };
    }
    row
}

/// Writes the rows in two batches, and what a reader must find of them.
fn archive<R: Record>(root: &Path, kind: Kind, rows: &[(R, u64)], one_a_key: bool) -> String {
    let mut sink = open(root, kind);
    let (first, second) = rows.split_at(rows.len() / 2);
    write(&mut sink, (1, 1), first).unwrap();
    write(&mut sink, (2, 2), second).unwrap();
    let mut expected: Vec<_> = rows.to_vec();
    expected.sort_by_key(|(record, version)| (record.key(), *version));
    if one_a_key {
        // The later of two neighbours of one key has the higher version.
        expected.reverse();
        expected.dedup_by_key(|(record, _)| record.key());
        expected.reverse();
        assert!(expected.len() < rows.len());
    }
    let expected: Vec<Value> = expected.iter().map(|(record, version)| plain(record, *version)).collect();
    serde_json::to_string(&json!({ "kind": kind.table(), "rows": expected })).unwrap()
}

/// Runs the script, which ends with an error at the first value that differs.
fn read_with_others(compacted: bool) {
    let python = env::var_os("SQEP_PYTHON")
        .expect("SQEP_PYTHON names no Python with pandas, polars, duckdb and chdb: run `make test`, which sets one up");
    let root = tempfile::tempdir().unwrap();
    assert_eq!(date(0).to_string(), "2019-01-01");
    let expected =
        [archive(root.path(), DAY, &days(), compacted), archive(root.path(), MINUTE, &minutes(), compacted)];
    if compacted {
        compact_root(root.path(), Options::default()).unwrap().complete().unwrap();
    }
    fs::write(root.path().join("expected.jsonl"), expected.join("\n")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers.py");
    let output = Command::new(python).arg(script).arg(root.path()).output().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    for reader in ["pandas", "polars", "duckdb", "chdb"] {
        assert!(said.contains(&format!("{reader} bar_1d agrees")), "{said}");
        assert!(said.contains(&format!("{reader} bar_1m agrees")), "{said}");
    }
}

#[test]
fn pandas_polars_duckdb_and_chdb_read_what_was_written() {
    read_with_others(false);
}

#[test]
fn pandas_polars_duckdb_and_chdb_read_a_compacted_archive() {
    read_with_others(true);
}
