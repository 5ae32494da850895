//! What compaction promises: one file a folder, one row a key, nothing lost, nothing of others touched.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use arrow_array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, UInt64Array, cast::AsArray};
use arrow_array::{Date32Array, types::Float64Type};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReader},
    file::{metadata::KeyValue, properties::WriterProperties},
};
use proptest::prelude::*;
use sqep::{DayBar, Kind, MinuteBar, Record, Row, kind::Grid};
use sqep_archive::Error;
use sqep_parquet::{ArchiveError, Options, Report, compact_partitions, compact_root, quiet_partitions};

use crate::common::{best, day, folders, minute, open, parquet_files, rows, write, write_rows};

const DAY: Kind = Kind::BarDay;
const MINUTE: Kind = Kind::BarMinute(Grid::M1);

fn compact(root: &Path) -> Report {
    compact_root(root, Options::default()).unwrap().complete().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Rows are (code, day, seed, version); the cuts say where batches end, the repeats which are written again, and
    /// some are compacted in between.
    #[test]
    fn a_compacted_archive_is_the_highest_version_of_every_key(
        rows in prop::collection::vec((0..6u32, 0..800u32, 0..50u32, 0..40u64), 1..400),
        cuts in prop::collection::vec(1..60usize, 1..12),
        repeats in prop::collection::vec(any::<bool>(), 12),
        between in prop::collection::vec(prop::bool::weighted(0.2), 12),
        inputs_max in 2..5usize,
    ) {
        let root = tempfile::tempdir().unwrap();
        let options = Options { inputs_max, ..Options::default() };
        // One version of a key is one row, wherever it comes from.
        let rows: Vec<(DayBar, u64)> = rows
            .iter()
            .map(|&(code, at, _, version)| (day(code, at % 90 * 9, u32::try_from(version).unwrap()), version))
            .collect();
        let mut sink = open(root.path(), DAY);
        let (mut rest, mut id) = (&rows[..], 1);
        while !rest.is_empty() {
            let nth = usize::try_from(id).unwrap() % 12;
            let (now, after) = rest.split_at(cuts[nth % cuts.len()].min(rest.len()));
            write(&mut sink, (id, id), now).unwrap();
            if repeats[nth] {
                write(&mut sink, (id, id + 1), &rows[..rows.len() - after.len()]).unwrap();
            }
            if between[nth] {
                compact_root(root.path(), options).unwrap().complete().unwrap();
            }
            (rest, id) = (after, id + 1);
        }
        let mut model = BTreeMap::new();
        for &(bar, version) in &rows {
            let row = model.entry(bar.key()).or_insert((version, bar));
            if version > row.0 {
                *row = (version, bar);
            }
        }
        prop_assert_eq!(best::<DayBar>(root.path(), DAY), model.clone());
        compact_root(root.path(), options).unwrap().complete().unwrap();
        let found = crate::common::rows::<DayBar>(root.path(), DAY);
        let found: Vec<_> = found.into_iter().map(|(bar, version, _)| (bar.key(), (version, bar))).collect();
        prop_assert_eq!(found.len(), model.len(), "one row a key");
        prop_assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), model);
        for folder in folders(root.path(), DAY) {
            prop_assert_eq!(sqep_parquet::files(&folder).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_compacted_file_is_sorted_by_symbol_and_frame() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), MINUTE);
    for id in 1..40 {
        let bars: Vec<_> = (0..30).map(|code| (minute(code, 0, u32::try_from(id).unwrap()), id)).collect();
        write(&mut sink, (id, id), &bars).unwrap();
    }
    let report = compact(root.path());
    let done = &report.compacted[0];
    assert_eq!((done.files, done.rows_before, done.rows_after), (39, 39 * 30, 39 * 30));
    assert!(done.bytes_after < done.bytes_before);
    let found = rows::<MinuteBar>(root.path(), MINUTE);
    assert!(found.is_sorted_by_key(|(bar, ..)| bar.key()));
    assert_eq!(found.len(), 39 * 30);
}

