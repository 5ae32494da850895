//! Files that QMT and TDX could have left, a private Redis, and the program between them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test program uses a part of it, and fails where that fails"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use chrono::{NaiveDate, NaiveDateTime};
use sqep::{
    Appetite, Batch, Calendar, Kind, Mark, Record, Sink, Symbol, WriteError,
    app::{CalendarSettings, Inward, ReaderSettings},
    meter::Meters,
    redis::keys::StreamSettings,
    shanghai,
};
use sqep_qmt::{
    clock::Clock,
    config::{QmtSettings, SourceChoice},
    dat::{DatRecord, HEADER},
};
use sqep_testkit::TestRedis;
pub(crate) use sqep_testkit::programs::Run;
use tokio_util::sync::CancellationToken;

pub(crate) fn at(text: &str) -> NaiveDateTime {
    text.parse().unwrap()
}

pub(crate) fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// A clock that stands still.
pub(crate) fn clock(text: &str) -> Clock {
    let now = at(text);
    Clock::new(move || now)
}

/// A record of a bar that ends at `wall`, at a price and with a volume in lots.
pub(crate) fn record(wall: NaiveDateTime, price: u32, lots: u32) -> DatRecord {
    let time_s = u32::try_from(shanghai::instant_ms(wall).unwrap() / 1_000).unwrap();
    DatRecord {
        time_s,
        prices: [price, price + 20, price - 20, price + 10],
        volume: lots,
        amount: u64::from(lots) * 100 * u64::from(price) / 1_000,
        open_interest: 13,
        pre_close: price,
    }
}

/// Records of the first sessions of 2024.
pub(crate) fn days(first: usize, count: usize) -> Vec<DatRecord> {
    let calendar = Calendar::published();
    let sessions = calendar.sessions(day("2024-01-02"), calendar.last()).skip(first).take(count);
    sessions
        .zip(0..)
        .map(|(day, at)| record(day.and_hms_opt(0, 0, 0).unwrap(), 10_000 + at % 50 * 10, 5_000))
        .collect()
}

/// A file of QMT, folders included.
pub(crate) fn dat(folder: &Path, name: &str, records: &[DatRecord]) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut bytes = HEADER.to_vec();
    bytes.extend(records.iter().flat_map(DatRecord::encode));
    std::fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn settings(source: SourceChoice, folder: &Path) -> QmtSettings {
    QmtSettings { source, paths: vec![folder.to_str().unwrap().to_owned()], ..QmtSettings::default() }
}

/// A server, and the program that publishes to it.
pub(crate) struct Rig {
    pub(crate) redis: TestRedis,
    readers: AtomicU32,
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        Rig { redis: TestRedis::start().await.unwrap(), readers: AtomicU32::new(0) }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sqep-qmt"));
        command
            .args(["--set", &format!("redis.url={}", self.redis.url())])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().unwrap();
        Run::of(output).unwrap()
    }

    /// Everything on the stream: the last row of each key, and how many rows there were.
    pub(crate) async fn stream<R: Record>(&self, kind: Kind) -> Stream<R> {
        let stream = StreamSettings { kind, ..StreamSettings::default() };
        let group = format!("test-{}", self.readers.fetch_add(1, Ordering::Relaxed));
        let reader = ReaderSettings {
            group: Some(group),
            start: Some("earliest".parse().unwrap()),
            ..ReaderSettings::default()
        };
        let (settings, meters) = (self.redis.settings(), Meters::default());
        let calendar = CalendarSettings::default();
        let inward = Inward {
            redis: &settings,
            stream: &stream,
            reader: &reader,
            calendar: &calendar,
            meters: &meters,
        };
        let memory = Memory::default();
        let sink = memory.clone();
        inward.deliver("test", true, &CancellationToken::new(), move |_| Ok(sink.clone())).await.unwrap();
        let stream = memory.0.lock().unwrap();
        Stream { rows: stream.rows.clone(), versions: stream.versions.clone(), count: stream.count }
    }
}

/// Rows of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream<R> {
    pub(crate) rows: BTreeMap<(Symbol, i64), R>,
    pub(crate) versions: BTreeMap<(Symbol, i64), u64>,
    pub(crate) count: usize,
}

impl<R> Default for Stream<R> {
    fn default() -> Self {
        Stream { rows: BTreeMap::new(), versions: BTreeMap::new(), count: 0 }
    }
}

/// A sink that remembers.
pub(crate) struct Memory<R>(Arc<Mutex<Stream<R>>>);

impl<R> Default for Memory<R> {
    fn default() -> Self {
        Memory(Arc::default())
    }
}

impl<R> Clone for Memory<R> {
    fn clone(&self) -> Self {
        Memory(Arc::clone(&self.0))
    }
}

impl<R: Record> Sink for Memory<R> {
    type Record = R;

    fn appetite(&self) -> Appetite {
        Appetite { records_max: 50_000, wait_max: std::time::Duration::ZERO }
    }

    async fn write(&mut self, batch: &Batch<'_, R>) -> Result<(), WriteError> {
        let mut stream = self.0.lock().unwrap();
        for row in batch.rows {
            stream.count += 1;
            stream.rows.insert(row.record.key(), row.record);
            stream.versions.insert(row.record.key(), row.version);
        }
        Ok(())
    }

    async fn save(&mut self, _partition: u16, _mark: &Mark) -> Result<(), WriteError> {
        Ok(())
    }

    async fn mark(&mut self, _partition: u16) -> Result<Option<Mark>, WriteError> {
        Ok(None)
    }
}
