//! A whole day from a seed: every bar of it comes, with its last values, whatever happens.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{collections::BTreeMap, sync::Arc};

use chrono::TimeDelta;
use sqep::{MinuteBar, Reason, Record, Source, Symbol};
use sqep_qmt::live::LiveSource;
use tokio::sync::mpsc;

use super::{
    bench::{World, plan},
    pc::{CODES, Pc, labels, row},
};
use crate::common::at;

/// One day: pushes every three seconds of what is running, with faults from the seed.
async fn day(seed: u64, faults: bool, deaf: &[&str], restarts: u64) -> World {
    let (mut pc, happened) = Pc::new(seed, "2025-01-02T09:29:57");
    let now = Arc::clone(&pc.now);
    let mut source = LiveSource::<MinuteBar>::new(plan(&now), happened).unwrap();
    let mut world = World::default();
    source.open(&world.cursors.clone()).await.unwrap();
    pc.come().await;
    let mut away = 0;
    for wall in labels() {
        for step in 1..=20 {
            pc.set(wall - TimeDelta::seconds(60 - 3 * step));
            away -= i64::from(away > 0);
            if away == 0 && pc.said.is_none() {
                pc.come().await;
            }
            pc.answer().await;
            pc.pushes(wall, step, faults, deaf).await;
            world.read(&mut source).await;
            if restarts > 0 && pc.dice.one_in(restarts) {
                // A process that ends, and another that takes up at what is stored.
                let (events, happened) = mpsc::channel(100_000);
                (pc.events, pc.said) = (events, None);
                source = LiveSource::new(plan(&now), happened).unwrap();
                source.open(&world.cursors.clone()).await.unwrap();
            }
            if faults && pc.said.is_some() && pc.dice.one_in(400) {
                pc.go().await;
                away = 1 + i64::try_from(pc.dice.below(80)).unwrap();
            }
        }
        // After lunch and after the close nothing later comes: the clock and a heartbeat close the last bars.
        let last = ["11:30", "15:00"].contains(&&*wall.format("%H:%M").to_string());
        for second in if last { 0..14 } else { 0..0 } {
            pc.set(wall + TimeDelta::seconds(second));
            pc.answer().await;
            pc.beat(true).await;
            world.read(&mut source).await;
        }
    }
    for minute in 1..=20 {
        pc.set(at("2025-01-02T15:00:11") + TimeDelta::minutes(minute));
        if pc.said.is_none() {
            pc.come().await;
        }
        world.read(&mut source).await;
        pc.answer().await;
        world.read(&mut source).await;
    }
    world
}

/// Every bar is there, and the last word on it is right; a restart may say it twice.
fn assert_nothing_lost(world: &World, seed: u64) {
    let last: BTreeMap<(Symbol, i64), MinuteBar> = world.stream.iter().map(|bar| (bar.key(), *bar)).collect();
    for (code, name) in CODES.iter().enumerate() {
        for wall in labels() {
            let key = (name.parse().unwrap(), wall.and_utc().timestamp() / 60);
            let bar = last.get(&key).unwrap_or_else(|| panic!("seed {seed}: {name} {wall} is lost"));
            let lots = row(code, wall, 20).volume.unwrap();
            assert!((bar.vol / 100.0 - lots).abs() < 0.1, "seed {seed}: {name} {wall} {bar:?}");
        }
    }
    assert!(world.cursors.totals.balances(), "{:?}", world.cursors.totals);
}

fn assert_whole(world: &World, seed: u64) {
    let mut bars: BTreeMap<(Symbol, i64), usize> = BTreeMap::new();
    world.stream.iter().for_each(|bar| *bars.entry(bar.key()).or_default() += 1);
    for (code, name) in CODES.iter().enumerate() {
        let symbol: Symbol = name.parse().unwrap();
        for wall in labels() {
            let wanted = row(code, wall, 20);
            let found: Vec<&MinuteBar> =
                world.stream.iter().filter(|bar| bar.symbol == symbol && bar.frame == wall).collect();
            assert_eq!(found.len(), 1, "seed {seed}: {name} {wall} once: {found:?}");
            let lots = wanted.volume.unwrap();
            assert!(
                (found[0].vol / 100.0 - lots).abs() < 0.1,
                "seed {seed}: {name} {wall} with its last values"
            );
        }
    }
    assert_eq!(bars.len(), CODES.len() * 241);
    assert!(world.cursors.totals.balances(), "{:?}", world.cursors.totals);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_day_comes_whole() {
    let world = day(1, false, &[], 0).await;
    assert_whole(&world, 1);
    let skipped = &world.cursors.totals.skipped;
    assert_eq!(skipped.get(&Reason::Late), None, "{skipped:?}");
    let mark = world.cursors.fields.get("1m/600000.SH").unwrap();
    assert!(mark.contains("2025-01-02T15:00:00"), "{mark}");
}

#[tokio::test(start_paused = true)]
async fn every_bar_comes_once_with_its_last_values_whatever_happens_to_the_agent() {
    let seeds = std::env::var("SQEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 2..2 + seeds {
        assert_whole(&day(seed, true, &[], 0).await, seed);
    }
}

#[tokio::test(start_paused = true)]
async fn minutes_that_were_lost_in_silence_are_found_when_the_day_is_over() {
    assert_whole(&day(1, false, &["10:01", "10:02", "14:30", "15:00"], 0).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_dies_and_starts_anew_loses_nothing() {
    let seeds = std::env::var("SQEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 2..2 + seeds {
        assert_nothing_lost(&day(seed, true, &[], 300).await, seed);
    }
}
