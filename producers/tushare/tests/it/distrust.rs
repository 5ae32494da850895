//! Answers that are there and not to be believed: lists without a row, pieces of a day, rows that know less.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use sqep::{Cursors, DayBar, Kind, MinuteBar, Source, kind::Grid};
use sqep_testkit::tushare::{Api, Cell, Faults, Row, World};
use sqep_tushare::{config::FetchSettings, gaps::Gaps, source::Errand};

use crate::common::{
    Rig, Stream, day, fill_tables,
    office::{Daemon, Office, at},
};

const FROM: &str = "2026-03-02";
const TO: &str = "2026-03-06";
const WEDNESDAY: &str = "2026-03-04";
const M5: Kind = Kind::BarMinute(Grid::M5);
const MINUTES: [&str; 4] = ["--set", "stream.kind=bar:5m", "--set", "fetch.symbols=[\"000001.SZ\"]"];
const EACH_MINUTE: [&str; 4] = ["--set", "stream.kind=bar:1m", "--set", "fetch.symbols=[\"000001.SZ\"]"];
const INDEX: [&str; 4] = ["--set", "fetch.stocks=false", "--set", "fetch.indices=[\"000001.SH\"]"];

/// The first twenty minutes after a pause until ten.
const TWENTY: std::ops::RangeInclusive<&str> = "10:01"..="10:20";

fn world() -> World {
    let mut world = World::generated(7, 20, day(FROM), day(TO));
    fill_tables(&mut world);
    world
}

/// Takes minutes of 000001.SZ on the Wednesday away.
fn without_minutes(world: &World, gone: impl Fn(&str) -> bool + Send + Sync + 'static) -> World {
    let mut world = world.clone();
    world.remove("stk_mins", move |row| {
        row.code() == "000001.SZ" && row.time().starts_with(WEDNESDAY) && gone(&row.time()[11..16])
    });
    world
}

/// Suspends 000001.SZ for a part of the Wednesday.
fn pause(world: &mut World, timing: &str) {
    world.put(
        Row::new(Api::named("suspend_d").unwrap())
            .with("ts_code", "000001.SZ")
            .with("trade_date", "20260304")
            .with("suspend_timing", timing)
            .with("suspend_type", "S"),
    );
}

async fn gaps(rig: &Rig, set: &[&str]) -> String {
    rig.run(&[&["gaps"], set].concat()).await.good().out
}

