//! Features kept in 32 bits: what is promised of them, and what is never kept so.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{fs::File, path::Path, sync::Arc};

use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::{
    arrow::ArrowWriter,
    file::{metadata::KeyValue, properties::WriterProperties},
};
use sqep::{DayBar, DayFeature, Kind, Record, Row, WriteError, feature::FEATURES, record::Type};
use sqep_archive::{ArchiveFile, Filter, KIND_KEY, Reader, TYPE_KEY, any_narrow};
use sqep_parquet::{Config, Floats, Options, ParquetSink, Rows, compact_root, open};

use crate::common::{date, day, parquet_files, rows, symbol, write, write_rows};

const FEATURES_OF_DAYS: Kind = Kind::FeatureDay;
/// Half of the last bit of a 32-bit float, as a part of the number.
const ROUNDING_MAX: f64 = 6e-8;

fn sink<R: Record>(root: &Path, kind: Kind, floats: Floats) -> ParquetSink<R> {
    open(Config { floats, ..crate::common::config(root) }, kind).unwrap()
}

/// A row whose numbers are of every size a feature has, some of them null.
fn row(code: u32, at: u32) -> DayFeature {
    let mut row = DayFeature { symbol: symbol(code), frame: date(at), ..DayFeature::blank() };
    for (nth, value) in (0u32..).zip(row.values.iter_mut()) {
        let size = 10f64.powi(i32::try_from(nth % 9).unwrap() - 4);
        let sign = if nth.is_multiple_of(2) { 1.0 } else { -1.0 };
        if !(nth + at).is_multiple_of(7) {
            *value = sign * size * (1.0 + f64::from(code * 31 + at * 7 + nth) / 997.0);
        }
    }
    row.valid = at.is_multiple_of(2);
    row.set = 0xfedc_ba98;
    row.bar_version = u64::MAX - u64::from(at);
    row
}

fn written(root: &Path, floats: Floats, id: u64, ats: std::ops::Range<u32>) -> Vec<DayFeature> {
    let made: Vec<_> = ats.flat_map(|at| [row(1, at), row(2, at)]).collect();
    let versions: Vec<_> = made.iter().map(|row| (*row, id)).collect();
    write(&mut sink(root, FEATURES_OF_DAYS, floats), (id, id), &versions).unwrap();
    made
}

fn near(got: &DayFeature, want: &DayFeature) {
    assert_eq!((got.valid, got.set, got.bar_version), (want.valid, want.set, want.bar_version));
    for ((name, _), (got, want)) in FEATURES.iter().zip(got.values.iter().zip(&want.values)) {
        assert_eq!(got.is_nan(), want.is_nan(), "{name}");
        assert!(
            want.is_nan() || (got - want).abs() <= ROUNDING_MAX * want.abs(),
            "{name}: {got} is not {want}"
        );
    }
}

#[test]
fn features_in_32_bits_come_back_to_seven_digits_with_their_nulls_and_versions_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut made = written(root.path(), Floats::F32, 1, 0..200);
    made.sort_by_key(Record::key);
    let file = ArchiveFile::open(&parquet_files(root.path(), FEATURES_OF_DAYS)[0]).unwrap();
    for field in DayFeature::FIELDS {
        let found = file.schema.field_with_name(field.name).unwrap().data_type().clone();
        assert_eq!(found == DataType::Float32, field.kind == Type::Float, "{} is {found}", field.name);
    }
    let found = rows::<DayFeature>(root.path(), FEATURES_OF_DAYS);
    assert_eq!(found.len(), made.len());
    found.iter().zip(&made).for_each(|((got, ..), want)| near(got, want));
    assert!(found.iter().zip(&made).any(|((got, ..), want)| got != want), "nothing was rounded");
    let mut reader = Reader::<DayFeature>::open(root.path(), FEATURES_OF_DAYS, Filter::default()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().rows.len(), made.len());
    assert!(any_narrow(root.path(), FEATURES_OF_DAYS).unwrap());
}

#[test]
fn without_the_option_features_are_kept_bit_for_bit() {
    let root = tempfile::tempdir().unwrap();
    let mut made = written(root.path(), Floats::default(), 1, 0..50);
    made.sort_by_key(Record::key);
    let found = rows::<DayFeature>(root.path(), FEATURES_OF_DAYS);
    assert!(found.iter().map(|(got, ..)| got).eq(&made));
    assert!(!any_narrow(root.path(), FEATURES_OF_DAYS).unwrap());
}

