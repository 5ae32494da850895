//! Bars on a stream, for programs that read it.

use std::{collections::BTreeMap, sync::Arc};

use sqep::{
    Calendar, Chunk, Cursors, DayBar, EntryId, Record, Source, Symbol,
    app::{CalendarSettings, Outward, PublishSettings},
    meter::Meters,
    redis::{inspect::Inspector, keys::StreamSettings},
};
use sqep_testkit::{
    TestRedis,
    market::{Market, Plan},
};
use tokio_util::sync::CancellationToken;

/// Hands out its bars in chunks, then ends.
struct Bars(Vec<DayBar>);

impl Source for Bars {
    type Record = DayBar;

    async fn open(&mut self, _cursors: &Cursors) -> anyhow::Result<()> {
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<DayBar>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let rest = self.0.split_off(self.0.len().min(2_000));
        let records = std::mem::replace(&mut self.0, rest);
        Ok(Some(Chunk { records, origin: Arc::from("market"), ..Chunk::empty("market") }))
    }
}

/// A small market of forty securities, with corrections of its bars.
pub(crate) fn bars(days: usize) -> Vec<DayBar> {
    let plan = Plan { seed: 3, symbols: 40, days, to: "2025-03-03".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let mut bars: Vec<_> = market.securities().iter().flat_map(|each| market.days(each.symbol)).collect();
    bars.extend(market.corrections(25));
    bars
}

/// Puts bars on the stream `bar:1d`.
pub(crate) async fn publish(redis: &TestRedis, bars: Vec<DayBar>) {
    let outward = Outward {
        redis: &redis.settings(),
        stream: &StreamSettings::default(),
        publish: &PublishSettings::default(),
        calendar: &CalendarSettings::default(),
        meters: &Meters::default(),
    };
    let count = u64::try_from(bars.len()).unwrap();
    let stop = CancellationToken::new();
    let totals = outward.publish(&mut Bars(bars), "market", true, &stop, |_| {}).await.unwrap();
    assert_eq!(totals.appended, count);
}

/// What the stream holds of each key: the highest version and its record.
pub(crate) async fn winners(redis: &TestRedis) -> BTreeMap<(Symbol, i64), (u64, DayBar)> {
    let mut inspector = Inspector::connect(&redis.client().unwrap()).await.unwrap();
    let (mut winners, mut after) = (BTreeMap::new(), EntryId::ZERO);
    loop {
        let entries = inspector.read("sqep:{bar:1d:0}", after, 1).await.unwrap();
        if entries.is_empty() {
            return winners;
        }
        for entry in entries {
            for record in entry.open::<DayBar>().unwrap().decoded.records {
                // Later entries are of higher versions.
                winners.insert(record.key(), (entry.id.version(), record));
            }
            after = entry.id;
        }
    }
}
