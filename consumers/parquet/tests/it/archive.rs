//! What the sink promises: the right rows in the right files, and patience when the world is wrong.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    fs::{self, File},
    path::Path,
};

use parquet::file::reader::{FileReader, SerializedFileReader};
use sqep::{
    DayBar, EntryId, Kind, Mark, MinuteBar, Record, RefDay, Sink, Symbol, WriteError,
    check::Checker,
    kind::Grid,
    record::{Cell, Field, Type},
};
use sqep_archive::Error;
use sqep_parquet::{ArchiveError, ParquetSink};

use crate::common::{config, date, day, later, list, minute, now, open, parquet_files, rows, symbol, write};

const DAY: Kind = Kind::BarDay;
const MINUTE: Kind = Kind::BarMinute(Grid::M1);

fn mark(ms: u64) -> Mark {
    Mark { born: "b0".into(), id: EntryId::new(ms, 0), before: EntryId::ZERO }
}

#[test]
fn day_bars_come_back_as_they_were_written() {
    let root = tempfile::tempdir().unwrap();
    let bars: Vec<_> = (0..40).map(|n| (day(n, n * 20, n), u64::from(n))).collect();
    write(&mut open(root.path(), DAY), (1, 2), &bars).unwrap();
    let mut found: Vec<_> =
        rows::<DayBar>(root.path(), DAY).into_iter().map(|(bar, v, _)| (bar, v)).collect();
    found.sort_by_key(|&(_, version)| version);
    assert_eq!(found, bars);
}

#[test]
fn minute_bars_and_reference_days_come_back_as_they_were_written() {
    let root = tempfile::tempdir().unwrap();
    let bars: Vec<_> = (0..50).map(|n| (minute(1, n / 20, n), 7)).collect();
    write(&mut open(root.path(), MINUTE), (1, 2), &bars).unwrap();
    let found: Vec<_> =
        rows::<MinuteBar>(root.path(), MINUTE).into_iter().map(|(bar, v, _)| (bar, v)).collect();
    assert_eq!(found, bars);
    let mut refs: ParquetSink<RefDay> = open(root.path(), Kind::RefDay);
    let reference = RefDay {
        symbol: symbol(1),
        frame: date(3),
        adjust: Some(2.5),
        st: None,
        buy_limit: None,
        sell_limit: Some(3.3),
    };
    write(&mut refs, (1, 1), &[(reference, 9)]).unwrap();
    assert_eq!(rows::<RefDay>(root.path(), Kind::RefDay), [(reference, 9, "tushare".to_owned())]);
}

#[test]
fn days_lie_by_year_and_minutes_by_date() {
    let root = tempfile::tempdir().unwrap();
    write(&mut open(root.path(), DAY), (1, 2), &[(day(1, 0, 0), 1), (day(1, 400, 0), 1)]).unwrap();
    write(&mut open(root.path(), MINUTE), (1, 2), &[(minute(1, 0, 1), 1), (minute(1, 3, 1), 1)]).unwrap();
    let names = |kind| -> Vec<_> {
        crate::common::folders(root.path(), kind).iter().map(|p| p.file_name().unwrap().to_owned()).collect()
    };
    assert_eq!(names(DAY), ["year=2019", "year=2020"]);
    assert_eq!(names(MINUTE), ["date=2024-03-01", "date=2024-03-04"]);
}

#[test]
fn a_file_is_sorted_and_says_what_it_holds() {
    let root = tempfile::tempdir().unwrap();
    let shuffled: Vec<_> =
        (0..500u32).map(|n| (day(n * 37 % 50, n % 11, n), u64::from(n * 13 % 500))).collect();
    write(&mut open(root.path(), DAY), (1, 2), &shuffled).unwrap();
    let found = rows::<DayBar>(root.path(), DAY);
    assert_eq!(found.len(), 500);
    assert!(found.is_sorted_by_key(|(bar, version, _)| (bar.key(), *version)));
    let file = &parquet_files(root.path(), DAY)[0];
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let said = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let value = |key: &str| said.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
    assert_eq!((value("sqep.kind"), value("sqep.type")), (Some("bar:1d"), Some("SQEP-BAR-DAY")));
    let group = reader.metadata().row_group(0);
    assert!(
        group.columns().iter().all(|column| column.statistics().is_some()),
        "every column has statistics"
    );
}

#[test]
fn the_same_batch_again_is_the_same_file_byte_for_byte() {
    let root = tempfile::tempdir().unwrap();
    let bars: Vec<_> = (0..100).map(|n| (day(n % 9, n * 9, n), u64::from(n))).collect();
    let mut sink = open(root.path(), DAY);
    write(&mut sink, (1, 2), &bars).unwrap();
    let bytes = || -> Vec<_> {
        parquet_files(root.path(), DAY).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect()
    };
    let before = bytes();
    write(&mut sink, (1, 2), &bars).unwrap();
    assert_eq!(bytes(), before);
}

