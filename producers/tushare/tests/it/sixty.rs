//! Sixty sessions with everything that goes wrong with the service, beside sixty on which nothing does.

use std::time::Duration;

use sqep::{DayBar, Kind};
use sqep_testkit::{
    programs::Running,
    tushare::{Faults, Outcome, TOKEN, World},
};

use crate::common::{Rig, Run, Stream, assert_same, day, fill_tables, sessions, write};

const FROM: &str = "2025-12-01";
const TO: &str = "2026-03-04";
/// The service's minute, where a refusal of rate is to cost less than one.
const MINUTE_MS: u64 = 200;
/// A token that is accepted beside the first.
const SECOND: &str = "00000000000000000000000000000000000000000000000000000002";

/// Stocks, funds and an index.
fn world() -> World {
    let mut world = World::generated(11, 30, day(FROM), day(TO));
    fill_tables(&mut world);
    world
}

/// A service on which everything goes wrong but what never gets right, turnovers that are not there: asked with two tokens of its and one that it does not know.
async fn troubled(world: World, seed: u64) -> Rig {
    let minute = Some(Duration::from_millis(MINUTE_MS));
    let faults = Faults { minute, tokens: vec![SECOND.to_owned()], nulls: 0.0, ..Faults::everything(seed) };
    let rig = Rig::start(world, faults).await;
    write(&rig.path("token"), &format!("{TOKEN}\n{SECOND}\nunknown\n"));
    rig
}

fn settings(seed: u64) -> Vec<String> {
    let form = if seed.is_multiple_of(2) { "root" } else { "dataapi" };
    let set = [
        format!("tushare.minute_ms={MINUTE_MS}"),
        format!("tushare.url_form={form}"),
        "fetch.funds=true".to_owned(),
        "fetch.indices=[\"000001.SH\"]".to_owned(),
    ];
    set.into_iter().flat_map(|key| ["--set".to_owned(), key]).collect()
}

async fn backfill(rig: &Rig, seed: u64) -> Run {
    let settings = settings(seed);
    rig.backfill(FROM, TO, &settings.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// What is on the stream where nothing goes wrong.
async fn sound(seed: u64) -> Stream<DayBar> {
    let rig = Rig::start(world(), Faults::default()).await;
    backfill(&rig, seed).await.good();
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    assert!(stream.rows.len() > 1_000);
    stream
}

#[test]
fn the_accounts_below_differ_in_texts_and_in_the_order_of_their_rows() {
    let all = [1, 2, 3, 4].map(Faults::everything);
    let differ = |is: &dyn Fn(&Faults) -> bool| all.iter().any(is) && !all.iter().all(is);
    assert!(differ(&|faults| faults.old_texts));
    for api in ["daily", "adj_factor", "stk_limit", "fund_daily", "trade_cal"] {
        assert!(differ(&|faults| faults.oldest_first.iter().any(|name| name == api)), "{api}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_days_with_every_fault_end_complete_and_as_without() {
    assert_eq!(sessions(day(FROM), day(TO)).len(), 60);
    for seed in [1, 2] {
        let rig = troubled(world(), seed).await;
        let run = backfill(&rig, seed).await.good();
        assert!(run.out.contains("days: 120 complete, 0 closed with gaps, 0 not complete yet"), "{run:?}");
        let (found, wanted) = (rig.stream::<DayBar>(Kind::BarDay).await, sound(seed).await);
        assert_same(&found.rows, &wanted.rows);
        assert_eq!(found.count, wanted.count, "no row comes twice: {}", run.out);
        let calls = rig.fake.calls();
        let troubled = calls.iter().filter(|call| !matches!(call.outcome, Outcome::Rows(_))).count();
        assert!(troubled > 100, "{troubled} of {} calls went wrong", calls.len());
        let full = calls.iter().filter(|call| call.params.get("offset").is_some_and(|at| at != "0")).count();
        assert!(full > 300, "{full} pages behind the first");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_that_the_service_never_has_is_unexplained_and_all_others_are_there() {
    let (mut holed, seed) = (world(), 4);
    let lost = holed.table("daily").iter().find(|row| row.time() == "20260115").unwrap().code().to_owned();
    let code = lost.clone();
    assert_eq!(holed.remove("daily", move |row| row.time() == "20260115" && row.code() == code), 1);
    let rig = troubled(holed, seed).await;
    let run = backfill(&rig, seed).await.good();
    assert!(run.out.contains("days: 119 complete, 1 closed with gaps, 0 not complete yet"), "{run:?}");
    let mut wanted = sound(seed).await;
    wanted.rows.retain(|_, bar| bar.frame != day("2026-01-15") || bar.symbol.to_string() != lost);
    assert_same(&rig.stream::<DayBar>(Kind::BarDay).await.rows, &wanted.rows);
    let gaps = rig.run(&["gaps"]).await.good();
    let told = format!("missing 1 (closed, tries 2); unexplained: {lost}");
    assert!(gaps.out.contains("2026-01-15 stocks: ") && gaps.out.contains(&told), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_days_killed_ten_times_with_every_fault_end_complete_and_as_without() {
    let seed = 3;
    let rig = troubled(world(), seed).await;
    let settings = settings(seed);
    let mut arguments = vec!["backfill", "--from", FROM, "--to", TO];
    arguments.extend(settings.iter().map(String::as_str));
    let arguments = rig.arguments(&arguments);
    let mut killed = 0;
    for _ in 0..10 {
        let until = rig.fake.calls().len() + 60;
        let mut running = Running::start("sqep-tushare", &arguments, &rig.path("log")).unwrap();
        while rig.fake.calls().len() < until && running.ended().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        killed += u32::from(running.ended().unwrap().is_none());
        running.kill().unwrap();
    }
    assert_eq!(killed, 10, "it was at work each time");
    let run = backfill(&rig, seed).await.good();
    let (found, wanted) = (rig.stream::<DayBar>(Kind::BarDay).await, sound(seed).await);
    assert_same(&found.rows, &wanted.rows);
    assert_eq!(found.count, wanted.count, "no row comes twice: {}", run.out);
    let gaps = rig.run(&["gaps"]).await.good();
    assert!(gaps.out.contains("days: 120 on record, 120 complete; rows missing: 0"), "{gaps:?}");
}
