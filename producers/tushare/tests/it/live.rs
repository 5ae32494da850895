//! Live minutes of a service that lags or is slow: none is lost in silence, none comes twice, none after a newer one.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{collections::BTreeMap, time::Duration};

use chrono::{NaiveDateTime, TimeDelta};
use sqep::{Cursors, Kind, MinuteBar, Record, Source, Symbol, kind::Grid};
use sqep_testkit::tushare::{Faults, World};
use sqep_tushare::{config::FetchSettings, source::Errand};
use tokio::time::timeout;

use crate::common::{
    day, fill_tables,
    office::{Daemon, Office, at},
};

const CODES: [&str; 2] = ["601000.SH", "000001.SZ"];

fn world(lag: TimeDelta) -> World {
    let mut world = World::generated(7, 20, day("2026-03-03"), day("2026-03-06"));
    fill_tables(&mut world);
    world.set_live_lag(lag);
    world
}

fn second(text: &str) -> NaiveDateTime {
    format!("2026-03-03T{text}").parse().unwrap()
}

async fn daemon(office: &Office) -> Daemon<MinuteBar> {
    let fetch = FetchSettings {
        retry_s: 1,
        lookback_days: 0,
        live: true,
        symbols: CODES.map(str::to_owned).to_vec(),
        ..FetchSettings::default()
    };
    let kind = Kind::BarMinute(Grid::M1);
    let mut source = office.source_with::<MinuteBar>(kind, Errand::Daemon, fetch);
    source.open(&Cursors::default()).await.unwrap();
    Daemon { source }
}

fn labels(rows: &[MinuteBar]) -> Vec<String> {
    rows.iter().map(|bar| bar.frame.format("%H:%M").to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_lags_loses_no_minute() {
    let office = Office::open(world(TimeDelta::seconds(20)), "2026-03-03 09:29").await;
    let mut daemon = daemon(&office).await;
    assert_eq!(daemon.rows().await, [], "nothing before the open");
    let mut seen: BTreeMap<(Symbol, i64), MinuteBar> = BTreeMap::new();
    for (now, label) in
        [("09:31:05", "09:30"), ("09:31:30", ""), ("09:32:05", "09:31"), ("09:33:05", "09:32")]
    {
        office.set(second(now));
        let chunks = daemon.by_now().await;
        let fields: Vec<&str> =
            chunks.iter().flat_map(|chunk| &chunk.cursor).filter_map(|(_, text)| text.as_deref()).collect();
        let rows: Vec<MinuteBar> = chunks.iter().flat_map(|chunk| chunk.records.clone()).collect();
        let wanted: &[&str] = if label.is_empty() { &[] } else { &[label, label] };
        assert_eq!(labels(&rows), wanted, "{now}");
        assert!(fields.iter().all(|text| text[11..16] == *label), "{now}: {fields:?}");
        assert!(rows.into_iter().all(|bar| seen.insert(bar.key(), bar).is_none()), "{now}: twice");
    }
    office.set(at("2026-03-03 19:45"));
    let evening = daemon.rows().await;
    let last: Vec<&MinuteBar> = evening.iter().filter(|bar| seen.get(&bar.key()) == Some(bar)).collect();
    assert_eq!((evening.iter().filter(|bar| bar.frame < second("15:00:00")).count(), last.len()), (480, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_waits_for_the_one_that_is_under_way_and_none_comes_twice_or_late() {
    let office = Office::open(world(TimeDelta::zero()), "2026-03-03 09:29").await;
    let mut daemon = daemon(&office).await;
    assert_eq!(daemon.rows().await, []);
    let slow = Faults {
        apis: vec!["rt_min".to_owned()],
        stalls: 1.0,
        stall: Some(Duration::from_secs(2)),
        ..Faults::default()
    };
    office.fake.set_faults(slow);
    let asked = || office.fake.calls().iter().filter(|call| call.api == "rt_min").count();
    office.set(second("09:31:05"));
    while asked() == 0 {
        drop(timeout(Duration::from_millis(20), daemon.source.read()).await);
    }
    office.fake.set_faults(Faults::default());
    office.set(second("09:32:05"));
    drop(timeout(Duration::from_millis(300), daemon.source.read()).await);
    drop(timeout(Duration::from_millis(300), daemon.source.read()).await);
    assert_eq!(asked(), 1, "one at a time");
    let mut rows = daemon.rows().await;
    rows.extend(daemon.rows().await);
    assert_eq!(labels(&rows), ["09:31", "09:31", "09:32", "09:32"]);
}