async fn fill(rig: &Rig, set: &[&str]) -> String {
    rig.run(&[&["gaps", "--fill"], set].concat()).await.good().out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_stocks_without_a_row_is_not_believed_nor_kept() {
    let mut short = world();
    let lost = short.table("daily").iter().find(|row| row.time() == "20260304").unwrap().code().to_owned();
    let code = lost.clone();
    short.remove("daily", move |row| row.time() == "20260304" && row.code() == code);
    let faults = Faults { empty_once: vec!["stock_basic".to_owned()], ..Faults::default() };
    let rig = Rig::start(short, faults).await;
    for status in ["L", "D"] {
        let run = rig.backfill(FROM, TO, &[]).await;
        assert_eq!(run.code, Some(1), "{run:?}");
        let told = format!("stock_basic list_status={status} cannot be complete: it has no row");
        assert!(run.err.contains(&told), "{run:?}");
        assert_eq!(rig.stream::<DayBar>(Kind::BarDay).await.count, 0);
    }
    let run = rig.backfill(FROM, TO, &[]).await.good();
    assert!(run.out.contains("days: 4 complete, 1 closed with gaps"), "{run:?}");
    assert!(gaps(&rig, &[]).await.contains(&format!("unexplained: {lost}")));
    let listed = || rig.fake.calls().iter().filter(|call| call.api == "stock_basic").count();
    let before = listed();
    rig.backfill(FROM, TO, &[]).await.good();
    assert_eq!(listed(), before, "that nobody is paused nor approved is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_does_not_make_a_piece_of_today_the_whole_day() {
    let mut whole = world();
    pause(&mut whole, "09:30-10:00");
    let piece = without_minutes(&whole, |time| !TWENTY.contains(&time));
    let office = Office::open(piece, "2026-03-04 19:31").await;
    let symbols = vec!["000001.SZ".to_owned()];
    let fetch = FetchSettings { retry_s: 1, lookback_days: 0, symbols, ..FetchSettings::default() };
    let mut source =
        office.source_with::<MinuteBar>(Kind::BarMinute(Grid::M1), Errand::Daemon, fetch.clone());
    source.open(&Cursors::default()).await.unwrap();
    let mut daemon = Daemon { source };
    assert_eq!(daemon.rows().await, []);
    office.fake.set_world(without_minutes(&whole, |time| time < "10:01"));
    office.set(at("2026-03-04 23:41"));
    assert_eq!(daemon.rows().await, [], "what the pause leaves out could be late as well");
    office.set(at("2026-03-05 12:01"));
    let fetch = FetchSettings { lookback_days: 1, ..fetch };
    let mut source = office.source_with::<MinuteBar>(Kind::BarMinute(Grid::M1), Errand::Daemon, fetch);
    source.open(&Cursors::default()).await.unwrap();
    assert_eq!(Daemon { source }.rows().await.len(), 210);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_explains_what_lies_in_it_and_nothing_else() {
    let mut whole = world();
    pause(&mut whole, "09:30-10:00");
    let rig = Rig::start(without_minutes(&whole, |time| !TWENTY.contains(&time)), Faults::default()).await;
    rig.backfill(FROM, TO, &EACH_MINUTE).await.good();
    let told = gaps(&rig, &EACH_MINUTE).await;
    assert!(told.contains("000001.SZ bar:1m: missing 1: 2026-03-04 (20 of 240 rows)"), "{told}");
    rig.fake.set_world(without_minutes(&whole, |time| time < "10:01"));
    fill(&rig, &EACH_MINUTE).await;
    let told = gaps(&rig, &EACH_MINUTE).await;
    let explained = "missing 0; suspended for a part of the day 1: 2026-03-04 (210 of 240 rows)";
    assert!(told.contains(explained), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_minute_in_the_middle_of_a_day_is_missed() {
    let whole = world();
    let rig = Rig::start(without_minutes(&whole, |time| time == "10:17"), Faults::default()).await;
    rig.backfill(FROM, TO, &EACH_MINUTE).await.good();
    let stream = async || rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await.rows.len();
    assert_eq!(stream().await, 5 * 241 - 1, "the opening auction has a row of its own");
    let told = gaps(&rig, &EACH_MINUTE).await;
    assert!(told.contains("000001.SZ bar:1m: missing 1: 2026-03-04 (239 of 240 rows)"), "{told}");
    rig.fake.set_world(whole);
    fill(&rig, &EACH_MINUTE).await;
    assert_eq!(stream().await, 5 * 241);
    assert!(!gaps(&rig, &EACH_MINUTE).await.contains("000001.SZ"));
    rig.fake.set_world(without_minutes(&world(), |time| time == "09:30"));
    rig.backfill(FROM, TO, &[&EACH_MINUTE[..], &["--again"]].concat()).await.good();
    assert!(!gaps(&rig, &EACH_MINUTE).await.contains("000001.SZ"), "the auction may have no row");
}

/// How many rows have no turnover.
fn poor<R: sqep::Record>(stream: &Stream<R>) -> usize {
    let at = R::FIELDS.iter().position(|field| field.name == "amount").unwrap();
    stream.history.iter().filter(|row| row.get(at) == sqep::record::Cell::Null).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_of_a_code_replaces_one_that_knew_its_turnover() {
    let rig = Rig::start(world(), Faults::default()).await;
    for set in [&MINUTES, &INDEX] {
        rig.backfill(FROM, TO, set).await.good();
    }
    rig.fake.set_faults(Faults { nulls: 1.0, ..Faults::default() });
    for (set, told) in [
        (&MINUTES, "held back without a turnover 5: 2026-03-02 (0 of 48 rows)"),
        (&INDEX, "held back without a turnover 5: 2026-03-02 (0 of 1 rows)"),
    ] {
        rig.backfill(FROM, TO, &[&set[..], &["--again"]].concat()).await.good();
        let found = gaps(&rig, set).await;
        assert!(found.contains(told), "{found}");
        fill(&rig, set).await;
    }
    let minutes = rig.stream::<MinuteBar>(M5).await;
    assert_eq!((minutes.count, poor(&minutes)), (5 * 48, 0));
    let days = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_eq!((days.count, poor(&days)), (5, 0));

    rig.fake.set_faults(Faults::default());
    for set in [&MINUTES, &INDEX] {
        fill(&rig, set).await;
        assert!(gaps(&rig, set).await.contains(", 0 with days missing"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_without_a_row_are_filled_whatever_the_rows_lack() {
    let mut none = world();
    none.remove("index_daily", |row| row.time() == "20260304");
    let rig = Rig::start(none, Faults::default()).await;
    rig.backfill(FROM, TO, &INDEX).await.good();
    rig.fake.set_world(world());
    rig.fake.set_faults(Faults { nulls: 1.0, ..Faults::default() });
    fill(&rig, &INDEX).await;
    let days = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_eq!((days.count, poor(&days)), (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_of_the_evening_replace_no_live_minute_that_knew_its_turnover() {
    let office = Office::open(world(), "2026-03-04 15:01").await;
    let symbols = vec!["000001.SZ".to_owned()];
    let fetch =
        FetchSettings { retry_s: 1, lookback_days: 0, live: true, symbols, ..FetchSettings::default() };
    let mut source = office.source_with::<MinuteBar>(M5, Errand::Daemon, fetch);
    source.open(&Cursors::default()).await.unwrap();
    let mut daemon = Daemon { source };
    assert_eq!(daemon.rows().await.len(), 1, "the minute that has just ended");
    office.fake.set_faults(Faults { nulls: 1.0, ..Faults::default() });
    office.set(at("2026-03-04 19:41"));
    assert_eq!(daemon.rows().await, []);
    let codes = Gaps::new(office.folder.path(), "sqep", M5).all_codes().unwrap();
    assert_eq!(
        codes[0].to_string(),
        "000001.SZ bar:5m: missing 0; not there yet 1: 2026-03-04 (0 of 48 rows)"
    );
    office.fake.set_faults(Faults::default());
    office.set(at("2026-03-04 23:51"));
    assert_eq!(daemon.rows().await.len(), 48, "they come when their turnovers do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_bar_without_its_turnover_is_a_gap_until_it_has_one() {
    let (whole, mut poor_world) = (world(), world());
    let code = whole.table("daily").iter().find(|row| row.time() == "20260304").unwrap().code().to_owned();
    let of = code.clone();
    let meant = move |row: &Row| row.time() == "20260304" && row.code() == of;
    assert_eq!(poor_world.change("daily", meant, |row| row.set("amount", Cell::Null)), 1);
    let rig = Rig::start(poor_world, Faults::default()).await;
    let run = rig.backfill(FROM, TO, &[]).await.good();
    assert!(run.out.contains("days: 4 complete, 1 closed with gaps"), "{run:?}");
    let found = gaps(&rig, &[]).await;
    assert!(found.contains(&format!("without amount: {code}")), "{found}");
    let before = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_eq!(poor(&before), 1);
    rig.fake.set_world(whole);
    fill(&rig, &[]).await;
    let after = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_eq!(after.count, before.count + 1);
    assert!(after.rows.values().all(|bar| bar.amount.is_some()));
    assert!(gaps(&rig, &[]).await.contains("5 on record, 5 complete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_momentary_list_of_nobody_under_special_treatment_is_asked_for_again() {
    let faults = Faults { empty_once: vec!["stock_st".to_owned()], ..Faults::default() };
    let rig = Rig::start(world(), faults).await;
    rig.backfill(FROM, TO, &[]).await.good();
    let calls = rig.fake.calls();
    let of = |api: &str| calls.iter().filter(|call| call.api == api).count();
    assert_eq!(of("namechange"), 0, "names do not stand in for a list that is there");
    let treated: std::collections::BTreeSet<(String, String)> = rig
        .stream::<DayBar>(Kind::BarDay)
        .await
        .rows
        .values()
        .filter(|bar| bar.st == Some(true))
        .map(|bar| (bar.symbol.to_string(), bar.frame.format("%Y%m%d").to_string()))
        .collect();
    assert!(!treated.is_empty());
    let world = rig.fake.world();
    let listed = |code: &str, time: &str| {
        world.table("stock_st").iter().any(|row| row.code() == code && row.time() == time)
    };
    assert!(treated.iter().all(|(code, time)| listed(code, time)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_nobody_under_special_treatment_is_never_kept() {
    let mut nobody = world();
    nobody.remove("stock_st", |_| true);
    let rig = Rig::start(nobody, Faults::default()).await;
    let asked = || rig.fake.calls().iter().filter(|call| call.api == "stock_st").count();
    rig.backfill(FROM, TO, &[]).await.good();
    assert_eq!(asked(), 2 * 5);
    rig.redis.command::<String>(&["FLUSHALL"]).await.unwrap();
    rig.backfill(FROM, TO, &[]).await.good();
    assert_eq!(asked(), 4 * 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_missing_days_is_filled_in_pieces_of_one_call() {
    let whole = world();
    let mut none = whole.clone();
    none.remove("stk_mins", |row| row.code() == "000001.SZ" && !row.time().starts_with("2026-03-05"));
    let rig = Rig::start(none, Faults::default()).await;
    rig.backfill(FROM, TO, &MINUTES).await.good();
    rig.fake.set_world(whole);
    let asked = || -> Vec<String> {
        let calls = rig.fake.calls().into_iter().filter(|call| call.api == "stk_mins");
        calls.map(|call| format!("{}..{}", call.params["start_date"], call.params["end_date"])).collect()
    };
    let before = asked().len();
    fill(&rig, &MINUTES).await;
    let filled = asked().split_off(before);
    let spans = ["2026-03-02 09:00:00..2026-03-04 16:00:00", "2026-03-06 09:00:00..2026-03-06 16:00:00"];
    assert_eq!(filled.iter().collect::<std::collections::BTreeSet<_>>().len(), 2, "{filled:?}");
    assert!(spans.iter().all(|span| filled.iter().any(|of| of == span)), "{filled:?}");
    assert_eq!(rig.stream::<MinuteBar>(M5).await.rows.len(), 5 * 48);
}
