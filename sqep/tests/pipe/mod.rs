//! A pipe of the test's own: a real server, bars published by the real loop, read by the real loop into a sink in memory.

#![allow(dead_code, reason = "each test uses its part")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use sqep::{
    Appetite, Batch, Calendar, Chunk, Cursors, DayBar, EntryId, Exchange, Kind, Mark, Record, Sink, Source,
    Symbol, Totals, WriteError,
    codec::Encoding,
    deliver::{Account, Deliverer},
    marks::{Asker, Start},
    publish::Publisher,
    redis::{
        Connection, RedisInlet, RedisOutlet,
        keys::{Keys, StreamSettings},
    },
};
use sqep_testkit::TestRedis;
use tokio_util::sync::CancellationToken;

/// The stream of day bars.
pub(crate) const STREAM: &str = "sqep:{bar:1d:0}";
/// No loss of a server counts as a crash that heals.
pub(crate) const NEVER: Duration = Duration::ZERO;
/// Any loss of a server counts as a crash that heals.
pub(crate) const ANY: Duration = Duration::from_secs(3_600);

/// A bar of 600001.SH and so on, on a day of March 2024, that closes at `close`.
pub(crate) fn bar(number: u32, day: u32, close: f64) -> DayBar {
    DayBar {
        symbol: Symbol::new(Exchange::SH, 600_000 + number).expect("symbol"),
        frame: chrono::NaiveDate::from_ymd_opt(2024, 3, day).expect("day"),
        open: 10.0,
        high: 20.0,
        low: 5.0,
        close,
        vol: 1_000.0,
        amount: Some(10_000.0),
        adjust: None,
        st: None,
        buy_limit: None,
        sell_limit: None,
    }
}

/// `count` bars of one day, one a symbol.
pub(crate) fn bars(count: u32) -> Vec<DayBar> {
    (1..=count).map(|number| bar(number, 1, 10.0)).collect()
}

/// Hands over each part as a chunk of its own, which becomes an entry of its own.
struct Parts(VecDeque<Vec<DayBar>>);

impl Source for Parts {
    type Record = DayBar;

    async fn open(&mut self, _cursors: &Cursors) -> anyhow::Result<()> {
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<DayBar>>> {
        Ok(self.0.pop_front().map(|records| Chunk { records, ..Chunk::empty("test") }))
    }
}

/// A table by key that keeps the highest version, and a mark; as a person could copy and restore it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) rows: BTreeMap<(Symbol, i64), (u64, DayBar)>,
    pub(crate) mark: Option<Mark>,
    /// Symbols it can never take.
    pub(crate) refuses: Vec<Symbol>,
    /// Sources of the rows it took.
    pub(crate) sources: Vec<String>,
}

impl Memory {
    pub(crate) fn closes(&self) -> Vec<f64> {
        self.rows.values().map(|(_, bar)| bar.close).collect()
    }
}

impl Sink for Memory {
    type Record = DayBar;

    fn appetite(&self) -> Appetite {
        Appetite { records_max: 100_000, wait_max: Duration::from_secs(1) }
    }

    async fn write(&mut self, batch: &Batch<'_, DayBar>) -> Result<(), WriteError> {
        if batch.rows.iter().any(|row| self.refuses.contains(&row.record.symbol())) {
            return Err(WriteError::Never(anyhow::anyhow!("the table has no place for it")));
        }
        for row in batch.rows {
            self.sources.push(batch.source(row).to_owned());
            let place = self.rows.entry(row.record.key()).or_insert((row.version, row.record));
            if row.version >= place.0 {
                *place = (row.version, row.record);
            }
        }
        Ok(())
    }

    async fn save(&mut self, _partition: u16, mark: &Mark) -> Result<(), WriteError> {
        self.mark = Some(mark.clone());
        Ok(())
    }

    async fn mark(&mut self, _partition: u16) -> Result<Option<Mark>, WriteError> {
        Ok(self.mark.clone())
    }
}

/// Server, stream and calendar.
pub(crate) struct Pipe {
    pub(crate) redis: TestRedis,
    pub(crate) settings: StreamSettings,
    pub(crate) calendar: Arc<Calendar>,
}

impl Pipe {
    pub(crate) async fn new() -> anyhow::Result<Pipe> {
        Ok(Pipe::on(TestRedis::start().await?))
    }

    pub(crate) fn on(redis: TestRedis) -> Pipe {
        let settings = StreamSettings { keep_hours_min: 0, ..StreamSettings::default() };
        Pipe { redis, settings, calendar: Arc::new(Calendar::published()) }
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::new(&self.settings.prefix, self.settings.kind, 0)
    }

    pub(crate) async fn connection(&self) -> anyhow::Result<Connection> {
        Ok(self.redis.client()?.connect().await?)
    }

    /// Publishes each part as an entry of its own.
    pub(crate) async fn publish(&self, parts: &[Vec<DayBar>]) -> anyhow::Result<Totals> {
        let publisher = Publisher {
            kind: Kind::BarDay,
            source: "test".to_owned(),
            writer: sqep::redis::unique(),
            encoding: Encoding::Arrow,
            partitions: 1,
            records_max: 1,
            calendar: Arc::new(Calendar::published()),
            patience: Some(Duration::ZERO),
            meter: Arc::default(),
        };
        let mut outlet = RedisOutlet::new(self.redis.client()?, self.settings.clone(), "test");
        let mut source = Parts(parts.iter().cloned().collect());
        publisher.run(&mut source, &mut outlet, &CancellationToken::new(), |_| {}).await
    }

    /// Reads all that is there into `sink`; a loss of the server's last `crash` heals by itself.
    pub(crate) async fn deliver(
        &self,
        sink: &mut Memory,
        group: &str,
        crash: Duration,
    ) -> anyhow::Result<Account> {
        let deliverer = Deliverer {
            kind: Kind::BarDay,
            partition: 0,
            asker: Asker {
                group: group.to_owned(),
                stream: STREAM.to_owned(),
                start: Some(Start::Earliest),
                crash,
            },
            once: true,
            never_records_max: 100,
            calendar: Arc::clone(&self.calendar),
            patience: Some(Duration::ZERO),
            meter: Arc::default(),
        };
        let lease = Duration::from_secs(30);
        let mut inlet = RedisInlet::new(
            self.redis.client()?,
            self.settings.clone(),
            0,
            group,
            lease,
            Some(Duration::ZERO),
        );
        let account = deliverer.run(sink, &mut inlet, &CancellationToken::new()).await?;
        assert!(account.balances(), "{account:?}");
        Ok(account)
    }

    /// Ids of the entries on the stream.
    pub(crate) async fn ids(&self) -> anyhow::Result<Vec<EntryId>> {
        let entries: Vec<(String, redis::Value)> = self.redis.command(&["XRANGE", STREAM, "-", "+"]).await?;
        Ok(entries.iter().map(|(id, _)| id.parse()).collect::<Result<_, _>>()?)
    }

    /// The server's clock.
    pub(crate) async fn now_ms(&self) -> anyhow::Result<u64> {
        let (seconds, micros): (u64, u64) = self.redis.command(&["TIME"]).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }
}

/// Trims with the pipe's settings.
pub(crate) async fn trim(pipe: &Pipe) -> anyhow::Result<sqep::redis::trim::Trim> {
    let mut connection = pipe.connection().await?;
    let trim = sqep::redis::trim::trim(&mut connection, &pipe.keys(), &pipe.settings, false, false).await?;
    Ok(trim.expect("a stream"))
}
