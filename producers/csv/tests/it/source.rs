//! Files as a source, through a stream that loses replies, forgets and stops.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, time::Duration};

use sqep::{DayBar, Kind, MinuteBar, Reason, Record, RefDay, Source, Symbol, app::Usage};
use sqep_csv::{
    config::CsvSettings,
    enrich::Enrich,
    ledger::{Ledger, State},
};
use sqep_testkit::dice::Dice;

use crate::common::{
    Faults, HEADER, World, append, folder_with, gzip, key, rows, run, run_kind, settings, source, write,
};

type Key = (Symbol, i64);

fn file(text: &str) -> String {
    format!("{HEADER}{text}")
}

/// What the files say, the last row of a key winning, in the order of the files.
async fn plainly(settings: &CsvSettings) -> (BTreeMap<Key, DayBar>, u64) {
    let mut world = World::new();
    run(&mut world, settings).await;
    (world.current(), world.cursors.totals.appended)
}

/// A folder of files of every sort: good rows, refused ones, the same row twice, compressed, without a last line end.
fn market(dice: &mut Dice) -> (tempfile::TempDir, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (mut read, files) = (0, 2 + dice.below(5));
    for at in 0..files {
        let count = usize::try_from(dice.below(60)).unwrap();
        let code = u32::try_from(at).unwrap() + 1;
        let mut text = file(&rows(code, 0, count, 0));
        read += u64::try_from(count).unwrap();
        if dice.one_in(3) {
            writeln!(text, "{},2024-03-04,5,4,3,3.5,100,350,,,,", crate::common::symbol(code).get()).unwrap();
            read += 1;
        }
        if dice.one_in(3) && count > 0 {
            let again = text.lines().nth(1).unwrap().to_owned();
            writeln!(text, "{again}").unwrap();
            read += 1;
        }
        if dice.one_in(4) {
            text.pop();
        }
        let path = folder.path().join(format!("{at}.csv"));
        if dice.one_in(4) { drop(gzip(&path.with_extension("csv.gz"), &text)) } else { write(&path, &text) }
    }
    (folder, read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_interrupted_every_row_is_published_once() {
    for seed in 0..150 {
        let mut dice = Dice::new(seed);
        let (folder, read) = market(&mut dice);
        let settings = settings(&[folder.path()]);
        let (expected, appended) = plainly(&settings).await;
        let faults = Faults { refused: 5, lost: 5, killed: 7, dropped: 3 };
        let mut world = World::new();
        run_kind::<DayBar>(&mut world, &settings, Kind::BarDay, faults, &mut dice).await;
        assert_eq!(world.current(), expected, "seed {seed}");
        assert_eq!(world.cursors.totals.appended, appended, "seed {seed}: nothing is published twice either");
        assert_eq!(world.cursors.totals.read, read, "seed {seed}");
        run(&mut world, &settings).await;
        assert_eq!(world.cursors.totals.read, read, "seed {seed}: a second run finds nothing new");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_grows_and_changes_between_interrupted_runs_the_stream_ends_as_the_files_do() {
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let (folder, paths) =
            folder_with(&[("a.csv", file(&rows(1, 0, 30, 0))), ("b.csv", file(&rows(2, 0, 30, 0)))]);
        let settings = settings(&[folder.path()]);
        let mut world = World::new();
        for round in 1..5 {
            let path = &paths[usize::try_from(dice.below(2)).unwrap()];
            let code = if path.ends_with("a.csv") { 1 } else { 2 };
            let length = fs::read_to_string(path).unwrap().lines().count() - 1;
            match dice.below(3) {
                0 => append(path, &rows(code, length, 10, 0)),
                1 => write(path, &file(&rows(code, 0, length, round))),
                _ => {}
            }
            let faults = Faults { refused: 4, lost: 4, killed: 5, dropped: 3 };
            run_kind::<DayBar>(&mut world, &settings, Kind::BarDay, faults, &mut dice).await;
            assert_eq!(world.current(), plainly(&settings).await.0, "seed {seed}, round {round}");
        }
    }
}

#[tokio::test]
async fn a_second_run_publishes_nothing_new() {
    let (folder, paths) =
        folder_with(&[("a.csv", file(&rows(1, 0, 20, 0))), ("b.csv", file(&rows(2, 0, 20, 0)))]);
    let mut world = World::new();
    let first = run(&mut world, &settings(&[folder.path()])).await;
    assert_eq!((first.summary.published, first.summary.unchanged, world.stream.len()), (2, 0, 40));
    let second = run(&mut world, &settings(&[folder.path()])).await;
    assert_eq!((second.summary.published, second.summary.unchanged, world.stream.len()), (0, 2, 40));
    assert_eq!(second.summary.totals.read, 0);
    let third = run(&mut world, &settings(&[&paths[0], folder.path()])).await;
    assert_eq!(
        (third.summary.unchanged, world.stream.len()),
        (2, 40),
        "a file has one name however it is reached"
    );
}

#[tokio::test]
async fn a_grown_file_publishes_only_its_new_rows() {
    let (_folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 20, 0)))]);
    let mut world = World::new();
    run(&mut world, &settings(&[&paths[0]])).await;
    append(&paths[0], &rows(1, 20, 5, 0));
    let grown = run(&mut world, &settings(&[&paths[0]])).await;
    assert_eq!((grown.summary.totals.appended, world.stream.len()), (5, 25));
    assert!(
        grown.lines.contains("grown after 20 rows: read 5 = appended 5 + refused 0 + skipped 0"),
        "{}",
        grown.lines
    );
}

