//! Files as people have them on disk, defects included: what becomes of every one is pinned in `real_data.tsv`.
//!
//! Needs the folder of sample files that `SQEP_DATA` names; without it, each test says so and ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]
#![expect(clippy::float_cmp, reason = "prices are decimals read by the same rule")]

use std::{collections::BTreeMap, fmt::Write, path::Path, sync::Arc};

use chrono::NaiveDate;
use sqep::{Calendar, DayBar, Exchange, Kind, MinuteBar, Reason, RefDay, Symbol};
use sqep_csv::{
    dialect::{self, AmountUnit, Basis, DialectChoice, VolUnit},
    load::{self, Alias, LoadError, Options},
    row::FromRow,
    side::{self, SideOptions},
};
use sqep_testkit::given::data;

/// File, kind, dialect, options, outcome; parted by tabs.
const TABLE: &str = include_str!("real_data.tsv");

fn options(kind: &str, dialect: &str, extras: &str) -> Options {
    let mut options = Options::new(kind.parse().unwrap(), Arc::new(Calendar::published()));
    options.dialect = dialect::from_choice(dialect).unwrap();
    for extra in extras.split_whitespace() {
        match extra {
            "SH" | "SZ" => options.exchange = Exchange::parse(extra),
            "raw" => options.price_basis = Some(Basis::Raw),
            "shares" => options.vol_unit = Some(VolUnit::Shares),
            "lots" => options.vol_unit = Some(VolUnit::Lots),
            "yuan" => options.amount_unit = Some(AmountUnit::Yuan),
            _ => panic!("option {extra:?}"),
        }
    }
    options
}

/// What became of a file.
#[derive(Debug)]
struct Read<R> {
    records: Vec<R>,
    outcome: String,
}

fn read<R: FromRow>(path: &Path, options: &Options) -> Result<Read<R>, LoadError> {
    let mut loaded = load::open::<R>(path, options, 0)?;
    let (mut records, mut rows) = (Vec::new(), 0);
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    let (mut skipped, mut warned) = (BTreeMap::new(), BTreeMap::new());
    let add = |all: &mut BTreeMap<Reason, u64>, more: BTreeMap<Reason, u64>| {
        for (reason, count) in more {
            *all.entry(reason).or_default() += count;
        }
    };
    while let Some(block) = loaded.next()? {
        rows += block.read();
        assert_eq!(block.rows, rows, "{}", path.display());
        for refusal in block.refused {
            let mut reasons: Vec<&str> =
                refusal.findings.iter().map(|finding| finding.reason.code()).collect();
            reasons.dedup();
            let whole = if refusal.rows > 1 { "*" } else { "" };
            *refused.entry(format!("{}{whole}", reasons.join("+"))).or_default() += refusal.rows;
        }
        records.extend(block.records);
        add(&mut skipped, block.skipped);
        add(&mut warned, block.warned);
    }
    let mut outcome = format!("{} read {rows} records {}", loaded.dialect_name(), records.len());
    for (reason, count) in refused {
        write!(outcome, " refused {reason} {count}").unwrap();
    }
    for (what, counts) in [("skipped", skipped), ("warned", warned)] {
        for (reason, count) in counts {
            write!(outcome, " {what} {reason} {count}").unwrap();
        }
    }
    Ok(Read { records, outcome })
}

fn outcome(path: &Path, options: &Options) -> String {
    let outcome = match options.kind {
        Kind::BarDay => read::<DayBar>(path, options).map(|read| read.outcome),
        Kind::BarMinute(_) => read::<MinuteBar>(path, options).map(|read| read.outcome),
        Kind::RefDay => read::<RefDay>(path, options).map(|read| read.outcome),
        Kind::FeatureDay | Kind::FeatureMinute => unreachable!("no file holds features"),
    };
    outcome.unwrap_or_else(|error| match error.reason() {
        Some(reason) => format!("error {reason}"),
        None => format!("error {:#}", anyhow::Error::from(error)),
    })
}