#[test]
fn one_compacted_file_is_left_alone_and_one_batch_is_not() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    write(&mut sink, (1, 1), &[(day(1, 1, 1), 1), (day(1, 1, 2), 2)]).unwrap();
    assert_eq!(compact(root.path()).compacted.len(), 1);
    assert_eq!(rows::<DayBar>(root.path(), DAY), [(day(1, 1, 2), 2, "tushare".to_owned())]);
    let before = fs::metadata(&parquet_files(root.path(), DAY)[0]).unwrap().modified().unwrap();
    let report = compact(root.path());
    assert_eq!((report.compacted.len(), report.left_alone), (0, 1));
    assert_eq!(fs::metadata(&parquet_files(root.path(), DAY)[0]).unwrap().modified().unwrap(), before);
}

#[test]
fn of_two_rows_of_one_version_the_same_one_stays_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let root = tempfile::tempdir().unwrap();
        let mut sink = open(root.path(), DAY);
        for (id, source) in (1..).zip(order) {
            let row = Row { record: day(1, 1, u32::from(source)), version: 5, source };
            write_rows(&mut sink, (id, id), &[row]).unwrap();
        }
        compact(root.path());
        assert_eq!(rows::<DayBar>(root.path(), DAY), [(day(1, 1, 1), 5, "qmt".to_owned())]);
    }
}

#[test]
fn a_foreign_file_is_named_and_kept_and_its_neighbours_are_done() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    write(&mut sink, (1, 1), &[(day(1, 1, 1), 1), (day(1, 400, 1), 1)]).unwrap();
    let foreign = root.path().join("bar_1d/year=2019/mine.parquet");
    fs::write(&foreign, b"somebody's own").unwrap();
    let report = compact_root(root.path(), Options::default()).unwrap();
    assert_eq!((report.compacted.len(), report.failed.len()), (1, 1));
    let told = report.complete().unwrap_err().to_string();
    assert!(told.contains("mine.parquet"), "{told}");
    assert_eq!(fs::read(&foreign).unwrap(), b"somebody's own");
}

#[test]
fn a_damaged_file_is_named_and_nothing_of_its_folder_is_deleted() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    for id in 1..4 {
        let bars: Vec<_> = (0..300).map(|n| (day(n, 1, n), id)).collect();
        write(&mut sink, (id, id), &bars).unwrap();
    }
    let files = parquet_files(root.path(), DAY);
    for damage in
        [|bytes: &mut Vec<u8>| bytes.truncate(1000), |bytes: &mut Vec<u8>| bytes[200..900].fill(0xAA)]
    {
        let whole = fs::read(&files[1]).unwrap();
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&files[1], &bytes).unwrap();
        let told = compact_root(root.path(), Options::default()).unwrap().complete().unwrap_err().to_string();
        assert!(told.contains(files[1].file_name().unwrap().to_str().unwrap()), "{told}");
        assert_eq!(parquet_files(root.path(), DAY), files);
        assert!(
            crate::common::list(&root.path().join("_sqep/bar_1d"))
                .iter()
                .all(|path| path.extension().is_none())
        );
        fs::write(&files[1], &whole).unwrap();
    }
    compact(root.path());
    assert_eq!(rows::<DayBar>(root.path(), DAY).len(), 300);
}

#[test]
fn a_file_of_another_kind_in_a_folder_is_refused() {
    let root = tempfile::tempdir().unwrap();
    write(&mut open(root.path(), MINUTE), (1, 1), &[(minute(1, 0, 1), 1)]).unwrap();
    let file = &parquet_files(root.path(), MINUTE)[0];
    let folder = root.path().join("bar_5m/date=2024-03-01");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
    let report = compact_root(root.path(), Options::default()).unwrap();
    assert!(report.complete().unwrap_err().to_string().contains("bar:1m"));
}

#[test]
fn files_from_before_a_field_existed_are_taken_with_nulls() {
    let root = tempfile::tempdir().unwrap();
    write(&mut open(root.path(), DAY), (1, 1), &[(day(1, 1, 1), 1)]).unwrap();
    let folder = folders(root.path(), DAY).remove(0);
    old_file(&folder.join("p0_2-0_2-0_0000000000000001.parquet"), true);
    compact(root.path());
    let found = rows::<DayBar>(root.path(), DAY);
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].0.adjust, None);
    assert_eq!(found[1].0.close.to_bits(), 7.25f64.to_bits());
    old_file(&folder.join("p0_2-0_2-0_0000000000000002.parquet"), false);
    let told = compact_root(root.path(), Options::default()).unwrap().complete().unwrap_err().to_string();
    assert!(told.contains("\"vol\""), "{told}");
}