#[test]
fn the_halves_of_a_batch_do_not_overwrite_each_other() {
    let root = tempfile::tempdir().unwrap();
    let bars: Vec<_> = (0..10).map(|n| (day(n, 1, n), 5)).collect();
    let mut sink = open(root.path(), DAY);
    write(&mut sink, (1, 2), &bars[..5]).unwrap();
    write(&mut sink, (1, 2), &bars[5..]).unwrap();
    assert_eq!(rows::<DayBar>(root.path(), DAY).len(), 10);
}

#[test]
fn readers_meet_nothing_but_parquet_below_a_kind() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    write(&mut sink, (1, 2), &[(day(1, 1, 1), 1)]).unwrap();
    now(sink.save(0, &mark(2))).unwrap();
    assert_eq!(list(&root.path().join("bar_1d")).len(), 1);
    let files = list(&root.path().join("bar_1d/year=2019"));
    assert!(files.iter().all(|path| path.extension().is_some_and(|ext| ext == "parquet")), "{files:?}");
}

#[test]
fn what_a_killed_process_left_is_cleared_at_start() {
    let root = tempfile::tempdir().unwrap();
    drop(open::<DayBar>(root.path(), DAY));
    let left = |name: &str| root.path().join("_sqep/bar_1d").join(name);
    let names = ["write-0-rows.tmp", "write-0-mark.tmp", "write-1-rows.tmp"];
    for name in names {
        fs::write(left(name), b"PAR1 half").unwrap();
    }
    now(open::<DayBar>(root.path(), DAY).mark(0)).unwrap();
    let found = names.map(|name| left(name).exists());
    assert_eq!(found, [false, false, true], "what belongs to another partition is another process's");
}

#[test]
fn a_second_writer_of_a_partition_is_refused_and_told_who_writes() {
    let root = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (open::<DayBar>(root.path(), DAY), open::<DayBar>(root.path(), DAY));
    now(first.mark(0)).unwrap();
    let told = now(second.mark(0)).unwrap_err().to_string();
    assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
    assert!(later(write(&mut second, (1, 1), &[(day(1, 1, 1), 1)])).contains("locked"));
    now(second.mark(1)).unwrap();
    now(open::<MinuteBar>(root.path(), MINUTE).mark(0)).unwrap();
    drop(first);
    now(second.mark(0)).unwrap();
}

#[test]
fn a_record_type_is_refused_on_a_kind_it_does_not_belong_to() {
    let root = tempfile::tempdir().unwrap();
    let refused = sqep_parquet::open::<DayBar>(config(root.path()), MINUTE);
    assert!(matches!(refused, Err(ArchiveError::Archive(Error::Kind { .. }))));
}

#[test]
fn the_mark_outlives_the_process() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open::<DayBar>(root.path(), DAY);
    assert_eq!(now(sink.mark(0)).unwrap(), None);
    now(sink.save(0, &mark(7))).unwrap();
    drop(sink);
    assert_eq!(now(open::<DayBar>(root.path(), DAY).mark(0)).unwrap(), Some(mark(7)));
}

#[test]
fn the_sink_works_beside_other_tasks_of_a_runtime() {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let mut sink = open::<DayBar>(root.path(), DAY);
    runtime.block_on(async {
        tokio::spawn(async move { sink.save(0, &mark(1)).await.unwrap() }).await.unwrap();
    });
    assert!(root.path().join("_sqep/bar_1d/mark-0.json").exists());
}

#[test]
fn an_archive_that_disappears_is_waited_for_and_never_begun_anew() {
    let outer = tempfile::tempdir().unwrap();
    let (root, aside) = (outer.path().join("root"), outer.path().join("aside"));
    let mut sink = open(&root, DAY);
    write(&mut sink, (1, 1), &[(day(1, 1, 1), 1)]).unwrap();
    now(sink.save(0, &mark(1))).unwrap();
    fs::rename(&root, &aside).unwrap();
    let told = later(write(&mut sink, (2, 2), &[(day(1, 2, 1), 2)]));
    assert!(told.contains("disappeared") && told.contains("remount or restore"), "{told}");
    assert!(later(now(sink.save(0, &mark(2)))).contains("disappeared"));
    assert!(!root.exists(), "nothing is begun in its place");
    fs::rename(&aside, &root).unwrap();
    write(&mut sink, (2, 2), &[(day(1, 2, 1), 2)]).unwrap();
    now(sink.save(0, &mark(2))).unwrap();
    assert_eq!(rows::<DayBar>(&root, DAY).len(), 2);
}

