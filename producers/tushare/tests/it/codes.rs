//! What is asked for by code: which days of it are done, late or on record, and under which number it is asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::time::Duration;

use chrono::NaiveDate;
use sqep::{Cursors, DayBar, Kind, MinuteBar, Source, kind::Grid};
use sqep_testkit::tushare::{Api, Faults, Row, World};
use sqep_tushare::{
    config::FetchSettings,
    gaps::Gaps,
    plan::Range,
    source::{Errand, TushareSource},
};
use tokio::time::timeout;

use crate::common::{
    Rig, day,
    office::{Daemon, Office, at},
    sessions,
};

const INDEX: [&str; 4] = ["--set", "fetch.stocks=false", "--set", "fetch.indices=[\"000001.SH\"]"];
const MINUTES: [&str; 4] = ["--set", "stream.kind=bar:5m", "--set", "fetch.symbols=[\"000001.SZ\"]"];

/// A daemon of one index and nothing else.
async fn index_daemon(office: &Office) -> Daemon<DayBar> {
    let fetch = FetchSettings {
        retry_s: 1,
        stocks: false,
        ref_day: false,
        indices: vec!["000001.SH".to_owned()],
        ..FetchSettings::default()
    };
    let mut source = office.source_with::<DayBar>(Kind::BarDay, Errand::Daemon, fetch);
    source.open(&Cursors::default()).await.unwrap();
    Daemon { source }
}

async fn days_of(daemon: &mut Daemon<DayBar>) -> Vec<NaiveDate> {
    daemon.rows().await.iter().map(|bar| bar.frame).collect()
}

fn missing(office: &Office, kind: Kind) -> Vec<String> {
    let codes = Gaps::new(office.folder.path(), "sqep", kind).all_codes().unwrap();
    codes.iter().filter(|gaps| !gaps.is_whole()).map(ToString::to_string).collect()
}

