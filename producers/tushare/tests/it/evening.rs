//! What a daemon asks for from the close of a day to noon of the next: no more than can bring anything.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use sqep::{Cursors, DayBar, Kind, Record, Source, Symbol};
use sqep_testkit::tushare::World;
use sqep_tushare::{
    config::FetchSettings,
    source::{Errand, TushareSource},
};

use crate::common::{
    day, fill_tables,
    office::{Office, at, before_rest},
};

const DAY: &str = "2026-03-03";

fn world() -> World {
    let mut world = World::generated(7, 20, day("2026-03-02"), day("2026-03-06"));
    fill_tables(&mut world);
    world
}

/// A daemon's rows of the day, looked at every ten minutes in the evening and every hour in the night.
async fn until_noon(office: &Office, source: &mut TushareSource<DayBar>) -> Vec<DayBar> {
    let (mut now, mut rows) = (at("2026-03-03 16:05"), Vec::new());
    while now < at("2026-03-04 13:30") {
        office.set(now);
        while let Some(chunk) = before_rest(source).await {
            rows.extend(chunk.records.into_iter().filter(|bar| bar.frame == day(DAY)));
        }
        now += TimeDelta::minutes(if now < at("2026-03-03 19:00") { 10 } else { 60 });
    }
    rows
}

async fn daemon(office: &Office, fetch: FetchSettings) -> TushareSource<DayBar> {
    let fetch = FetchSettings { lookback_days: 1, ..fetch };
    let mut source = office.source_with::<DayBar>(Kind::BarDay, Errand::Daemon, fetch);
    source.open(&Cursors::default()).await.unwrap();
    source
}

/// Calls about the day, by API.
fn calls(office: &Office) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in office.fake.calls() {
        if call.params.get("trade_date").is_some_and(|of| *of == day(DAY).format("%Y%m%d").to_string()) {
            *counts.entry(call.api).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_only_waits_to_be_confirmed_is_asked_for_twice() {
    let office = Office::open(world(), "2026-03-03 16:05").await;
    let fetch = FetchSettings { stocks: false, funds: true, ..FetchSettings::default() };
    let mut source = daemon(&office, fetch).await;
    let rows = until_noon(&office, &mut source).await;
    let keys: Vec<(Symbol, i64)> = rows.iter().map(Record::key).collect();
    assert!(!keys.is_empty() && keys.iter().collect::<BTreeSet<_>>().len() == keys.len(), "{keys:?}");
    let calls = calls(&office);
    assert!(calls.values().all(|&count| count == 2), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_asked_for_less_and_less_often() {
    let mut world = world();
    let code = world.table("daily").iter().find(|row| row.time() == "20260303").unwrap().code().to_owned();
    assert_eq!(world.remove("adj_factor", move |row| row.code() == code && row.time() == "20260303"), 1);
    let office = Office::open(world, "2026-03-03 16:05").await;
    let mut source = daemon(&office, FetchSettings::default()).await;
    assert!(until_noon(&office, &mut source).await.len() > 10);
    let calls = calls(&office);
    // After 0, 10, 30 and 70 minutes, and then every hour.
    assert!((10..=24).contains(&calls["adj_factor"]), "{calls:?}");
}