#[test]
fn another_archive_in_the_place_of_ours_is_not_written_to() {
    let outer = tempfile::tempdir().unwrap();
    let (root, aside) = (outer.path().join("root"), outer.path().join("aside"));
    let mut sink = open(&root, DAY);
    now(sink.save(0, &mark(1))).unwrap();
    fs::rename(&root, &aside).unwrap();
    now(open::<DayBar>(&root, DAY).mark(0)).unwrap();
    assert!(later(write(&mut sink, (2, 2), &[(day(1, 2, 1), 2)])).contains("was replaced"));
    assert!(rows::<DayBar>(&root, DAY).is_empty());
}

#[test]
fn an_archive_restored_to_its_last_mark_is_taken_up_again() {
    let outer = tempfile::tempdir().unwrap();
    let (root, old, new) = (outer.path().join("root"), outer.path().join("old"), outer.path().join("new"));
    let mut sink = open(&root, DAY);
    now(sink.save(0, &mark(1))).unwrap();
    copy(&root, &old);
    now(sink.save(0, &mark(2))).unwrap();
    copy(&root, &new);
    fs::remove_dir_all(&root).unwrap();
    copy(&old, &root);
    let told = later(write(&mut sink, (3, 3), &[(day(1, 2, 1), 2)]));
    assert!(told.contains("mark of partition 0 is not 2-0"), "{told}");
    fs::remove_dir_all(&root).unwrap();
    copy(&new, &root);
    write(&mut sink, (3, 3), &[(day(1, 2, 1), 2)]).unwrap();
    assert_eq!(rows::<DayBar>(&root, DAY).len(), 1);
    assert!(now(open::<DayBar>(&root, DAY).mark(0)).is_err(), "the lock was taken again");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in list(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_waited_for_and_leaves_no_draft() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    let (year, state) = (root.path().join("bar_1d/year=2019"), root.path().join("_sqep/bar_1d"));
    fs::write(&year, b"in the way").unwrap();
    let told = later(write(&mut sink, (1, 1), &[(day(1, 1, 1), 1)]));
    assert!(told.contains("year=2019"), "{told}");
    assert_eq!(list(&state), [state.join("lock-0")]);
    fs::remove_file(&year).unwrap();
    write(&mut sink, (1, 1), &[(day(1, 1, 1), 1)]).unwrap();
    assert_eq!(rows::<DayBar>(root.path(), DAY).len(), 1);
}

#[test]
fn an_archive_whose_bars_are_gone_is_refused_at_start() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open::<DayBar>(root.path(), DAY);
    now(sink.save(0, &mark(1))).unwrap();
    drop(sink);
    fs::remove_dir_all(root.path().join("bar_1d")).unwrap();
    let refused = sqep_parquet::open::<DayBar>(config(root.path()), DAY);
    assert!(matches!(refused, Err(ArchiveError::Vanished { .. })));
}

/// A record that may lack what it must have.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lacking(Cell, Cell);

impl Record for Lacking {
    const TYPE: &'static str = "LACKING";
    const FIELDS: &'static [Field] = &[
        Field { name: "symbol", kind: Type::Symbol, nullable: false, unit: "" },
        Field { name: "frame", kind: Type::Date, nullable: false, unit: "" },
        Field { name: "open", kind: Type::Float, nullable: false, unit: "yuan" },
    ];

    fn blank() -> Self {
        Lacking(Cell::Null, Cell::Null)
    }

    fn symbol(&self) -> Symbol {
        symbol(600)
    }

    fn time(&self) -> i64 {
        0
    }

    fn get(&self, at: usize) -> Cell {
        [Cell::Symbol(symbol(600)), self.0, self.1][at]
    }

    fn set(&mut self, _at: usize, _cell: Cell) {}

    fn check(&self, _kind: Kind, _checker: &mut Checker<'_>) {}

    fn fits(_kind: Kind) -> bool {
        true
    }
}

#[test]
fn a_row_without_a_value_it_must_have_is_never_taken() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    let (time, open) = (Cell::Date(date(1)), Cell::Float(1.0));
    write(&mut sink, (1, 1), &[(Lacking(time, open), 1)]).unwrap();
    for (lacking, field) in [(Lacking(time, Cell::Null), "open"), (Lacking(Cell::Null, open), "frame")] {
        let Err(WriteError::Never(error)) =
            write(&mut sink, (2, 2), &[(Lacking(time, open), 1), (lacking, 1)])
        else {
            panic!("must never be taken")
        };
        let told = error.to_string();
        assert!(told.contains(field) && told.contains("row 2") && told.contains("000600.SZ"), "{told}");
    }
}
