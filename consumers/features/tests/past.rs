//! What is older than the bars at hand, over a real server: corrections in a past that is given, of a stream that was
//! trimmed, of a server that was emptied. The rows are those of the batch, or stay as they were; nothing stops.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod daily;
mod market;
mod world;

use std::collections::BTreeMap;

use daily::{BARS, FEATURES, corrected, days, of};
use sqep::{DayBar, DayFeature, EntryId, Record, Symbol};
use sqep_features::{
    DayFeatures,
    engine::Engine,
    list::LIST,
    verify::{VerifyArgs, verify},
};
use world::{World, by_day};

/// Bars that are always at hand.
const AT_HAND: usize = 16;

/// A bar that turns out to have been none: nothing was traded.
fn untraded(bar: &DayBar) -> DayBar {
    DayBar { vol: 0.0, amount: Some(0.0), ..*bar }
}

/// Places of the bars of the first security, oldest first.
fn of_first(bars: &[DayBar]) -> Vec<usize> {
    (0..bars.len()).filter(|&at| bars[at].symbol == bars[0].symbol && bars[at].vol > 0.0).collect()
}

/// Bars with late ones, corrections far behind, and their order; and what counts in the end.
fn with_late_news(bars: &[DayBar]) -> (Vec<DayBar>, Vec<DayBar>) {
    let (mut sent, mut late, mut newest) = (Vec::new(), Vec::new(), bars.to_vec());
    for (at, bar) in bars.iter().enumerate() {
        if at % 97 == 11 {
            late.push(*bar);
        } else {
            sent.push(*bar);
        }
        if at % 200 == 199 {
            sent.append(&mut late);
            newest[at - 150] = corrected(&bars[at - 150]);
            newest[at - 120] = untraded(&bars[at - 120]);
            sent.extend([newest[at - 150], newest[at - 120]]);
        }
    }
    sent.append(&mut late);
    (sent, newest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_with_late_bars_and_corrections_is_given_as_it_was_lived() {
    let (sent, newest) = with_late_news(&by_day(&market::days(6, 150)));
    for from_archive in [false, true] {
        let mut world = World::new(BARS).await;
        let root = world.path("archive");
        world.publish(BARS, &sent, 200).await;
        world.archive::<DayBar>(BARS, &root).await;
        world.config.reader.group = Some("second".to_owned());
        world.config.features.past_records_max = 150;
        world.config.features.archive = from_archive.then(|| root.clone());
        world.replay::<DayBar>(BARS, "second", from_archive.then_some(root.as_path())).await;
        world.run::<DayFeatures>().await.unwrap();
        world.assert_whole::<DayFeatures>(&of(&newest)).await;
        // And the stream goes on.
        let more = corrected(&newest[100]);
        world.publish(BARS, &[more], 200).await;
        world.run::<DayFeatures>().await.unwrap();
        let mut newest = newest.clone();
        newest[100] = more;
        world.assert_whole::<DayFeatures>(&of(&newest)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_bars_are_always_at_hand() {
    for cut in 0..AT_HAND {
        let (world, mut bars) = days().await;
        // As many bars of the first security as may be, so that the window ends anywhere.
        let at = of_first(&bars);
        bars.truncate(at[100 + cut] + 1);
        world.publish(BARS, &bars, 400).await;
        world.run::<DayFeatures>().await.unwrap();
        world.trim::<DayBar>(BARS).await;
        let at = of_first(&bars);
        let at = at[at.len() - AT_HAND];
        bars[at] = corrected(&bars[at]);
        world.publish(BARS, &bars[at..=at], 200).await;
        world.run::<DayFeatures>().await.unwrap();
        world.assert_whole::<DayFeatures>(&of(&bars)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_of_what_is_nowhere_any_more_stops_nothing_and_changes_nothing() {
    let (world, bars) = days().await;
    let (first, second) = bars.split_at(600);
    world.publish(BARS, first, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.trim::<DayBar>(BARS).await;
    world.publish(BARS, &[corrected(&bars[0]), corrected(&bars[31])], 200).await;
    world.publish(BARS, second, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    assert_eq!(world.rows::<DayFeature>(FEATURES).await.len(), of(&bars).len(), "each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bars_of_a_security_corrected_at_once_cost_each_row_once() {
    let (world, mut bars) = days().await;
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let before = world.rows::<DayFeature>(FEATURES).await.len();
    let places = of_first(&bars);
    let fixed: Vec<DayBar> = places.iter().map(|&at| corrected(&bars[at])).collect();
    places.iter().zip(&fixed).for_each(|(&at, bar)| bars[at] = *bar);
    world.publish(BARS, &fixed, 1_000).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    assert_eq!(world.rows::<DayFeature>(FEATURES).await.len() - before, fixed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_server_was_emptied_nothing_wrong_goes_out() {
    let (world, bars) = days().await;
    let (first, second) = bars.split_at(600);
    world.publish(BARS, first, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let _: String = world.redis.command(&["FLUSHALL"]).await.unwrap();
    world.publish(BARS, &second[..100], 200).await;
    world.run::<DayFeatures>().await.unwrap();
    // Older than the bars at hand, and nowhere any more.
    world.publish(BARS, &[corrected(&bars[0]), corrected(&bars[200])], 200).await;
    world.publish(BARS, &second[100..], 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let want: BTreeMap<(Symbol, i64), DayFeature> =
        of(&bars).iter().map(|row| (row.key(), DayFeatures::timeless(row))).collect();
    let held = world.held::<DayFeature>(FEATURES).await;
    for (key, (_, row)) in &held {
        assert_eq!(Some(&DayFeatures::timeless(row)), want.get(key), "{key:?}");
    }
    for row in of(second) {
        assert!(held.contains_key(&row.key()), "{:?}", row.key());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_server_was_emptied_the_archive_still_has_the_past() {
    let (mut world, mut bars) = days().await;
    let root = world.path("archive");
    world.config.features.archive = Some(root.clone());
    let (first, second) = bars.split_at(600);
    world.publish(BARS, first, 200).await;
    world.archive::<DayBar>(BARS, &root).await;
    world.run::<DayFeatures>().await.unwrap();
    world.archive::<DayFeature>(FEATURES, &root).await;
    let _: String = world.redis.command(&["FLUSHALL"]).await.unwrap();
    world.publish(BARS, second, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    bars[0] = corrected(&bars[0]);
    world.publish(BARS, &bars[..1], 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.archive::<DayBar>(BARS, &root).await;
    world.archive::<DayFeature>(FEATURES, &root).await;
    let args = VerifyArgs { archive: root, features: None, day: Vec::new() };
    verify::<DayFeatures>(&args, &std::sync::Arc::new(sqep::Calendar::published())).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_corrected_to_no_volume_has_its_row_withdrawn() {
    let (mut world, mut bars) = days().await;
    world.config.features.latest = true;
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    // One far behind, and the newest.
    let places = of_first(&bars);
    for at in [places[20], places[places.len() - 1]] {
        bars[at] = untraded(&bars[at]);
        world.publish(BARS, &bars[at..=at], 200).await;
        world.run::<DayFeatures>().await.unwrap();
        let (_, row) = world.held::<DayFeature>(FEATURES).await[&bars[at].key()];
        assert!(DayFeatures::is_withdrawn(&row) && !row.valid, "{row:?}");
        world.assert_whole::<DayFeatures>(&of(&bars)).await;
    }
    // By one feature a reader tells them from all others.
    let susp_gap = LIST.iter().position(|feature| feature.name == "susp_gap").unwrap();
    for (_, row) in world.rows::<DayFeature>(FEATURES).await {
        assert_eq!(row.values[susp_gap].is_nan(), DayFeatures::is_withdrawn(&row), "{row:?}");
    }
    let key = format!("sqep:{{feature:1d:0}}:latest:{}", bars[0].symbol.get());
    let frame: String = world.redis.command(&["HGET", &key, "frame"]).await.unwrap();
    assert_eq!(frame, bars[places[places.len() - 2]].frame.to_string(), "the newest row is the one before");
    let root = world.path("archive");
    world.archive::<DayBar>(BARS, &root).await;
    world.archive::<DayFeature>(FEATURES, &root).await;
    let args = VerifyArgs { archive: root, features: None, day: Vec::new() };
    verify::<DayFeatures>(&args, &std::sync::Arc::new(sqep::Calendar::published())).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_row_that_a_server_lost_is_withdrawn_again() {
    for archived in [false, true] {
        let (mut world, mut bars) = days().await;
        let root = world.path("archive");
        world.config.features.archive = archived.then(|| root.clone());
        world.publish(BARS, &bars, 200).await;
        world.run::<DayFeatures>().await.unwrap();
        let cursor = "sqep:{feature:1d:0}:cursor:features";
        let before: Vec<String> = world.redis.command(&["HGETALL", cursor]).await.unwrap();
        let kept = world.rows::<DayFeature>(FEATURES).await.len();
        let at = of_first(&bars)[20];
        bars[at] = untraded(&bars[at]);
        world.publish(BARS, &bars[at..=at], 200).await;
        world.run::<DayFeatures>().await.unwrap();
        world.archive::<DayBar>(BARS, &root).await;
        // As after a crash: the rows are gone with their cursor, the bar is not.
        for (version, _) in world.rows::<DayFeature>(FEATURES).await.drain(kept..) {
            let id = EntryId::of_version(version).to_string();
            let _: i64 = world.redis.command(&["XDEL", "sqep:{feature:1d:0}", &id]).await.unwrap();
        }
        let words: Vec<&str> =
            ["HSET", cursor].into_iter().chain(before.iter().map(String::as_str)).collect();
        let _: i64 = world.redis.command(&words).await.unwrap();
        assert_eq!(world.rows::<DayFeature>(FEATURES).await.len(), kept);
        world.publish(BARS, &bars[..1], 200).await;
        world.run::<DayFeatures>().await.unwrap();
        world.assert_whole::<DayFeatures>(&of(&bars)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_archive_with_a_hole_no_row_goes_out() {
    let (mut world, bars) = days().await;
    let root = world.path("archive");
    world.config.features.archive = Some(root.clone());
    world.publish(BARS, &bars, 200).await;
    world.archive::<DayBar>(BARS, &root).await;
    world.run::<DayFeatures>().await.unwrap();
    world.trim::<DayBar>(BARS).await;
    let rows = world.rows::<DayFeature>(FEATURES).await;
    // One month of the middle is gone.
    let months = std::fs::read_dir(root.join("bar_1d")).unwrap().map(|entry| entry.unwrap().path());
    let mut months: Vec<_> = months.filter(|path| path.is_dir()).collect();
    months.sort();
    std::fs::remove_dir_all(&months[months.len() / 2]).unwrap();
    let places = of_first(&bars);
    world.publish(BARS, &[corrected(&bars[places[3]]), untraded(&bars[places[5]])], 200).await;
    world.run::<DayFeatures>().await.unwrap();
    assert_eq!(world.rows::<DayFeature>(FEATURES).await, rows, "rows stay as they were");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newest_row_that_is_withdrawn_with_none_before_it_at_hand_is_kept_no_longer() {
    let (mut world, mut bars) = days().await;
    world.config.features.latest = true;
    // The first security is not traded for longer than bars are at hand.
    let places = of_first(&bars);
    let newest = places.len() - AT_HAND - 5;
    places[newest + 1..].iter().for_each(|&at| bars[at] = untraded(&bars[at]));
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let key = format!("sqep:{{feature:1d:0}}:latest:{}", bars[0].symbol.get());
    let frame: String = world.redis.command(&["HGET", &key, "frame"]).await.unwrap();
    assert_eq!(frame, bars[places[newest]].frame.to_string());
    // One before it changes nothing of that, the newest takes it away.
    for (at, kept) in [(newest - 3, 1), (newest, 0)] {
        let at = places[at];
        bars[at] = untraded(&bars[at]);
        world.publish(BARS, &bars[at..=at], 200).await;
        world.run::<DayFeatures>().await.unwrap();
        let exists: i64 = world.redis.command(&["EXISTS", &key]).await.unwrap();
        assert_eq!(exists, kept);
    }
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_row_is_right_again_after_a_crash() {
    let (mut world, bars) = days().await;
    world.config.features.latest = true;
    let (first, second) = bars.split_at(600);
    world.publish(BARS, first, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let key = format!("sqep:{{feature:1d:0}}:latest:{}", bars[0].symbol.get());
    let stale: Vec<String> = world.redis.command(&["HGETALL", &key]).await.unwrap();
    world.publish(BARS, second, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let newest: BTreeMap<String, String> = world.redis.command(&["HGETALL", &key]).await.unwrap();
    // As if the crash had come between the rows and their copies.
    let words: Vec<&str> = ["HSET", &key].into_iter().chain(stale.iter().map(String::as_str)).collect();
    let _: i64 = world.redis.command(&words).await.unwrap();
    world.run::<DayFeatures>().await.unwrap();
    let now: BTreeMap<String, String> = world.redis.command(&["HGETALL", &key]).await.unwrap();
    assert_eq!(now, newest);
}

/// Bytes a server has sent since it was last asked to count anew.
async fn sent(world: &World) -> u64 {
    let stats: String = world.redis.command(&["INFO", "stats"]).await.unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap();
    let sent = line.trim().parse().unwrap();
    let _: String = world.redis.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_beside_an_archive_reads_the_stream_once() {
    let (mut world, mut bars) = days().await;
    let root = world.path("archive");
    world.config.features.archive = Some(root.clone());
    world.publish(BARS, &bars[..100], 50).await;
    world.archive::<DayBar>(BARS, &root).await;
    world.publish(BARS, &bars[100..], 50).await;
    world.run::<DayFeatures>().await.unwrap();
    bars[0] = corrected(&bars[0]);
    world.publish(BARS, &bars[..1], 50).await;
    sent(&world).await;
    world.rows::<DayBar>(BARS).await;
    let once = sent(&world).await;
    world.run::<DayFeatures>().await.unwrap();
    let corrected = sent(&world).await;
    assert!(corrected < once * 3 / 2, "{corrected} bytes, the stream is {once}");
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_that_never_had_a_row_gets_no_withdrawn_one() {
    for archived in [false, true] {
        let (mut world, mut bars) = days().await;
        let root = world.path("archive");
        world.config.features.archive = archived.then(|| root.clone());
        let places = of_first(&bars);
        bars[places[20]] = untraded(&bars[places[20]]);
        let late = untraded(&bars[places[10]]);
        let sent: Vec<DayBar> = bars.iter().filter(|bar| bar.key() != late.key()).copied().collect();
        world.publish(BARS, &sent, 200).await;
        if archived {
            world.archive::<DayBar>(BARS, &root).await;
        }
        world.run::<DayFeatures>().await.unwrap();
        bars[places[5]] = corrected(&bars[places[5]]);
        bars[places[10]] = late;
        // After an archive's first row of a bar nobody can tell whether there was another before.
        let news = [bars[places[5]], late];
        world.publish(BARS, if archived { &news[..1] } else { &news }, 200).await;
        world.run::<DayFeatures>().await.unwrap();
        let rows = world.rows::<DayFeature>(FEATURES).await;
        assert!(rows.iter().all(|(_, row)| !DayFeatures::is_withdrawn(row)), "archived: {archived}");
        world.assert_whole::<DayFeatures>(&of(&bars)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_withdrawn_also_where_the_archive_does_not_tell_that_there_was_one() {
    let (mut world, mut bars) = days().await;
    let root = world.path("archive");
    world.config.features.archive = Some(root.clone());
    world.publish(BARS, &bars, 200).await;
    world.archive::<DayBar>(BARS, &root).await;
    world.run::<DayFeatures>().await.unwrap();
    let at = of_first(&bars)[20];
    bars[at] = untraded(&bars[at]);
    world.publish(BARS, &bars[at..=at], 200).await;
    // Of each bar the newest version is left.
    world.archive::<DayBar>(BARS, &root).await;
    let compacted = sqep_parquet::compact_root(&root, sqep_parquet::Options::default()).unwrap();
    assert!(compacted.failed.is_empty() && !compacted.compacted.is_empty());
    world.run::<DayFeatures>().await.unwrap();
    let (_, row) = world.held::<DayFeature>(FEATURES).await[&bars[at].key()];
    assert!(DayFeatures::is_withdrawn(&row), "{row:?}");
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
}
