//! What is missing of a day, and what becomes of it when it comes.

use sqep::{DayBar, Kind};
use sqep_testkit::tushare::{Api, Faults, Row, World};

use crate::common::{self, Rig, assert_same, day, day_bars};

const FROM: &str = "2026-03-02";
const TO: &str = "2026-03-06";

/// A market whose tables contradict each other nowhere: every listed stock has a factor on every day.
fn whole_world(symbols: usize) -> World {
    let mut world = World::generated(7, symbols, day(FROM), day(TO));
    common::fill_tables(&mut world);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_week_has_no_gaps() {
    let rig = Rig::start(whole_world(30), Faults::default()).await;
    let run = rig.backfill(FROM, TO, &[]).await.good();
    assert!(run.out.contains("days: 5 complete, 0 closed with gaps, 0 not complete yet"), "{run:?}");
    let gaps = rig.run(&["gaps"]).await.good();
    assert_eq!(gaps.out.trim(), "days: 5 on record, 5 complete; rows missing: 0");
    let all = rig.run(&["gaps", "--all"]).await.good();
    assert_eq!(all.out.lines().filter(|line| line.contains("stocks: expected")).count(), 5, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_missing_are_on_record_and_filled_when_they_come() {
    let whole = whole_world(30);
    let mut holed = whole.clone();
    let codes: Vec<String> = whole
        .table("daily")
        .iter()
        .filter(|row| row.time() == "20260304")
        .take(2)
        .map(|row| row.code().to_owned())
        .collect();
    let lost = codes.clone();
    assert_eq!(
        holed.remove("daily", move |row| row.time() == "20260304"
            && lost.iter().any(|code| code == row.code())),
        2
    );
    let lost = codes.clone();
    assert_eq!(holed.remove("adj_factor", move |row| row.time() == "20260305" && row.code() == lost[0]), 1);
    let rig = Rig::start(holed, Faults::default()).await;
    let run = rig.backfill(FROM, TO, &[]).await.good();
    assert!(run.out.contains("days: 3 complete, 2 closed with gaps"), "{run:?}");

    let gaps = rig.run(&["gaps"]).await.good();
    assert!(gaps.out.contains("2026-03-04 stocks: expected"), "{gaps:?}");
    assert!(gaps.out.contains("missing 2 (closed, tries 2); unexplained: "), "{gaps:?}");
    assert!(gaps.out.contains(&format!("without adjust: {}", codes[0])), "{gaps:?}");

    // Nothing has come yet: asking again publishes nothing.
    let before = rig.stream::<DayBar>(Kind::BarDay).await.count;
    rig.run(&["gaps", "--fill"]).await.good();
    assert_eq!(rig.stream::<DayBar>(Kind::BarDay).await.count, before);

    rig.fake.set_world(whole.clone());
    let filled = rig.run(&["gaps", "--fill"]).await.good();
    assert!(filled.out.contains("days: 2 complete, 0 closed with gaps"), "{filled:?}");
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_same(&stream.rows, &day_bars(&whole, day(FROM), day(TO)));
    assert_eq!(stream.count, before + 3, "two rows came, and one came again with its factor");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_on_a_session_is_never_a_complete_day() {
    let mut world = whole_world(20);
    world.remove("daily", |row| row.time() == "20260303");
    let rig = Rig::start(world, Faults::default()).await;
    let run = rig.backfill(FROM, TO, &[]).await.good();
    assert!(run.out.contains("days: 4 complete, 1 closed with gaps"), "{run:?}");
    let gaps = rig.run(&["gaps"]).await.good();
    assert!(gaps.out.contains("present 0") && gaps.out.contains("no stocks"), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_is_missing_and_its_letter_is_written_once() {
    let mut world = whole_world(20);
    let code = world.table("daily").iter().find(|row| row.time() == "20260303").unwrap().code().to_owned();
    let broken = world.change(
        "daily",
        |row| row.time() == "20260303" && row.code() == code,
        |row| row.set("high", 0.01),
    );
    assert_eq!(broken, 1);
    world.put(
        Row::new(Api::named("daily").unwrap())
            .with("ts_code", "200011.SZ")
            .with("trade_date", "20260303")
            .with("open", 1.0)
            .with("high", 1.0)
            .with("low", 1.0)
            .with("close", 1.0)
            .with("vol", 1.0)
            .with("amount", 0.1),
    );
    let rig = Rig::start(world, Faults::default()).await;
    rig.backfill(FROM, TO, &[]).await.good();
    let gaps = rig.run(&["gaps"]).await.good();
    assert!(gaps.out.contains(&format!("missing 1 (closed, tries 2); refused: {code}")), "{gaps:?}");
    assert_eq!(rig.letters(Kind::BarDay).await, 1);
    rig.run(&["gaps", "--fill"]).await.good();
    assert_eq!(rig.letters(Kind::BarDay).await, 1, "asked again, it is not refused again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_told_and_taken_down_again_without_a_call_or_a_row() {
    let rig = Rig::start(whole_world(20), Faults::default()).await;
    let minutes = ["--set", "stream.kind=bar:5m", "--set", "fetch.symbols=[\"000001.SZ\", \"601000.SH\"]"];
    let days: [&str; 0] = [];
    for (set, told, after) in [
        (
            &days[..],
            "not in the gap ledger: 5 days, 0 codes",
            "days: 5 on record, 5 complete; rows missing: 0",
        ),
        (&minutes[..], "not in the gap ledger: 0 days, 2 codes", "codes: 2 on record, 0 with days missing"),
    ] {
        rig.backfill(FROM, TO, set).await.good();
        std::fs::remove_dir_all(rig.path("state")).unwrap();
        let gaps = async || rig.run(&[&["gaps"], set].concat()).await.good().out;
        let found = gaps().await;
        assert!(found.contains(told), "{found}");
        let by_day = || rig.fake.calls().iter().filter(|call| call.api != "stock_basic").count();
        let before = by_day();
        let filled = rig.run(&[&["gaps", "--fill"], set].concat()).await.good();
        assert!(filled.out.contains("appended 0"), "{filled:?}");
        assert_eq!(by_day(), before, "{filled:?}");
        let found = gaps().await;
        assert!(found.contains(after) && !found.contains("not in the gap ledger"), "{found}");
    }
    let all = rig.run(&[&["gaps", "--all"], &minutes[..]].concat()).await.good().out;
    assert!(all.contains("2026-03-04 bar:5m: expected 2, present 2, suspended 0, missing 0"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_written_is_told_before_anything_is_asked() {
    let rig = Rig::start(whole_world(12), Faults::default()).await;
    std::fs::write(rig.path("state"), "a file where the folder should be").unwrap();
    let run = rig.backfill(FROM, TO, &[]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.err.contains("cannot write the gap ledger in") && run.err.contains("fetch.state_dir"),
        "{run:?}"
    );
    assert!(rig.fake.calls().iter().all(|call| !call.params.contains_key("trade_date")));
    assert_eq!(rig.stream::<DayBar>(Kind::BarDay).await.count, 0);
}
