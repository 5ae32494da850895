//! A fake service, a private Redis and the program between them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses a part of it, and fails where that fails"
)]

pub(crate) mod office;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::NaiveDate;
use sqep::{
    Appetite, Batch, Calendar, DayBar, Kind, Mark, Record, Sink, Symbol, WriteError,
    app::{CalendarSettings, Inward, ReaderSettings},
    meter::Meters,
    redis::keys::StreamSettings,
    symbol::Aliases,
};
pub(crate) use sqep_testkit::programs::Run;
use sqep_testkit::{
    TestRedis,
    tushare::{Api, Cell, FakeTushare, Faults, Row, TOKEN, World},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// A service, a server and a folder for cache and ledger.
pub(crate) struct Rig {
    pub(crate) fake: FakeTushare,
    pub(crate) redis: TestRedis,
    pub(crate) folder: TempDir,
}

impl Rig {
    pub(crate) async fn start(world: World, faults: Faults) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        Rig {
            fake: FakeTushare::start(world, faults).await.unwrap(),
            redis: TestRedis::start().await.unwrap(),
            folder,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The arguments that lead to this service and this server.
    pub(crate) fn arguments(&self, more: &[&str]) -> Vec<String> {
        let of = |path: PathBuf| path.to_str().unwrap().to_owned();
        let set = [
            ("redis.url", self.redis.url()),
            ("tushare.base_url", self.fake.url()),
            ("tushare.token_file", of(self.path("token"))),
            ("tushare.cache_dir", of(self.path("cache"))),
            ("tushare.points", "15000".to_owned()),
            ("tushare.pause_first_ms", "5".to_owned()),
            ("tushare.pause_ms_max", "50".to_owned()),
            ("tushare.stall_timeout_s_max", "1".to_owned()),
            ("fetch.state_dir", of(self.path("state"))),
        ];
        let set = set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        more.iter().map(|&text| text.to_owned()).chain(set).collect()
    }

    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sqep-tushare"));
        command.args(self.arguments(more)).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end beside the service, which lives in this process.
    pub(crate) async fn run(&self, more: &[&str]) -> Run {
        let mut command = self.command(more);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Run::of(output).unwrap()
    }

    pub(crate) async fn backfill(&self, from: &str, to: &str, more: &[&str]) -> Run {
        let mut arguments = vec!["backfill", "--from", from, "--to", to];
        arguments.extend(more);
        self.run(&arguments).await
    }

    /// Everything on the stream: the last row of each key, and how many rows there were.
    pub(crate) async fn stream<R: Record>(&self, kind: Kind) -> Stream<R> {
        stream(&self.redis, kind).await
    }

    pub(crate) async fn letters(&self, kind: Kind) -> u64 {
        let key = format!("sqep:{{{kind}:0}}:dead");
        self.redis.command::<u64>(&["XLEN", &key]).await.unwrap()
    }
}

/// Rows of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream<R> {
    /// The last one of each key.
    pub(crate) rows: BTreeMap<(Symbol, i64), R>,
    pub(crate) count: usize,
    /// All of them, in order.
    pub(crate) history: Vec<R>,
}

impl<R> Default for Stream<R> {
    fn default() -> Self {
        Stream { rows: BTreeMap::new(), count: 0, history: Vec::new() }
    }
}

/// Everything on a stream, as a new group reads it.
pub(crate) async fn stream<R: Record>(redis: &TestRedis, kind: Kind) -> Stream<R> {
    static READ: AtomicUsize = AtomicUsize::new(0);
    let stream = StreamSettings { kind, ..StreamSettings::default() };
    let reader = ReaderSettings {
        group: Some(format!("test-{}", READ.fetch_add(1, Ordering::Relaxed))),
        start: Some("earliest".parse().unwrap()),
        ..ReaderSettings::default()
    };
    let meters = Meters::default();
    let inward = Inward {
        redis: &redis.settings(),
        stream: &stream,
        reader: &reader,
        calendar: &CalendarSettings::default(),
        meters: &meters,
    };
    let memory = Memory::default();
    let sink = memory.clone();
    inward.deliver("test", true, &CancellationToken::new(), move |_| Ok(sink.clone())).await.unwrap();
    let stream = memory.0.lock().unwrap();
    stream.clone()
}

/// Keeps what it is given; twice is once by key.
struct Memory<R>(Arc<Mutex<Stream<R>>>);

impl<R> Clone for Memory<R> {
    fn clone(&self) -> Self {
        Memory(Arc::clone(&self.0))
    }
}

impl<R> Default for Memory<R> {
    fn default() -> Self {
        Memory(Arc::default())
    }
}

impl<R: Record> Sink for Memory<R> {
    type Record = R;

    fn appetite(&self) -> Appetite {
        Appetite { records_max: 100_000, wait_max: Duration::ZERO }
    }

    async fn write(&mut self, batch: &Batch<'_, R>) -> Result<(), WriteError> {
        let mut stream = self.0.lock().unwrap();
        for row in batch.rows {
            stream.rows.insert(row.record.key(), row.record);
            stream.history.push(row.record);
            stream.count += 1;
        }
        Ok(())
    }

    async fn save(&mut self, _: u16, _: &Mark) -> Result<(), WriteError> {
        Ok(())
    }

    async fn mark(&mut self, _: u16) -> Result<Option<Mark>, WriteError> {
        Ok(None)
    }
}

fn number(row: &Row, column: &str) -> Option<f64> {
    match row.cell(column) {
        Cell::Number(number) => Some(*number),
        Cell::Whole(number) => Some(f64::from(i32::try_from(*number).unwrap())),
        _ => None,
    }
}

/// A limit as the protocol has it: none where the vendor's number means "none".
fn limit(row: &Row, column: &str, close: f64) -> Option<f64> {
    number(row, column).filter(|&limit| limit > 0.0 && limit < 10.0 * close && limit > 0.1 * close)
}

/// What the day bars of a world must look like on the stream, made of its tables by another way than the program's.
pub(crate) fn day_bars(world: &World, from: NaiveDate, to: NaiveDate) -> BTreeMap<(Symbol, i64), DayBar> {
    let aliases = Aliases::published();
    let symbol = |row: &Row| aliases.current(row.text("ts_code").parse().unwrap());
    let by_key = |api: &str| -> HashMap<(Symbol, String), Row> {
        world
            .table(api)
            .iter()
            .map(|row| ((symbol(row), row.text("trade_date").to_owned()), row.clone()))
            .collect()
    };
    let (factors, limits) = (by_key("adj_factor"), by_key("stk_limit"));
    let treated: HashSet<(Symbol, String)> = by_key("stock_st").into_keys().collect();
    let mut bars = BTreeMap::new();
    for row in world.table("daily") {
        let frame = NaiveDate::parse_from_str(row.text("trade_date"), "%Y%m%d").unwrap();
        if !(from..=to).contains(&frame) {
            continue;
        }
        let key = (symbol(row), row.text("trade_date").to_owned());
        let price = |column| number(row, column).unwrap();
        let close = price("close");
        let side = |column| limits.get(&key).and_then(|row| limit(row, column, close));
        let bar = DayBar {
            symbol: key.0,
            frame,
            open: price("open"),
            high: price("high"),
            low: price("low"),
            close,
            vol: (number(row, "vol").unwrap() * 100.0).round(),
            amount: number(row, "amount").map(|amount| (amount * 1_000.0).round()),
            adjust: factors.get(&key).and_then(|row| number(row, "adj_factor")),
            st: Some(treated.contains(&key)),
            buy_limit: side("up_limit"),
            sell_limit: side("down_limit"),
        };
        bars.insert(bar.key(), bar);
    }
    bars
}

/// Says which rows differ, and not merely that some do.
pub(crate) fn assert_same<R: Record>(
    found: &BTreeMap<(Symbol, i64), R>,
    wanted: &BTreeMap<(Symbol, i64), R>,
) {
    let lost: Vec<&R> =
        wanted.iter().filter(|(key, _)| !found.contains_key(key)).map(|(_, row)| row).collect();
    let extra: Vec<&R> =
        found.iter().filter(|(key, _)| !wanted.contains_key(key)).map(|(_, row)| row).collect();
    let other: Vec<(&R, &R)> = found
        .iter()
        .filter_map(|(key, row)| wanted.get(key).filter(|wanted| *wanted != row).map(|wanted| (row, wanted)))
        .collect();
    let first = |rows: &[&R]| format!("{:?}", rows.iter().take(3).collect::<Vec<_>>());
    assert!(lost.is_empty(), "{} rows are lost: {}", lost.len(), first(&lost));
    assert!(extra.is_empty(), "{} rows are too many: {}", extra.len(), first(&extra));
    assert!(other.is_empty(), "{} rows differ: {:?}", other.len(), other.iter().take(3).collect::<Vec<_>>());
}

/// The sessions of a span.
pub(crate) fn sessions(from: NaiveDate, to: NaiveDate) -> Vec<NaiveDate> {
    Calendar::published().sessions(from, to).collect()
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// Leaves no table of a day empty and no stock without its factor: small made-up markets have days on which nobody is
/// under special treatment, and gaps.
pub(crate) fn fill_tables(world: &mut World) {
    let keys = |world: &World, api: &str| -> HashSet<(String, String)> {
        world.table(api).iter().map(|row| (row.code().to_owned(), row.time().to_owned())).collect()
    };
    let of = |name: &str, code: &str, time: &str| {
        Row::new(Api::named(name).unwrap()).with("ts_code", code).with("trade_date", time)
    };
    let (factors, treated) = (keys(world, "adj_factor"), keys(world, "stock_st"));
    let mut first = BTreeMap::new();
    for (code, time) in keys(world, "daily") {
        if !factors.contains(&(code.clone(), time.clone())) {
            world.put(of("adj_factor", &code, &time).with("adj_factor", 1.5));
        }
        let least = first.entry(time).or_insert_with(|| code.clone());
        *least = code.min(least.clone());
    }
    for (time, code) in first {
        if !treated.contains(&(code.clone(), time.clone())) {
            world.put(of("stock_st", &code, &time));
        }
    }
}
