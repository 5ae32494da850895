//! A server of its own, streams filled by hand, and the program's loops over them. Knows how rows get in and out; must not
//! know what features should be.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sqep::{
    DayBar, EntryId, Kind, Record, Symbol,
    app::{Inward, Outward, PublishSettings, ReaderSettings},
    marks::Start,
    meter::Meters,
    redis::{
        inspect::Inspector,
        keys::{Keys, StreamSettings},
    },
};
use sqep_archive::replay::{self, Order};
use sqep_features::{config::Config, engine::Engine, run::Run};
use sqep_testkit::{TestRedis, feed};
use tokio_util::sync::CancellationToken;

/// What a stream holds: of each key the row of the highest version.
pub(crate) type Held<R> = BTreeMap<(Symbol, i64), (u64, R)>;

/// A server, a folder, and the configuration of the program.
pub(crate) struct World {
    pub(crate) redis: TestRedis,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
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
        feed::publish(&self.redis.settings(), &self.stream(kind), records, records_max).await.unwrap();
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

    /// Gives a group the past: of the stream, or of an archive.
    pub(crate) async fn replay<R: Record>(&self, kind: Kind, group: &str, archive: Option<&Path>) {
        let (redis, calendar) = (&self.config.redis, &self.config.calendar);
        let (stream, publish) =
            (self.stream(kind), PublishSettings { records_max: 300, ..PublishSettings::default() });
        let meters = Meters::default();
        let outward = Outward { redis, stream: &stream, publish: &publish, calendar, meters: &meters };
        let order =
            Order { group: group.to_owned(), archive: archive.map(Path::to_owned), ..Order::default() };
        assert_eq!(replay::begin(&outward, &order).await.unwrap(), replay::Start::Waits);
        let stop = CancellationToken::new();
        replay::give::<R>(&outward, &order, true, &stop, |_| ()).await.unwrap();
    }

    /// Writes a stream to an archive, as `sqep-parquet` does.
    pub(crate) async fn archive<R: Record>(&self, kind: Kind, root: &Path) {
        let config = sqep_parquet::Config { root: root.to_owned(), ..sqep_parquet::Config::default() };
        let Config { redis, calendar, .. } = &self.config;
        let (stream, reader) =
            (self.stream(kind), ReaderSettings { start: Some(Start::Earliest), ..ReaderSettings::default() });
        let (meters, stop) = (Meters::default(), CancellationToken::new());
        let inward = Inward { redis, stream: &stream, reader: &reader, calendar, meters: &meters };
        let sink = |_| Ok(sqep_parquet::open::<R>(config.clone(), kind)?);
        inward.deliver("parquet", true, &stop, sink).await.unwrap();
    }

    /// Empties a stream up to its last entry, as the trimmer does, without its groups.
    pub(crate) async fn trim<R: Record>(&self, kind: Kind) {
        let key = format!("sqep:{{{kind}:0}}");
        let last = EntryId::of_version(self.rows::<R>(kind).await.last().unwrap().0).to_string();
        let _: i64 = self.redis.command(&["XTRIM", &key, "MAXLEN", "0"]).await.unwrap();
        let _: String = self.redis.command(&["SET", &format!("{key}:trimmed"), &last]).await.unwrap();
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

    /// Whether the features on the stream are those of the bars on the stream, bit for bit; a withdrawn row is none.
    pub(crate) async fn assert_whole<E: Engine>(&self, want: &[E::Feature]) {
        let mut held = self.held::<E::Feature>(E::FEATURES).await;
        held.retain(|_, (_, row)| !E::is_withdrawn(row));
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
