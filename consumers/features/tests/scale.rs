//! The program at the size of a market: how long rows take after their minute, what ten years cost, and what a past of an
//! archive does. Small by default; `SQEP_SCALE_SYMBOLS`, `SQEP_SCALE_MINUTES` and `SQEP_SCALE_YEARS` set the size (5500, 240
//! and 10 is a market), best with `cargo test --release`.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod world;

use std::time::Instant;

use chrono::Datelike;
use sqep::{
    Calendar, DayBar, EntryId, Kind, MinuteBar, RefDay, Symbol,
    kind::Grid,
    redis::{inspect::Inspector, keys::Keys},
};
use sqep_testkit::{
    market::{Market, Plan, minutes_of},
    programs::Running,
};
use world::World;

/// Milliseconds from the minute's first bar on the stream to its last row, of 99 minutes in 100.
const P99_MS_MAX: u64 = 100;
/// Memory of the program without a security, whatever it was given.
const MEMORY_KIB_MAX: u64 = 122 * 1024;
/// Memory for each security: of 5,500 it is 245 MiB in all.
const SECURITY_KIB_MAX: u64 = 23;

fn size(name: &str, small: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

/// Starts the program, with a snapshot as often as it may be.
fn start(world: &World, kind: Kind) -> Running {
    start_with(world, kind, &["reader.start=earliest".to_owned(), "features.snapshot_s=1".to_owned()])
}

fn start_with(world: &World, kind: Kind, more: &[String]) -> Running {
    let state = world.path("state");
    let set = [
        format!("redis.url={}", world.redis.url()),
        format!("stream.kind={kind}"),
        format!("features.state={}", state.display()),
    ];
    let arguments: Vec<String> =
        set.iter().chain(more).flat_map(|value| ["--set".to_owned(), value.clone()]).collect();
    Running::start("sqep-features", &arguments, &world.path("features.log")).unwrap()
}

/// Waits until the rows of all bars up to `last` are on the stream of features; the last entry there.
async fn rows_of(
    world: &World,
    inspector: &mut Inspector,
    features: Kind,
    last: EntryId,
    seen: EntryId,
) -> EntryId {
    let keys = Keys::new(&world.config.stream.prefix, features, 0);
    let cursor = keys.cursor("features");
    let mut seen = seen;
    loop {
        let stored: Option<String> = world.redis.command(&["HGET", &cursor, "f:bars:0"]).await.unwrap();
        let done = stored.and_then(|text| text.rsplit_once(' ')?.1.parse::<EntryId>().ok());
        if done.is_some_and(|done| done >= last) {
            return inspector.stream(keys.stream()).await.unwrap().last;
        }
        if let Some(entry) = inspector.read(keys.stream(), seen, 1_000).await.unwrap().last() {
            seen = entry.id;
        }
    }
}

fn market(symbols: usize, days: usize) -> Market {
    let plan = Plan { seed: 7, symbols, days, to: "2025-12-31".parse().unwrap() };
    Market::new(&plan, &Calendar::published()).unwrap()
}

/// Waits for the next snapshot, which the program writes when nothing comes.
async fn snapshot(world: &World, inspector: &mut Inspector, after: EntryId) {
    let path = world.path("state/feature_1m-0.snapshot");
    let written = || path.metadata().and_then(|file| file.modified()).ok();
    let (before, begun) = (written(), Instant::now());
    let stream = Keys::new(&world.config.stream.prefix, Kind::FeatureMinute, 0);
    while written() == before {
        assert!(begun.elapsed().as_secs() < 30, "no snapshot is written");
        let _ = inspector.read(stream.stream(), after, 200).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_the_whole_market_has_its_rows_at_once() {
    let (symbols, minutes) = (size("SQEP_SCALE_SYMBOLS", 500), size("SQEP_SCALE_MINUTES", 40));
    let market = market(symbols, 3);
    let securities: Vec<Symbol> = market.securities().iter().map(|security| security.symbol).collect();
    let day = *market.sessions().last().unwrap();
    let refs: Vec<RefDay> =
        securities.iter().flat_map(|&symbol| market.history(symbol)).map(|day| day.reference).collect();
    let mut bars: Vec<MinuteBar> = securities
        .iter()
        .flat_map(|&symbol| market.days(symbol).filter(|bar| bar.frame == day).collect::<Vec<DayBar>>())
        .flat_map(|bar| minutes_of(7, &bar))
        .collect();
    bars.sort_by_key(|bar| (bar.frame, bar.symbol));
    let kind = Kind::BarMinute(Grid::M1);
    let world = World::new(kind).await;
    world.publish(Kind::RefDay, &refs, 45_000).await;
    let mut program = start(&world, kind);
    let mut inspector = Inspector::connect(&world.redis.client().unwrap()).await.unwrap();
    let bar_keys = Keys::new(&world.config.stream.prefix, kind, 0);
    let (mut times, mut seen) = (Vec::new(), EntryId::ZERO);
    let mut before = EntryId::ZERO;
    for minute in bars.chunk_by(|a, b| a.frame == b.frame).take(minutes + 2) {
        world.publish(kind, minute, 45_000).await;
        let first = inspector.read(bar_keys.stream(), before, 1_000).await.unwrap()[0].id;
        let last = inspector.stream(bar_keys.stream()).await.unwrap().last;
        let done = rows_of(&world, &mut inspector, Kind::FeatureMinute, last, seen).await;
        // The opening auction has no rows, and the program comes up beside the first minute.
        if done > seen {
            times.push(done.ms - first.ms);
        }
        (before, seen) = (last, done);
        // A pause now and then, as between two minutes: a snapshot is in nobody's way there.
        if times.len() % 20 == 10 {
            snapshot(&world, &mut inspector, seen).await;
        }
        // What a reader has settled goes.
        let stream = Keys::new(&world.config.stream.prefix, Kind::FeatureMinute, 0);
        let _: i64 = world.redis.command(&["XTRIM", stream.stream(), "MAXLEN", "8"]).await.unwrap();
    }
    assert!(program.ended().unwrap().is_none());
    assert!(world.path("state/feature_1m-0.snapshot").metadata().unwrap().len() > 10_000);
    let mut times = times.split_off(1);
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("{symbols} bars a minute, {} minutes: p50 {} ms, p99 {} ms", times.len(), at(50), at(99));
    assert!(at(99) <= P99_MS_MAX, "p99 {} ms", at(99));
}

/// The most memory a process ever had, KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

/// The most memory a program with so many securities may have had, KiB.
fn allowed(symbols: usize) -> u64 {
    MEMORY_KIB_MAX + SECURITY_KIB_MAX * u64::try_from(symbols).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn years_cost_no_more_memory_and_the_last_is_as_fast_as_the_first() {
    let (symbols, years) = (size("SQEP_SCALE_SYMBOLS", 500), size("SQEP_SCALE_YEARS", 3));
    let market = market(symbols, years * 243);
    let world = World::new(Kind::BarDay).await;
    let mut program = start(&world, Kind::BarDay);
    let mut inspector = Inspector::connect(&world.redis.client().unwrap()).await.unwrap();
    let keys = Keys::new(&world.config.stream.prefix, Kind::BarDay, 0);
    let features = Keys::new(&world.config.stream.prefix, Kind::FeatureDay, 0);
    let (mut speeds, mut seen) = (Vec::new(), EntryId::ZERO);
    let mut sessions = market.by_session().peekable();
    while let Some((first, _)) = sessions.peek() {
        let year = first.year();
        let mut count = 0;
        let mut took = 0.0;
        while let Some((_, days)) = sessions.next_if(|(day, _)| day.year() == year) {
            let bars: Vec<DayBar> = days.into_iter().filter_map(|day| day.bar).collect();
            let begun = Instant::now();
            world.publish(Kind::BarDay, &bars, 45_000).await;
            count += bars.len();
            let last = inspector.stream(keys.stream()).await.unwrap().last;
            seen = rows_of(&world, &mut inspector, Kind::FeatureDay, last, seen).await;
            took += begun.elapsed().as_secs_f64();
            // What a reader has settled goes.
            for stream in [keys.stream(), features.stream()] {
                let _: i64 = world.redis.command(&["XTRIM", stream, "MAXLEN", "8"]).await.unwrap();
            }
        }
        let speed = f64::from(u32::try_from(count).unwrap()) / took;
        println!("{year}: {count} bars, {speed:.0} bars/s, {} MiB", peak(program.pid()) / 1024);
        // A year that is only begun says nothing about speed.
        if count > symbols * 100 {
            speeds.push(speed);
        }
    }
    assert!(program.ended().unwrap().is_none());
    assert!(world.path("state/feature_1d-0.snapshot").metadata().unwrap().len() > 10_000);
    assert!(peak(program.pid()) <= allowed(symbols), "{} KiB", peak(program.pid()));
    assert!(speeds[speeds.len() - 1] >= speeds[0] * 0.5, "bars/s by year: {speeds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_an_archive_costs_no_more_memory_than_the_stream() {
    let (symbols, days) = (size("SQEP_SCALE_SYMBOLS", 500), 750);
    let source = World::new(Kind::BarDay).await;
    let root = source.path("archive");
    let mut count = 0usize;
    for (_, days) in market(symbols, days).by_session() {
        let bars: Vec<DayBar> = days.into_iter().filter_map(|day| day.bar).collect();
        count += bars.len();
        source.publish(Kind::BarDay, &bars, 45_000).await;
    }
    source.archive::<DayBar>(Kind::BarDay, &root).await;
    let world = World::new(Kind::BarDay).await;
    let more = ["reader.start=archive".to_owned(), format!("reader.archive={}", root.display())];
    let begun = Instant::now();
    let mut program = start_with(&world, Kind::BarDay, &more);
    let mut inspector = Inspector::connect(&world.redis.client().unwrap()).await.unwrap();
    let features = Keys::new(&world.config.stream.prefix, Kind::FeatureDay, 0);
    let (mut seen, mut waits) = (EntryId::ZERO, 1i64);
    while waits > 0 {
        assert!(program.ended().unwrap().is_none());
        if let Some(entry) = inspector.read(features.stream(), seen, 1_000).await.unwrap().last() {
            seen = entry.id;
            // What a reader has settled goes.
            let _: i64 = world.redis.command(&["XTRIM", features.stream(), "MAXLEN", "8"]).await.unwrap();
        }
        waits = world.redis.command(&["HLEN", "sqep:{bar:1d:0}:replays"]).await.unwrap();
        waits = if seen == EntryId::ZERO { 1 } else { waits };
    }
    let speed = f64::from(u32::try_from(count).unwrap()) / begun.elapsed().as_secs_f64();
    let peak = peak(program.pid());
    println!("{count} bars of an archive: {speed:.0} bars/s, {} MiB", peak / 1024);
    assert!(peak <= allowed(symbols), "{peak} KiB");
}
