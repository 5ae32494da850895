//! The whole market of two days as it was, when the folder of real data is given (`SQEP_DATA`).

mod common;

use std::path::PathBuf;

use common::{Rig, assert_same, day, day_bars};
use sqep::{DayBar, Kind};
use sqep_testkit::tushare::{Faults, World};

#[tokio::test(flavor = "multi_thread")]
async fn two_days_of_the_whole_market_equal_the_files() {
    let Some(folder) = std::env::var_os("SQEP_DATA").map(PathBuf::from) else { return };
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
    rig.backfill("2025-03-31", "2025-04-01", &[]).await.good();
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    let wanted = day_bars(&rig.fake.world(), from, to);
    assert!(wanted.len() > 10_700, "{}", wanted.len());
    assert_same(&stream.rows, &wanted);
    assert!(stream.rows.values().all(|bar| bar.adjust.is_some() && bar.st.is_some()));
    let st = stream.rows.values().filter(|bar| bar.st == Some(true)).count();
    assert!((200..=268).contains(&st), "{st} of the 268 on the list traded");
}
