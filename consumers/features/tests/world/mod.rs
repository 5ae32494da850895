//! A server of its own, streams filled by hand, and the program's loops over them. Knows how rows get in and out; must not
//! know what features should be.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

use sqep::{
    Chunk, Cursors, DayBar, EntryId, Kind, Record, Source, Symbol,
    app::{Outward, PublishSettings},
    marks::Start,
    meter::Meters,
    redis::{
        inspect::Inspector,
        keys::{Keys, StreamSettings},
    },
};
use sqep_features::{config::Config, engine::Engine, run::Run};
use sqep_testkit::TestRedis;
use tokio_util::sync::CancellationToken;

/// What a stream holds: of each key the row of the highest version.
pub(crate) type Held<R> = BTreeMap<(Symbol, i64), (u64, R)>;

/// A server, a folder, and the configuration of the program.
pub(crate) struct World {
    pub(crate) redis: TestRedis,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
}

/// Chunks one after another, then nothing ever again.
struct Given<R>(VecDeque<Vec<R>>);

impl<R: Record> Source for Given<R> {
    type Record = R;

    async fn open(&mut self, _: &Cursors) -> anyhow::Result<()> {
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<R>>> {
        let Some(records) = self.0.pop_front() else { return Ok(None) };
        Ok(Some(Chunk { records, ..Chunk::empty("test") }))
    }
}

impl World {
    pub(crate) async fn new(kind: Kind) -> World {
        let redis = TestRedis::start().await.unwrap();
        let folder = tempfile::Builder::new().prefix("sqep-features-").tempdir().unwrap();
        let mut config = Config { redis: redis.settings(), ..Config::default() };
        config.stream.kind = kind;
        config.reader.start = Some(Start::Earliest);
        config.features.state = folder.path().join("state");
        World { redis, folder, config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stream(&self, kind: Kind) -> StreamSettings {
        StreamSettings { kind, ..self.config.stream.clone() }
    }

    /// Publishes records, so many a transaction.
    pub(crate) async fn publish<R: Record>(&self, kind: Kind, records: &[R], records_max: usize) {
        let chunks = records.chunks(records_max).map(<[R]>::to_vec).collect();
        let (stream, meters) = (self.stream(kind), Meters::default());
        let publish = PublishSettings { records_max, ..PublishSettings::default() };
        let Config { redis, calendar, .. } = &self.config;
        let outward = Outward { redis, stream: &stream, publish: &publish, calendar, meters: &meters };
        outward.publish(&mut Given(chunks), "test", true, &CancellationToken::new(), |_| ()).await.unwrap();
    }

    /// Runs the program's loops over all there is.
    pub(crate) async fn run<E: Engine>(&self) -> anyhow::Result<()> {
        let (meters, stop) = (Meters::default(), CancellationToken::new());
        let run = Run { config: &self.config, meters: &meters, once: true, resume: false, stop: &stop };
        Box::pin(run.go::<E>()).await
    }

    /// Every row of a stream in its order, with versions.
    pub(crate) async fn rows<R: Record>(&self, kind: Kind) -> Vec<(u64, R)> {
        let mut inspector = Inspector::connect(&self.redis.client().unwrap()).await.unwrap();
        let (mut rows, mut after) = (Vec::new(), EntryId::ZERO);
        for partition in 0..self.config.stream.partitions {
            let keys = Keys::new(&self.config.stream.prefix, kind, partition);
            loop {
                let entries = inspector.read(keys.stream(), after, 1).await.unwrap();
                let Some(last) = entries.last() else { break };
                after = last.id;
                for entry in &entries {
                    let records = entry.open::<R>().unwrap().decoded.records;
                    rows.extend(records.into_iter().map(|record| (entry.id.version(), record)));
                }
            }
            after = EntryId::ZERO;
        }
        rows
    }

    /// The rows of a stream that count.
    pub(crate) async fn held<R: Record>(&self, kind: Kind) -> Held<R> {
        let mut held = Held::new();
        for (version, record) in self.rows::<R>(kind).await {
            let best = held.entry(record.key()).or_insert((version, record));
            if version >= best.0 {
                *best = (version, record);
            }
        }
        held
    }

    /// Whether the features on the stream are those of the bars on the stream, bit for bit.
    pub(crate) async fn assert_whole<E: Engine>(&self, want: &[E::Feature]) {
        let held = self.held::<E::Feature>(E::FEATURES).await;
        let want: BTreeMap<_, _> = want.iter().map(|row| (row.key(), E::timeless(row))).collect();
        assert_eq!(held.len(), want.len(), "keys");
        for (key, (_, row)) in &held {
            assert_eq!(Some(&E::timeless(row)), want.get(key), "{key:?}");
        }
    }
}

/// The bars of a market, day by day, all securities of a day together, as live sources send them.
pub(crate) fn by_day(securities: &[Vec<DayBar>]) -> Vec<DayBar> {
    let mut bars: Vec<DayBar> = securities.iter().flatten().copied().collect();
    bars.sort_by_key(|bar| (bar.frame, bar.symbol));
    bars
}

/// The features of bars, computed in one go, security by security.
pub(crate) fn batch<E: Engine>(
    bars: &[E::Bar],
    facts: impl Fn(&E::Bar) -> sqep_features::Facts,
) -> Vec<E::Feature> {
    let mut newest: BTreeMap<(Symbol, i64), E::Bar> = BTreeMap::new();
    newest.extend(bars.iter().map(|bar| (bar.key(), *bar)));
    let (mut engines, mut rows) = (BTreeMap::<Symbol, E>::new(), Vec::new());
    let calendar = sqep::Calendar::published();
    for bar in newest.values() {
        let engine = engines.entry(bar.symbol()).or_insert_with(|| E::begin(bar.symbol()));
        engine.take(bar, 0, &facts(bar), &calendar, &mut rows).unwrap();
    }
    rows
}
