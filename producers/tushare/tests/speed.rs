//! Processor time of a row, from the socket to merged bars. Alone in its program: the time of a thread is measured, and no
//! other test may share it.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

#[path = "it/common/mod.rs"]
mod common;

use std::sync::mpsc;

use common::{day, fill_tables, sessions};
use sqep::{Calendar, DayBar};
use sqep_testkit::tushare::{FakeTushare, Faults, TOKEN, World};
use sqep_tushare::{
    client::{Client, ClientSettings},
    config::{AliasChoice, FetchSettings},
    market::{Ground, Question, fetch},
    plan::Dataset,
    state::DayState,
    symbols::Symbols,
    tables::Tables,
};
use tokio_util::sync::CancellationToken;

const FROM: &str = "2026-03-02";
const TO: &str = "2026-03-06";
/// Stocks, funds and indices of the market, as many as there are.
const SECURITIES: usize = 6_500;
/// 5 % of a core at 10,000 rows a second.
const US_A_ROW_MAX: f64 = 5.0;

/// Nanoseconds of processor time of this thread.
fn busy_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// A service in a thread of its own, and how many rows it has.
fn service() -> (String, usize) {
    let (send, receive) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::generated(7, SECURITIES, day(FROM), day(TO));
            fill_tables(&mut world);
            let tables = ["daily", "adj_factor", "stk_limit", "stock_st", "suspend_d"];
            let rows = tables.iter().map(|name| world.table(name).len()).sum();
            let fake = FakeTushare::start(world, Faults::default()).await.unwrap();
            send.send((fake.url(), rows)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receive.recv().unwrap()
}

#[test]
fn a_row_costs_less_than_a_twentieth_of_a_core_at_ten_thousand_a_second() {
    let (base_url, rows) = service();
    let settings = ClientSettings {
        base_url,
        token: vec![TOKEN.into()],
        points: 15_000,
        cache_dir: "".into(),
        ..ClientSettings::default()
    };
    // Everything on this thread, the answers' way to the disk apart.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bars, spent) = runtime.block_on(async {
        let tables =
            Tables::new(Client::new(settings, CancellationToken::new()).unwrap(), AliasChoice::Current);
        let (universe, calendar) = (tables.universe().await.unwrap(), Calendar::published());
        let fetch_settings = FetchSettings::default();
        let ground =
            Ground { tables: &tables, universe: &universe, settings: &fetch_settings, calendar: &calendar };
        let (start, mut bars) = (busy_ns(), 0);
        for day in sessions(day(FROM), day(TO)) {
            let question = Question {
                dataset: Dataset::Stocks,
                day,
                state: DayState::default(),
                before: Symbols::default(),
                tries: 1,
                over: true,
                fresh: false,
                again: false,
            };
            let answer = fetch::<DayBar>(&ground, question).await.unwrap();
            assert!(answer.gaps.is_whole(), "{}", answer.gaps);
            bars += answer.chunk.records.len();
        }
        (bars, busy_ns() - start)
    });
    assert!(bars > 20_000 && rows > 4 * bars / 2, "{bars} bars of {rows} rows");
    let us = spent / 1_000.0 / f64::from(u32::try_from(rows).unwrap());
    assert!(us < US_A_ROW_MAX, "{us:.2} µs a row, {rows} rows");
}