#[test]
fn every_sample_file_comes_to_what_was_found_right() {
    let Some(data) = data() else { return };
    let mut wrong = String::new();
    let mut count = 0;
    for line in TABLE.lines().skip(1) {
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_default();
        let (file, kind, dialect, extras, expected) = (next(), next(), next(), next(), next());
        for memory in [0, 16 << 20] {
            let mut options = options(kind, dialect, extras);
            options.file_bytes_memory_max = memory;
            let outcome = outcome(&data.join(file), &options);
            if outcome != expected {
                writeln!(wrong, "{file}\t{kind}\t{dialect}\t{extras}\t{outcome}").unwrap();
            }
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "these came out otherwise:\n{wrong}");
    assert!(count > 220, "only {count} rows in the table");
}

#[test]
fn the_table_names_every_text_file_there_is() {
    let Some(data) = data() else { return };
    let manifest = std::fs::read_to_string(data.join("MANIFEST.tsv")).unwrap();
    let named = |file: &str| TABLE.lines().any(|line| line.split('\t').next() == Some(file));
    let missing: Vec<&str> = manifest
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
        .filter(|file| !named(file))
        .collect();
    assert_eq!(missing, [""; 0]);
}

fn days(data: &Path, file: &str, dialect: &str) -> BTreeMap<(Symbol, NaiveDate), DayBar> {
    let read = read::<DayBar>(&data.join(file), &options("bar:1d", dialect, "")).unwrap();
    read.records.into_iter().map(|bar| ((bar.symbol, bar.frame), bar)).collect()
}

const BAOSTOCK: [&str; 8] =
    ["sh.600000", "sh.600030", "sh.600674", "sh.603501", "sz.000001", "sz.000983", "sz.300033", "sz.300750"];

fn baostock(data: &Path) -> BTreeMap<(Symbol, NaiveDate), DayBar> {
    BAOSTOCK.iter().flat_map(|name| days(data, &format!("baostock/daily_raw/{name}.csv"), "auto")).collect()
}

#[test]
fn tushare_and_baostock_give_equal_bars() {
    let Some(data) = data() else { return };
    let baostock = baostock(&data);
    let mut shared = 0;
    // The turnover of baostock is rounded to 32 bits in some months.
    for (file, yuan) in [
        ("daily_raw/000001.SZ.csv", 1.0),
        ("daily_raw/600030.SH.csv", 1.0),
        ("daily_by_month/data_202003.csv", 1.0),
        ("daily_by_month/data_202203.csv", 8.0),
        ("derived_from_quantide/daily_2021_2024_small.csv", 8.0),
        ("derived_from_quantide/daily_20250331_20250401.csv", 1.0),
    ] {
        for (key, ours) in days(&data, &format!("tushare/{file}"), "auto") {
            let Some(theirs) = baostock.get(&key) else { continue };
            let prices = |bar: &DayBar| [bar.open, bar.high, bar.low, bar.close];
            assert_eq!(prices(&ours), prices(theirs), "{key:?}");
            assert!((ours.vol - theirs.vol).abs() <= 8.0, "{key:?}: {} and {}", ours.vol, theirs.vol);
            assert!((ours.amount.unwrap() - theirs.amount.unwrap()).abs() <= yuan, "{key:?} of {file}");
            shared += 1;
        }
    }
    assert_eq!(shared, 1194);
}

#[test]
fn minutes_of_akshare_begin_and_end_as_the_day_does() {
    let Some(data) = data() else { return };
    let baostock = baostock(&data);
    let bank: Symbol = "000001.SZ".parse().unwrap();
    for day in ["2024-03-01", "2024-03-04", "2024-03-07"] {
        let file = format!("minute_1m_akshare/{day}/000001.SZ-{}.csv", day.replace('-', ""));
        let bars = read::<MinuteBar>(&data.join(file), &options("bar:1m", "akshare", "")).unwrap().records;
        let whole = &baostock[&(bank, day.parse().unwrap())];
        assert_eq!((bars[0].open, bars[bars.len() - 1].close), (whole.open, whole.close), "{day}");
        let vol: f64 = bars.iter().map(|bar| bar.vol).sum();
        assert!((vol / whole.vol - 1.0).abs() < 0.002, "{day}: {vol} and {}", whole.vol);
    }
}

#[test]
fn minutes_of_qmt_sum_to_the_days_of_baostock() {
    let Some(data) = data() else { return };
    let baostock = baostock(&data);
    let minutes =
        read::<MinuteBar>(&data.join("qmt/csv/300750.SZ_1m.csv"), &options("bar:1m", "auto", "")).unwrap();
    let mut sums: BTreeMap<(Symbol, NaiveDate), DayBar> = BTreeMap::new();
    for bar in minutes.records {
        let first = DayBar {
            symbol: bar.symbol,
            frame: bar.frame.date(),
            open: bar.open,
            high: bar.high,
            low: bar.low,
            close: bar.close,
            vol: 0.0,
            amount: Some(0.0),
            adjust: None,
            st: None,
            buy_limit: None,
            sell_limit: None,
        };
        let day = sums.entry((bar.symbol, bar.frame.date())).or_insert(first);
        (day.high, day.low, day.close) = (day.high.max(bar.high), day.low.min(bar.low), bar.close);
        day.vol += bar.vol;
        day.amount = Some(day.amount.unwrap() + bar.amount.unwrap());
    }
    assert_eq!(sums.len(), 18);
    for (key, sum) in sums {
        let day = &baostock[&key];
        assert_eq!(
            [sum.open, sum.high, sum.low, sum.close],
            [day.open, day.high, day.low, day.close],
            "{key:?}"
        );
        assert!((sum.vol / day.vol - 1.0).abs() < 3e-6, "{key:?}: {} and {}", sum.vol, day.vol);
        assert!((sum.amount.unwrap() / day.amount.unwrap() - 1.0).abs() < 3e-6, "{key:?}");
    }
}

#[test]
fn side_files_say_what_they_hold() {
    let Some(data) = data() else { return };
    let folder = data.join("tushare/derived_from_quantide");
    let mut options = SideOptions {
        dialect: DialectChoice::Auto,
        exchange: None,
        calendar: Arc::new(Calendar::published()),
        alias: Alias::AsGiven,
        runs_max: 100_000,
    };
    let bank: Symbol = "000001.SZ".parse().unwrap();
    let day = |text: &str| text.parse::<NaiveDate>().unwrap();
    let factors = side::read_factors(&folder.join("adj_factor_20250331_20250401.csv"), &options).unwrap();
    assert_eq!(
        (factors.rows, factors.unused.len(), factors.get(bank, day("2025-03-31"))),
        (10_785, 0, Some(127.7841))
    );
    let year = side::read_factors(&folder.join("adj_factor_2024_sample.csv"), &options).unwrap();
    assert_eq!((year.rows, year.get(bank, day("2024-01-04"))), (13_221, Some(116.713)));
    let limits = side::read_limits(&folder.join("stk_limit_20250331_20250401.csv"), &options).unwrap();
    assert_eq!(
        (limits.rows, limits.get(bank, day("2025-03-31"))),
        (10_785, Some((Some(12.49), Some(10.22))))
    );
    let list = side::read_st(&folder.join("st_20250331_20250401.csv"), &options).unwrap();
    assert_eq!(list.get("000040.SZ".parse().unwrap(), day("2025-03-31")), Some(true));
    assert_eq!(list.get(bank, day("2025-04-01")), Some(false));
    assert_eq!(list.get(bank, day("2025-04-02")), None);
    options.exchange = Some(Exchange::SH);
    let own =
        side::read_limits(&data.join("minute_1m_joinquant_tsv/tyst_603717_limits.csv"), &options).unwrap();
    assert_eq!(
        (own.rows, own.get("603717.SH".parse().unwrap(), day("2022-03-08"))),
        (10, Some((Some(16.38), Some(13.4))))
    );
}
