//! Answers in other units than documented: refused as a whole, and asked for again.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use sqep::{DayBar, Kind, MinuteBar, kind::Grid};
use sqep_testkit::tushare::{Api, Faults, Row, World};

use crate::common::{Rig, assert_same, day, day_bars, fill_tables};

const FROM: &str = "2026-03-02";
const TO: &str = "2026-03-06";

fn world() -> World {
    let mut world = World::generated(7, 30, day(FROM), day(TO));
    fill_tables(&mut world);
    world
}

async fn cursor(rig: &Rig, kind: Kind) -> Vec<String> {
    rig.redis.command(&["HKEYS", &format!("sqep:{{{kind}:0}}:cursor:tushare")]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_other_units_is_refused_whole_and_its_cursor_does_not_move() {
    let mut wrong = world();
    let changed = wrong.change(
        "daily",
        |row| row.time() == "20260304",
        |row| row.set("vol", row.number("vol").unwrap() * 100.0),
    );
    assert!(changed > 10);
    let rig = Rig::start(wrong, Faults::default()).await;
    for _ in 0..2 {
        let run = rig.backfill(FROM, TO, &[]).await;
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.err.contains("answers refused as a whole (units_or_adjusted): 1"), "{run:?}");
        assert!(
            run.out.contains("4 complete, 0 closed") || run.out.contains("0 complete, 0 closed"),
            "{run:?}"
        );
    }
    assert_eq!(rig.letters(Kind::BarDay).await, 2, "a letter a run");
    let fields = cursor(&rig, Kind::BarDay).await;
    assert!(fields.iter().any(|field| field.ends_with("20260303")), "{fields:?}");
    assert!(!fields.iter().any(|field| field.ends_with("20260304")), "{fields:?}");
    let gaps = rig.run(&["gaps"]).await.good();
    assert!(
        gaps.out.contains("2026-03-04 stocks: ") && gaps.out.contains("(open, tries 2); refused: "),
        "{gaps:?}"
    );

    rig.fake.set_world(world());
    rig.backfill(FROM, TO, &[]).await.good();
    assert_same(&rig.stream::<DayBar>(Kind::BarDay).await.rows, &day_bars(&world(), day(FROM), day(TO)));
    assert!(rig.run(&["gaps"]).await.good().out.contains("5 on record, 5 complete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_in_other_units_are_refused_whole_and_their_cursor_does_not_move() {
    let mut wrong = world();
    let minutes = Api::named("stk_mins").unwrap();
    for label in ["09:35:00", "09:40:00", "09:45:00", "09:50:00"] {
        let row = Row::new(minutes)
            .with("ts_code", "000001.SZ")
            .with("trade_time", format!("2026-03-04 {label}").as_str());
        let row = ["open", "high", "low", "close"].into_iter().fold(row, |row, price| row.with(price, 10.0));
        wrong.put(row.with("vol", 100.0).with("amount", 100_000.0));
    }
    let rig = Rig::start(wrong, Faults::default()).await;
    let set = ["--set", "stream.kind=bar:5m", "--set", "fetch.symbols=[\"000001.SZ\", \"601000.SH\"]"];
    let run = rig.backfill(FROM, TO, &set).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.err.contains("answers refused as a whole (units_or_adjusted): 1"), "{run:?}");
    let kind = Kind::BarMinute(Grid::M5);
    assert_eq!(rig.letters(kind).await, 1);
    let fields = cursor(&rig, kind).await;
    assert!(fields.iter().any(|field| field.ends_with("601000.SH")), "{fields:?}");
    assert!(!fields.iter().any(|field| field.ends_with("000001.SZ")), "{fields:?}");
    let gaps = rig.run(&[&["gaps"], &set[..]].concat()).await.good();
    assert!(
        gaps.out
            .contains("2026-03-04 bar:5m: expected 2, present 1, suspended 0, missing 1; refused: 000001.SZ"),
        "{gaps:?}"
    );

    rig.fake.set_world(world());
    rig.backfill(FROM, TO, &set).await.good();
    let stream = rig.stream::<MinuteBar>(kind).await;
    assert_eq!(stream.rows.keys().filter(|(symbol, _)| symbol.to_string() == "000001.SZ").count(), 5 * 48);
    assert!(!rig.run(&[&["gaps"], &set[..]].concat()).await.good().out.contains("000001.SZ"));
}