#[tokio::test]
async fn a_last_line_that_was_cut_short_is_corrected_when_its_rest_comes() {
    let text = file(&rows(1, 0, 3, 0));
    let cut = text.len() - 6;
    let (_folder, paths) = folder_with(&[("a.csv", text[..cut].to_owned())]);
    let mut world = World::new();
    run(&mut world, &settings(&[&paths[0]])).await;
    append(&paths[0], &text[cut..]);
    append(&paths[0], &rows(1, 3, 2, 0));
    run(&mut world, &settings(&[&paths[0]])).await;
    assert_eq!(world.current(), plainly(&settings(&[&paths[0]])).await.0);
}

#[tokio::test]
async fn a_changed_file_is_published_again_as_a_later_version() {
    let (_folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 20, 0)))]);
    let mut world = World::new();
    run(&mut world, &settings(&[&paths[0]])).await;
    write(&paths[0], &file(&rows(1, 0, 20, 3)));
    let changed = run(&mut world, &settings(&[&paths[0]])).await;
    assert_eq!((changed.summary.totals.appended, world.stream.len()), (20, 40));
    assert_eq!(world.current(), plainly(&settings(&[&paths[0]])).await.0);
    let (ledger, _) = Ledger::read(&world.cursors);
    assert_eq!(ledger.get(&key(&paths[0])).unwrap().pass, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_replaced_under_the_reader_is_begun_again() {
    let old: String = (1..12).map(|code| rows(code, 0, 1200, 0)).collect();
    let (_folder, paths) = folder_with(&[("a.csv", file(&old))]);
    // Too large for memory, so that it is still open when the other text comes into its place.
    let settings = CsvSettings { text_bytes_max: 0, rows_block_max: 100, ..settings(&[&paths[0]]) };
    let mut world = World::new();
    let (mut source, report, _) = source::<DayBar>(&settings, Kind::BarDay, false);
    source.open(&world.cursors).await.unwrap();
    let mut replaced = false;
    while let Some(chunk) = source.read().await.unwrap() {
        if chunk.records.is_empty() {
            continue;
        }
        world.take(chunk);
        if !replaced {
            write(&paths[0], &file(&rows(1, 0, 50, 7)));
            replaced = true;
        }
    }
    assert!(report.summary().is_clean(), "{}", report.summary());
    let (current, (expected, _)) = (world.current(), plainly(&settings).await);
    assert!(
        expected.iter().all(|(key, bar)| current.get(key) == Some(bar)),
        "the new text has the last word"
    );
    let (ledger, _) = Ledger::read(&world.cursors);
    let entry = ledger.get(&key(&paths[0])).unwrap();
    assert_eq!((entry.state, entry.rows, entry.pass), (State::Done, 50, 2));
    world.assert_balanced();
}

#[tokio::test]
async fn force_publishes_everything_once_more_whatever_is_interrupted() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let (folder, _) =
            folder_with(&[("a.csv", file(&rows(1, 0, 30, 0))), ("b.csv", file(&rows(2, 0, 30, 0)))]);
        let plain = settings(&[folder.path()]);
        let mut world = World::new();
        run(&mut world, &plain).await;
        let forced = CsvSettings { force: true, ..plain };
        let faults = Faults { refused: 4, lost: 4, ..Faults::default() };
        run_kind::<DayBar>(&mut world, &forced, Kind::BarDay, faults, &mut dice).await;
        assert_eq!(world.stream.len(), 120, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_in_the_order_of_the_input_with_any_number_of_workers() {
    let files: Vec<(String, String)> = (1..40u32)
        .map(|at| {
            // The first files are the longest, so that the later ones are ready before them.
            let count = if at < 5 { 900 } else { 3 };
            (format!("{at:03}.csv"), file(&rows(at, 0, count, 0)))
        })
        .collect();
    let named: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let (folder, _) = folder_with(&named);
    for max_workers in [1, 2, 7] {
        let mut world = World::new();
        run(&mut world, &CsvSettings { max_workers, ..settings(&[folder.path()]) }).await;
        let keys: Vec<Key> = world.stream.iter().map(|(_, bar)| bar.key()).collect();
        assert!(keys.is_sorted(), "{max_workers} workers");
        assert_eq!(keys.len(), 4 * 900 + 35 * 3);
    }
}

#[tokio::test]
async fn one_bad_file_does_not_stop_the_others_and_is_named() {
    let good = file(&rows(1, 0, 20, 0));
    let (folder, paths) = folder_with(&[
        ("a.csv", good.clone()),
        ("b_unknown.csv", "what,is,this\n1,2,3\n".to_owned()),
        ("d_empty.csv", String::new()),
        ("e.csv", file(&rows(5, 0, 20, 0))),
    ]);
    let cut = folder.path().join("c_cut.csv.gz");
    let whole = gzip(&cut, &file(&rows(3, 0, 900, 0)));
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let absent = folder.path().join("not_there.csv");
    let mut world = World::new();
    let run = run(&mut world, &settings(&[folder.path(), &absent])).await;
    assert_eq!(world.stream.len(), 40);
    assert_eq!((run.summary.published, run.summary.refused, run.summary.failed), (2, 2, 2), "{}", run.lines);
    assert!(!run.summary.is_clean());
    let told = run.summary.to_string();
    for name in [&paths[1], &cut, &paths[2], &absent] {
        assert!(told.contains(name.file_name().unwrap().to_str().unwrap()), "{name:?} in {told}");
    }
    let letters: Vec<&str> = world.letters.iter().map(|(origin, _)| origin.as_str()).collect();
    assert_eq!(letters, [key(&paths[1]), key(&paths[2])]);
    assert_eq!(world.letters[0].1.findings[0].reason, Reason::HeaderUnknown);
}

#[tokio::test]
async fn a_file_refused_whole_is_told_at_every_run_and_has_one_letter() {
    let text = file(&rows(1, 0, 50, 0)).replace(",1000,", ",10,");
    let (_folder, paths) = folder_with(&[("lots.csv", text), ("z.csv", file(&rows(2, 0, 5, 0)))]);
    let both = settings(&[&paths[0], &paths[1]]);
    let mut world = World::new();
    let first = run(&mut world, &both).await;
    assert_eq!((world.stream.len(), world.letters.len(), first.summary.refused), (5, 1, 1));
    assert_eq!(world.letters[0].1.rows, 50);
    let second = run(&mut world, &both).await;
    assert_eq!((world.stream.len(), world.letters.len(), second.summary.refused), (5, 1, 1));
    assert!(second.lines.contains("units_or_adjusted"), "{}", second.lines);
    let declared = CsvSettings { vol_unit: Some("lots".to_owned()), ..settings(&[&paths[0]]) };
    run(&mut world, &declared).await;
    assert_eq!((world.stream.len(), world.letters.len()), (55, 1));
    world.assert_balanced();
}

#[tokio::test]
async fn an_unknown_header_is_read_once_a_dialect_explains_it() {
    let (_folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 5, 0)))]);
    let wrong = CsvSettings { dialect: "tushare".to_owned(), ..settings(&[&paths[0]]) };
    let mut world = World::new();
    assert_eq!(run(&mut world, &wrong).await.summary.refused, 1);
    assert_eq!(run(&mut world, &wrong).await.summary.refused, 1);
    assert_eq!((world.stream.len(), world.letters.len()), (0, 1));
    assert!(run(&mut world, &settings(&[&paths[0]])).await.summary.is_clean());
    assert_eq!((world.stream.len(), world.letters.len()), (5, 1));
}

