//! One day through both streams of a daemon of day bars, by the clock: what is known before the open, the bars after the
//! close, and a table that is late.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{collections::BTreeMap, time::Duration};

use sqep::{
    DayBar, Kind, Record, RefDay,
    app::{CalendarSettings, Outward, PublishSettings},
    meter::Meters,
    record::Cell,
    redis::keys::StreamSettings,
};
use sqep_testkit::{TestRedis, tushare::World};
use sqep_tushare::{config::FetchSettings, job::Feed, source::Errand};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::common::{
    self, Stream, day, day_bars, fill_tables,
    office::{Office, at},
    stream,
};

const DAY: &str = "2026-03-03";

/// A day at the service and a server that both streams lie on.
struct Day {
    office: Office,
    redis: TestRedis,
}

impl Day {
    /// A daemon's half for one stream.
    async fn publish<R: Feed>(&self, kind: Kind, stop: &CancellationToken) {
        let fetch = FetchSettings { retry_s: 1, lookback_days: 0, ..FetchSettings::default() };
        let mut source = self.office.source_with::<R>(kind, Errand::Daemon, fetch);
        let outward = Outward {
            redis: &self.redis.settings(),
            stream: &StreamSettings { kind, ..StreamSettings::default() },
            publish: &PublishSettings::default(),
            calendar: &CalendarSettings::default(),
            meters: &Meters::default(),
        };
        outward.publish(&mut source, "tushare", false, stop, |_| {}).await.unwrap();
    }

    async fn stream<R: Record>(&self, kind: Kind) -> Stream<R> {
        stream(&self.redis, kind).await
    }

    async fn entries(&self, kind: Kind) -> u64 {
        self.redis.command(&["XLEN", &format!("sqep:{{{kind}:0}}")]).await.unwrap()
    }

    /// It is this time now, and so many entries of each stream come.
    async fn at(&self, time: &str, refs: u64, bars: u64) {
        self.office.set(at(&format!("{DAY} {time}")));
        let come = async {
            while (self.entries(Kind::RefDay).await, self.entries(Kind::BarDay).await) != (refs, bars) {
                tokio::task::yield_now().await;
            }
        };
        let came = timeout(Duration::from_secs(20), come).await;
        let found = (self.entries(Kind::RefDay).await, self.entries(Kind::BarDay).await);
        assert!(came.is_ok(), "{time}: {found:?} entries, not {refs} and {bars}");
    }
}

/// Every later row of a key knows more than the one before it; returns the fields that the first left null.
fn grown<R: Record>(stream: &Stream<R>) -> Vec<&'static str> {
    let mut rows: BTreeMap<_, Vec<&R>> = BTreeMap::new();
    stream.history.iter().for_each(|row| rows.entry(row.key()).or_default().push(row));
    let nulls = |row: &R| -> Vec<&'static str> {
        let all = R::FIELDS.iter().enumerate().filter(|(at, _)| row.get(*at) == Cell::Null);
        all.map(|(_, field)| field.name).collect()
    };
    let mut first = Vec::new();
    for rows in rows.values() {
        for pair in rows.windows(2) {
            let (before, after) = (nulls(pair[0]), nulls(pair[1]));
            assert!(after.len() < before.len() && after.iter().all(|name| before.contains(name)), "{pair:?}");
        }
        first.extend(nulls(rows[0]));
    }
    first.sort_unstable();
    first.dedup();
    first
}

async fn one_day(late: Option<(&str, &'static str)>) {
    let mut world = World::generated(7, 20, day(DAY), day("2026-03-06"));
    fill_tables(&mut world);
    // Who has no limit at all would look like a row that knows less.
    world.change(
        "stk_limit",
        |_| true,
        |row| {
            let reference = row.number("pre_close").unwrap();
            row.set("up_limit", (reference * 110.0).round() / 100.0);
            row.set("down_limit", (reference * 90.0).round() / 100.0);
        },
    );
    if let Some((api, _)) = late {
        world.set_hour(api, "17:30:00".parse().unwrap());
    }
    let day_of = Day {
        office: Office::open(world, "2026-03-03 08:00").await,
        redis: TestRedis::start().await.unwrap(),
    };
    let stop = CancellationToken::new();
    let through = async {
        let is_late = u64::from(late.is_some());
        day_of.at("09:00", 0, 0).await;
        day_of.at("09:24", 1 - is_late, 0).await;
        day_of.at("09:26", 1, 0).await;
        day_of.at("15:59", 1, 0).await;
        day_of.at("16:01", 1, 1).await;
        day_of.at("17:31", 1 + is_late, 1 + is_late).await;
        day_of.at("20:00", 1 + is_late, 1 + is_late).await;
        stop.cancel();
    };
    tokio::join!(
        day_of.publish::<RefDay>(Kind::RefDay, &stop),
        day_of.publish::<DayBar>(Kind::BarDay, &stop),
        through
    );
    let (refs, bars) =
        (day_of.stream::<RefDay>(Kind::RefDay).await, day_of.stream::<DayBar>(Kind::BarDay).await);
    let wanted = day_bars(&day_of.office.fake.world(), day(DAY), day(DAY));
    common::assert_same(&bars.rows, &wanted);
    assert!(wanted.len() > 10);
    for bar in wanted.values() {
        let known = &refs.rows[&bar.key()];
        assert_eq!((known.adjust, known.st, known.buy_limit), (bar.adjust, bar.st, bar.buy_limit));
    }
    let versions = if late.is_some() { 2 } else { 1 };
    assert_eq!(bars.count, versions * bars.rows.len());
    let nulls = grown(&bars);
    assert_eq!(nulls, grown(&refs));
    assert_eq!(nulls.first().copied(), late.map(|(_, field)| field));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_known_before_the_open_and_its_bars_follow_the_close() {
    Box::pin(one_day(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_late_leaves_a_null_and_comes_as_a_later_version() {
    let late = [("adj_factor", "adjust"), ("stk_limit", "buy_limit"), ("stock_st", "st")];
    let [factors, limits, treatment] = late.map(|late| Box::pin(one_day(Some(late))));
    tokio::join!(factors, limits, treatment);
}
