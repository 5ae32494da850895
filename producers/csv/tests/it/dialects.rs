//! Dialects read what they write, recognise what is theirs, and refuse what no dialect may pass.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]
#![expect(clippy::float_cmp, reason = "prices are decimals read by the same rule")]
#![expect(
    clippy::format_collect,
    clippy::format_push_string,
    reason = "sample files are short, and read better this way"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use proptest::prelude::*;
use sqep::{
    Calendar, DayBar, Exchange, Kind, MinuteBar, Reason, RefDay, Refusal, Symbol, kind::Grid, symbol::Aliases,
};
use sqep_csv::{
    dialect::{self, Basis, Column, Dialect, DialectChoice, VolUnit},
    load::{self, Alias, LoadError, Options},
    row::FromRow,
    write,
};

/// Everything a file gave.
#[derive(Debug, Clone, PartialEq)]
struct Read<R> {
    records: Vec<R>,
    lines: Vec<u64>,
    refused: Vec<Refusal>,
    skipped: BTreeMap<Reason, u64>,
    warned: BTreeMap<Reason, u64>,
    rows: u64,
}

impl<R> Read<R> {
    fn reasons(&self) -> BTreeMap<Reason, u64> {
        let mut reasons = BTreeMap::new();
        for refusal in &self.refused {
            *reasons.entry(refusal.findings[0].reason).or_default() += refusal.rows;
        }
        reasons
    }

    fn accounted(&self) -> u64 {
        let refused: u64 = self.refused.iter().map(|refusal| refusal.rows).sum();
        u64::try_from(self.records.len()).unwrap() + refused + self.skipped.values().sum::<u64>()
    }
}

fn options(kind: Kind, dialect: &str) -> Options {
    let mut options = Options::new(kind, Arc::new(Calendar::published()));
    options.dialect = dialect::from_choice(dialect).unwrap();
    options
}

fn read_from<R: FromRow>(path: &Path, options: &Options, skip: u64) -> Result<Read<R>, LoadError> {
    let mut loaded = load::open::<R>(path, options, skip)?;
    let mut read = Read {
        records: Vec::new(),
        lines: Vec::new(),
        refused: Vec::new(),
        skipped: BTreeMap::new(),
        warned: BTreeMap::new(),
        rows: skip,
    };
    while let Some(block) = loaded.next()? {
        assert_eq!(block.read(), block.rows - read.rows, "each block accounts for the rows it moves on by");
        read.records.extend(block.records);
        read.lines.extend(block.lines);
        read.refused.extend(block.refused);
        for (mine, theirs) in [(&mut read.skipped, block.skipped), (&mut read.warned, block.warned)] {
            for (reason, count) in theirs {
                *mine.entry(reason).or_default() += count;
            }
        }
        read.rows = block.rows;
    }
    assert_eq!(read.accounted(), read.rows.saturating_sub(skip), "read = records + refused + skipped");
    Ok(read)
}