#[tokio::test]
async fn what_is_printed_adds_up_file_by_file_and_in_total() {
    let mut dice = Dice::new(3);
    let (folder, read) = market(&mut dice);
    let mut world = World::new();
    let run = run(&mut world, &settings(&[folder.path()])).await;
    assert_eq!(run.summary.totals.read, read);
    assert!(run.summary.totals.balances());
    let (ledger, _) = Ledger::read(&world.cursors);
    let by_file: u64 = ledger.iter().map(|(_, entry)| entry.totals.read).sum();
    assert_eq!(by_file, read);
    assert!(ledger.iter().all(|(_, entry)| entry.state == State::Done && entry.rows == entry.totals.read));
}

#[tokio::test]
async fn minutes_pass_the_same_way() {
    let day = |minute: &str| format!("2000001,2024-03-01 {minute}:00,10,10,10,10,100,1000\n");
    let text = format!("symbol,frame,open,high,low,close,vol,amount\n{}{}", day("09:31"), day("09:32"));
    let (_folder, paths) = folder_with(&[("m.csv", text)]);
    let mut world = World::<MinuteBar>::new();
    let kind = "bar:1m".parse().unwrap();
    run_kind(&mut world, &settings(&[&paths[0]]), kind, Faults::default(), &mut Dice::new(1)).await;
    assert_eq!(world.stream.len(), 2);
}

