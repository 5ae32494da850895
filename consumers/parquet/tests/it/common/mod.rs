//! What the tests of the archive share: bars that are made up, batches of them, and an archive read back.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test file takes what it needs, and cannot do without"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{NaiveDate, TimeDelta};
use sqep::{Batch, DayBar, EntryId, Exchange, Kind, MinuteBar, Record, Row, Sink, Symbol, WriteError};
use sqep_parquet::{Config, ParquetSink, Rows};

/// A symbol of Shenzhen.
pub(crate) fn symbol(code: u32) -> Symbol {
    Symbol::new(Exchange::SZ, code).unwrap()
}

/// A date, counted from 2019-01-01.
pub(crate) fn date(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2019, 1, 1).unwrap() + TimeDelta::days(day.into())
}

/// A day bar whose every value follows from its three arguments, with nulls among them.
pub(crate) fn day(code: u32, at: u32, seed: u32) -> DayBar {
    let price = f64::from(1000 + (code * 7 + at * 3 + seed) % 900) / 100.0;
    let some = |nth: u32, value: f64| (!(seed + nth).is_multiple_of(3)).then_some(value);
    DayBar {
        symbol: symbol(code),
        frame: date(at),
        open: price,
        high: price + 0.33,
        low: price - 0.21,
        close: price + 0.1,
        vol: f64::from(100 * (seed + 1)),
        amount: some(0, price * f64::from(100 * (seed + 1)) + 0.07),
        adjust: some(1, 1.2345),
        st: (!seed.is_multiple_of(4)).then_some(seed.is_multiple_of(2)),
        buy_limit: some(2, price * 1.1),
        sell_limit: some(2, price * 0.9),
    }
}

/// A minute bar, `at` minutes after 09:30 of 2024-03-01 and the days after it.
pub(crate) fn minute(code: u32, day: u32, at: u32) -> MinuteBar {
    let date = NaiveDate::from_ymd_opt(2024, 3, 1).unwrap() + TimeDelta::days(day.into());
    let price = f64::from(1000 + (code + at) % 900) / 100.0;
    MinuteBar {
        symbol: symbol(code),
        frame: date.and_hms_opt(9, 30, 0).unwrap() + TimeDelta::minutes(at.into()),
        open: price,
        high: price,
        low: price,
        close: price,
        vol: f64::from(at),
        amount: (at > 0).then_some(f64::from(at) * price),
    }
}

/// A sink on `root`.
pub(crate) fn open<R: Record>(root: &Path, kind: Kind) -> ParquetSink<R> {
    sqep_parquet::open(config(root), kind).unwrap()
}

/// The defaults, on `root`.
pub(crate) fn config(root: &Path) -> Config {
    Config { root: root.to_owned(), ..Config::default() }
}

/// Writes one batch; the version of every row is given with it.
pub(crate) fn write<R: Record>(
    sink: &mut ParquetSink<R>,
    ids: (u64, u64),
    rows: &[(R, u64)],
) -> Result<(), WriteError> {
    let rows: Vec<Row<R>> =
        rows.iter().map(|&(record, version)| Row { record, version, source: 0 }).collect();
    write_rows(sink, ids, &rows)
}

/// Writes one batch of whole rows, of the sources "tushare" and "qmt".
pub(crate) fn write_rows<R: Record>(
    sink: &mut ParquetSink<R>,
    ids: (u64, u64),
    rows: &[Row<R>],
) -> Result<(), WriteError> {
    let sources: [Arc<str>; 2] = ["tushare".into(), "qmt".into()];
    let (first, last) = (EntryId::new(ids.0, 0), EntryId::new(ids.1, 0));
    let batch = Batch { partition: 0, first, last, rows, sources: &sources };
    now(sink.write(&batch))
}

/// Runs a future where nothing waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Every row of a kind: (key, version, source, record), in the order of folders, files and rows.
pub(crate) fn rows<R: Record>(root: &Path, kind: Kind) -> Vec<(R, u64, String)> {
    let mut found = Vec::new();
    for file in parquet_files(root, kind) {
        let mut rows = Rows::<R>::open(&file).unwrap();
        while let Some(some) = rows.next().unwrap() {
            let name = |row: &Row<R>| rows.sources()[usize::from(row.source)].to_string();
            found.extend(some.iter().map(|row| (row.record, row.version, name(row))));
        }
    }
    found
}

/// The row of the highest version of each key, as a reader that knows the rule sees the archive.
pub(crate) fn best<R: Record>(root: &Path, kind: Kind) -> BTreeMap<(Symbol, i64), (u64, R)> {
    let mut best = BTreeMap::new();
    for (record, version, _) in rows::<R>(root, kind) {
        let row = best.entry(record.key()).or_insert((version, record));
        if version > row.0 {
            *row = (version, record);
        }
    }
    best
}

/// Every Parquet file of a kind, in order.
pub(crate) fn parquet_files(root: &Path, kind: Kind) -> Vec<PathBuf> {
    folders(root, kind).iter().flat_map(|folder| sqep_parquet::files(folder).unwrap()).collect()
}

/// The partition folders of a kind, in order.
pub(crate) fn folders(root: &Path, kind: Kind) -> Vec<PathBuf> {
    list(&root.join(kind.table()))
}

/// What lies in a folder, in order.
pub(crate) fn list(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The text of a `Later`; anything else fails the test.
pub(crate) fn later(result: Result<(), WriteError>) -> String {
    match result {
        Err(WriteError::Later(error)) => format!("{error:#}"),
        other => panic!("expected Later, found {other:?}"),
    }
}
