//! Bars on a stream, for programs that read it.

use std::collections::BTreeMap;

use sqep::{
    Calendar, DayBar, EntryId, Record, Symbol,
    redis::{inspect::Inspector, keys::StreamSettings},
};
use sqep_testkit::{
    TestRedis, feed,
    market::{Market, Plan},
};

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
    feed::publish(&redis.settings(), &StreamSettings::default(), &bars, 2_000).await.unwrap();
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
