//! `sqep get` on archives that the sink wrote.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use arrow_array::{Array, Float64Array, Int32Array, cast::AsArray};
use arrow_ipc::reader::StreamReader;
use serde_json::Value;
use sqep::{
    Batch, Calendar, DayBar, EntryId, Exchange, Kind, MinuteBar, Record, Row, Sink, Symbol, kind::Grid,
};
use sqep_parquet::{Config, Options, compact_root, open};
use sqep_testkit::market::{Market, Plan, minutes_of};
use tempfile::TempDir;

const MINUTE: Kind = Kind::BarMinute(Grid::M1);

/// Writes a batch, all of one version.
fn write<R: Record>(root: &Path, kind: Kind, version: u64, records: &[R]) {
    let rows: Vec<Row<R>> = records.iter().map(|&record| Row { record, version, source: 0 }).collect();
    let sources: [Arc<str>; 1] = ["test".into()];
    let id = EntryId::new(version, 0);
    let batch = Batch { partition: 0, first: id, last: id, rows: &rows, sources: &sources };
    let mut sink = open::<R>(Config { root: root.to_owned(), ..Config::default() }, kind).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(sink.write(&batch)).unwrap();
}

fn market() -> Market {
    let plan = Plan { seed: 5, symbols: 30, days: 300, to: "2026-06-30".parse().unwrap() };
    Market::new(&plan, &Calendar::published()).unwrap()
}

fn bars(market: &Market) -> Vec<DayBar> {
    market.securities().iter().flat_map(|security| market.days(security.symbol)).collect()
}

/// An archive in which every bar was first wrong and then corrected.
fn archive(compacted: bool) -> (TempDir, Vec<DayBar>) {
    let folder = tempfile::tempdir().unwrap();
    let bars = bars(&market());
    let wrong: Vec<DayBar> = bars.iter().map(|bar| DayBar { vol: bar.vol + 1.0, ..*bar }).collect();
    write(folder.path(), Kind::BarDay, 1, &wrong);
    write(folder.path(), Kind::BarDay, 2, &bars);
    if compacted {
        compact_root(folder.path(), Options::default()).unwrap().complete().unwrap();
    }
    (folder, bars)
}

