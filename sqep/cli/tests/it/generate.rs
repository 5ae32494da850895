//! `sqep gen` as a program: its files hold the market, in every layout and packing, and the same ones every time.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::Path,
    process::{Command, Output},
};

use sqep::{
    Calendar, DayBar, MinuteBar, Record,
    codec::{Encoding, Limits, decode_within},
};
use sqep_testkit::market::{Market, Plan};

const NO_LIMITS: Limits = Limits { records_max: usize::MAX, payload_bytes_max: usize::MAX };

fn market() -> Market {
    let plan = Plan { seed: 3, symbols: 12, days: 90, to: "2026-06-30".parse().unwrap() };
    Market::new(&plan, &Calendar::published()).unwrap()
}

fn generate(out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqep"));
    command.args(["gen", "--seed", "3", "--out"]).arg(out).args(more);
    for (option, value) in [("--symbols", "12"), ("--days", "90")] {
        if !more.contains(&option) {
            command.args([option, value]);
        }
    }
    command.output().unwrap()
}

fn generated(out: &Path, more: &[&str]) {
    let said = generate(out, more);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Files of a folder by name, unpacked.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let text = |path: &Path| {
        let file = fs::File::open(path).unwrap();
        let mut text = String::new();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap(),
            Some("zst") => zstd::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap(),
            _ => { file }.read_to_string(&mut text).unwrap(),
        };
        text
    };
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), text(&path))).collect()
}

/// The records of files in the dialect `sqep`, by key.
fn records<R: Record>(texts: &BTreeMap<String, String>) -> Vec<R> {
    let mut records = Vec::new();
    for text in texts.values() {
        let (_, rows) = text.split_once('\n').unwrap();
        records.extend(decode_within::<R>(Encoding::Csv, rows.as_bytes(), NO_LIMITS).unwrap().records);
    }
    records.sort_by_key(Record::key);
    records
}

#[test]
fn every_layout_and_packing_holds_the_market_exactly() {
    let market = market();
    let mut bars: Vec<DayBar> =
        market.securities().iter().flat_map(|security| market.days(security.symbol)).collect();
    bars.sort_by_key(Record::key);
    let ways: [(&[&str], usize); 5] = [
        (&[], 12),
        (&["--layout", "day"], 90),
        (&["--layout", "single"], 1),
        (&["--gzip"], 12),
        (&["--layout", "single", "--zstd"], 1),
    ];
    for (way, files) in ways {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("bars");
        generated(&out, way);
        let texts = texts(&out);
        assert_eq!(texts.len(), files, "{way:?}");
        assert_eq!(records::<DayBar>(&texts), bars, "{way:?}");
    }
}

#[test]
fn minutes_are_written_like_days() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bars");
    generated(&out, &["--kind", "bar:1m", "--days", "2"]);
    let plan = Plan { seed: 3, symbols: 12, days: 2, to: "2026-06-30".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let mut bars: Vec<MinuteBar> =
        market.securities().iter().flat_map(|security| market.minutes(security.symbol)).collect();
    bars.sort_by_key(Record::key);
    assert!(bars.len() > 241 * 10);
    assert_eq!(records::<MinuteBar>(&texts(&out)), bars);
}

#[test]
fn a_second_run_writes_the_same_bytes_and_leaves_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bars");
    generated(&out, &["--dialect", "baostock"]);
    let first = texts(&out);
    generated(&out, &["--dialect", "baostock"]);
    assert_eq!(first, texts(&out));
    assert!(!first.keys().any(|name| name.contains("tmp")), "{:?}", first.keys());
}

#[test]
fn side_files_say_what_the_bars_of_another_dialect_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bars");
    generated(&out, &["--dialect", "tushare", "--sides", "--layout", "single"]);
    let sides = texts(&folder.path().join("bars.sides"));
    let market = market();
    let (mut factors, mut treated) = (0, 0);
    for security in market.securities() {
        for day in market.history(security.symbol) {
            let (symbol, date) = (security.symbol, day.reference.frame.format("%Y%m%d"));
            let factor = format!("\n{symbol},{date},{}\n", day.reference.adjust.unwrap());
            assert!(sides["adj_factor.csv"].contains(&factor), "{factor}");
            factors += 1;
            treated += usize::from(day.reference.st == Some(true));
            if let Some((up, down)) = day.reference.buy_limit.zip(day.reference.sell_limit) {
                let limit = format!("\n{date},{symbol},{up},{down}\n");
                assert!(sides["stk_limit.csv"].contains(&limit), "{limit}");
            }
        }
    }
    assert_eq!(sides["adj_factor.csv"].lines().count(), 1 + factors);
    assert_eq!(sides["stock_st.csv"].lines().count(), 1 + treated);
}

#[test]
fn corrections_lie_beside_the_bars_and_not_among_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bars");
    generated(&out, &["--corrections", "30"]);
    let corrections: Vec<DayBar> = records(&texts(&folder.path().join("bars.late")));
    let bars: Vec<DayBar> = records(&texts(&out));
    assert_eq!(corrections.len(), 30);
    for correction in &corrections {
        let at = bars.binary_search_by_key(&correction.key(), Record::key).unwrap();
        assert_ne!(bars[at], *correction);
    }
}

#[test]
fn what_cannot_be_written_is_refused_with_what_can() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |more: &[&str]| {
        let said = generate(folder.path(), more);
        assert_eq!(said.status.code(), Some(2), "{more:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{more:?}");
        String::from_utf8(said.stderr).unwrap()
    };
    assert!(refused(&["--dialect", "auto"]).contains("choose one that writes bar:1d: "));
    assert!(refused(&["--dialect", "nonsense"]).contains("nonsense"));
    assert!(refused(&["--dialect", "yahoo", "--kind", "bar:1m"]).contains("does not write bar:1m"));
    assert!(refused(&["--dialect", "netease163", "--layout", "single"]).contains("choose --layout symbol"));
    assert!(refused(&["--kind", "bar:5m"]).contains("choose bar:1d, bar:1m or ref:1d"));
    assert!(refused(&["--symbols", "10001"]).contains("10001 symbols: a market has 1 to 10000"));
    assert!(refused(&["--days", "99999"]).contains("99999 sessions up to 2026-06-30"));
}