#[tokio::test]
async fn there_is_no_source_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (mut source, _, _) = source::<DayBar>(&settings(&[folder.path()]), Kind::BarDay, false);
    let error = source.open(&sqep::Cursors::default()).await.unwrap_err().to_string();
    assert!(error.contains("holds no .csv"), "{error}");
}

/// Reads until `wanted` records have come, applying what comes.
async fn until(world: &mut World<DayBar>, source: &mut impl Source<Record = DayBar>, wanted: usize) {
    let all = async {
        while world.stream.len() < wanted {
            let chunk = source.read().await.unwrap().expect("a daemon does not end");
            if !chunk.is_empty() {
                world.take(chunk);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("the rows come within a minute");
}

fn daemon(path: &Path) -> CsvSettings {
    CsvSettings { rescan_s: 1, quiet_ms: 5, ..settings(&[path]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_takes_up_new_and_grown_files_and_waits_for_the_end_of_a_line() {
    let (folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 5, 0)))]);
    let mut world = World::new();
    let (mut source, report, _) = source::<DayBar>(&daemon(folder.path()), Kind::BarDay, true);
    source.open(&world.cursors).await.unwrap();
    until(&mut world, &mut source, 5).await;

    let (draft, placed) = (folder.path().join("b.tmp"), folder.path().join("b.csv"));
    write(&draft, &file(&rows(2, 0, 5, 0)));
    fs::rename(&draft, &placed).unwrap();
    until(&mut world, &mut source, 10).await;

    let more = rows(1, 5, 2, 0);
    let half = more.len() - 9;
    append(&paths[0], &more[..half]);
    until(&mut world, &mut source, 11).await;
    append(&paths[0], &more[half..]);
    until(&mut world, &mut source, 12).await;

    assert_eq!(world.current(), plainly(&settings(&[folder.path()])).await.0);
    assert!(report.summary().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_a_daemon_waited_for_is_not_lost_when_it_stops() {
    let text = file(&rows(1, 0, 5, 0));
    let (folder, _) = folder_with(&[("a.csv", text.trim_end().to_owned())]);
    let mut world = World::new();
    let (mut source, _, _) = source::<DayBar>(&daemon(folder.path()), Kind::BarDay, true);
    source.open(&world.cursors).await.unwrap();
    until(&mut world, &mut source, 4).await;
    drop(source);
    run(&mut world, &settings(&[folder.path()])).await;
    assert_eq!(world.stream.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_opened_again_goes_on_where_the_stream_is() {
    let (folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 50, 0)))]);
    let mut world = World::new();
    let (mut source, _, _) = source::<DayBar>(&daemon(folder.path()), Kind::BarDay, true);
    source.open(&world.cursors).await.unwrap();
    until(&mut world, &mut source, 7).await;
    source.open(&world.cursors).await.unwrap();
    until(&mut world, &mut source, 50).await;
    append(&paths[0], &rows(1, 50, 3, 0));
    until(&mut world, &mut source, 53).await;
    assert_eq!(world.current().len(), 53);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_reads_a_file_that_was_half_copied_once_it_is_whole() {
    let (folder, _) = folder_with(&[("b.csv", file(&rows(2, 0, 1, 0)))]);
    let packed = folder.path().join("a.csv.gz");
    let whole = gzip(&packed, &file(&rows(1, 0, 900, 0)));
    fs::write(&packed, &whole[..whole.len() / 2]).unwrap();
    let mut world = World::new();
    let (mut source, report, paper) = source::<DayBar>(&daemon(folder.path()), Kind::BarDay, true);
    source.open(&world.cursors).await.unwrap();
    until(&mut world, &mut source, 1).await;
    assert_eq!((report.summary().failed, world.letters.len()), (1, 0));
    assert!(paper.text().contains("a.csv.gz: not read"), "{}", paper.text());
    fs::write(&packed, &whole).unwrap();
    until(&mut world, &mut source, 901).await;
    // The end of a file is told when the next piece of news is asked for.
    let told = async {
        while report.summary().published < 2 {
            drop(tokio::time::timeout(Duration::from_millis(20), source.read()).await);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("the end is told within a minute");
    assert!(report.summary().is_clean(), "{}", report.summary());
}

const FACTORS: &str = "ts_code,trade_date,adj_factor\n000001.SZ,20190102,100.5\n000001.SZ,20190103,101\n";
const LIMITS: &str =
    "trade_date,ts_code,up_limit,down_limit\n20190102,000001.SZ,11.05,9.05\n20190104,000001.SZ,11.1,9.1\n";
const TREATED: &str = "ts_code,trade_date\n000001.SZ,20190103\n000002.SZ,20190102\n";

fn with_side_files(settings: CsvSettings, folder: &Path) -> CsvSettings {
    let path = |name: &str, text: &str| {
        let path = folder.join(name);
        write(&path, text);
        vec![path.to_str().unwrap().to_owned()]
    };
    CsvSettings {
        adj_factor: path("adj_factor.txt", FACTORS),
        stk_limit: path("stk_limit.txt", LIMITS),
        stock_st: path("stock_st.txt", TREATED),
        ..settings
    }
}

#[tokio::test]
async fn side_files_are_joined_into_day_bars_and_what_is_missing_stays_null() {
    let (_folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 4, 0)))]);
    let side = tempfile::tempdir().unwrap();
    let settings = with_side_files(settings(&[&paths[0]]), side.path());
    let mut world = World::new();
    run(&mut world, &settings).await;
    let bars: Vec<_> =
        world.stream.iter().map(|(_, bar)| (bar.adjust, bar.st, bar.buy_limit, bar.sell_limit)).collect();
    assert_eq!(
        bars,
        [
            (Some(100.5), Some(false), Some(11.05), Some(9.05)),
            (Some(101.0), Some(true), None, None),
            (None, None, Some(11.1), Some(9.1)),
            (None, None, None, None),
        ]
    );
}

#[tokio::test]
async fn side_files_alone_make_reference_days_once() {
    let side = tempfile::tempdir().unwrap();
    let settings = with_side_files(settings(&[]), side.path());
    let mut world = World::<RefDay>::new();
    let mut dice = Dice::new(5);
    let faults = Faults { lost: 2, refused: 2, ..Faults::default() };
    run_kind(&mut world, &settings, Kind::RefDay, faults, &mut dice).await;
    let days: Vec<String> =
        world.stream.iter().map(|(_, day)| format!("{} {}", day.frame, day.symbol)).collect();
    assert_eq!(
        days,
        ["2019-01-02 000001.SZ", "2019-01-02 000002.SZ", "2019-01-03 000001.SZ", "2019-01-04 000001.SZ"]
    );
    run_kind(&mut world, &settings, Kind::RefDay, faults, &mut dice).await;
    assert_eq!(world.stream.len(), 4);
    append(&side.path().join("adj_factor.txt"), "000001.SZ,20190107,102\n000001.SZ,20190201,103\n");
    run_kind(&mut world, &settings, Kind::RefDay, faults, &mut dice).await;
    assert_eq!(world.stream.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_joins_what_its_side_files_say_when_a_bar_comes() {
    let (folder, _) = folder_with(&[("a.csv", file(&rows(1, 0, 1, 0)))]);
    let side = tempfile::tempdir().unwrap();
    let settings = with_side_files(daemon(folder.path()), side.path());
    let mut world = World::new();
    let (mut source, _, _) = source::<DayBar>(&settings, Kind::BarDay, true);
    source.open(&world.cursors).await.unwrap();
    until(&mut world, &mut source, 1).await;
    append(&side.path().join("adj_factor.txt"), "000002.SZ,20190102,7.5\n");
    write(&folder.path().join("b.csv"), &file(&rows(2, 0, 1, 0)));
    until(&mut world, &mut source, 3).await;
    let current = world.current();
    let adjust =
        |code| current.iter().find(|(key, _)| key.0 == crate::common::symbol(code)).unwrap().1.adjust;
    assert_eq!((adjust(1), adjust(2)), (Some(100.5), Some(7.5)));
}

#[tokio::test]
async fn many_side_files_join_as_one() {
    let (_folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 3, 0)))]);
    let (side, _) = folder_with(&[
        ("20190102.csv", "ts_code,trade_date,adj_factor\n000001.SZ,20190102,2\n".to_owned()),
        (
            "20190103.csv",
            "ts_code,trade_date,adj_factor\n000001.SZ,20190103,2\n000001.SZ,20190102,3\n".to_owned(),
        ),
    ]);
    let folder = side.path().to_str().unwrap().to_owned();
    let settings = CsvSettings { adj_factor: vec![folder], ..settings(&[&paths[0]]) };
    let mut world = World::new();
    run(&mut world, &settings).await;
    let factors: Vec<_> = world.stream.iter().map(|(_, bar)| bar.adjust).collect();
    assert_eq!(factors, [Some(3.0), Some(2.0), None]);
}