#[test]
fn an_archive_that_changed_its_mind_compacts_and_loses_nothing_more() {
    let root = tempfile::tempdir().unwrap();
    written(root.path(), Floats::F64, 1, 0..30);
    written(root.path(), Floats::F32, 2, 30..60);
    let before = rows::<DayFeature>(root.path(), FEATURES_OF_DAYS);
    assert!(any_narrow(root.path(), FEATURES_OF_DAYS).unwrap());
    let report = compact_root(root.path(), Options::default()).unwrap().complete().unwrap();
    assert_eq!(report.compacted[0].rows_after, 120);
    let mut before: Vec<_> = before.into_iter().map(|(row, ..)| row).collect();
    before.sort_by_key(Record::key);
    let after = rows::<DayFeature>(root.path(), FEATURES_OF_DAYS);
    assert!(after.iter().map(|(row, ..)| row).eq(&before));
}

#[test]
fn compaction_keeps_32_bits() {
    let root = tempfile::tempdir().unwrap();
    written(root.path(), Floats::F32, 1, 0..30);
    written(root.path(), Floats::F32, 2, 30..60);
    compact_root(root.path(), Options::default()).unwrap().complete().unwrap();
    let files = parquet_files(root.path(), FEATURES_OF_DAYS);
    let field = ArchiveFile::open(&files[0]).unwrap().schema.field_with_name("ret_1").unwrap().clone();
    assert_eq!((files.len(), field.data_type()), (1, &DataType::Float32));
}

#[test]
fn bars_are_never_kept_in_32_bits() {
    let root = tempfile::tempdir().unwrap();
    let config = Config { floats: Floats::F32, ..crate::common::config(root.path()) };
    let told = open::<DayBar>(config, Kind::BarDay).unwrap_err().to_string();
    assert!(told.contains("parquet.floats") && told.contains("only features"), "{told}");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_feature_that_32_bits_cannot_hold_is_refused_and_never_infinite() {
    let root = tempfile::tempdir().unwrap();
    let mut huge = row(1, 1);
    huge.values[3] = 1e39;
    let made = [row(2, 2), huge].map(|record| Row { record, version: 1, source: 0 });
    let told = write_rows(&mut sink(root.path(), FEATURES_OF_DAYS, Floats::F32), (1, 1), &made).unwrap_err();
    let WriteError::Never(told) = told else { panic!("it is tried again: {told}") };
    assert!(told.to_string().contains("ret_20") && told.to_string().contains("row 2"), "{told}");
    assert!(rows::<DayFeature>(root.path(), FEATURES_OF_DAYS).is_empty());
}

#[test]
fn a_bar_in_32_bits_is_refused_by_its_column() {
    let root = tempfile::tempdir().unwrap();
    write(&mut sink::<DayBar>(root.path(), Kind::BarDay, Floats::F64), (1, 1), &[(day(1, 1, 1), 1)]).unwrap();
    let path = parquet_files(root.path(), Kind::BarDay).remove(0);
    let file = ArchiveFile::open(&path).unwrap();
    let (schema, label) = (Arc::clone(&file.schema), file.label.clone());
    let whole = file.columns(Arc::clone(&schema)).unwrap().next().unwrap().unwrap();
    let narrow = |field: &Arc<Field>| match field.name().as_str() {
        "close" => Arc::new(field.as_ref().clone().with_data_type(DataType::Float32)),
        _ => Arc::clone(field),
    };
    let schema = Arc::new(Schema::new(schema.fields().iter().map(narrow).collect::<Vec<_>>()));
    let close: ArrayRef = Arc::new(Float32Array::from(vec![10.0]));
    let columns = whole.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| if field.name() == "close" { &close } else { column });
    let narrowed = RecordBatch::try_new(Arc::clone(&schema), columns.cloned().collect()).unwrap();
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let says = vec![pair(KIND_KEY, label.kind), pair(TYPE_KEY, label.record)];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(says)).build();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&narrowed).unwrap();
    writer.close().unwrap();
    let Err(told) = Rows::<DayBar>::open(&path).unwrap().next() else { panic!("it was read") };
    assert!(told.to_string().contains("close"), "{told}");
}
