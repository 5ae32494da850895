//! The whole market of two days as it was, when the folder of real data is given (`SQEP_DATA`).

use sqep::{DayBar, Kind};
use sqep_testkit::{
    given::data,
    tushare::{Faults, World},
};

use crate::common::{Rig, assert_same, day, day_bars};

/// Six a day, and of four tables a first page that is not trusted.
const CALLS: usize = 2 * 6 + 4;
/// Bars of the two days that have no limit at all.
const WITHOUT_LIMITS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn two_days_of_the_whole_market_equal_the_files() {
    let Some(folder) = data() else { return };
    let (from, to) = (day("2025-03-31"), day("2025-04-01"));
    let real = tempfile::tempdir().unwrap();
    for (file, name) in [
        ("daily_20250331_20250401.csv", "daily.csv"),
        ("adj_factor_20250331_20250401.csv", "adj_factor.csv"),
        ("stk_limit_20250331_20250401.csv", "stk_limit.csv"),
        ("st_20250331_20250401.csv", "stock_st.csv"),
    ] {
        let from = folder.join("tushare/derived_from_quantide").join(file);
        std::fs::copy(from, real.path().join(name)).unwrap();
    }
    let rig = Rig::start(World::from_csv(real.path()).unwrap(), Faults::default()).await;
    let run = rig.backfill("2025-03-31", "2025-04-01", &[]).await.good();
    assert!(run.out.contains(&format!("plan: {CALLS} calls, ")), "{run:?}");
    let by_day = rig.fake.calls().iter().filter(|call| call.params.contains_key("trade_date")).count();
    assert_eq!(by_day, CALLS);
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    let wanted = day_bars(&rig.fake.world(), from, to);
    assert!(wanted.len() > 10_700, "{}", wanted.len());
    assert_same(&stream.rows, &wanted);
    assert!(stream.rows.values().all(|bar| bar.adjust.is_some() && bar.st.is_some()));
    let bar = |symbol: &str, on: &str| {
        *stream.rows.values().find(|bar| bar.symbol.to_string() == symbol && bar.frame == day(on)).unwrap()
    };
    // Days without a limit, which the files write as 999999.999 or 99999.999 and 0.01.
    for (symbol, on, limits) in [
        ("301535.SZ", "2025-03-31", (None, None)),
        ("301535.SZ", "2025-04-01", (None, None)),
        ("301616.SZ", "2025-03-31", (None, None)),
        ("301616.SZ", "2025-04-01", (None, None)),
        ("688757.SH", "2025-03-31", (None, None)),
        ("688757.SH", "2025-04-01", (Some(28.55), Some(19.03))),
        ("000001.SZ", "2025-03-31", (Some(12.49), Some(10.22))),
    ] {
        let bar = bar(symbol, on);
        assert_eq!((bar.buy_limit, bar.sell_limit), limits, "{symbol} {on}");
    }
    let first = bar("000001.SZ", "2025-03-31");
    assert_eq!((first.open, first.high, first.low, first.close), (11.36, 11.38, 11.26, 11.26));
    assert_eq!(
        (first.vol, first.amount, first.adjust),
        (111_612_564.0, Some(1_262_598_263.0), Some(127.7841))
    );
    assert_eq!((first.st, bar("000040.SZ", "2025-03-31").st), (Some(false), Some(true)));
    let without = stream.rows.values().filter(|bar| bar.buy_limit.is_none() && bar.sell_limit.is_none());
    assert_eq!(without.count(), WITHOUT_LIMITS);
    let st = stream.rows.values().filter(|bar| bar.st == Some(true)).count();
    assert!((200..=268).contains(&st), "{st} of the 268 on the list traded");
}