#[tokio::test]
async fn a_side_file_that_does_not_read_stops_the_start() {
    let (folder, paths) =
        folder_with(&[("a.csv", file(&rows(1, 0, 3, 0))), ("odd.txt", "what,is,this\n1,2,3\n".to_owned())]);
    for name in ["odd.txt", "absent.txt"] {
        let path = folder.path().join(name).to_str().unwrap().to_owned();
        let settings = CsvSettings { adj_factor: vec![path], ..settings(&[&paths[0]]) };
        let (mut source, _, _) = source::<DayBar>(&settings, Kind::BarDay, false);
        let error = format!("{:#}", source.open(&sqep::Cursors::default()).await.unwrap_err());
        assert!(error.contains("csv.adj_factor") && error.contains(name), "{error}");
    }
}

/// What a start says that does not come about.
async fn start_error<R: Enrich>(world: &World<R>, settings: &CsvSettings, kind: Kind) -> anyhow::Error {
    let (mut source, _, _) = source::<R>(settings, kind, false);
    source.open(&world.cursors).await.unwrap_err()
}

#[tokio::test]
async fn side_files_that_come_later_publish_their_bars_again() {
    let (_folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 2, 0)))]);
    let side = tempfile::tempdir().unwrap();
    let plain = settings(&[&paths[0]]);
    let mut world = World::new();
    run(&mut world, &plain).await;
    let joined = with_side_files(plain, side.path());
    run(&mut world, &joined).await;
    let factors = |world: &World<DayBar>| -> Vec<Option<f64>> {
        world.current().values().map(|bar| bar.adjust).collect()
    };
    assert_eq!((world.stream.len(), factors(&world)), (4, vec![Some(100.5), Some(101.0)]));
    run(&mut world, &joined).await;
    assert_eq!(world.stream.len(), 4, "the same side files publish nothing new");
    let corrected = FACTORS.replace(",101\n", ",102\n");
    write(&side.path().join("adj_factor.txt"), &corrected);
    run(&mut world, &joined).await;
    assert_eq!(factors(&world), [Some(100.5), Some(102.0)]);
}