fn read<R: FromRow>(path: &Path, options: &Options) -> Read<R> {
    read_from(path, options, 0).unwrap_or_else(|error| panic!("{error}"))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn days(text: &str, dialect: &str) -> Read<DayBar> {
    named_days("000001.SZ.csv", text, &options(Kind::BarDay, dialect))
}

fn named_days(name: &str, text: &str, options: &Options) -> Read<DayBar> {
    read(&Folder::new().file(name, text), options)
}

fn minutes(name: &str, text: &str, dialect: &str, grid: Grid) -> Read<MinuteBar> {
    read(&Folder::new().file(name, text), &options(Kind::BarMinute(grid), dialect))
}

fn refused_as<R>(read: &Read<R>, reason: Reason) -> &Refusal {
    let found = read.refused.iter().find(|refusal| refusal.findings[0].reason == reason);
    found.unwrap_or_else(|| panic!("nothing was refused as {reason}: {:?}", read.refused))
}

const TUSHARE: &str = "ts_code,trade_date,open,high,low,close,vol,amount\n";

fn tushare(rows: &[&str]) -> Read<DayBar> {
    days(&format!("{TUSHARE}{}\n", rows.join("\n")), "tushare")
}

// ---- dialects as data ----

#[test]
fn every_built_in_dialect_reads_and_has_a_name_of_its_own() {
    let mut names = Vec::new();
    for dialect in dialect::builtin() {
        names.push(dialect.name.clone());
        names.extend(dialect.aliases.clone());
        assert!(!dialect.about.is_empty(), "{}", dialect.name);
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert_eq!(dialect::named("akshare").unwrap().name, "eastmoney");
}

#[test]
fn an_unknown_dialect_is_told_the_known_ones() {
    let error = dialect::from_choice("tushar").unwrap_err().to_string();
    assert!(error.contains("tushare") && error.contains("baostock") && error.contains(".toml"), "{error}");
}

const OWN: &str = r#"
name = "own"
about = "a file of mine"
delimiter = ["semicolon"]
null = ["?"]

[symbol]
from = ["column"]
prefix = { "6" = "SH", "0" = "SZ" }

[[table]]
name = "quarter hours, labelled by their start"
holds = ["bar:15m"]
time = ["yyyy/mm/dd", "hh:mm"]
labels = "start"
vol = "lots"
amount = "thousand_yuan"

[table.columns]
symbol = ["who"]
date = ["day"]
time = ["at"]
open = ["o"]
high = ["h"]
low = ["l"]
close = ["c"]
vol = ["v"]
amount = ["a"]
"#;

#[test]
fn a_user_writes_a_dialect_in_the_same_format() {
    let folder = Folder::new();
    let toml = folder.file("own.toml", OWN);
    let path = folder.file("x.txt", "who;day;at;o;h;l;c;v;a\n600000;2024/3/1;9:30;10;11;9;10.5;2;2\n000001;2024/3/1;14:45;10;11;9;10.5;3;?\n");
    let read: Read<MinuteBar> = read(&path, &options(Kind::BarMinute(Grid::M15), toml.to_str().unwrap()));
    let bars: Vec<(String, String, f64, Option<f64>)> = read
        .records
        .iter()
        .map(|bar| (bar.symbol.to_string(), bar.frame.to_string(), bar.vol, bar.amount))
        .collect();
    assert_eq!(
        bars,
        [
            ("600000.SH".to_owned(), "2024-03-01 09:45:00".to_owned(), 200.0, Some(2000.0)),
            ("000001.SZ".to_owned(), "2024-03-01 15:00:00".to_owned(), 300.0, None),
        ]
    );
}

#[test]
fn a_dialect_that_makes_no_sense_says_where() {
    for (from, to, complaint) in [
        ("name = \"own\"\n", "nmae = \"own\"\n", "nmae"),
        ("open = [\"o\"]\n", "", "columns.open is missing"),
        ("\"hh:mm\"]", "\"ss\"]", "unknown variant `ss`"),
        ("time = [\"at\"]\n", "", "go together"),
        ("holds = [\"bar:15m\"]", "holds = [\"bar:7m\"]", "bar:7m"),
        ("\"6\" = \"SH\"", "\"6\" = \"XX\"", "XX"),
        ("vol = \"lots\"", "vol = \"hands\"", "unknown variant `hands`"),
    ] {
        let text = OWN.replacen(from, to, 1);
        let error = dialect::read(&text, "own.toml").unwrap_err().to_string();
        assert!(error.contains("own.toml") && error.contains(complaint), "{from:?}: {error}");
    }
}

// ---- round trip ----

fn sessions() -> Vec<NaiveDate> {
    let day = |text: &str| text.parse().unwrap();
    Calendar::published().sessions(day("2023-01-01"), day("2024-12-31")).collect()
}

/// Prices in fen, volume in lots, for a bar that could have traded.
fn prices() -> impl Strategy<Value = ([f64; 4], f64)> {
    (100i32..300_000, 0i32..900, 0i32..900, 0i32..900, 1i32..2_000_000).prop_map(|(low, a, b, c, lots)| {
        let mut steps = [a, b, c];
        steps.sort_unstable();
        let price = |step: i32| f64::from(low + step) / 100.0;
        ([price(steps[0]), price(steps[2]), price(0), price(steps[1])], f64::from(lots) * 100.0)
    })
}

fn day_bars() -> impl Strategy<Value = Vec<DayBar>> {
    // Six weeks: eight rows of a security cannot all lie in weeks of their own.
    let all: Vec<NaiveDate> = sessions().into_iter().take(29).collect();
    let symbols =
        ["000001.SZ", "600519.SH", "300750.SZ", "920002.BJ"].map(|text| text.parse::<Symbol>().unwrap());
    let count = all.len();
    let bar =
        (0..symbols.len(), 0..count, prices(), any::<Option<bool>>(), proptest::option::of(1i32..90_000));
    proptest::collection::vec(bar, 1..40).prop_map(move |bars| {
        let mut unique = BTreeMap::new();
        for (symbol, day, ([open, high, low, close], vol), st, adjust) in bars {
            let bar = DayBar {
                symbol: symbols[symbol],
                frame: all[day],
                open,
                high,
                low,
                close,
                vol,
                amount: Some((vol * (low + high) / 2.0).round()),
                adjust: adjust.map(|adjust| f64::from(adjust) / 1000.0),
                st,
                buy_limit: Some((high * 110.0).round() / 100.0),
                sell_limit: Some((low * 90.0).round() / 100.0),
            };
            unique.insert((bar.symbol, bar.frame), bar);
        }
        unique.into_values().collect()
    })
}

fn minute_bars(grid: Grid) -> impl Strategy<Value = Vec<MinuteBar>> {
    let labels: Vec<NaiveDateTime> = sessions()
        .into_iter()
        .take(3)
        .flat_map(|day| {
            (0..24 * 60).filter(move |&minute| grid.is_label(minute)).map(move |minute| (day, minute))
        })
        .map(|(day, minute)| day.and_time(chrono::NaiveTime::MIN) + TimeDelta::minutes(i64::from(minute)))
        .collect();
    let symbols = ["000001.SZ", "600519.SH"].map(|text| text.parse::<Symbol>().unwrap());
    let count = labels.len();
    proptest::collection::vec((0..symbols.len(), 0..count, prices()), 1..40).prop_map(move |bars| {
        let mut unique = BTreeMap::new();
        for (symbol, label, ([open, high, low, close], vol)) in bars {
            let bar = MinuteBar {
                symbol: symbols[symbol],
                frame: labels[label],
                open,
                high,
                low,
                close,
                vol,
                amount: Some((vol * (low + high) / 2.0).round()),
            };
            unique.insert((bar.symbol, bar.frame), bar);
        }
        unique.into_values().collect()
    })
}

/// Writes rows as files of a dialect, reads them back, by name and where the header tells by itself, and compares.
fn round_trip<R: FromRow>(
    dialect: &Arc<Dialect>,
    kind: Kind,
    rows: &[R],
    expected: impl Fn(R, &dyn Fn(Column) -> bool) -> R,
) {
    let folder = Folder::new();
    let mut groups: BTreeMap<Symbol, Vec<R>> = BTreeMap::new();
    for &row in rows {
        let many = write::holds_many(dialect, kind);
        groups.entry(if many { rows[0].symbol() } else { row.symbol() }).or_default().push(row);
    }
    let table = dialect.writable(kind).unwrap();
    let writing = table.write.as_ref().unwrap();
    let written = |column: Column| {
        let aliases = table.columns.get(&column);
        aliases.is_some_and(|aliases| {
            writing.columns.iter().any(|name| aliases.contains(name) && !writing.constant.contains_key(name))
        })
    };
    for (symbol, rows) in groups {
        let mut text = Vec::new();
        write::write(dialect, kind, &mut text, &rows).unwrap();
        let path = folder.file(&write::file_name(dialect, symbol, kind), text);
        let mut options = options(kind, "auto");
        options.price_basis = Some(Basis::Raw);
        let expected: Vec<R> = rows.iter().map(|&row| expected(row, &written)).collect();
        for choice in [DialectChoice::Named(Arc::clone(dialect)), DialectChoice::Auto] {
            options.dialect = choice;
            let mut loaded = load::open::<R>(&path, &options, 0)
                .unwrap_or_else(|error| panic!("{}: {error}", dialect.name));
            assert_eq!(loaded.dialect_name(), dialect.name);
            let mut records = Vec::new();
            while let Some(block) = loaded.next().unwrap() {
                assert_eq!(block.refused, [], "{}", dialect.name);
                records.extend(block.records);
            }
            assert_eq!(records, expected, "{}", dialect.name);
        }
    }
}

fn writable(kind: Kind) -> Vec<Arc<Dialect>> {
    dialect::builtin().iter().filter(|dialect| dialect.writable(kind).is_some()).cloned().collect()
}

#[test]
fn most_dialects_write_days() {
    assert_eq!(writable(Kind::BarDay).len(), 14);
    assert_eq!(writable(Kind::BarMinute(Grid::M5)).len(), 10);
    assert_eq!(writable(Kind::RefDay).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn day_bars_written_in_any_dialect_read_back_the_same(bars in day_bars()) {
        for dialect in writable(Kind::BarDay) {
            round_trip(&dialect, Kind::BarDay, &bars, |bar: DayBar, has| DayBar {
                amount: bar.amount.filter(|_| has(Column::Amount)),
                adjust: bar.adjust.filter(|_| has(Column::Adjust)),
                st: bar.st.filter(|_| has(Column::St)),
                buy_limit: bar.buy_limit.filter(|_| has(Column::BuyLimit)),
                sell_limit: bar.sell_limit.filter(|_| has(Column::SellLimit)),
                ..bar
            });
        }
    }

    #[test]
    fn minute_bars_written_in_any_dialect_read_back_the_same(bars in minute_bars(Grid::M5)) {
        let kind = Kind::BarMinute(Grid::M5);
        for dialect in writable(kind) {
            round_trip(&dialect, kind, &bars, |bar: MinuteBar, has| MinuteBar {
                amount: bar.amount.filter(|_| has(Column::Amount)),
                ..bar
            });
        }
    }

    #[test]
    fn reference_days_read_back_the_same(bars in day_bars()) {
        let rows: Vec<RefDay> = bars.iter().map(|bar| RefDay {
            symbol: bar.symbol,
            frame: bar.frame,
            adjust: bar.adjust,
            st: bar.st,
            buy_limit: bar.buy_limit,
            sell_limit: bar.sell_limit,
        }).collect();
        round_trip(&dialect::named("sqep").unwrap(), Kind::RefDay, &rows, |row, _| row);
    }
}

// ---- recognition ----

fn header_error(text: &str, dialect: &str, kind: Kind) -> String {
    let path = Folder::new();
    let path = path.file("x.csv", text);
    let error = load::open::<DayBar>(&path, &options(kind, dialect), 0).err().unwrap();
    assert_eq!(error.reason(), Some(Reason::HeaderUnknown), "{error}");
    error.to_string()
}

#[test]
fn an_unknown_header_names_the_nearest_dialect_and_what_it_misses() {
    let error = header_error("date,code,high,close,volume,amount,preclose\n", "auto", Kind::BarDay);
    assert!(error.contains("baostock") && error.contains("open (open), low (low)"), "{error}");
    assert!(error.contains("[table.columns]") && error.contains("csv.dialect"), "{error}");
}

#[test]
fn a_header_that_does_not_tell_units_has_to_be_named() {
    let text = "time,open,close,high,low,volume\n2024-03-01,10,10,10,10,5\n";
    let error = header_error(text, "auto", Kind::BarDay);
    assert!(error.contains("does not tell units") && error.contains("eastmoney"), "{error}");
    assert_eq!(named_days("sh600000.csv", text, &options(Kind::BarDay, "eastmoney")).records[0].vol, 500.0);
}

#[test]
fn a_header_of_another_kind_says_which() {
    let error = header_error("ts_code,trade_time,open,high,low,close,vol,amount\n", "auto", Kind::BarDay);
    assert!(
        error.contains("stk_mins") && error.contains("bar:5m") && error.contains("stream.kind"),
        "{error}"
    );
}

#[test]
fn units_that_nobody_declared_stop_the_file() {
    let folder = Folder::new();
    let path = folder.file("sh600000.csv", "date,open,high,low,close,volume\n2024-03-01,10,11,9,10,5\n");
    let mut plain = options(Kind::BarDay, "plain");
    let error = load::open::<DayBar>(&path, &plain, 0).err().unwrap();
    assert!(error.to_string().contains("csv.vol_unit"), "{error}");
    plain.vol_unit = Some(VolUnit::Lots);
    assert_eq!(read::<DayBar>(&path, &plain).records[0].vol, 500.0);
}

#[test]
fn an_empty_file_is_an_error_and_a_header_alone_is_none() {
    let folder = Folder::new();
    for text in ["", "\n\n", "\u{feff}"] {
        let path = folder.file("empty.csv", text);
        let error = load::open::<DayBar>(&path, &options(Kind::BarDay, "tushare"), 0).err().unwrap();
        assert!(matches!(error, LoadError::Empty(_)), "{text:?}: {error}");
    }
    let read = tushare(&[]);
    assert_eq!((read.rows, read.records.len()), (0, 0));
}

#[test]
fn column_order_an_index_column_and_the_case_of_names_do_not_matter() {
    let read = days(
        ",VOL,Amount,close,low,high,open,ts_code,trade_date\n7,2,2,10,9,11,10,000001.SZ,20240301\n",
        "auto",
    );
    assert_eq!((read.records[0].vol, read.records[0].amount, read.lines[0]), (200.0, Some(2000.0), 2));
}

// ---- inputs ----

const PLAIN_ROWS: &str = "ts_code,trade_date,open,high,low,close,vol,amount
000001.SZ,20240301,10.59,10.60,10.48,10.49,1141234.56,1201234.567
000001.SZ,20240304,10.45,10.50,10.33,10.33,1541234.56,1601234.567
";

#[test]
fn packed_marked_and_quoted_files_read_alike() {
    let folder = Folder::new();
    let expected = tushare(&PLAIN_ROWS.lines().skip(1).collect::<Vec<_>>()).records;
    assert_eq!(expected.len(), 2);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(PLAIN_ROWS.as_bytes()).unwrap();
    let quoted =
        PLAIN_ROWS.lines().map(|line| format!("\"{}\"\r\n", line.replace(',', "\",\""))).collect::<String>();
    for (name, bytes) in [
        ("a.csv.gz", gzip.finish().unwrap()),
        ("a.csv.zst", zstd::encode_all(Cursor::new(PLAIN_ROWS), 1).unwrap()),
        ("marked.csv", format!("\u{feff}{PLAIN_ROWS}").into_bytes()),
        ("quoted.csv", quoted.into_bytes()),
        ("no_line_end.csv", PLAIN_ROWS.trim_end().as_bytes().to_vec()),
        ("blank_lines.csv", PLAIN_ROWS.replace('\n', "\n\n").into_bytes()),
    ] {
        let path = folder.file(name, bytes);
        for memory in [0, 1 << 20] {
            let mut options = options(Kind::BarDay, "auto");
            options.file_bytes_memory_max = memory;
            assert_eq!(read::<DayBar>(&path, &options).records, expected, "{name}");
        }
    }
}

#[test]
fn a_truncated_packed_file_hands_out_nothing() {
    let folder = Folder::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(PLAIN_ROWS.repeat(200).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(Cursor::new(PLAIN_ROWS.repeat(200)), 1).unwrap();
    for (name, bytes) in [("cut.csv.gz", gzip), ("cut.csv.zst", zstd)] {
        let path = folder.file(name, &bytes[..bytes.len() / 2]);
        let error = load::open::<DayBar>(&path, &options(Kind::BarDay, "tushare"), 0).err().unwrap();
        assert!(matches!(error, LoadError::Read { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn utf_16_is_refused_in_words() {
    let path = Folder::new();
    let path = path.file("x.csv", b"\xff\xfed\0a\0t\0e\0");
    let error = load::open::<DayBar>(&path, &options(Kind::BarDay, "auto"), 0).err().unwrap();
    assert!(error.to_string().contains("UTF-16"), "{error}");
    assert_eq!(error.reason(), Some(Reason::HeaderUnknown));
}

#[test]
fn a_stream_too_large_for_memory_is_spooled_and_reads_the_same() {
    let folder = Folder::new();
    let expected = read::<DayBar>(&folder.file("a.csv", PLAIN_ROWS), &options(Kind::BarDay, "auto"));
    for memory in [10, 1 << 20] {
        let mut options = options(Kind::BarDay, "auto");
        options.file_bytes_memory_max = memory;
        options.spool_dir = folder.0.path().join("spool");
        let mut loaded =
            load::open_stream::<DayBar>(Path::new("-"), Cursor::new(PLAIN_ROWS), &options, 0).unwrap();
        assert_eq!(loaded.next().unwrap().unwrap().records, expected.records);
        assert!(loaded.next().unwrap().is_none());
    }
    assert_eq!(fs::read_dir(folder.0.path().join("spool")).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_half_written_last_line_waits_where_the_file_still_grows() {
    let folder = Folder::new();
    let path = folder.file("a.csv", &PLAIN_ROWS[..PLAIN_ROWS.len() - 6]);
    for memory in [0, 1 << 20] {
        let mut options = options(Kind::BarDay, "tushare");
        options.file_bytes_memory_max = memory;
        assert_eq!(read::<DayBar>(&path, &options).rows, 2);
        options.partial_tail = true;
        assert_eq!(read::<DayBar>(&path, &options).rows, 1);
    }
}

// ---- single rows ----

#[test]
fn a_suspension_is_skipped_in_all_its_forms() {
    let blank = "date,code,open,high,low,close,preclose,volume,amount,adjustflag,tradestatus\n\
                 2024-03-01,sz.000001,10,10,10,10,10,,,3,1\n2024-03-04,sz.000001,10,10,10,10,10,0,0,3,0\n";
    let baostock = days(blank, "auto");
    let joinquant = days(
        ",open,close,high,low,volume,money,paused,factor\n2024-03-01,10,10,10,10,0.0,0.0,1.0,1.0\n2024-03-04,10,10,10,10,0.0,0.0,0.0,1.0\n",
        "joinquant",
    );
    let tushare = tushare(&["000001.SZ,20240301,0,0,0,10,0,0", "000001.SZ,20240304,,,,,,"]);
    for read in [baostock, joinquant, tushare] {
        assert_eq!((read.rows, read.skipped), (2, BTreeMap::from([(Reason::Suspended, 2)])));
    }
}

#[test]
fn an_index_without_volume_is_not_suspended() {
    let read = tushare(&["000001.SH,20240301,3000,3000,3000,3000,0,"]);
    assert_eq!(read.records.len(), 1);
}

#[test]
fn broken_rows_are_refused_with_line_field_and_value() {
    let good = |day: u32| format!("000001.SZ,202403{day:02},10,11,9,10,100,100");
    let rows = [
        good(1),
        "000001.SZ,20240304,,,,,30995.0,36571.7847".to_owned(),
        "000001.SZ,20240305,0.0,11,9,10,100,100".to_owned(),
        "000001.SZ,20240306,10,11,9,10,100".to_owned(),
        "000001.SZ,20240307,10,1l,9,10,100,100".to_owned(),
        "000001.SZ,20240308,10,11,9,10,-5,100".to_owned(),
        "000001.SZ,20240310,10,11,9,10,100,100".to_owned(),
        "000001.SZ,2024-3-11,10,11,9,10,100,100".to_owned(),
        "000001,20240312,10,11,9,10,100,100".to_owned(),
        "000001.HK,20240313,10,11,9,10,100,100".to_owned(),
        "900901.SH,20240314,10,11,9,10,100,100".to_owned(),
        "110059.SH,20240315,10,11,9,10,100,100".to_owned(),
        "000001.SZ,20240318,10,9,11,10,100,100".to_owned(),
        "000001.SZ,20240319,inf,11,9,10,100,100".to_owned(),
        "\"000001.SZ,20240320,10,11,9,10,100,100".to_owned(),
        "000001.SZ,20240321,10,11,9,10,,100".to_owned(),
        good(22),
    ];
    let read = tushare(&rows.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(read.lines, [2, 18]);
    let told: Vec<(u64, &str, &str)> = read
        .refused
        .iter()
        .map(|refusal| (refusal.row, refusal.findings[0].reason.code(), refusal.findings[0].field.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (3, "price_missing", "open"),
            (4, "price_not_positive", "open"),
            (5, "row_illegal", ""),
            (6, "value_illegal", "high"),
            (7, "negative", "vol"),
            (8, "not_a_session", "frame"),
            (9, "value_illegal", "frame"),
            (10, "symbol_illegal", "symbol"),
            (11, "symbol_illegal", "symbol"),
            (12, "currency", "symbol"),
            (13, "unit", "symbol"),
            (14, "ohlc_order", "high"),
            (15, "not_finite", "open"),
            (16, "row_illegal", ""),
            (17, "value_illegal", "vol"),
        ]
    );
    assert_eq!(read.refused[3].findings[0].value, "1l");
    assert_eq!(read.refused[3].raw, rows[4]);
    assert_eq!((read.refused[3].symbol.as_str(), read.refused[7].symbol.as_str()), ("000001.SZ", "000001"));
}

#[test]
fn of_rows_with_one_key_the_last_wins_and_a_copy_is_skipped() {
    let row = |day: u32, close: u32| format!("000001.SZ,202403{day:02},10,11,9,{close},100,100");
    let rows = [row(1, 10), row(1, 10), row(4, 9), row(4, 10), row(5, 10), row(4, 10), row(4, 11)];
    let read = tushare(&rows.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(read.lines, [2, 6, 8], "the last of each key, a copy at its first place");
    assert_eq!(read.skipped, BTreeMap::from([(Reason::Duplicate, 2)]));
    let conflicts: Vec<u64> = read.refused.iter().map(|refusal| refusal.row).collect();
    assert_eq!((conflicts, read.reasons()), (vec![4, 5], BTreeMap::from([(Reason::Conflict, 2)])));
    assert_eq!(read.refused[0].raw, rows[2]);
}

#[test]
fn prices_lose_their_noise_and_volume_its_fractions() {
    let text = ",time,open,high,low,close,volume,amount,settelementPrice,openInterest,preClose,suspendFlag\n\
                20250102093000,1735781400000,263.15000000000003,263.15000000000003,263.15000000000003,263.15000000000003,733,19288895.000000004,0.0,14,266.0,0\n";
    let read = minutes("300750.SZ_1m.csv", text, "auto", Grid::M1);
    let bar = read.records[0];
    assert_eq!((bar.close, bar.vol, bar.amount), (263.15, 73_300.0, Some(19_288_895.0)));
}

#[test]
fn limits_and_flags_in_a_day_file_fill_the_bar() {
    let text = ",open,close,high,low,volume,money,high_limit,low_limit,paused,factor\n\
                2024-03-01,10,10,11,9,200,2000,10.95,8.96,0.0,1.0\n2024-03-04,10,10,11,9,200,2000,99999.999,0.01,0.0,1.0\n";
    let read = named_days("000001.XSHE.csv", text, &options(Kind::BarDay, "auto"));
    let limits: Vec<_> = read.records.iter().map(|bar| (bar.buy_limit, bar.sell_limit, bar.adjust)).collect();
    assert_eq!(limits, [(Some(10.95), Some(8.96), None), (None, None, None)]);
    assert_eq!(read.warned, BTreeMap::from([(Reason::OutsideLimits, 1)]), "a high of 11 above 10.95");
    let text = "date,code,open,high,low,close,preclose,volume,amount,adjustflag,tradestatus,isST\n\
                2024-03-01,sz.000001,10,11,9,10,10,200,2000,3,1,1\n";
    assert_eq!(days(text, "auto").records[0].st, Some(true));
}

#[test]
fn beijing_is_renumbered_where_asked() {
    let mut options = options(Kind::BarDay, "tushare");
    let text = format!("{TUSHARE}839729.BJ,20240301,10,11,9,10,100,100\n");
    assert_eq!(named_days("x.csv", &text, &options).records[0].symbol.to_string(), "839729.BJ");
    let aliases = Aliases::parse("old,new,since\n839729.BJ,920729.BJ,2025-10-09\n").unwrap();
    options.alias = Alias::Current(Arc::new(aliases));
    assert_eq!(named_days("x.csv", &text, &options).records[0].symbol.to_string(), "920729.BJ");
}

#[test]
fn a_bare_code_needs_a_declared_exchange() {
    let text =
        "日期,股票代码,开盘,收盘,最高,最低,成交量,成交额,振幅\n2024-03-01,600000,10,10,11,9,2,2000,1\n";
    let mut options = options(Kind::BarDay, "auto");
    let refused = named_days("x.csv", text, &options);
    assert!(refused_as(&refused, Reason::SymbolIllegal).findings[0].value.contains("declare the exchange"));
    options.exchange = Some(Exchange::SH);
    assert_eq!(named_days("x.csv", text, &options).records[0].symbol.to_string(), "600000.SH");
    assert_eq!(named_days("SH600000.csv", text, &options).records.len(), 1);
}

// ---- minutes ----

const MINUTE_HEADER: &str = "time,open,close,high,low,volume\n";

fn minute_rows(day: &str, volume: impl Fn(u32) -> u32) -> String {
    let label = |minute: u32| {
        format!("{day} {:02}:{:02}:00,10,10,11,9,{}\n", minute / 60, minute % 60, volume(minute))
    };
    (0..24 * 60).filter(|&minute| Grid::M1.is_label(minute)).map(label).collect()
}

#[test]
fn after_hours_rows_are_skipped_and_other_strange_labels_refused() {
    let mut text = MINUTE_HEADER.to_owned() + &minute_rows("2024-03-01", |_| 1);
    for label in ["15:05", "15:30", "15:02", "13:00", "09:25", "09:31:30"] {
        text += &format!("2024-03-01 {label},10,10,11,9,1\n");
    }
    let read = minutes("sz000001.csv", &text, "akshare", Grid::M1);
    assert_eq!((read.records.len(), read.skipped), (241, BTreeMap::from([(Reason::AfterHours, 2)])));
    assert_eq!(
        read.refused.iter().filter(|refusal| refusal.findings[0].reason == Reason::FrameIllegal).count(),
        4
    );
}

#[test]
fn minutes_without_volume_stay_unless_the_whole_day_has_none() {
    let quiet = minute_rows("2024-03-04", |_| 0);
    let busy =
        minute_rows("2024-03-01", |minute| u32::from(minute != 14 * 60 + 58 && minute != 14 * 60 + 59));
    for text in [format!("{busy}{quiet}"), format!("{quiet}{busy}")] {
        for memory in [0, 1 << 20] {
            let mut options = options(Kind::BarMinute(Grid::M1), "akshare");
            options.file_bytes_memory_max = memory;
            let path = Folder::new();
            let path = path.file("sz000001.csv", format!("{MINUTE_HEADER}{text}"));
            let read: Read<MinuteBar> = read(&path, &options);
            assert_eq!((read.records.len(), read.skipped), (241, BTreeMap::from([(Reason::Suspended, 241)])));
        }
    }
}

#[test]
fn an_unfinished_day_without_volume_is_not_yet_a_suspension() {
    let folder = Folder::new();
    let text: String =
        minute_rows("2024-03-01", |_| 0).lines().take(5).map(|line| format!("{line}\n")).collect();
    let path = folder.file("sz000001.csv", format!("{MINUTE_HEADER}{text}"));
    let mut options = options(Kind::BarMinute(Grid::M1), "akshare");
    assert_eq!(read::<MinuteBar>(&path, &options).skipped, BTreeMap::from([(Reason::Suspended, 5)]));
    options.partial_tail = true;
    assert_eq!(read::<MinuteBar>(&path, &options).records.len(), 5);
}

#[test]
fn one_minute_of_the_whole_market_is_neither_a_coarser_bar_nor_a_suspension() {
    // A delivery of one minute: every label is a multiple of half an hour, and some securities were not traded in it.
    let rows: String = (1..=60)
        .map(|code| {
            let (vol, amount) = if code % 3 == 0 { (0, 0) } else { (100, 1_000) };
            format!("2000{code:03},2024-03-01 10:00:00,10,10,10,10,{vol},{amount}\n")
        })
        .collect();
    let folder = Folder::new();
    for memory in [0, 1 << 20] {
        let path = folder.file("1000.csv", format!("symbol,frame,open,high,low,close,vol,amount\n{rows}"));
        let mut options = options(Kind::BarMinute(Grid::M1), "sqep");
        options.file_bytes_memory_max = memory;
        let read: Read<MinuteBar> = read(&path, &options);
        assert_eq!(
            (read.records.len(), read.skipped.len()),
            (60, 0),
            "{:?} {:?}",
            read.skipped,
            read.refused
        );
    }
}

#[test]
fn labels_that_name_the_start_of_a_bar_are_found_out() {
    let mut text = MINUTE_HEADER.to_owned();
    for minute in (570..690).chain(780..900) {
        text += &format!("2024-03-01 {:02}:{:02}:00,10,10,11,9,1\n", minute / 60, minute % 60);
    }
    let read = minutes("sz000001.csv", &text, "akshare", Grid::M1);
    let letter = refused_as(&read, Reason::FramesShifted);
    assert_eq!(letter.rows, 240);
    assert!(letter.findings[0].value.contains("13:00"), "{letter:?}");
}

#[test]
fn bars_of_a_coarser_grid_are_found_out() {
    let text: String = (0..24 * 60)
        .filter(|&minute| Grid::M5.is_label(minute))
        .map(|minute: u32| format!("2024-03-01 {:02}:{:02}:00,10,10,11,9,1\n", minute / 60, minute % 60))
        .collect();
    let text = format!("{MINUTE_HEADER}{text}");
    let wrong = minutes("sz000001.csv", &text, "akshare", Grid::M1);
    assert_eq!(refused_as(&wrong, Reason::FrameIllegal).rows, 48);
    assert_eq!(minutes("sz000001.csv", &text, "akshare", Grid::M5).records.len(), 48);
}

// ---- whole files ----

/// Twenty sessions of one security, each row made by `row` from its date.
fn month(row: impl Fn(NaiveDate) -> String) -> Vec<String> {
    sessions().into_iter().take(20).map(row).collect()
}

fn tushare_file(rows: &[String]) -> Read<DayBar> {
    tushare(&rows.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_wrong_unit_refuses_the_file_in_one_letter() {
    for (vol, amount, guess) in [(10_000, 100, "手"), (100, 100_000, "千元"), (100, 150, "adjusted")] {
        let read = tushare_file(&month(|day| {
            format!("000001.SZ,{},10,11,9,10,{vol},{amount}", day.format("%Y%m%d"))
        }));
        assert_eq!((read.records.len(), read.refused.len()), (0, 1));
        let letter = refused_as(&read, Reason::UnitsOrAdjusted);
        assert_eq!(
            (letter.rows, letter.row, letter.findings.len()),
            (20, 2, 11),
            "a summary and ten examples"
        );
        assert!(letter.findings[0].value.contains(guess), "{}", letter.findings[0].value);
        assert!(letter.findings[1].value.contains("line 2"), "{}", letter.findings[1].value);
    }
}

#[test]
fn one_bad_security_of_many_is_refused_alone() {
    let mut rows = Vec::new();
    for code in 1..=200 {
        let amount = if code == 7 { 150 } else { 100 };
        rows.push(format!("{code:06}.SZ,20240301,10,11,9,10,100,{amount}"));
        rows.push(format!("{code:06}.SZ,20240304,10,11,9,10,100,100"));
    }
    let read = tushare_file(&rows);
    assert_eq!((read.records.len(), read.refused.len()), (398, 1));
    let letter = refused_as(&read, Reason::UnitsOrAdjusted);
    assert_eq!((letter.symbol.as_str(), letter.rows, letter.row), ("000007.SZ", 2, 14));
}

#[test]
fn an_index_is_not_measured_by_turnover() {
    let read =
        tushare_file(&month(|day| format!("000001.SH,{},3000,3010,2990,3005,100,100", day.format("%Y%m%d"))));
    assert_eq!((read.records.len(), read.warned), (20, BTreeMap::from([(Reason::UnitUnchecked, 20)])));
}

#[test]
fn without_turnover_each_row_is_counted_unchecked() {
    let read = tushare_file(&month(|day| format!("000001.SZ,{},10,11,9,10,100,", day.format("%Y%m%d"))));
    assert_eq!((read.records.len(), read.warned), (20, BTreeMap::from([(Reason::UnitUnchecked, 20)])));
}

#[test]
fn adjusted_prices_are_refused_by_what_the_file_says_of_itself() {
    let baostock = |flag: &str| {
        let rows = month(|day| format!("{day},sz.000001,10,11,9,10,10,200,2000,{flag}"));
        days(
            &format!(
                "date,code,open,high,low,close,preclose,volume,amount,adjustflag\n{}\n",
                rows.join("\n")
            ),
            "auto",
        )
    };
    assert_eq!(baostock("3").records.len(), 20);
    assert_eq!(refused_as(&baostock("2"), Reason::PriceBasis).rows, 20);
    let joinquant = |factor: fn(NaiveDate) -> &'static str, basis| {
        let rows = month(|day| format!("{day},10,10,11,9,200,2000,{}", factor(day)));
        let mut options = options(Kind::BarDay, "auto");
        options.price_basis = basis;
        named_days(
            "000001.XSHE.csv",
            &format!(",open,close,high,low,volume,money,factor\n{}\n", rows.join("\n")),
            &options,
        )
    };
    assert_eq!(joinquant(|_| "1.0", None).records.len(), 20);
    let constant = joinquant(|_| "1.415", None);
    assert!(refused_as(&constant, Reason::PriceBasis).findings[0].value.contains("csv.price_basis=raw"));
    assert_eq!(joinquant(|_| "1.415", Some(Basis::Raw)).records.len(), 20);
    let varying = |day: NaiveDate| if day.to_string().as_str() < "2023-01-10" { "1.4" } else { "1.5" };
    for basis in [None, Some(Basis::Raw)] {
        assert_eq!(refused_as(&joinquant(varying, basis), Reason::PriceBasis).rows, 20);
    }
}

#[test]
fn tdx_says_its_price_basis_above_the_header() {
    let file = |basis: &str| {
        let rows = month(|day| format!("{},10,11,9,10,200,2000.00", day.format("%Y/%m/%d")));
        let text = format!(
            "601003 柳钢股份 日线 {basis}\n      日期\t    开盘\t    最高\t    最低\t    收盘\t    成交量\t    成交额\n{}\n数据来源:通达信\n",
            rows.join("\n")
        );
        let bytes = encoding_rs::GB18030.encode(&text).0.into_owned();
        let path = Folder::new();
        let path = path.file("SH#601003.txt", bytes);
        read::<DayBar>(&path, &options(Kind::BarDay, "auto"))
    };
    let raw = file("不复权");
    assert_eq!((raw.records.len(), raw.records[0].symbol.to_string()), (20, "601003.SH".to_owned()));
    let letter = file("前复权");
    assert!(refused_as(&letter, Reason::PriceBasis).findings[0].value.contains("前复权"));
}

#[test]
fn shifted_dates_refuse_the_file_and_stray_ones_only_their_rows() {
    let shifted =
        month(|day| format!("000001.SZ,{},10,11,9,10,100,100", (day - TimeDelta::days(1)).format("%Y%m%d")));
    let read = tushare_file(&shifted);
    assert_eq!(refused_as(&read, Reason::FramesShifted).rows, 20);
    let mut stray = month(|day| format!("000001.SZ,{},10,11,9,10,100,100", day.format("%Y%m%d")));
    stray.push("000001.SZ,20240302,10,11,9,10,100,100".to_owned());
    let read = tushare_file(&stray);
    assert_eq!((read.records.len(), read.reasons()), (20, BTreeMap::from([(Reason::NotASession, 1)])));
}

#[test]
fn all_proofs_against_a_file_stand_in_one_letter() {
    let rows = month(|day| format!("{},10,11,9,10,,200", day - TimeDelta::days(1)));
    let text = format!("Date,Open,High,Low,Close,Adj Close,Volume\n{}\n", rows.join("\n"));
    let read = named_days("000001.SZ.csv", &text, &options(Kind::BarDay, "auto"));
    let reasons: Vec<Reason> = read.refused[0].findings.iter().map(|finding| finding.reason).collect();
    assert_eq!((read.refused.len(), read.refused[0].rows), (1, 20));
    assert!(reasons.starts_with(&[Reason::PriceBasis, Reason::FramesShifted]), "{reasons:?}");
}

#[test]
fn a_jump_without_a_change_of_factor_is_counted() {
    let header = "ts_code,trade_date,open,high,low,close,vol,amount,adj_factor\n";
    let rows = |factor: &str| {
        format!(
            "{header}000001.SZ,20240301,10,11,9,10,100,100,1\n000001.SZ,20240304,5,5,5,5,100,50,{factor}\n000001.SZ,20240305,5,5,5,5,100,50,{factor}\n"
        )
    };
    assert_eq!(days(&rows("1"), "tushare").warned, BTreeMap::from([(Reason::JumpWithoutFactor, 1)]));
    assert_eq!(days(&rows("2"), "tushare").warned, BTreeMap::new());
}

// ---- bounded memory, going on ----

/// Rows of a few securities in any order, with repeats, conflicts, suspensions and broken rows.
fn mixed_rows() -> impl Strategy<Value = String> {
    let all = sessions();
    let row = (1u32..5, 0usize..12, 0u32..4, 0u32..24);
    (proptest::collection::vec(row, 0..60), any::<bool>()).prop_map(move |(mut rows, sorted)| {
        if sorted {
            rows.sort_by_key(|&(code, day, ..)| (code, day));
        }
        let line = |&(code, day, close, kind): &(u32, usize, u32, u32)| {
            let date = all[day].format("%Y%m%d");
            match kind {
                0 => format!("{code:06}.SZ,{date},10,10,10,10,0,0\n"),
                1 => format!("{code:06}.SZ,{date},10,1l,9,10,100,100\n"),
                2 => format!("{code:06}.SZ,{date},,,,,100,100\n"),
                3 if code == 4 => format!("{code:06}.SZ,{date},10,13,9,{},100,900\n", 9 + close),
                _ => format!("{code:06}.SZ,{date},10,13,9,{},100,100\n", 9 + close),
            }
        };
        format!("{TUSHARE}{}", rows.iter().map(line).collect::<String>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_file_that_passes_through_twice_gives_what_one_in_memory_gives(text in mixed_rows()) {
        let folder = Folder::new();
        let path = folder.file("x.csv", text);
        let mut memory = options(Kind::BarDay, "tushare");
        memory.rows_block_max = 7;
        let stream = Options { file_bytes_memory_max: 0, ..memory.clone() };
        prop_assert_eq!(read::<DayBar>(&path, &memory), read::<DayBar>(&path, &stream));
    }

    #[test]
    fn going_on_after_any_row_gives_the_rest(text in mixed_rows(), part in 0u64..60, stream in any::<bool>()) {
        let folder = Folder::new();
        let path = folder.file("x.csv", text);
        let mut options = options(Kind::BarDay, "tushare");
        options.file_bytes_memory_max = if stream { 0 } else { 1 << 20 };
        options.rows_block_max = 1;
        let whole = read::<DayBar>(&path, &options);
        let skip = part.min(whole.rows);
        let rest = read_from::<DayBar>(&path, &options, skip).unwrap();
        prop_assert_eq!(rest.accounted(), whole.rows - skip);
        let at = whole.lines.iter().filter(|&&line| line < skip + 2).count();
        if whole.refused.iter().all(|refusal| refusal.rows == 1) {
            prop_assert_eq!(&rest.records, &whole.records[at..]);
        }
    }

    #[test]
    fn the_last_row_of_each_key_and_no_other_becomes_its_record(text in mixed_rows()) {
        let folder = Folder::new();
        let path = folder.file("x.csv", &text);
        let read = read::<DayBar>(&path, &options(Kind::BarDay, "tushare"));
        let mut keys: Vec<_> = read.records.iter().map(|bar| (bar.symbol, bar.frame)).collect();
        keys.sort();
        let count = keys.len();
        keys.dedup();
        prop_assert_eq!(keys.len(), count, "a key twice");
        let last: BTreeMap<String, &str> = text.lines().skip(1)
            .filter(|line| line.ends_with(",100,100") && !line.contains(",,") && !line.contains('l'))
            .map(|line| (line[..18].to_owned(), line.split(',').nth(5).unwrap())).collect();
        for bar in &read.records {
            let key = format!("{},{}", bar.symbol, bar.frame.format("%Y%m%d"));
            if let Some(close) = last.get(&key).filter(|_| bar.symbol.code() != 4) {
                prop_assert_eq!(&bar.close.to_string(), close);
            }
        }
    }
}

/// Minutes of two securities and two days in any order, each with its volume.
fn mixed_minutes() -> impl Strategy<Value = Vec<(u32, u32, u32, u32)>> {
    let row = (1u32..3, 1u32..5, 0u32..4, prop_oneof![8 => Just(0u32), 1 => Just(500)]);
    (proptest::collection::vec(row, 0..24), any::<bool>()).prop_map(|(mut rows, sorted)| {
        if sorted {
            rows.sort_by_key(|&(code, day, minute, _)| (code, day, minute));
        }
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_day_of_minutes_is_a_suspension_only_if_several_are_there_and_none_has_volume(rows in mixed_minutes(), stream in any::<bool>()) {
        let days = ["20240304", "20240305", "20240306", "20240307"];
        let day = |day: u32| days[usize::try_from(day).unwrap() - 1];
        let mut text = "ts_code,trade_time,open,high,low,close,vol,amount\n".to_owned();
        for &(code, at, minute, vol) in &rows {
            let date: NaiveDate = NaiveDate::parse_from_str(day(at), "%Y%m%d").unwrap();
            text += &format!("{code:06}.SZ,{date} 14:{:02}:00,10,10,10,10,{vol},{}\n", 56 + minute, vol * 10);
        }
        let mut options = options(Kind::BarMinute(Grid::M1), "tushare");
        options.file_bytes_memory_max = if stream { 0 } else { 1 << 20 };
        let folder = Folder::new();
        let read: Read<MinuteBar> = read(&folder.file("x.csv", text), &options);
        let mut traded: BTreeMap<(u32, u32), bool> = BTreeMap::new();
        let mut last: BTreeMap<(u32, u32, u32), u32> = BTreeMap::new();
        for &(code, at, minute, vol) in &rows {
            *traded.entry((code, at)).or_default() |= vol > 0;
            last.insert((code, at, minute), vol);
        }
        // A few minutes without volume are quiet ones.
        let mut minutes: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        for &(code, at, _) in last.keys() {
            *minutes.entry((code, at)).or_default() += 1;
        }
        last.retain(|&(code, at, _), _| traded[&(code, at)] || minutes[&(code, at)] < 4);
        let mut found: Vec<String> =
            read.records.iter().map(|bar| format!("{} {} {}", bar.symbol, bar.frame, bar.vol)).collect();
        found.sort();
        let expected: Vec<String> = last.iter().map(|(&(code, at, minute), vol)| {
            let date: NaiveDate = NaiveDate::parse_from_str(day(at), "%Y%m%d").unwrap();
            format!("{code:06}.SZ {date} 14:{:02}:00 {vol}", 56 + minute)
        }).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn whatever_stands_below_a_header_is_accounted_for(
        rows in proptest::collection::vec("[0-9.,:\"SZna一 /-]{0,60}", 0..20),
        dialect in 0..dialect::builtin().len(),
    ) {
        let dialect = &dialect::builtin()[dialect];
        let folder = Folder::new();
        let mut text = Vec::new();
        if dialect.writable(Kind::BarDay).is_some() {
            write::write_day(dialect, &mut text, &[]).unwrap();
        }
        text.extend(rows.join("\n").as_bytes());
        let mut options = options(Kind::BarDay, &dialect.name);
        options.vol_unit = Some(VolUnit::Shares);
        // Blocks are added up within.
        drop(read_from::<DayBar>(&folder.file("sz000001.csv", text), &options, 0));
    }
}

#[test]
fn too_many_rows_out_of_order_say_what_to_do() {
    let rows: Vec<String> =
        [1, 5, 4, 6].iter().map(|day| format!("000001.SZ,202403{day:02},10,11,9,10,100,100")).collect();
    let folder = Folder::new();
    let path = folder.file("x.csv", format!("{TUSHARE}{}\n", rows.join("\n")));
    let mut options = options(Kind::BarDay, "tushare");
    options.keys_max = 3;
    for memory in [0, 1 << 20] {
        options.file_bytes_memory_max = memory;
        let error = load::open::<DayBar>(&path, &options, 0).err().unwrap();
        assert!(error.to_string().contains("sort it by security and time"), "{error}");
    }
}

#[test]
fn a_file_that_shrinks_between_the_passes_is_noticed() {
    let folder = Folder::new();
    let rows: String =
        (1..50_000).map(|code| format!("{code:06}.SZ,20240301,10,11,9,10,100,100\n")).collect();
    let path = folder.file("x.csv", format!("{TUSHARE}{rows}"));
    let mut options = options(Kind::BarDay, "tushare");
    options.file_bytes_memory_max = 0;
    let mut loaded = load::open::<DayBar>(&path, &options, 0).unwrap();
    fs::write(&path, TUSHARE).unwrap();
    // What was buffered before still comes; then the loss is told.
    let error = loop {
        match loaded.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the loss was not told"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LoadError::Changed { rows: 49_999, .. }), "{error}");
}

// ---- what looks like days, raw prices or shares and is not ----

fn kind_error(text: &str, dialect: &str) -> String {
    header_error(text, dialect, Kind::BarDay)
}

#[test]
fn minutes_with_a_column_of_dates_are_no_days() {
    let error = kind_error("date,time,code,open,high,low,close,volume,amount,adjustflag\n", "baostock");
    assert!(error.contains("stream.kind"), "{error}");
    // Some days come with a column `time` that repeats the date.
    let text = "date,time,code,open,high,low,close,volume,amount,adjustflag,preclose\n\
                2024-03-01,2024-03-01,sz.000001,10,11,9,10,200,2000,3,10\n";
    assert_eq!(days(text, "auto").records.len(), 1);
    kind_error("ts_code,trade_date,trade_time,open,high,low,close,vol,amount\n", "tushare");
}

#[test]
fn several_rows_a_day_are_found_out_and_copies_are_not() {
    let rows = |close: fn(usize) -> usize| -> Vec<String> {
        let row = |at| format!("000001.SZ,202403{:02},10,11,9,{},100,100", [1, 4, 5][at / 8], close(at));
        (0..24).map(row).collect()
    };
    let read = tushare_file(&rows(|at| 9 + at % 2));
    let letter = refused_as(&read, Reason::FrameIllegal);
    assert_eq!(letter.rows, 24);
    assert!(letter.findings[0].value.contains("these are minute bars"), "{letter:?}");
    let copies = tushare_file(&rows(|_| 10));
    assert_eq!((copies.records.len(), copies.skipped), (3, BTreeMap::from([(Reason::Duplicate, 21)])));
}

#[test]
fn weekly_bars_under_a_daily_header_are_found_out() {
    let fridays: Vec<NaiveDate> =
        sessions().into_iter().filter(|day| day.format("%u").to_string() == "5").collect();
    let row = |day: &NaiveDate| format!("000001.SZ,{},10,11,9,10,100,100", day.format("%Y%m%d"));
    let weekly: Vec<String> = fridays.iter().take(8).map(row).collect();
    for rows in [weekly.clone(), weekly.iter().rev().cloned().collect()] {
        let read = tushare_file(&rows);
        let letter = refused_as(&read, Reason::FrameIllegal);
        assert!(letter.rows == 8 && letter.findings[0].value.contains("weekly bars"), "{letter:?}");
    }
    assert_eq!(tushare_file(&weekly[..7]).records.len(), 7, "too few to tell");
    let thursday = fridays[3] - TimeDelta::days(1);
    let mut daily = weekly;
    daily.insert(3, row(&thursday));
    assert_eq!(tushare_file(&daily).records.len(), 9);
}

#[test]
fn a_declared_exchange_has_to_list_the_code() {
    let text =
        "日期,股票代码,开盘,收盘,最高,最低,成交量,成交额,振幅\n2024-03-01,600519,10,10,11,9,2,2000,1\n";
    let mut options = options(Kind::BarDay, "auto");
    options.exchange = Some(Exchange::SZ);
    let read = named_days("x.csv", text, &options);
    let value = &refused_as(&read, Reason::SymbolIllegal).findings[0].value;
    assert!(value.contains("600519 is no code of SZ") && value.contains("csv.exchange"), "{value}");
    assert_eq!(named_days("SH_600519.csv", text, &options).records[0].symbol.to_string(), "600519.SH");
}

#[test]
fn a_header_of_tdx_without_its_first_line_has_to_be_named() {
    let text = "日期,开盘,收盘,最高,最低,成交量,成交额\n2024-03-01,10,10,11,9,200,2000\n";
    let error = kind_error(text, "auto");
    assert!(error.contains("tdx") && error.contains("csv.dialect"), "{error}");
    assert_eq!(named_days("SH#600519.txt", text, &options(Kind::BarDay, "tdx")).records[0].vol, 200.0);
}

#[test]
fn tdx_counts_an_index_in_lots_and_nothing_proves_it() {
    let text = "000001 上证指数 日线 不复权\n日期,开盘,最高,最低,收盘,成交量,成交额\n\
                2024/03/01,3000,3010,2990,3005,200,200000\n#数据来源:通达信\n";
    let read = named_days("SH#000001.txt", text, &options(Kind::BarDay, "auto"));
    assert_eq!((read.rows, read.records[0].vol), (1, 20_000.0));
    assert_eq!(read.warned, BTreeMap::from([(Reason::UnitUnchecked, 1)]));
    let mut written = Vec::new();
    write::write_day(&dialect::named("tdx").unwrap(), &mut written, &read.records).unwrap();
    let path = Folder::new();
    let again: Read<DayBar> =
        self::read(&path.file("SH#000001.txt", written), &options(Kind::BarDay, "auto"));
    assert_eq!(again.records, read.records);
}

#[test]
fn sina_counts_shares() {
    let text = "day,open,high,low,close,volume,amount\n2024-03-01 09:35:00,10,11,9,10,200,2000\n";
    assert_eq!(minutes("sz000001.csv", text, "auto", Grid::M5).records[0].vol, 200.0);
    let text = "date,open,high,low,close,volume,amount,outstanding_share,turnover\n2024-03-01,10,11,9,10,200,2000,1e9,0.1\n";
    assert_eq!(named_days("sz000001.csv", text, &options(Kind::BarDay, "auto")).records[0].vol, 200.0);
    let folder = Folder::new();
    let path =
        folder.file("sz000001.csv", "day,open,high,low,close,volume\n2024-03-01 09:35:00,10,11,9,10,2\n");
    assert!(load::open::<MinuteBar>(&path, &options(Kind::BarMinute(Grid::M5), "akshare"), 0).is_err());
}

#[test]
fn prices_adjusted_by_two_percent_are_refused() {
    let rows = |factor: f64| {
        month(|day| {
            let price = 10.0 * factor;
            format!("000001.SZ,{},{price},{price},{price},{price},10000,10000", day.format("%Y%m%d"))
        })
    };
    assert_eq!(tushare_file(&rows(1.0)).records.len(), 20);
    assert_eq!(refused_as(&tushare_file(&rows(0.98)), Reason::UnitsOrAdjusted).rows, 20);
}

#[test]
fn a_stray_row_in_another_unit_is_refused_by_itself() {
    let rows: Vec<String> = sessions()
        .into_iter()
        .take(300)
        .enumerate()
        .map(|(at, day)| {
            let (vol, amount) = match at {
                7 => (10_000, 100),
                200 => (100, 100_000),
                250 => (100, 150),
                _ => (100, 100),
            };
            format!("000001.SZ,{},10,11,9,10,{vol},{amount}", day.format("%Y%m%d"))
        })
        .collect();
    let folder = Folder::new();
    let path = folder.file("x.csv", format!("{TUSHARE}{}\n", rows.join("\n")));
    for memory in [0, 1 << 20] {
        let mut options = options(Kind::BarDay, "tushare");
        options.file_bytes_memory_max = memory;
        let read: Read<DayBar> = read(&path, &options);
        assert_eq!((read.records.len(), read.reasons()), (298, BTreeMap::from([(Reason::Unit, 2)])));
        assert_eq!((read.refused[0].row, read.refused[1].row), (9, 202));
        assert!(read.refused[0].findings[0].value.contains("off by 100"), "{:?}", read.refused[0]);
    }
}

#[test]
fn a_blank_volume_under_moving_prices_is_no_suspension() {
    let read = tushare(&["000001.SZ,20240301,10,10,10,10,,", "000001.SZ,20240304,10,11,9,10,,"]);
    assert_eq!(read.skipped, BTreeMap::from([(Reason::Suspended, 1)]));
    let letter = refused_as(&read, Reason::ValueIllegal);
    assert_eq!((letter.row, letter.findings[0].field.as_str()), (3, "vol"));
}

#[test]
fn spreadsheets_may_have_rewritten_dates_and_numbers() {
    for day in ["2024/3/1", "2024-03-01 00:00:00", "20240301.0", "2024-03-01"] {
        let read = tushare(&[&format!("000001.SZ,{day},10,11,9,10,100,--")]);
        let frames: Vec<NaiveDate> = read.records.iter().map(|bar| bar.frame).collect();
        assert_eq!(frames, [NaiveDate::from_ymd_opt(2024, 3, 1).unwrap()], "{day}");
    }
    for label in ["2024/03/01 09:31", "2024/03/01 09:31:00"] {
        let text = format!("{MINUTE_HEADER}{label},10,10,11,9,1\n");
        assert_eq!(minutes("sz000001.csv", &text, "akshare", Grid::M1).records.len(), 1, "{label}");
    }
    let wind = "代码,日期,开盘价(元),最高价(元),最低价(元),收盘价(元),成交量(股),成交金额(元)\n\
                600519.SH,2024-03-01,\"1,690.00\",\"1,700.00\",\"1,680.00\",\"1,690.00\",\"1,000\",\"1,690,000.00\"\n\
                600519.SH,2024-03-04,\"16,90.00\",1700,1680,1690,1000,1690000\n";
    let read = named_days("600519.SH.csv", wind, &options(Kind::BarDay, "auto"));
    assert_eq!(
        (read.records[0].open, read.records[0].vol, read.records[0].amount),
        (1690.0, 1000.0, Some(1_690_000.0))
    );
    assert_eq!(refused_as(&read, Reason::ValueIllegal).findings[0].value, "16,90.00");
}

#[test]
fn line_ends_of_cr_alone_are_told() {
    let error = kind_error(&PLAIN_ROWS.replace('\n', "\r"), "auto");
    assert!(error.contains("line ends are CR only; save with LF"), "{error}");
}
