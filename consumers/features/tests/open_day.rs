//! Minutes over a real server: facts of the day before, after and never; late bars of the open day; two ways to count the
//! opening auction.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod market;
mod world;

use std::{collections::BTreeMap, time::Duration};

use chrono::{NaiveDate, NaiveTime};
use sqep::{Kind, MinuteBar, MinuteFeature, RefDay, Symbol, kind::Grid, marks::Start, symbol::Class};
use sqep_features::{Facts, MinuteFeatures, engine::Engine};
use sqep_testkit::market::{Market, Plan, minutes_of};
use world::{World, batch};

const BARS: Kind = Kind::BarMinute(Grid::M1);
const FEATURES: Kind = Kind::FeatureMinute;

/// Minutes in the order of the clock, all securities together, and what was known of their days.
fn some_days(sessions: usize) -> (Vec<MinuteBar>, Vec<RefDay>) {
    let plan = Plan { seed: 7, symbols: 4, days: sessions, to: "2025-12-31".parse().unwrap() };
    let market = Market::new(&plan, &sqep::Calendar::published()).unwrap();
    let (mut bars, mut refs) = (Vec::new(), Vec::new());
    for symbol in market.securities().iter().map(|security| security.symbol) {
        bars.extend(market.days(symbol).flat_map(|day| minutes_of(7, &day)));
        refs.extend(market.history(symbol).map(|day| day.reference));
    }
    bars.sort_by_key(|bar| (bar.frame, bar.symbol));
    refs.sort_by_key(|day: &RefDay| (day.frame, day.symbol));
    (bars, refs)
}

