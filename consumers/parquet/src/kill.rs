//! The process is killed at every step of a write and of a compaction: this test program runs itself again as a child
//! that ends, without a destructor, at the step it is told.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sqep::{Batch, EntryId, Exchange, Kind, Mark, MinuteBar, Record, Row, Sink, Symbol, kind::Grid};
use sqep_archive::layout;
use tempfile::TempDir;

use crate::{
    Config, Options, ParquetSink, Rows, compact::compact_root_with, compact_root, open, write::Step,
};

const KIND: Kind = Kind::BarMinute(Grid::M1);
const KILLED: i32 = 9;
const BATCHES: u64 = 4;

type Rowset = BTreeMap<(Symbol, i64), (u64, MinuteBar)>;

static STEPS_LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Ends the process when its step has come.
fn die(_: Step) {
    if STEPS_LEFT.fetch_sub(1, Ordering::SeqCst) == 0 {
        process::exit(KILLED);
    }
}

/// Runs `test` again, as a child on `root`; `false` when it was killed at the step.
fn survives(test: &str, root: &Path, step: usize) -> bool {
    let status = Command::new(env::current_exe().unwrap())
        .args([&format!("kill::{test}"), "--exact"])
        .env("SQEP_KILL_ROOT", root)
        .env("SQEP_KILL_STEP", step.to_string())
        .stdout(process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.code() == Some(KILLED), "{test} at step {step}: {status}");
    status.success()
}

/// In a child: the root it was told, its step being set. `None`: this is the test itself.
fn told() -> Option<PathBuf> {
    let root = env::var_os("SQEP_KILL_ROOT")?;
    STEPS_LEFT.store(env::var("SQEP_KILL_STEP").unwrap().parse().unwrap(), Ordering::SeqCst);
    Some(root.into())
}

/// The rows of a batch: three days, two of its keys shared with every other batch.
fn batch(id: u64) -> Vec<Row<MinuteBar>> {
    let midnight = NaiveDateTime::from(NaiveDate::from_ymd_opt(2024, 3, 1).unwrap());
    let row = |day: i64, minute: i64| {
        let frame = midnight + TimeDelta::days(day) + TimeDelta::minutes(571 + minute);
        let price = f64::from(u32::try_from(id).unwrap()) + 0.5;
        let symbol = Symbol::new(Exchange::SH, 600_000).unwrap();
        let record = MinuteBar {
            symbol,
            frame,
            open: price,
            high: price,
            low: price,
            close: price,
            vol: 1.0,
            amount: None,
        };
        Row { record, version: id, source: 0 }
    };
    let own = i64::try_from(id).unwrap();
    vec![row(0, 0), row(0, own), row(1, 0), row(1, own), row(2, own)]
}

fn model(batches: impl Iterator<Item = u64>) -> Rowset {
    let mut model = Rowset::new();
    for row in batches.flat_map(batch) {
        model.insert(row.record.key(), (row.version, row.record));
    }
    model
}

/// Delivers every batch after the mark, as the loop does.
fn deliver(sink: &mut ParquetSink<MinuteBar>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let sources: [Arc<str>; 1] = ["tushare".into()];
    let begin = runtime.block_on(sink.mark(0)).unwrap().map_or(0, |mark| mark.id.ms);
    for ms in begin + 1..=BATCHES {
        let (id, rows) = (EntryId::new(ms, 0), batch(ms));
        let batch = Batch { partition: 0, first: id, last: id, rows: &rows, sources: &sources };
        runtime.block_on(sink.write(&batch)).unwrap();
        runtime.block_on(sink.save(0, &Mark { born: "b".into(), id, before: EntryId::ZERO })).unwrap();
    }
}

fn sink(root: &Path) -> ParquetSink<MinuteBar> {
    open(Config { root: root.to_owned(), ..Config::default() }, KIND).unwrap()
}

/// Every row of every file, and the best of each key. A half file fails here.
fn read(root: &Path) -> (usize, Rowset) {
    let (mut count, mut best) = (0, Rowset::new());
    for folder in layout::folders(&root.join(KIND.table())).unwrap() {
        for path in crate::files(&folder).unwrap() {
            let mut rows = Rows::<MinuteBar>::open(&path).unwrap();
            while let Some(some) = rows.next().unwrap() {
                count += some.len();
                for row in some {
                    let found = best.entry(row.record.key()).or_insert((row.version, row.record));
                    *found = if row.version > found.0 { (row.version, row.record) } else { *found };
                }
            }
        }
    }
    (count, best)
}

fn drafts(root: &Path) -> usize {
    let state = root.join("_sqep").join(KIND.table());
    let paths = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "tmp")).count()
}

#[test]
fn a_write_killed_at_any_step_leaves_no_half_file_and_no_gap() {
    if let Some(root) = told() {
        let mut sink = sink(&root);
        sink.set_hook(die);
        return deliver(&mut sink);
    }
    let mut killed = 0;
    loop {
        let root = tempfile::tempdir().unwrap();
        let survived =
            survives("a_write_killed_at_any_step_leaves_no_half_file_and_no_gap", root.path(), killed);
        let mut sink = sink(root.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let held = runtime.block_on(sink.mark(0)).unwrap().map_or(0, |mark| mark.id.ms);
        assert_eq!(drafts(root.path()), 0, "step {killed}: a start clears leftovers away");
        let found = read(root.path()).1;
        for (key, row) in model(1..=held) {
            assert!(
                found.get(&key).is_some_and(|found| found.0 >= row.0),
                "step {killed}: {key:?} is missing"
            );
        }
        deliver(&mut sink);
        assert_eq!(read(root.path()).1, model(1..=BATCHES), "step {killed}");
        if survived {
            break;
        }
        killed += 1;
    }
    assert!(killed >= 28, "four batches of three files and a mark have 28 steps, only {killed} were met");
}

fn archive() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    deliver(&mut sink(root.path()));
    root
}

#[test]
fn a_compaction_killed_at_any_step_loses_nothing_and_the_next_one_finishes() {
    if let Some(root) = told() {
        let options = Options { inputs_max: 2, ..Options::default() };
        compact_root_with(&root, options, die).unwrap().complete().unwrap();
        return;
    }
    let all = model(1..=BATCHES);
    let mut killed = 0;
    loop {
        let root = archive();
        let survived = survives(
            "a_compaction_killed_at_any_step_loses_nothing_and_the_next_one_finishes",
            root.path(),
            killed,
        );
        assert_eq!(read(root.path()).1, all, "step {killed}: readers miss a row");
        compact_root(root.path(), Options::default()).unwrap().complete().unwrap();
        let (count, found) = read(root.path());
        assert_eq!((count, found), (all.len(), all.clone()), "step {killed}: the next run did not finish");
        assert_eq!(drafts(root.path()), 0, "step {killed}");
        if survived {
            break;
        }
        killed += 1;
    }
    assert!(killed >= 18, "three folders of four files have 18 steps, only {killed} were met");
}
