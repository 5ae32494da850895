//! The source by the clock: what goes out when, what waits, and the promises of every source.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqep::{Cursors, DayBar, Kind, MinuteBar, Record, RefDay, Source, Symbol, kind::Grid};
use sqep_testkit::{
    suite::source::{self, Delivery, Life, Rig},
    tushare::{Api, Row, World},
};
use sqep_tushare::{
    config::FetchSettings,
    plan::Range,
    source::{Errand, TushareSource},
};

use crate::common::{
    assert_same, day, day_bars, fill_tables,
    office::{Daemon, Office, at},
    sessions,
};

const FROM: &str = "2026-03-02";
const TO: &str = "2026-03-31";

/// A market whose first session is the only one that a daemon of that day looks after.
fn one_day() -> World {
    let mut world = World::generated(7, 20, day("2026-03-03"), day("2026-03-06"));
    fill_tables(&mut world);
    world
}

fn hour(text: &str) -> chrono::NaiveTime {
    chrono::NaiveTime::parse_from_str(text, "%H:%M").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_go_out_after_the_close_and_again_in_full_when_the_factor_comes_late() {
    let mut world = one_day();
    world.set_hour("adj_factor", hour("18:00"));
    let office = Office::open(world, "2026-03-03 15:59").await;
    let mut daemon = office.daemon::<DayBar>(Kind::BarDay).await;
    let of_today = |rows: Vec<DayBar>| -> Vec<DayBar> {
        rows.into_iter().filter(|bar| bar.frame == day("2026-03-03")).collect()
    };
    assert_eq!(of_today(daemon.rows().await), [], "nothing before the close");

    office.set(at("2026-03-03 16:01"));
    let first = of_today(daemon.rows().await);
    assert!(!first.is_empty() && first.iter().all(|bar| bar.adjust.is_none()));
    assert!(first.iter().any(|bar| bar.buy_limit.is_some()), "the limits are there");

    office.set(at("2026-03-03 17:00"));
    assert_eq!(of_today(daemon.rows().await), [], "what is known already does not come again");

    office.set(at("2026-03-03 18:01"));
    let second = of_today(daemon.rows().await);
    assert_eq!(second.len(), first.len());
    let found: BTreeMap<(Symbol, i64), DayBar> = second.into_iter().map(|bar| (bar.key(), bar)).collect();
    assert_same(&found, &day_bars(&office.fake.world(), day("2026-03-03"), day("2026-03-03")));

    office.set(at("2026-03-03 20:00"));
    let calls = office.fake.calls().len();
    assert_eq!(daemon.by_now().await.iter().filter(|chunk| chunk.origin.contains("03-03")).count(), 0);
    let more: Vec<_> = office.fake.calls().into_iter().skip(calls).collect();
    assert!(
        !more.iter().any(|call| call.params.get("trade_date").is_some_and(|day| day == "20260303")),
        "{more:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_would_lose_what_was_known_waits_until_everything_is_there() {
    let mut world = one_day();
    world.set_hour("stk_limit", hour("17:00"));
    let office = Office::open(world.clone(), "2026-03-03 16:01").await;
    let mut daemon = office.daemon::<DayBar>(Kind::BarDay).await;
    let of_today = |rows: Vec<DayBar>| -> Vec<DayBar> {
        rows.into_iter().filter(|bar| bar.frame == day("2026-03-03")).collect()
    };
    let first = of_today(daemon.rows().await);
    assert!(!first.is_empty() && first.iter().all(|bar| bar.adjust.is_some() && bar.buy_limit.is_none()));

    // The limits come, and the factors are gone meanwhile.
    let mut lost = world.clone();
    lost.remove("adj_factor", |row| row.time() == "20260303");
    office.fake.set_world(lost);
    office.set(at("2026-03-03 17:01"));
    assert_eq!(of_today(daemon.rows().await), [], "nothing is published with limits and without factor");

    office.fake.set_world(world);
    office.set(at("2026-03-03 17:30"));
    let rows = of_today(daemon.rows().await);
    let found: BTreeMap<(Symbol, i64), DayBar> = rows.into_iter().map(|bar| (bar.key(), bar)).collect();
    assert_same(&found, &day_bars(&office.fake.world(), day("2026-03-03"), day("2026-03-03")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_is_told_before_the_open_as_a_whole_or_without_what_is_late() {
    for (late, wanted) in [(false, "09:21"), (true, "09:26")] {
        let mut world = one_day();
        if late {
            world.set_hour("adj_factor", hour("10:00"));
        }
        let office = Office::open(world, "2026-03-03 08:50").await;
        let mut daemon = office.daemon::<RefDay>(Kind::RefDay).await;
        let mut first = None;
        for time in ["08:50", "09:21", "09:26", "10:01"] {
            office.set(at(&format!("2026-03-03 {time}")));
            let rows: Vec<RefDay> =
                daemon.rows().await.into_iter().filter(|row| row.frame == day("2026-03-03")).collect();
            if rows.is_empty() {
                continue;
            }
            if first.is_none() {
                first = Some(time);
                assert!(rows.iter().all(|row| row.adjust.is_none() == late), "{time}");
            } else {
                assert_eq!((late, time), (true, "10:01"));
                assert!(rows.iter().all(|row| row.adjust.is_some() && row.st.is_some()));
            }
        }
        assert_eq!(first, Some(wanted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_minutes_go_out_as_they_end_and_the_evening_brings_what_was_missed() {
    let office = Office::open(one_day(), "2026-03-03 09:29").await;
    let fetch = FetchSettings {
        retry_s: 1,
        lookback_days: 0,
        live: true,
        symbols: ["601000.SH", "000001.SZ"].map(str::to_owned).to_vec(),
        ..FetchSettings::default()
    };
    let kind = Kind::BarMinute(Grid::M1);
    let mut source = office.source_with::<MinuteBar>(kind, Errand::Daemon, fetch);
    source.open(&Cursors::default()).await.unwrap();
    let mut daemon = Daemon { source };
    assert_eq!(daemon.rows().await, [], "nothing before the open");
    let mut live = BTreeMap::new();
    for (second, label) in
        [("09:31:05", "09:31"), ("09:31:40", ""), ("09:33:05", "09:33"), ("15:00:05", "15:00")]
    {
        office.set(format!("2026-03-03T{second}").parse().unwrap());
        let rows = daemon.rows().await;
        let labels: Vec<String> = rows.iter().map(|bar| bar.frame.format("%H:%M").to_string()).collect();
        let wanted: &[&str] = if label.is_empty() { &[] } else { &[label, label] };
        assert_eq!(labels, wanted, "{second}");
        live.extend(rows.into_iter().map(|bar| (bar.key(), bar)));
    }
    office.set(at("2026-03-03 19:45"));
    let all: BTreeMap<(Symbol, i64), MinuteBar> =
        daemon.rows().await.into_iter().map(|bar| (bar.key(), bar)).collect();
    assert_eq!(all.len(), 2 * 241);
    assert!(live.iter().all(|(key, bar)| all[key] == *bar), "what was live stays as it was");
}

/// A vendor who delivers a session at a time.
struct Vendor {
    office: Office,
    sessions: Vec<NaiveDate>,
    delivered: usize,
}

impl Vendor {
    async fn new() -> anyhow::Result<Vendor> {
        let mut world = World::generated(7, 15, day(FROM), day(TO));
        fill_tables(&mut world);
        let sessions = sessions(day(FROM), day(TO));
        for session in &sessions {
            let foreign = Row::new(Api::named("daily").unwrap())
                .with("ts_code", "200011.SZ")
                .with("trade_date", session.format("%Y%m%d").to_string().as_str());
            let prices = ["open", "high", "low", "close", "vol"];
            let foreign = prices.into_iter().fold(foreign, |row, price| row.with(price, 1.0));
            world.put(foreign.with("amount", 0.1));
        }
        Ok(Vendor { office: Office::open(world, "2026-03-01 12:00").await, sessions, delivered: 0 })
    }
}

impl Rig for Vendor {
    type Source = TushareSource<DayBar>;

    /// The next session is over, and all its tables are there.
    async fn deliver(&mut self) -> anyhow::Result<Delivery<DayBar>> {
        let session = self.sessions[self.delivered];
        self.delivered += 1;
        self.office.set(session.and_hms_opt(21, 0, 0).unwrap());
        let bars = day_bars(&self.office.fake.world(), session, session);
        let records = bars.into_values().filter(|bar| bar.symbol.to_string() != "200011.SZ").collect();
        Ok(Delivery { records, refused: 1, skipped: 0 })
    }

    async fn start(&mut self, life: Life) -> anyhow::Result<TushareSource<DayBar>> {
        let errand = match life {
            Life::Once => Errand::Span(Range { from: day(FROM), to: day(TO) }),
            Life::Live => Errand::Daemon,
        };
        Ok(self.office.source(Kind::BarDay, errand))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_keeps_every_promise_of_a_source() {
    source::source(Vendor::new).await.unwrap();
}