fn of(bars: &[MinuteBar], refs: &[RefDay]) -> Vec<MinuteFeature> {
    let known: BTreeMap<(Symbol, NaiveDate), Facts> =
        refs.iter().map(|day| ((day.symbol, day.frame), Facts::from(day))).collect();
    batch::<MinuteFeatures>(bars, |bar| {
        known.get(&(bar.symbol, bar.frame.date())).copied().unwrap_or_default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_before_the_open_or_after_the_close_give_the_same_rows() {
    let (bars, refs) = some_days(3);
    let want = of(&bars, &refs);
    assert!(want.iter().any(|row| row.valid), "the market is long enough to be valid");
    for late in [false, true] {
        let world = World::new(BARS).await;
        if late {
            world.publish(BARS, &bars, 500).await;
            world.run::<MinuteFeatures>().await.unwrap();
            let rows = world.rows::<MinuteFeature>(FEATURES).await;
            let share = |row: &MinuteFeature| row.symbol.class() != Class::Index;
            assert!(
                rows.iter().all(|(_, row)| !(share(row) && row.valid)),
                "without a factor no row is valid"
            );
            world.publish(Kind::RefDay, &refs, 500).await;
        } else {
            world.publish(Kind::RefDay, &refs, 500).await;
            world.publish(BARS, &bars, 500).await;
        }
        world.run::<MinuteFeatures>().await.unwrap();
        world.assert_whole::<MinuteFeatures>(&want).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_older_than_those_remembered_are_looked_up() {
    let (bars, refs) = some_days(14);
    let world = World::new(BARS).await;
    world.publish(Kind::RefDay, &refs, 500).await;
    world.publish(BARS, &bars, 2_000).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factor_is_never_carried_to_the_next_day() {
    let (bars, refs) = some_days(3);
    let last = refs.iter().map(|day| day.frame).max().unwrap();
    let known: Vec<RefDay> = refs.iter().filter(|day| day.frame < last).copied().collect();
    let world = World::new(BARS).await;
    world.publish(Kind::RefDay, &known, 500).await;
    world.publish(BARS, &bars, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    let today: Vec<_> =
        world.held::<MinuteFeature>(FEATURES).await.into_values().map(|(_, row)| row).collect();
    let today = today.iter().filter(|row| row.frame.date() == last && row.symbol.class() != Class::Index);
    assert!(today.clone().count() > 100);
    for row in today {
        assert!(!row.valid && row.values[0].is_nan() && !row.values[43].is_nan());
    }
    world.publish(Kind::RefDay, &refs, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_of_the_open_day_may_come_in_any_order() {
    let (bars, refs) = some_days(2);
    let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap();
    let last = bars.iter().map(|bar| bar.frame.date()).max().unwrap();
    let (late, soon): (Vec<_>, Vec<_>) =
        bars.iter().copied().partition(|bar| bar.frame.date() == last && bar.frame.time() < noon);
    let world = World::new(BARS).await;
    world.publish(Kind::RefDay, &refs, 500).await;
    world.publish(BARS, &soon, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    for part in late.rchunks(77) {
        world.publish(BARS, part, 500).await;
        world.run::<MinuteFeatures>().await.unwrap();
    }
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_open_day_that_comes_newest_first_a_row_goes_out_twice_at_most_on_average() {
    let (bars, refs) = some_days(2);
    let last = bars.iter().map(|bar| bar.frame.date()).max().unwrap();
    let (today, before): (Vec<_>, Vec<_>) = bars.iter().copied().partition(|bar| bar.frame.date() == last);
    let backwards: Vec<_> = today.iter().rev().copied().collect();
    let world = World::new(BARS).await;
    world.publish(Kind::RefDay, &refs, 500).await;
    world.publish(BARS, &before, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.publish(BARS, &backwards, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
    let rows = world.rows::<MinuteFeature>(FEATURES).await;
    let rows = rows.iter().filter(|(_, row)| row.frame.date() == last).count();
    assert!(rows <= 2 * today.len(), "{rows} rows of {} bars", today.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_within_a_day_it_gives_the_same_rows() {
    let (bars, refs) = some_days(2);
    let mut world = World::new(BARS).await;
    world.config.features.snapshot_s = 0;
    world.publish(Kind::RefDay, &refs, 500).await;
    for part in bars.chunks(331) {
        world.publish(BARS, part, 500).await;
        world.run::<MinuteFeatures>().await.unwrap();
    }
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_that_comes_while_the_state_is_behind_its_rows_reaches_all_of_them() {
    let (bars, refs) = some_days(2);
    let today = refs.iter().map(|day| day.frame).max().unwrap();
    let (late, known): (Vec<_>, Vec<_>) = refs.iter().copied().partition(|day| day.frame == today);
    let (before, after) = bars.split_at(bars.len() - 300);
    let world = World::new(BARS).await;
    world.publish(Kind::RefDay, &known, 500).await;
    world.publish(BARS, before, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    let snapshot = world.path("state/feature_1m-0.snapshot");
    let old = std::fs::read(&snapshot).unwrap();
    world.publish(BARS, after, 100).await;
    world.run::<MinuteFeatures>().await.unwrap();
    // As after a kill: the rows are on the stream, and the snapshot is the one before them.
    std::fs::write(&snapshot, &old).unwrap();
    world.publish(Kind::RefDay, &late, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
    // Once more, with nothing new: what is done is not done again.
    let rows = world.rows::<MinuteFeature>(FEATURES).await.len();
    std::fs::write(&snapshot, &old).unwrap();
    world.run::<MinuteFeatures>().await.unwrap();
    assert_eq!(world.rows::<MinuteFeature>(FEATURES).await.len(), rows);
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_of_a_past_that_is_given_find_their_facts_in_archive_and_stream() {
    let (bars, refs) = some_days(4);
    let days: Vec<NaiveDate> = {
        let mut days: Vec<_> = refs.iter().map(|day| day.frame).collect();
        days.dedup();
        days
    };
    let (archived, heard): (Vec<_>, Vec<_>) = refs.iter().copied().partition(|day| day.frame <= days[1]);
    let mut world = World::new(BARS).await;
    let root = world.path("archive");
    world.publish(Kind::RefDay, &archived, 500).await;
    world.archive::<RefDay>(Kind::RefDay, &root).await;
    world.trim::<RefDay>(Kind::RefDay).await;
    world.publish(Kind::RefDay, &heard, 500).await;
    world.publish(BARS, &bars, 500).await;
    world.archive::<MinuteBar>(BARS, &root).await;
    world.trim::<MinuteBar>(BARS).await;
    world.config.reader.start = Some(Start::Archive);
    world.config.reader.archive = Some(root);
    world.config.features.past_records_max = 700;
    world.run::<MinuteFeatures>().await.unwrap();
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_minutes_and_corrections_of_a_past_that_is_given_are_computed_with_the_facts_of_the_stream() {
    let (mut bars, refs) = some_days(3);
    let mut world = World::new(BARS).await;
    // A minute of the first day comes after the second day, and another is corrected then.
    let late = bars.remove(500);
    bars.insert(bars.len() - 400, late);
    let fixed = MinuteBar { vol: bars[450].vol + 100.0, ..bars[450] };
    bars.push(fixed);
    world.publish(Kind::RefDay, &refs, 500).await;
    world.publish(BARS, &bars, 300).await;
    world.config.reader.group = Some("second".to_owned());
    world.config.features.past_records_max = 400;
    world.replay::<MinuteBar>(BARS, "second", None).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_yesterday_is_at_hand_in_the_first_minutes_of_today() {
    let (mut bars, refs) = some_days(2);
    let today = bars[bars.len() - 1].frame.date();
    let early = today.and_time(NaiveTime::from_hms_opt(9, 33, 0).unwrap());
    bars.retain(|bar| bar.frame <= early);
    let world = World::new(BARS).await;
    world.publish(Kind::RefDay, &refs, 500).await;
    world.publish(BARS, &bars, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.trim::<MinuteBar>(BARS).await;
    let of_yesterday = |bar: &MinuteBar| bar.frame.date() < today && bar.vol > 0.0;
    let at = bars.iter().rposition(of_yesterday).unwrap();
    bars[at].vol += 100.0;
    world.publish(BARS, &bars[at..=at], 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_far_back_that_come_again_unchanged_put_no_row_out() {
    let (bars, mut refs) = some_days(14);
    for archived in [false, true] {
        let mut world = World::new(BARS).await;
        let root = world.path("archive");
        world.publish(Kind::RefDay, &refs, 500).await;
        world.publish(BARS, &bars, 2_000).await;
        world.run::<MinuteFeatures>().await.unwrap();
        if archived {
            world.archive::<RefDay>(Kind::RefDay, &root).await;
            world.trim::<RefDay>(Kind::RefDay).await;
            world.archive::<MinuteBar>(BARS, &root).await;
            world.config.features.archive = Some(root.clone());
        }
        let rows = world.rows::<MinuteFeature>(FEATURES).await.len();
        world.publish(Kind::RefDay, &refs, 500).await;
        world.run::<MinuteFeatures>().await.unwrap();
        assert_eq!(world.rows::<MinuteFeature>(FEATURES).await.len(), rows, "archived: {archived}");
        // One of them is another now: its rows and those after it, of its security alone.
        let at =
            refs.iter().position(|day| day.symbol.class() != Class::Index && day.adjust.is_some()).unwrap();
        refs[at].adjust = refs[at].adjust.map(|adjust| adjust * 1.5);
        world.publish(Kind::RefDay, &refs, 500).await;
        world.run::<MinuteFeatures>().await.unwrap();
        world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
        let news = world.rows::<MinuteFeature>(FEATURES).await.split_off(rows);
        assert!(!news.is_empty() && news.iter().all(|(_, row)| row.symbol == refs[at].symbol));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_after_a_lost_snapshot_find_the_facts_of_the_archive() {
    let (bars, refs) = some_days(3);
    let mut world = World::new(BARS).await;
    let root = world.path("archive");
    world.config.features.archive = Some(root.clone());
    let (first, rest) = bars.split_at(bars.len() / 2);
    let (second, third) = rest.split_at(rest.len() - 200);
    world.publish(Kind::RefDay, &refs, 500).await;
    world.publish(BARS, first, 500).await;
    world.archive::<MinuteBar>(BARS, &root).await;
    world.publish(BARS, second, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.archive::<RefDay>(Kind::RefDay, &root).await;
    world.trim::<RefDay>(Kind::RefDay).await;
    // Up to the archive's end the state is built, then bars come again whose rows are there already.
    std::fs::remove_file(world.path("state/feature_1m-0.snapshot")).unwrap();
    // The last of them come when nothing is behind any more.
    for part in third.chunks(120) {
        world.publish(BARS, part, 500).await;
        world.run::<MinuteFeatures>().await.unwrap();
    }
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_snapshot_facts_that_are_nowhere_are_null_and_nothing_waits_for_them() {
    let (bars, refs) = some_days(6);
    let mut world = World::new(BARS).await;
    let root = world.path("archive");
    world.config.features.archive = Some(root.clone());
    let days: Vec<NaiveDate> = refs.iter().map(|day| day.frame).collect();
    let today = days[days.len() - 1];
    let (open, past): (Vec<MinuteBar>, Vec<MinuteBar>) =
        bars.iter().copied().partition(|bar| bar.frame.date() == today);
    let (new, old): (Vec<RefDay>, Vec<RefDay>) = refs.iter().copied().partition(|day| day.frame == today);
    world.publish(Kind::RefDay, &old, 500).await;
    world.publish(BARS, &past, 2_000).await;
    world.run::<MinuteFeatures>().await.unwrap();
    let before = world.held::<MinuteFeature>(FEATURES).await;
    // Bars are kept, facts of days nobody archived.
    world.archive::<MinuteBar>(BARS, &root).await;
    world.trim::<RefDay>(Kind::RefDay).await;
    std::fs::remove_file(world.path("state/feature_1m-0.snapshot")).unwrap();
    world.publish(Kind::RefDay, &new, 500).await;
    world.publish(BARS, &open, 2_000).await;
    tokio::time::timeout(Duration::from_secs(60), world.run::<MinuteFeatures>()).await.unwrap().unwrap();
    // As if those days had never had any: null, not valid, and a state that begins anew with the factor.
    let want: BTreeMap<_, _> =
        of(&bars, &new).into_iter().map(|row| ((row.symbol, row.frame), row)).collect();
    let held = world.held::<MinuteFeature>(FEATURES).await;
    let (mut valid, mut not) = (0, 0);
    for (key, (_, row)) in &held {
        if row.frame.date() < today {
            assert_eq!(before.get(key).map(|(_, row)| row), Some(row), "rows that are there stay");
            continue;
        }
        let timeless = MinuteFeatures::timeless(row);
        assert_eq!(Some(&timeless), want.get(&(row.symbol, row.frame)), "{key:?}");
        *(if row.valid { &mut valid } else { &mut not }) += 1;
    }
    assert!(valid > 100 && not > 100, "{valid} rows are valid again, {not} are not");
    // With a snapshot again it is said no more, and nothing is computed twice.
    world.run::<MinuteFeatures>().await.unwrap();
    assert_eq!(world.held::<MinuteFeature>(FEATURES).await, held);
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_that_come_again_after_a_lost_snapshot_find_the_facts_of_the_archive() {
    let (bars, refs) = some_days(3);
    let mut world = World::new(BARS).await;
    let root = world.path("archive");
    world.config.features.archive = Some(root.clone());
    let (first, rest) = bars.split_at(bars.len() - 200);
    world.publish(Kind::RefDay, &refs, 500).await;
    world.publish(BARS, first, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    // Facts are in the archive alone, bars on the stream alone.
    world.archive::<RefDay>(Kind::RefDay, &root).await;
    world.trim::<RefDay>(Kind::RefDay).await;
    std::fs::remove_file(world.path("state/feature_1m-0.snapshot")).unwrap();
    world.publish(BARS, rest, 500).await;
    world.run::<MinuteFeatures>().await.unwrap();
    world.assert_whole::<MinuteFeatures>(&of(&bars, &refs)).await;
}
