//! The program's loops over a real server: whatever comes, in whatever order, the features are those of the batch.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod daily;
mod market;
mod world;

use std::time::Duration;

use daily::{BARS, FEATURES, corrected, days, of};
use sqep::{DayBar, DayFeature, EntryId, Record, marks::Start, redis::keys::Keys, symbol::Class};
use sqep_features::{
    DayFeatures,
    verify::{VerifyArgs, verify},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_gives_every_bar_its_row_and_a_second_run_adds_nothing() {
    let (world, bars) = days().await;
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    let rows = world.rows::<DayFeature>(FEATURES).await.len();
    world.run::<DayFeatures>().await.unwrap();
    assert_eq!(world.rows::<DayFeature>(FEATURES).await.len(), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_features_that_another_feeds_ends_the_program_with_that_word() {
    let (world, bars) = days().await;
    world.publish(BARS, &bars, 200).await;
    world.redis.command::<String>(&["SET", "sqep:{feature:1d:0}:source", "another"]).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), world.run::<DayFeatures>()).await;
    let error = ended.expect("it ends").unwrap_err().to_string();
    assert!(error.contains("is fed by source \"another\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_names_the_version_of_its_bar() {
    let (world, bars) = days().await;
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let versions = world.held::<DayBar>(BARS).await;
    for (key, (_, row)) in world.held::<DayFeature>(FEATURES).await {
        assert_eq!(row.bar_version, versions[&key].0);
        assert_eq!(row.set, sqep_features::Length::Day.set());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_between_any_batches_it_gives_the_same_rows() {
    let (mut world, bars) = days().await;
    world.config.features.snapshot_s = 0;
    for part in bars.chunks(97) {
        world.publish(BARS, part, 1_000).await;
        world.run::<DayFeatures>().await.unwrap();
    }
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    assert_eq!(world.rows::<DayFeature>(FEATURES).await.len(), of(&bars).len(), "each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_sent_again_change_nothing() {
    let (world, bars) = days().await;
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let rows = world.rows::<DayFeature>(FEATURES).await;
    world.publish(BARS, &bars, 300).await;
    world.run::<DayFeatures>().await.unwrap();
    assert_eq!(world.rows::<DayFeature>(FEATURES).await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_changes_rows_from_its_bar_on_and_of_its_security_alone() {
    let (world, mut bars) = days().await;
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let before = world.rows::<DayFeature>(FEATURES).await.len();
    let at = bars.iter().position(|bar| bar.vol > 0.0 && bar.frame >= bars[300].frame).unwrap();
    bars[at] = corrected(&bars[at]);
    world.publish(BARS, &bars[at..=at], 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    let rows = world.rows::<DayFeature>(FEATURES).await;
    assert!(rows.len() > before);
    for (_, row) in &rows[before..] {
        assert_eq!(row.symbol, bars[at].symbol);
        assert!(row.frame >= bars[at].frame);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_of_the_last_day_needs_no_look_at_the_past() {
    let (world, mut bars) = days().await;
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let before = world.rows::<DayFeature>(FEATURES).await.len();
    let at = bars.len() - 1;
    bars[at] = corrected(&bars[at]);
    world.publish(BARS, &bars[at..], 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    assert_eq!(world.rows::<DayFeature>(FEATURES).await.len(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_first_history_is_legal() {
    let (world, bars) = days().await;
    let mut backwards: Vec<_> = bars.iter().rev().copied().collect();
    // Days backwards, and within a part days forwards, as services answer.
    backwards.chunks_mut(120).for_each(<[DayBar]>::reverse);
    for part in backwards.chunks(240) {
        world.publish(BARS, part, 120).await;
        world.run::<DayFeatures>().await.unwrap();
    }
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_history_that_comes_newest_first_a_row_goes_out_twice_at_most_on_average() {
    let (mut world, bars) = days().await;
    world.config.features.records_max = 100;
    let backwards: Vec<_> = bars.iter().rev().copied().collect();
    world.publish(BARS, &backwards, 5).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    let rows = world.rows::<DayFeature>(FEATURES).await.len();
    assert!(rows <= 2 * bars.len(), "{rows} rows of {} bars", bars.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_comes_newest_first_is_whole_though_nothing_readable_follows_it() {
    let (mut world, mut bars) = days().await;
    world.config.features.records_max = 100;
    // The last batch with bars is full: what follows comes alone.
    bars.drain(..bars.len() % 100);
    let backwards: Vec<_> = bars.iter().rev().copied().collect();
    world.publish(BARS, &backwards, 5).await;
    let stream = Keys::new(&world.config.stream.prefix, BARS, 0);
    for _ in 0..200 {
        world.redis.command::<String>(&["XADD", stream.stream(), "*", "v", "9", "p", "later"]).await.unwrap();
    }
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factor_that_comes_late_is_computed_with() {
    let (world, bars) = days().await;
    let late: Vec<DayBar> = bars.iter().map(|bar| DayBar { adjust: None, ..*bar }).collect();
    world.publish(BARS, &late, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let rows = world.rows::<DayFeature>(FEATURES).await;
    let share = |row: &DayFeature| row.symbol.class() != Class::Index;
    assert!(rows.iter().all(|(_, row)| !(share(row) && row.valid)), "no factor, no valid row");
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_lost_spoilt_or_of_another_set_is_built_anew() {
    let (world, bars) = days().await;
    let (first, second) = bars.split_at(500);
    world.publish(BARS, first, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let path = world.path("state/feature_1d-0.snapshot");
    let good = std::fs::read(&path).unwrap();
    let other_set = String::from_utf8_lossy(&good).replacen("\"set\":", "\"set\":9", 1).into_bytes();
    let parts: Vec<_> = second.chunks(100).collect();
    for (part, bad) in parts.iter().zip([None, Some(good[..good.len() / 2].to_vec()), Some(other_set)]) {
        match bad {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        world.publish(BARS, part, 200).await;
        world.run::<DayFeatures>().await.unwrap();
    }
    let sent: Vec<DayBar> = first.iter().chain(parts[..3].iter().copied().flatten()).copied().collect();
    world.assert_whole::<DayFeatures>(&of(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_bars_are_partitions_of_features() {
    let (mut world, bars) = days().await;
    world.config.stream.partitions = 3;
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    let rows = world.rows::<DayFeature>(FEATURES).await;
    assert!(rows.iter().any(|(_, row)| row.symbol().get() % 3 == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_server_lost_are_put_on_the_stream_again() {
    let (world, bars) = days().await;
    let (first, second) = bars.split_at(600);
    world.publish(BARS, first, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let cursor = "sqep:{feature:1d:0}:cursor:features";
    let before: Vec<String> = world.redis.command(&["HGETALL", cursor]).await.unwrap();
    let kept = world.rows::<DayFeature>(FEATURES).await.len();
    world.publish(BARS, second, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    // As after a crash: the last entries are gone, and the cursor stands where it stood with them.
    let rows = world.rows::<DayFeature>(FEATURES).await;
    let mut lost: Vec<u64> = rows[kept..].iter().map(|(version, _)| *version).collect();
    lost.dedup();
    assert!(!lost.is_empty());
    for version in lost {
        let id = EntryId::of_version(version).to_string();
        let _: i64 = world.redis.command(&["XDEL", "sqep:{feature:1d:0}", &id]).await.unwrap();
    }
    let words: Vec<&str> = ["HSET", cursor].into_iter().chain(before.iter().map(String::as_str)).collect();
    let _: i64 = world.redis.command(&words).await.unwrap();
    world.publish(BARS, &bars[..1], 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_holds_no_more_is_computed_from_the_archive() {
    let (mut world, mut bars) = days().await;
    let root = world.path("archive");
    world.config.features.archive = Some(root.clone());
    let (first, second) = bars.split_at(600);
    world.publish(BARS, first, 200).await;
    world.archive::<DayBar>(BARS, &root).await;
    world.run::<DayFeatures>().await.unwrap();
    world.trim::<DayBar>(BARS).await;
    // A lost snapshot, then an old correction, both without the stream's past.
    std::fs::remove_file(world.path("state/feature_1d-0.snapshot")).unwrap();
    world.publish(BARS, second, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    let at = bars.iter().position(|bar| bar.vol > 0.0).unwrap();
    bars[at] = corrected(&bars[at]);
    world.publish(BARS, &bars[at..=at], 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    world.archive::<DayBar>(BARS, &root).await;
    world.archive::<DayFeature>(FEATURES, &root).await;
    let args = VerifyArgs { archive: root, features: None, day: Vec::new() };
    let calendar = std::sync::Arc::new(sqep::Calendar::published());
    verify::<DayFeatures>(&args, &calendar).unwrap();
    let one = VerifyArgs { day: vec![bars[700].frame], ..args };
    verify::<DayFeatures>(&one, &calendar).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_tells_an_archive_whose_bars_were_corrected_and_whose_features_were_not() {
    let (world, bars) = days().await;
    let root = world.path("archive");
    world.publish(BARS, &bars, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    world.archive::<DayFeature>(FEATURES, &root).await;
    world.publish(BARS, &[corrected(&bars[bars.len() - 1])], 200).await;
    world.archive::<DayBar>(BARS, &root).await;
    let args = VerifyArgs { archive: root, features: None, day: Vec::new() };
    let told = verify::<DayFeatures>(&args, &std::sync::Arc::new(sqep::Calendar::published())).unwrap_err();
    assert!(told.to_string().starts_with("1 days differ"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_names_another_set_and_is_not_hidden_by_a_day_that_is_nowhere() {
    let (world, bars) = days().await;
    let root = world.path("archive");
    world.publish(BARS, &bars, 200).await;
    world.archive::<DayBar>(BARS, &root).await;
    world.run::<DayFeatures>().await.unwrap();
    world.archive::<DayFeature>(FEATURES, &root).await;
    let newest = bars[bars.len() - 1].frame;
    let told = |of: &std::path::Path| {
        let day = vec!["1991-01-02".parse().unwrap(), newest];
        let args = VerifyArgs { archive: root.clone(), features: Some(of.to_owned()), day };
        verify::<DayFeatures>(&args, &std::sync::Arc::new(sqep::Calendar::published()))
            .unwrap_err()
            .to_string()
    };
    assert!(told(&root).contains("no row of it"), "{}", told(&root));
    // As a program of other formulas left it.
    let (other, rows) = (world::World::new(FEATURES).await, world.rows::<DayFeature>(FEATURES).await);
    let of_seven: Vec<_> = rows.iter().map(|(_, row)| DayFeature { set: 7, ..*row }).collect();
    other.publish(FEATURES, &of_seven, 200).await;
    let before = other.path("archive");
    other.archive::<DayFeature>(FEATURES, &before).await;
    assert!(told(&before).starts_with("1 days differ"), "{}", told(&before));
    assert!(told(&before).contains("rows are of set 7, this program computes"), "{}", told(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_may_begin_with_an_archive() {
    let (mut world, bars) = days().await;
    let root = world.path("archive");
    let (first, second) = bars.split_at(600);
    world.publish(BARS, first, 200).await;
    world.archive::<DayBar>(BARS, &root).await;
    world.trim::<DayBar>(BARS).await;
    world.publish(BARS, second, 200).await;
    world.config.reader.start = Some(Start::Archive);
    world.config.reader.archive = Some(root);
    world.run::<DayFeatures>().await.unwrap();
    world.assert_whole::<DayFeatures>(&of(&bars)).await;
    world.run::<DayFeatures>().await.unwrap();
    assert_eq!(world.rows::<DayFeature>(FEATURES).await.len(), of(&bars).len(), "each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_row_of_a_security_is_read_by_name() {
    let (mut world, bars) = days().await;
    world.config.features.latest = true;
    let (first, second) = bars.split_at(600);
    for part in [first, second, &bars[..10]] {
        world.publish(BARS, part, 200).await;
        world.run::<DayFeatures>().await.unwrap();
    }
    let row =
        *of(&bars).iter().filter(|row| row.symbol == bars[0].symbol).max_by_key(|row| row.frame).unwrap();
    let key = format!("sqep:{{feature:1d:0}}:latest:{}", row.symbol.get());
    let text = |field: &'static str| {
        let key = key.clone();
        let world = &world;
        async move { world.redis.command::<String>(&["HGET", &key, field]).await.unwrap() }
    };
    assert_eq!(text("frame").await, row.frame.to_string());
    assert_eq!(text("close_pos").await, row.values[39].to_string());
    assert_eq!(text("valid").await, u8::from(row.valid).to_string());
    let expires: i64 = world.redis.command(&["TTL", &key]).await.unwrap();
    assert!((1..=264 * 3_600).contains(&expires));
    let program = readme_program("reader latest")
        .replace("redis://localhost", &world.redis.url().replace("redis+unix", "unix"))
        .replace("1_600_000", &row.symbol.get().to_string());
    let script = world.path("reader.py");
    std::fs::write(&script, format!("{program}\nprint(row['close_pos'], row['bar_version'])\n")).unwrap();
    let python =
        std::env::var("SQEP_PYTHON").expect("SQEP_PYTHON names a python with redis-py: make test sets it");
    let output = std::process::Command::new(python).arg(&script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let (close_pos, version) = said.trim().split_once(' ').unwrap();
    assert_eq!(close_pos.parse::<f64>().unwrap().to_bits(), row.values[39].to_bits());
    assert_eq!(version, text("bar_version").await, "to the last digit");
}

/// A program of the README, as it stands there.
fn readme_program(name: &str) -> String {
    let readme = include_str!("../README.md");
    let begin = format!("```python {name}\n");
    let at = readme.find(&begin).unwrap_or_else(|| panic!("README.md has no {name:?}")) + begin.len();
    readme[at..].split("```").next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_lost_with_the_bars_it_was_made_of_ends_the_program_with_what_to_do() {
    let (world, bars) = days().await;
    let (first, second) = bars.split_at(600);
    world.publish(BARS, first, 200).await;
    world.run::<DayFeatures>().await.unwrap();
    let rows = world.rows::<DayFeature>(FEATURES).await;
    world.trim::<DayBar>(BARS).await;
    std::fs::remove_file(world.path("state/feature_1d-0.snapshot")).unwrap();
    world.publish(BARS, second, 200).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), world.run::<DayFeatures>()).await;
    let error = ended.expect("it ends").unwrap_err().to_string();
    assert!(error.contains("was trimmed up to") && error.contains("features.archive"), "{error}");
    assert_eq!(world.rows::<DayFeature>(FEATURES).await, rows, "no row of a part of the past");
}