#[tokio::test]
async fn bars_are_not_published_again_without_the_side_files_they_had_unless_forced() {
    let (_folder, paths) = folder_with(&[("a.csv", file(&rows(1, 0, 2, 0)))]);
    let side = tempfile::tempdir().unwrap();
    let joined = with_side_files(settings(&[&paths[0]]), side.path());
    let mut world = World::new();
    run(&mut world, &joined).await;
    append(&paths[0], &rows(1, 2, 1, 0));
    let less = CsvSettings { adj_factor: Vec::new(), ..joined };
    let error = start_error(&world, &less, Kind::BarDay).await;
    assert!(error.downcast_ref::<Usage>().is_some());
    let told = error.to_string();
    assert!(told.contains("csv.adj_factor") && told.contains("--force"), "{told}");
    run(&mut world, &CsvSettings { force: true, ..less }).await;
    assert_eq!(world.stream.len(), 5);
}

#[tokio::test]
async fn reference_days_never_lose_what_another_side_file_said() {
    let side = tempfile::tempdir().unwrap();
    let all = with_side_files(settings(&[]), side.path());
    let mut world = World::<RefDay>::new();
    let (faults, dice) = (Faults::default(), &mut Dice::new(1));
    let factors = CsvSettings { stk_limit: Vec::new(), stock_st: Vec::new(), ..all.clone() };
    run_kind(&mut world, &factors, Kind::RefDay, faults, dice).await;
    let limits = CsvSettings { adj_factor: Vec::new(), stock_st: Vec::new(), ..all.clone() };
    let told = start_error(&world, &limits, Kind::RefDay).await.to_string();
    assert!(told.contains("csv.adj_factor"), "{told}");
    run_kind(&mut world, &all, Kind::RefDay, faults, dice).await;
    let first = world.current().into_values().find(|day| day.buy_limit.is_some()).unwrap();
    assert_eq!((first.adjust, first.buy_limit), (Some(100.5), Some(11.05)));
    let limits = CsvSettings { paths: limits.stk_limit, ..settings(&[]) };
    let alone = run_kind(&mut World::<RefDay>::new(), &limits, Kind::RefDay, faults, dice).await;
    assert_eq!(alone.summary.refused, 1, "limits are no main file: {}", alone.lines);
}