fn index_world() -> World {
    World::generated(7, 12, day("2026-03-02"), day("2026-03-06"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_between_two_spans_of_a_code_is_asked_for_when_it_is_wanted() {
    let (from, to) = (day("2026-02-02"), day("2026-05-22"));
    let rig = Rig::start(World::generated(7, 12, from, to), Faults::default()).await;
    for (from, to) in
        [("2026-02-02", "2026-02-13"), ("2026-05-11", "2026-05-22"), ("2026-02-02", "2026-05-22")]
    {
        rig.backfill(from, to, &INDEX).await.good();
    }
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    let found: Vec<NaiveDate> = stream.rows.values().map(|bar| bar.frame).collect();
    assert_eq!(found, sessions(from, to));
    assert_eq!(stream.count, found.len(), "and no day comes twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_rows_at_its_hour_is_late_and_comes_when_it_comes() {
    let mut world = index_world();
    world.remove("index_daily", |row| row.time() < "20260304");
    let office = Office::open(world.clone(), "2026-03-04 18:59").await;
    let mut late = world.clone();
    late.remove("index_daily", |_| true);
    office.fake.set_world(late.clone());
    let mut daemon = index_daemon(&office).await;
    for time in ["2026-03-04 19:01", "2026-03-05 08:00"] {
        office.set(at(time));
        assert_eq!(days_of(&mut daemon).await, [], "{time}");
    }
    office.fake.set_world(world);
    office.set(at("2026-03-05 09:01"));
    assert_eq!(days_of(&mut daemon).await, [day("2026-03-04")]);
    assert_eq!(missing(&office, Kind::BarDay), [""; 0], "nothing before its first row is missing");

    // A day that does not come by noon is on record, and the next is not held up by it.
    let mut holed = index_world();
    holed.remove("index_daily", |row| row.time() == "20260305");
    office.fake.set_world(holed);
    office.set(at("2026-03-06 11:00"));
    assert_eq!(days_of(&mut daemon).await, [], "it may come until noon");
    assert_eq!(
        missing(&office, Kind::BarDay),
        ["000001.SH index: missing 0; not there yet 1: 2026-03-05 (0 of 1 rows)"]
    );
    office.set(at("2026-03-06 19:01"));
    assert_eq!(days_of(&mut daemon).await, [day("2026-03-06")]);
    assert_eq!(missing(&office, Kind::BarDay), ["000001.SH index: missing 1: 2026-03-05"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_range_without_any_row_is_on_record_and_not_asked_for_again() {
    let mut world = index_world();
    world.remove("index_daily", |_| true);
    let rig = Rig::start(world, Faults::default()).await;
    let run = rig.backfill("2026-03-02", "2026-03-06", &INDEX).await.good();
    assert!(run.out.contains("ranges of codes: 1, days missing of them: 5"), "{run:?}");
    let asked = || rig.fake.calls().iter().filter(|call| call.api == "index_daily").count();
    assert_eq!(asked(), 2, "as often as it is tried");
    rig.backfill("2026-03-02", "2026-03-06", &INDEX).await.good();
    assert_eq!(asked(), 2);
    rig.fake.set_world(index_world());
    rig.run(&[&["gaps", "--fill"], &INDEX[..]].concat()).await.good();
    assert_eq!(rig.stream::<DayBar>(Kind::BarDay).await.count, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_before_midnight_is_judged_by_that_time() {
    let stalls = Faults {
        apis: vec!["index_daily".to_owned()],
        stalls: 1.0,
        stall: Some(Duration::from_millis(400)),
        ..Faults::default()
    };
    let mut world = index_world();
    world.remove("index_daily", |row| row.time() == "20260304");
    let office = Office::open(world, "2026-03-04 23:59").await;
    office.fake.set_faults(stalls);
    let fetch =
        FetchSettings { stocks: false, indices: vec!["000001.SH".to_owned()], ..FetchSettings::default() };
    let span = Range { from: day("2026-03-02"), to: day("2026-03-04") };
    let mut source: TushareSource<DayBar> = office.source_with(Kind::BarDay, Errand::Span(span), fetch);
    source.open(&Cursors::default()).await.unwrap();
    let asked = || office.fake.calls().iter().any(|call| call.api == "index_daily");
    while !asked() {
        if let Ok(chunk) = timeout(Duration::from_millis(20), source.read()).await {
            assert!(chunk.unwrap().unwrap().is_empty(), "nothing comes before the service has heard of it");
        }
    }
    office.set(at("2026-03-05 00:00"));
    let chunk = loop {
        let chunk = source.read().await.unwrap().unwrap();
        if !chunk.is_empty() {
            break chunk;
        }
    };
    assert_eq!(chunk.records.len(), 2);
    assert_eq!(chunk.cursor, [("index/000001.SH".to_owned(), Some("2026-03-02..2026-03-03".to_owned()))]);
    assert_eq!(source.summary().open(), 1, "the day was not over when it was asked for");
}

/// Leaves the first `kept` minutes of a day of 000001.SZ.
fn shorten(world: &mut World, kept: &'static str) {
    world.remove("stk_mins", move |row| {
        row.code() == "000001.SZ" && row.time().starts_with("2026-03-04") && row.time() > kept
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_a_few_of_its_minutes_is_on_record_with_their_number_and_filled() {
    let whole = index_world();
    let mut short = whole.clone();
    shorten(&mut short, "2026-03-04 09:40:00");
    let rig = Rig::start(short, Faults::default()).await;
    let run = rig.backfill("2026-03-02", "2026-03-06", &MINUTES).await.good();
    assert!(run.out.contains("days missing of them: 1"), "{run:?}");
    let gaps = async || rig.run(&[&["gaps"], &MINUTES[..]].concat()).await.good().out;
    let told = gaps().await;
    assert!(told.contains("000001.SZ bar:5m: missing 1: 2026-03-04 (2 of 48 rows)"), "{told}");
    rig.fake.set_world(whole);
    rig.run(&[&["gaps", "--fill"], &MINUTES[..]].concat()).await.good();
    assert_eq!(rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M5)).await.rows.len(), 5 * 48);
    assert!(!gaps().await.contains("000001.SZ"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_a_suspension_cut_short_is_on_record_as_that_and_not_missing() {
    let mut world = index_world();
    shorten(&mut world, "2026-03-04 13:10:00");
    world.put(
        Row::new(Api::named("suspend_d").unwrap())
            .with("ts_code", "000001.SZ")
            .with("trade_date", "20260304")
            .with("suspend_timing", "13:10-15:00")
            .with("suspend_type", "S"),
    );
    let rig = Rig::start(world, Faults::default()).await;
    let run = rig.backfill("2026-03-02", "2026-03-06", &MINUTES).await.good();
    assert!(run.out.contains("days missing of them: 0"), "{run:?}");
    let gaps = rig.run(&[&["gaps"], &MINUTES[..]].concat()).await.good();
    let told = "missing 0; suspended for a part of the day 1: 2026-03-04 (26 of 48 rows)";
    assert!(gaps.out.contains(told), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_of_today_that_are_not_all_there_are_asked_for_again() {
    let whole = index_world();
    let mut short = whole.clone();
    shorten(&mut short, "2026-03-04 09:40:00");
    let office = Office::open(short, "2026-03-04 19:31").await;
    let symbols = vec!["000001.SZ".to_owned()];
    let fetch = FetchSettings { retry_s: 1, lookback_days: 0, symbols, ..FetchSettings::default() };
    let mut source = office.source_with::<MinuteBar>(Kind::BarMinute(Grid::M5), Errand::Daemon, fetch);
    source.open(&Cursors::default()).await.unwrap();
    let mut daemon = Daemon { source };
    assert_eq!(daemon.rows().await, []);
    office.fake.set_world(whole);
    office.set(at("2026-03-04 19:41"));
    assert_eq!(daemon.rows().await.len(), 48);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_suspended_today_is_asked_once_for_all_codes() {
    let world = index_world();
    let mut codes: Vec<String> = world
        .table("daily")
        .iter()
        .filter(|row| row.time() == "20260304")
        .map(|row| row.code().to_owned())
        .collect();
    codes.truncate(8);
    let mut late = world.clone();
    late.remove("stk_mins", |_| true);
    let office = Office::open(late, "2026-03-04 19:31").await;
    let today = Range { from: day("2026-03-04"), to: day("2026-03-04") };
    let fetch = FetchSettings { symbols: codes, ..FetchSettings::default() };
    let mut source: TushareSource<MinuteBar> =
        office.source_with(Kind::BarMinute(Grid::M5), Errand::Span(today), fetch);
    source.open(&Cursors::default()).await.unwrap();
    while let Some(chunk) = source.read().await.unwrap() {
        assert!(chunk.is_empty());
    }
    assert_eq!(source.summary().open(), 8);
    let calls = office.fake.calls();
    let of = |api: &str| calls.iter().filter(|call| call.api == api).count();
    assert_eq!((of("stk_mins"), of("suspend_d")), (8, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_before_a_renumbering_are_asked_for_under_the_former_number() {
    let (from, to) = ("2025-09-29", "2025-10-17");
    let world = World::generated(7, 40, day(from), day(to));
    let renumbered = |row: &&Row| row.code().contains(".BJ") && !row.code().starts_with("920");
    let former = world.table("daily").iter().find(renumbered).unwrap().code().to_owned();
    let mapping = world.table("bse_mapping");
    let current = mapping.iter().find(|row| row.text("o_code") == former).unwrap().text("n_code").to_owned();
    let of = |code: &str| world.table("daily").iter().filter(|row| row.code() == code).count() * 48;
    assert!(of(&former) > 0 && of(&current) > 0);
    for (alias, before, after) in
        [("current", 0, of(&former) + of(&current)), ("as_given", of(&former), of(&current))]
    {
        let rig = Rig::start(world.clone(), Faults::default()).await;
        let (alias, symbols) = (format!("symbol.alias={alias}"), format!("fetch.symbols=[\"{current}\"]"));
        let set = ["--set", "stream.kind=bar:5m", "--set", &alias, "--set", &symbols];
        let run = rig.backfill(from, to, &set).await.good();
        assert!(run.out.contains("ranges of codes: 1, days missing of them: 0"), "{run:?}");
        let stream = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M5)).await;
        let count = |code: &str| stream.rows.keys().filter(|(symbol, _)| symbol.to_string() == code).count();
        assert_eq!((count(&former), count(&current)), (before, after), "{alias}");
        assert_eq!(stream.count, before + after, "{alias}");
    }
}