/// A file of a time when day bars had fewer fields.
fn old_file(path: &Path, with_vol: bool) {
    let price = || -> ArrayRef { Arc::new(Float64Array::from(vec![7.25])) };
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("symbol", Arc::new(Int32Array::from(vec![2_000_009]))),
        ("frame", Arc::new(Date32Array::from(vec![17_900]))),
        ("open", price()),
        ("high", price()),
        ("low", price()),
        ("close", price()),
        ("source", Arc::new(StringArray::from(vec!["old"]))),
        ("version", Arc::new(UInt64Array::from(vec![1]))),
    ];
    if with_vol {
        columns.insert(6, ("vol", price()));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let said = [("sqep.kind", "bar:1d"), ("sqep.type", "SQEP-BAR-DAY")];
    let said = said.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(said)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_second_compaction_is_refused_and_a_folder_without_an_archive_is_named() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(
        compact_root(root.path(), Options::default()),
        Err(ArchiveError::Archive(Error::NoArchive { .. }))
    ));
    let mut sink = open(root.path(), DAY);
    write(&mut sink, (1, 1), &[(day(1, 1, 1), 1)]).unwrap();
    let held = File::create(root.path().join("_sqep/compact.lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(matches!(compact_root(root.path(), Options::default()), Err(ArchiveError::Locked { .. })));
    drop(held);
    compact(root.path());
}

#[test]
fn only_partitions_that_have_gone_quiet_are_named() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    write(&mut sink, (1, 1), &[(day(1, 1, 1), 1), (day(1, 400, 1), 1)]).unwrap();
    let (hour, folders) = (Duration::from_secs(3600), folders(root.path(), DAY));
    let changed = fs::metadata(&parquet_files(root.path(), DAY)[1]).unwrap().modified().unwrap();
    let quiet = |now: SystemTime| quiet_partitions(root.path(), DAY, hour, now).unwrap();
    assert!(quiet(changed + hour / 2).is_empty());
    assert_eq!(quiet(changed + hour), folders);
    assert!(quiet(changed - hour).is_empty(), "a clock that was set back");
    compact_partitions(root.path(), DAY, &folders[..1], Options::default()).unwrap().complete().unwrap();
    assert_eq!(quiet(changed + 2 * hour), folders[1..]);
}

#[test]
fn the_sink_goes_on_and_readers_miss_nothing_while_compaction_is_at_work() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    let batch =
        |id: u64| -> Vec<_> { (0..50).map(|code| (day(code, u32::try_from(id).unwrap(), 1), id)).collect() };
    write(&mut sink, (1, 1), &batch(1)).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                compact(root.path());
            }
        });
        for id in 2..120 {
            write(&mut sink, (id, id), &batch(id)).unwrap();
            assert_eq!(keys_seen(root.path()), usize::try_from(id * 50).unwrap(), "after batch {id}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    compact(root.path());
    assert_eq!(rows::<DayBar>(root.path(), DAY).len(), 119 * 50);
}

/// The keys that a reader sees who lists the folder, opens what it lists, and lists again when a file is gone.
fn keys_seen(root: &Path) -> usize {
    loop {
        let opened: Result<Vec<File>, _> = parquet_files(root, DAY).iter().map(File::open).collect();
        let Ok(opened) = opened else { continue };
        let mut keys = std::collections::BTreeSet::new();
        for file in opened {
            for batch in ParquetRecordBatchReader::try_new(file, 1024).unwrap() {
                let batch = batch.unwrap();
                let symbols = batch.column(0).as_primitive::<arrow_array::types::Int32Type>();
                let frames = batch.column(1).as_primitive::<arrow_array::types::Date32Type>();
                keys.extend(symbols.values().iter().zip(frames.values()).map(|(&s, &f)| (s, f)));
                assert_eq!(batch.column(2).as_primitive::<Float64Type>().len(), batch.num_rows());
            }
        }
        return keys.len();
    }
}