#[tokio::test]
async fn a_reference_day_that_says_nothing_is_left_out() {
    let side = tempfile::tempdir().unwrap();
    let path = side.path().join("limits.txt");
    let unlimited = "20190103,301001.SZ,99999.999,0.01\n";
    write(
        &path,
        &format!("trade_date,ts_code,up_limit,down_limit\n20190102,000001.SZ,11.05,9.05\n{unlimited}"),
    );
    let limits = CsvSettings { stk_limit: vec![path.to_str().unwrap().to_owned()], ..settings(&[]) };
    let mut world = World::<RefDay>::new();
    run_kind(&mut world, &limits, Kind::RefDay, Faults::default(), &mut Dice::new(1)).await;
    assert_eq!(world.stream.len(), 1);
}

#[tokio::test]
async fn a_jump_that_a_side_file_explains_is_none() {
    let day = |day: u32, price: u32| {
        let amount = price * 1000;
        format!("2000001,2019-01-{day:02},{price},{price},{price},{price},1000,{amount},,,,\n")
    };
    let (folder, paths) = folder_with(&[
        ("a.csv", file(&format!("{}{}", day(2, 20), day(3, 10)))),
        (
            "factors.txt",
            "ts_code,trade_date,adj_factor\n000001.SZ,20190102,1\n000001.SZ,20190103,2\n".to_owned(),
        ),
    ]);
    let warned = |run: crate::common::Run| run.summary.totals.warned.get(&Reason::JumpWithoutFactor).copied();
    let plain = settings(&[&paths[0]]);
    assert_eq!(warned(run(&mut World::new(), &plain).await), Some(1));
    let factors = folder.path().join("factors.txt").to_str().unwrap().to_owned();
    let joined = CsvSettings { adj_factor: vec![factors], ..plain };
    assert_eq!(warned(run(&mut World::new(), &joined).await), None);
}

