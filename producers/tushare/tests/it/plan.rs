//! What a plan says beside what the run does, counted at the service.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::BTreeSet;

use sqep_testkit::tushare::{Api, Cell, Faults, Refusal, Row, World};

use crate::common::{Rig, Run, day, fill_tables};

const FROM: &str = "2026-03-02";
const HALF: &str = "2026-03-13";
const TO: &str = "2026-03-31";

/// A market whose tables are as long on every day: what a page more costs is known beforehand then.
fn world(from: &str, to: &str) -> World {
    let mut world = World::generated(7, 40, day(from), day(to));
    fill_tables(&mut world);
    let halted: BTreeSet<String> = world.table("suspend_d").iter().map(|row| row.code().to_owned()).collect();
    for api in ["daily", "adj_factor", "stk_limit", "stock_st", "suspend_d", "stock_basic"] {
        let halted = halted.clone();
        world.remove(api, move |row| halted.contains(row.code()));
    }
    let days: BTreeSet<String> = world.table("daily").iter().map(|row| row.time().to_owned()).collect();
    world.remove("stock_st", |_| true);
    for time in days {
        let of = |api: &str| Row::new(Api::named(api).unwrap()).with("trade_date", time.as_str());
        world.put(of("stock_st").with("ts_code", "000004.SZ"));
        let pause = of("suspend_d").with("ts_code", "000001.SZ").with("suspend_type", "S");
        world.put(pause.with("suspend_timing", Cell::from("09:30-10:00")));
    }
    world
}

/// Calls that a run announced, and those that its lists took.
fn planned(run: &Run) -> (usize, usize) {
    let line = run.out.lines().find(|line| line.contains("under the limits")).unwrap();
    let numbers: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], *numbers.last().unwrap())
}

async fn is_as_planned(rig: &Rig, from: &str, to: &str, more: &[&str]) -> usize {
    let before = rig.fake.calls().len();
    let run = rig.backfill(from, to, more).await.good();
    let (calls, lists) = planned(&run);
    let made = rig.fake.calls().len() - before;
    assert_eq!(made, calls + lists, "{}", run.out);
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_what_the_run_does_fresh_resumed_and_after_the_server_was_emptied() {
    let rig = Rig::start(world(FROM, TO), Faults::default()).await;
    let only = rig.backfill(FROM, TO, &["--plan"]).await.good();
    let (calls, lists) = planned(&only);
    assert_eq!(
        calls,
        22 * 5 + 5,
        "five tables a day, and of each a first page that is not trusted: {only:?}"
    );
    assert_eq!(rig.fake.calls().len(), lists, "a plan asks for no day");

    let made = is_as_planned(&rig, FROM, HALF, &[]).await;
    assert_eq!(made, 10 * 5 + 5);
    let made = is_as_planned(&rig, FROM, TO, &[]).await;
    assert_eq!(made, 12 * 5 + 5, "what is on the stream is not asked for");
    assert_eq!(is_as_planned(&rig, FROM, TO, &[]).await, 0);

    rig.redis.command::<String>(&["FLUSHALL"]).await.unwrap();
    assert_eq!(is_as_planned(&rig, FROM, TO, &[]).await, 0, "every answer is kept");
    let again = is_as_planned(&rig, FROM, HALF, &["--again"]).await;
    assert!(again > 10 * 5, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_knows_of_funds_of_minutes_of_names_and_of_what_is_not_listed() {
    let funds = ["--set", "fetch.funds=true", "--set", "fetch.indices=[\"000001.SH\"]"];
    let rig = Rig::start(world(FROM, TO), Faults::default()).await;
    is_as_planned(&rig, FROM, TO, &funds).await;

    let minutes = ["--set", "stream.kind=bar:5m", "--set", "fetch.symbols=[\"000001.SZ\", \"601000.SH\"]"];
    is_as_planned(&rig, FROM, HALF, &minutes).await;
    is_as_planned(&rig, FROM, TO, &minutes).await;

    // Before there was a list of special treatment, names tell.
    let rig = Rig::start(world("2015-11-02", "2015-11-13"), Faults::default()).await;
    is_as_planned(&rig, "2015-11-02", "2015-11-13", &[]).await;
    assert!(rig.fake.calls().iter().any(|call| call.api == "namechange"));

    let refuse = [("stock_basic".to_owned(), Refusal::PermissionNew)].into();
    let rig = Rig::start(world(FROM, TO), Faults { refuse, ..Faults::default() }).await;
    // Without a list the market counts as large as it is, and limits as two pages.
    is_as_planned(&rig, FROM, HALF, &["--set", "fetch.join=[\"adjust\", \"st\"]"]).await;
}