fn sqep(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqep"));
    command.arg("get").args(arguments).arg("--archive").arg(root).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What is printed, when all is well.
fn said(root: &Path, arguments: &[&str]) -> String {
    let output = sqep(root, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A bar as CSV has it.
fn line(bar: &DayBar) -> String {
    let some = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let st = bar.st.map_or_else(String::new, |st| st.to_string());
    let DayBar { symbol, frame, open, high, low, close, vol, .. } = bar;
    let (amount, adjust) = (some(bar.amount), some(bar.adjust));
    let (buy, sell) = (some(bar.buy_limit), some(bar.sell_limit));
    format!("{symbol},{frame},{open},{high},{low},{close},{vol},{amount},{adjust},{st},{buy},{sell}")
}

fn lines<'a>(bars: impl IntoIterator<Item = &'a DayBar>) -> Vec<String> {
    bars.into_iter().map(line).collect()
}

fn csv(root: &Path, arguments: &[&str]) -> Vec<String> {
    let said = said(root, &[arguments, &["--format", "csv"]].concat());
    let mut lines = said.lines().map(str::to_owned);
    assert_eq!(
        lines.next().unwrap(),
        "symbol,frame,open,high,low,close,vol,amount,adjust,st,buy_limit,sell_limit"
    );
    lines.collect()
}

#[test]
fn one_security_comes_in_the_order_of_time_in_its_newest_version_however_it_is_spelled() {
    for compacted in [false, true] {
        let (folder, bars) = archive(compacted);
        let expected = lines(bars.iter().filter(|bar| bar.symbol.to_string() == "000001.SZ"));
        assert!(expected.len() > 200);
        for spelling in ["000001.SZ", "sz000001", "000001.XSHE", "SZ.000001"] {
            assert_eq!(csv(folder.path(), &[spelling]), expected, "{spelling}");
        }
    }
}

#[test]
fn securities_come_one_after_the_other_and_days_are_bounds_that_are_included() {
    let (folder, bars) = archive(true);
    let names: Vec<String> =
        market().securities().iter().map(|security| security.symbol.to_string()).collect();
    let (one, two) = (&names[7], &names[3]);
    let of = |name: &str| {
        let within = |bar: &&DayBar| (20_260_105..=20_260_213).contains(&number(bar));
        lines(bars.iter().filter(|bar| bar.symbol.to_string() == name).filter(within))
    };
    let found = csv(folder.path(), &[one, two, one, "--from", "20260105", "--to", "2026-02-13"]);
    assert_eq!(found, [of(one), of(two)].concat());
}

fn number(bar: &DayBar) -> u32 {
    bar.frame.format("%Y%m%d").to_string().parse().unwrap()
}

#[test]
fn a_day_gives_every_security_and_an_exchange_its_own() {
    let (folder, bars) = archive(true);
    let mut of_day: Vec<&DayBar> = bars.iter().filter(|bar| number(bar) == 20_260_304).collect();
    of_day.sort_by_key(|bar| bar.symbol);
    assert!(of_day.len() > 20);
    assert_eq!(csv(folder.path(), &["--on", "2026-03-04"]), lines(of_day.iter().copied()));
    let shenzhen = of_day.iter().copied().filter(|bar| bar.symbol.exchange() == Exchange::SZ);
    assert_eq!(csv(folder.path(), &["SZ", "--on", "2026-03-04"]), lines(shenzhen));
}

#[test]
fn json_and_arrow_hold_what_csv_holds() {
    let (folder, bars) = archive(false);
    let expected: Vec<&DayBar> = bars.iter().filter(|bar| bar.symbol.to_string() == "000001.SZ").collect();
    let json = said(folder.path(), &["000001.SZ", "--format", "json"]);
    let objects: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), expected.len());
    for (object, bar) in objects.iter().zip(&expected) {
        assert_eq!(object["symbol"], "000001.SZ");
        assert_eq!(object["frame"], bar.frame.to_string());
        assert_eq!((object["close"].as_f64(), object["adjust"].as_f64()), (Some(bar.close), bar.adjust));
        assert_eq!(object["st"].as_bool(), bar.st);
    }
    let output = sqep(folder.path(), &["000001.SZ", "--format", "arrow"]);
    let mut found = Vec::new();
    for batch in StreamReader::try_new(output.stdout.as_slice(), None).unwrap() {
        found.extend(sqep::codec::arrow::records::<DayBar>(&batch.unwrap()).unwrap());
    }
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_table_is_for_the_eye() {
    let (folder, bars) = archive(true);
    let said = said(folder.path(), &["000001.SZ", "--from", "2026-06-01"]);
    let bar = bars.iter().rfind(|bar| bar.symbol.to_string() == "000001.SZ").unwrap();
    let last = said.lines().last().unwrap();
    let cells: Vec<&str> = last.split_whitespace().collect();
    assert_eq!(&cells[..3], ["000001.SZ", &bar.frame.to_string(), &bar.open.to_string()]);
    assert!(
        said.lines().all(|line| line.chars().count() == last.chars().count()),
        "columns stand under each other"
    );
}

/// Three days of a security whose factor doubles, and a fourth whose factor nobody knows.
fn ex_date() -> (TempDir, Vec<DayBar>) {
    let folder = tempfile::tempdir().unwrap();
    let market = market();
    let mut bars = bars(&market);
    bars.retain(|bar| bar.symbol.to_string() == "000001.SZ");
    bars.truncate(4);
    for (bar, adjust) in bars.iter_mut().zip([Some(2.0), Some(2.0), Some(4.0), None]) {
        (bar.open, bar.high, bar.low, bar.close, bar.adjust) = (8.0, 9.0, 7.0, 8.5, adjust);
    }
    write(folder.path(), Kind::BarDay, 1, &bars);
    (folder, bars)
}

fn closes(root: &Path, arguments: &[&str]) -> (Vec<Option<f64>>, String) {
    let output = sqep(root, &[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let objects = text(&output.stdout);
    let objects = objects.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (objects.map(|object| object["close"].as_f64()).collect(), text(&output.stderr))
}

#[test]
fn hfq_is_raw_times_the_factor_and_qfq_divides_by_the_last_one_known() {
    let (folder, bars) = ex_date();
    let adjusted =
        |adjust, more: &[&str]| closes(folder.path(), &[&["000001.SZ", "--adjust", adjust], more].concat());
    assert_eq!(adjusted("none", &[]).0, [Some(8.5); 4]);
    let (found, told) = adjusted("hfq", &[]);
    assert_eq!(found, [Some(17.0), Some(17.0), Some(34.0), None]);
    assert!(told.contains("1 rows have no factor"), "{told}");
    assert_eq!(adjusted("qfq", &[]).0, [Some(4.25), Some(4.25), Some(8.5), None]);
    let second = bars[1].frame.to_string();
    assert_eq!(
        adjusted("qfq", &["--to", &second]).0,
        [Some(8.5), Some(8.5)],
        "the asked days end before the ex-date"
    );
    let all = closes(folder.path(), &["SZ", "--adjust", "qfq"]).0;
    assert_eq!(all, [Some(4.25), Some(4.25), Some(8.5), None]);

    let output = sqep(folder.path(), &["000001.SZ", "--adjust", "hfq", "--format", "arrow"]);
    let batch = StreamReader::try_new(output.stdout.as_slice(), None).unwrap().next().unwrap().unwrap();
    let column = |name: &str| {
        batch.column_by_name(name).unwrap().as_any().downcast_ref::<Float64Array>().unwrap().clone()
    };
    let (close, vol) = (column("close"), column("vol"));
    assert_eq!((close.value(2), close.is_null(3), vol.value(2)), (34.0, true, bars[2].vol));
    let symbols = batch.column_by_name("symbol").unwrap().as_any().downcast_ref::<Int32Array>().unwrap();
    assert_eq!(symbols.value(0), bars[0].symbol.get());
    assert_eq!(batch.column_by_name("st").unwrap().as_boolean().len(), 4);
}

#[test]
fn minutes_are_adjusted_by_the_factor_of_their_day() {
    let (folder, bars) = ex_date();
    let day = bars[2];
    let minutes: Vec<MinuteBar> = minutes_of(7, &day);
    write(folder.path(), MINUTE, 1, &minutes);
    let raw: Vec<Option<f64>> = minutes.iter().map(|bar| Some(bar.close)).collect();
    assert!(raw.len() > 200);
    let ask = |adjust| closes(folder.path(), &["000001.SZ", "--kind", "bar:1m", "--adjust", adjust]);
    assert_eq!(ask("none").0, raw);
    let times = |factor: f64| raw.iter().map(|close| close.map(|close| close * factor)).collect::<Vec<_>>();
    assert_eq!(ask("hfq"), (times(4.0), String::new()));
    assert_eq!(ask("qfq").0, raw, "the last known factor is that of the day itself");
    let first = minutes[0].frame.format("%Y-%m-%d %H:%M").to_string();
    let found = closes(folder.path(), &["000001.SZ", "--kind", "bar:1m", "--on", &first]).0;
    assert_eq!(found, raw[..1]);
    fs::remove_dir_all(folder.path().join("bar_1d")).unwrap();
    let (found, told) = ask("hfq");
    assert!(found.iter().all(Option::is_none) && told.contains("no factor"), "{told}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (folder, _) = archive(true);
    for format in ["table", "csv", "json", "arrow"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sqep"))
            .args(["get", "SH", "SZ", "BJ", "--format", format, "--archive"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = Vec::new();
        BufReader::new(child.stdout.take().unwrap()).read_until(b'\n', &mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{format}: {}", text(&output.stderr));
    }
}

#[test]
fn what_cannot_be_meant_is_usage_and_what_is_not_there_is_said() {
    let (folder, _) = archive(true);
    let usage = |arguments: &[&str], about: &str| {
        let output = sqep(folder.path(), arguments);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(about), "{arguments:?}: {told}");
    };
    usage(&["000001"], "000001");
    usage(&[], "--on");
    usage(&["SZ", "--from", "2026-03-02", "--to", "2026-03-01"], "after");
    usage(&["SZ", "--from", "2026-02-30"], "2026-02-30");
    let absent = Symbol::new(Exchange::SZ, 999).unwrap().to_string();
    let output = sqep(folder.path(), &[&absent]);
    assert!(output.status.success() && text(&output.stderr).contains(&format!("no bar:1d of {absent}")));
    let output = sqep(&folder.path().join("nowhere"), &["SZ"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nowhere"), "{}", text(&output.stderr));
}