#[tokio::test]
async fn a_file_without_a_row_that_was_published_counts_as_refused_and_shows_three_rows() {
    let row = "2000001,2024-03-04,5,4,3,3.5,100,350,,,,\n";
    let bad: Vec<String> = (4..8).map(|day| row.replace("03-04", &format!("03-0{day}"))).collect();
    let bad = bad.concat();
    let (_folder, paths) = folder_with(&[("a.csv", file(&bad)), ("b.csv", file(&rows(2, 0, 5, 0)))]);
    let run = run(&mut World::new(), &settings(&[&paths[0], &paths[1]])).await;
    assert_eq!((run.summary.published, run.summary.refused), (1, 1), "{}", run.lines);
    let shown: Vec<&str> = run.lines.lines().filter(|line| line.ends_with(": ohlc_order")).collect();
    assert_eq!(shown.len(), 3, "{}", run.lines);
    assert!(shown[0].contains("a.csv:2 ") && shown[0].contains('"'), "{shown:?}");
}

#[tokio::test]
async fn a_file_refused_whole_shows_lines() {
    let text = file(&rows(1, 0, 50, 0)).replace(",1000,", ",10,");
    let (_folder, paths) = folder_with(&[("lots.csv", text)]);
    let run = run(&mut World::new(), &settings(&[&paths[0]])).await;
    assert!(run.lines.contains("lots.csv:3 amount \"000001.SZ low"), "{}", run.lines);
}
