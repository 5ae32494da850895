//! What a daemon goes on through: quotas, and lists that cannot be read.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use sqep::{Cursors, DayBar, Kind, Source, symbol::Class};
use sqep_testkit::tushare::{Faults, Refusal, Span, World};
use sqep_tushare::{config::FetchSettings, source::Errand};

use crate::common::{
    day, fill_tables,
    office::{Daemon, Office, at},
};

const DAY: &str = "2026-03-03";

fn world() -> World {
    let mut world = World::generated(7, 20, day(DAY), day("2026-03-06"));
    fill_tables(&mut world);
    world
}

async fn daemon(office: &Office) -> Daemon<DayBar> {
    let indices = vec!["000001.SH".to_owned()];
    let fetch = FetchSettings { retry_s: 1, lookback_days: 3, indices, ..FetchSettings::default() };
    let mut source = office.source_with::<DayBar>(Kind::BarDay, Errand::Daemon, fetch);
    source.open(&Cursors::default()).await.unwrap();
    Daemon { source }
}

fn refusing(api: &str, refusal: Refusal) -> Faults {
    Faults { refuse: [(api.to_owned(), refusal)].into(), ..Faults::default() }
}

/// How many rows of the day there are of stocks and of indices.
fn counts(bars: &[DayBar]) -> (usize, usize) {
    let of = |class| bars.iter().filter(|bar| bar.frame == day(DAY) && bar.symbol.class() == class).count();
    (of(Class::Stock), of(Class::Index))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_stops_one_api_and_is_over_at_midnight() {
    let office = Office::open(world(), "2026-03-03 19:05").await;
    office.fake.set_faults(refusing("index_daily", Refusal::RateNew(5, Span::Day)));
    let mut daemon = daemon(&office).await;
    let (stocks, indices) = counts(&daemon.rows().await);
    assert!(stocks > 10 && indices == 0, "the stocks go out");
    let asked = || office.fake.calls().iter().filter(|call| call.api == "index_daily").count();
    assert_eq!(asked(), 1);

    office.fake.set_faults(Faults::default());
    office.set(at("2026-03-03 23:30"));
    assert_eq!(counts(&daemon.rows().await), (0, 0));
    assert_eq!(asked(), 1, "nothing is asked before the quota is filled again");

    office.set(at("2026-03-04 00:01"));
    assert_eq!(counts(&daemon.rows().await), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_on_a_table_that_is_joined_makes_it_late() {
    let office = Office::open(world(), "2026-03-03 16:05").await;
    office.fake.set_faults(refusing("adj_factor", Refusal::RateOld(5, Span::Day)));
    let mut daemon = daemon(&office).await;
    let bars = daemon.rows().await;
    let of_stock = |bar: &&DayBar| bar.frame == day(DAY) && bar.symbol.class() == Class::Stock;
    let today: Vec<&DayBar> = bars.iter().filter(of_stock).collect();
    assert!(today.len() > 10 && today.iter().all(|bar| bar.adjust.is_none() && bar.st.is_some()));

    office.fake.set_faults(Faults::default());
    office.set(at("2026-03-04 00:01"));
    let bars = daemon.rows().await;
    let again: Vec<&DayBar> = bars.iter().filter(of_stock).collect();
    assert_eq!(again.len(), today.len());
    assert!(again.iter().all(|bar| bar.adjust.is_some() && bar.st.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_cannot_be_read_anew_end_no_daemon() {
    for (api, refusal) in [
        ("stock_basic", Refusal::RateNew(3, Span::Hour)),
        ("stock_basic", Refusal::RateNew(3, Span::Minute)),
        ("trade_cal", Refusal::Request),
        ("bse_mapping", Refusal::Server),
        ("stock_basic", Refusal::ApiName),
    ] {
        let office = Office::open(world(), "2026-03-02 23:50").await;
        let mut daemon = daemon(&office).await;
        daemon.rows().await;
        office.fake.set_faults(refusing(api, refusal.clone()));
        office.set(at("2026-03-03 00:01"));
        assert_eq!(daemon.rows().await, []);
        office.set(at("2026-03-03 16:05"));
        assert!(counts(&daemon.rows().await).0 > 10, "{api} {refusal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_has_no_lists_yet_waits_for_them() {
    let office = Office::open(world(), "2026-03-03 16:05").await;
    office.fake.set_faults(refusing("stock_basic", Refusal::Server));
    let mut daemon = daemon(&office).await;
    assert_eq!(daemon.rows().await, []);
    office.fake.set_faults(Faults::default());
    assert!(counts(&daemon.rows().await).0 > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_joined_and_fails_holds_back_no_bars() {
    let misfits = Faults {
        apis: vec!["stk_limit".to_owned()],
        ignores_offset: 1.0,
        caps: [("stk_limit".to_owned(), 5)].into(),
        ..Faults::default()
    };
    for faults in [
        refusing("stk_limit", Refusal::Server),
        refusing("stk_limit", Refusal::RateNew(200, Span::Minute)),
        refusing("stk_limit", Refusal::Request),
        misfits,
    ] {
        let office = Office::open(world(), "2026-03-03 16:05").await;
        office.fake.set_faults(faults.clone());
        let mut daemon = daemon(&office).await;
        let of_stock = |bar: &&DayBar| bar.frame == day(DAY) && bar.symbol.class() == Class::Stock;
        let bars = daemon.rows().await;
        let today: Vec<&DayBar> = bars.iter().filter(of_stock).collect();
        assert!(today.len() > 10, "{faults:?}");
        assert!(today.iter().all(|bar| bar.buy_limit.is_none() && bar.adjust.is_some()), "{faults:?}");

        office.fake.set_faults(Faults::default());
        office.set(at("2026-03-03 21:00"));
        let bars = daemon.rows().await;
        let again: Vec<&DayBar> = bars.iter().filter(of_stock).collect();
        assert_eq!(again.len(), today.len(), "{faults:?}");
        assert!(again.iter().any(|bar| bar.buy_limit.is_some()), "{faults:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_nobody_knows_are_asked_about_again_whatever_their_number() {
    for code in [40_203, 2_002, -2_001] {
        let office = Office::open(world(), "2026-03-03 19:05").await;
        office.fake.set_faults(refusing("daily", Refusal::Other(code, "系统维护中".to_owned())));
        let mut daemon = daemon(&office).await;
        assert_eq!(counts(&daemon.rows().await), (0, 1), "{code}: the index goes out");
        office.fake.set_faults(Faults::default());
        office.set(at("2026-03-03 19:20"));
        assert!(counts(&daemon.rows().await).0 > 10, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_the_account_may_not_ask_leaves_its_dataset_and_nothing_else() {
    for (refusal, api) in [(Refusal::PermissionNew, "index_daily"), (Refusal::ApiName, "index_daily")] {
        let office = Office::open(world(), "2026-03-03 19:05").await;
        office.fake.set_faults(refusing(api, refusal));
        let mut daemon = daemon(&office).await;
        let (stocks, indices) = counts(&daemon.rows().await);
        assert!(stocks > 10 && indices == 0, "the stocks go out");
        office.set(at("2026-03-03 19:55"));
        daemon.rows().await;
        assert_eq!(office.fake.calls().iter().filter(|call| call.api == api).count(), 1);

        office.fake.set_faults(Faults::default());
        office.set(at("2026-03-03 20:06"));
        assert_eq!(counts(&daemon.rows().await), (0, 1), "it was bought");
    }
}
