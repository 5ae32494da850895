//! What a user is told when the service refuses: an exit code and one line, and nothing published as complete.

use std::collections::BTreeMap;

use sqep::{DayBar, Kind, symbol::Class};
use sqep_testkit::tushare::{Faults, Rates, Refusal, World};

use crate::common::{self, Rig, Run, day, write};

const FROM: &str = "2026-03-02";
const TO: &str = "2026-03-31";

async fn rig(faults: Faults) -> Rig {
    Rig::start(World::generated(7, 12, day(FROM), day(TO)), faults).await
}

/// The one line on standard error that says why.
fn told(run: &Run) -> &str {
    let errors: Vec<&str> = run.err.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{}", run.err);
    errors[0]
}

async fn rows(rig: &Rig) -> usize {
    rig.stream::<DayBar>(Kind::BarDay).await.count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_exit_code_2_and_one_line_that_does_not_show_it() {
    let rig = rig(Faults::default()).await;
    write(&rig.path("token"), "0123456789abcdef");
    let run = rig.backfill(FROM, TO, &[]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    let line = told(&run);
    assert!(line.contains("您的token不对") && line.contains("SQEP__TUSHARE__TOKEN"), "{line}");
    assert!(!run.err.contains("0123456789abcdef") && !run.out.contains("0123456789abcdef"), "{run:?}");
    assert_eq!(rows(&rig).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_exit_code_2_and_names_api_and_points() {
    let refuse = BTreeMap::from([("adj_factor".to_owned(), Refusal::PermissionNew)]);
    let rig = rig(Faults { refuse, ..Faults::default() }).await;
    let run = rig.backfill(FROM, TO, &[]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    let line = told(&run);
    assert!(line.contains("adj_factor: no permission: it needs 2000 points"), "{line}");
    assert!(line.contains("take \"adjust\" out of fetch.join"), "{line}");
    assert_eq!(rows(&rig).await, 0);
    let without = "fetch.join=[\"st\", \"limits\"]";
    rig.backfill(FROM, TO, &["--set", without]).await.good();
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    assert!(stream.count > 0 && stream.rows.values().all(|bar| bar.adjust.is_none() && bar.st.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_exit_code_1_and_says_until_when() {
    let rates_of = BTreeMap::from([("daily".to_owned(), Rates { per_day: Some(5), ..Rates::default() })]);
    let rig = rig(Faults { rates_of, ..Faults::default() }).await;
    let run = rig.backfill(FROM, TO, &[]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    let line = told(&run);
    assert!(line.contains("daily: quota used up until") && line.contains("00:00:00"), "{line}");
    // The days before that are on the stream, each as a whole; the next run goes on from there.
    rig.fake.set_faults(Faults::default());
    rig.backfill(FROM, TO, &[]).await.good();
    let wanted = common::day_bars(&rig.fake.world(), day(FROM), day(TO));
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    common::assert_same(&stream.rows, &wanted);
    assert_eq!(stream.count, wanted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_one_api_leaves_what_needs_it_and_nothing_else() {
    let rates_of =
        BTreeMap::from([("adj_factor".to_owned(), Rates { per_day: Some(6), ..Rates::default() })]);
    let funds = ["fetch.funds=true", "fetch.indices=[\"000001.SH\"]", "tushare.cache_dir="]
        .map(|set| ["--set", set])
        .concat();
    let rig = rig(Faults { rates_of, ..Faults::default() }).await;
    let run = rig.backfill(FROM, TO, &funds).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    let line = told(&run);
    assert!(
        line.contains("adj_factor: quota used up until") && line.contains("pieces of work left: 17"),
        "{line}"
    );
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    let (funds_of, days) = (rig.fake.world().table("fund_daily").len(), 22);
    let of = |class: Class| stream.rows.values().filter(|bar| bar.symbol.class() == class).count();
    assert_eq!((of(Class::Fund), of(Class::Index)), (funds_of, days), "{run:?}");
    assert!(of(Class::Stock) > 0 && stream.rows.values().all(|bar| bar.adjust.is_some()));
    let spent = run.out.lines().find_map(|line| line.strip_prefix("calls: ")).unwrap();
    let of = |api: &str| -> u32 {
        let count = |of: &str| of.strip_prefix(api)?.trim().parse().ok();
        spent.split(", ").find_map(count).unwrap()
    };
    let asked = of("daily").max(of("suspend_d"));
    // Six days, those that were under way by then, and a first page.
    assert!((6..17).contains(&asked), "calls are spent on days that cannot be done: {spent}");

    rig.fake.set_faults(Faults::default());
    rig.backfill(FROM, TO, &funds).await.good();
    let wanted = common::day_bars(&rig.fake.world(), day(FROM), day(TO));
    let mut stocks = rig.stream::<DayBar>(Kind::BarDay).await.rows;
    stocks.retain(|(symbol, _), _| symbol.class() == Class::Stock);
    common::assert_same(&stocks, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_day_are_no_more_than_configured() {
    let rig = rig(Faults::default()).await;
    let run = rig.backfill(FROM, TO, &["--set", "tushare.calls_day_max.daily=6"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    let line = told(&run);
    assert!(
        line.contains("daily: quota used up until") && line.contains("tushare.calls_day_max.daily is 6"),
        "{line}"
    );
    assert_eq!(rig.fake.calls().iter().filter(|call| call.api == "daily").count(), 6);
    rig.backfill(FROM, TO, &["--set", "tushare.calls_day_max.daily=30"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_exit_code_2_and_says_what_to_do() {
    let rig = rig(Faults::default()).await;
    for (arguments, told) in [
        (vec!["backfill", "--from", "2026-03-31", "--to", "2026-03-02"], "--from 2026-03-31 is after"),
        (vec!["--once", "--set", "fetch.indices=[\"000001.SZ\"]"], "000001.SZ is no index"),
        (vec!["--once", "--set", "fetch.bars_at=4 pm"], "16:00"),
        (vec!["--once", "--set", "fetch.join=[\"volume\"]"], "adjust, st or limits"),
        (vec!["--once", "--set", "fetch.retry_s=7200"], "fetch.retry_s_max is 3600, less than"),
        (vec!["--once", "--set", "tushare.rates.dayly=5"], "no such API"),
        (vec!["--once", "--set", "tushare.calls_day_max.daily=0"], "tushare.calls_day_max.daily is 0"),
        (vec!["--once", "--set", "stream.kind=feature:1d"], "feature:1d"),
        (vec!["--once", "--set", "tushare.token=abc"], "--set tushare.token"),
        (vec!["--once", "--set", "symbol.alias=newest"], "as_given"),
        (vec!["backfill"], "--from"),
    ] {
        let run = rig.run(&arguments).await;
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        assert!(run.err.contains(told), "{arguments:?}: {told} in {run:?}");
    }
    assert!(rig.fake.calls().is_empty());
}
