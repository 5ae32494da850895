//! The program, the engine and Redis, killed at random moments: the current rows equal what is on the stream, with their
//! versions.
//!
//! `SQEP_KILL_ROUNDS` sets how many rounds are run.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use sqep::{DayBar, Kind};
use sqep_testkit::{TestClickHouse, TestRedis, clickhouse::Mishap, programs::Running};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Loader,
    Engine,
    /// The engine, in the middle of an insert.
    Insert,
    Redis,
}

/// How long nothing may arrive before a blow falls all the same.
const STILL_MAX: Duration = Duration::from_secs(2);
/// What each insert waits for.
const SLOW: Mishap = Mishap::Delay { ms: 25 };
const INSERT: &str = "^INSERT INTO bar_1d .*FORMAT";
const BLOWS: [Blow; 4] = [Blow::Loader, Blow::Engine, Blow::Insert, Blow::Redis];

struct Round<'a> {
    redis: &'a mut TestRedis,
    server: &'a mut TestClickHouse,
    log: &'a Path,
    group: String,
    rng: SmallRng,
}

impl Round<'_> {
    fn loader(&self, more: &[&str]) -> anyhow::Result<Running> {
        let mut settings = vec![
            format!("redis.url={}", self.redis.url()),
            "stream.kind=bar:1d".to_owned(),
            "reader.start=earliest".to_owned(),
            format!("reader.group={}", self.group),
            // Small batches, so that there is something to be killed in the middle of.
            "clickhouse.records_max=700".to_owned(),
            "clickhouse.timeout_s_max=20".to_owned(),
        ];
        settings.extend(self.server.settings());
        let mut arguments: Vec<_> =
            settings.into_iter().flat_map(|each| ["--set".to_owned(), each]).collect();
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        Running::start("sqep-clickhouse", &arguments, self.log)
    }

    async fn while_passes(&mut self, millis_max: u64) {
        let millis = self.rng.random_range(5..millis_max);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Starts the engine anew, as slow as a server far away: a blow must find somebody at work.
    fn restart(&mut self) -> anyhow::Result<()> {
        self.server.restart()?;
        self.server.fail(&[SLOW.befalls(u32::MAX, INSERT)])
    }

    /// Waits until rows arrive, and a random while more; not for ever, since all may have.
    async fn until_it_moves(&mut self) {
        let rows = || self.server.ask("SELECT count() FROM bar_1d").unwrap_or_default();
        let (before, since) = (rows(), Instant::now());
        while rows() == before && since.elapsed() < STILL_MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.while_passes(60).await;
    }

    /// Each blow once, in any order, in the middle of the load; then the rest in peace.
    async fn storm(&mut self) -> anyhow::Result<()> {
        self.loader(&["--migrate"])?.finish()?;
        self.restart()?;
        let mut blows = BLOWS;
        blows.shuffle(&mut self.rng);
        let mut loader = self.loader(&[])?;
        for blow in blows {
            self.until_it_moves().await;
            if loader.ended()?.is_some() {
                loader = self.loader(&[])?;
            }
            match blow {
                Blow::Loader => {
                    loader.kill()?;
                    loader = self.loader(&[])?;
                }
                Blow::Engine => {
                    self.server.kill()?;
                    self.while_passes(300).await;
                    self.restart()?;
                }
                Blow::Insert => {
                    let bytes = self.rng.random_range(0..20_000);
                    self.server
                        .fail(&[Mishap::Die { bytes }.befalls(1, INSERT), SLOW.befalls(u32::MAX, INSERT)])?;
                    self.while_passes(400).await;
                    self.restart()?;
                }
                Blow::Redis => {
                    self.redis.server.kill()?;
                    self.while_passes(100).await;
                    self.redis.server.restart().await?;
                }
            }
        }
        drop(loader);
        self.server.fail(&[])?;
        self.loader(&["--once"])?.finish()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_the_current_rows_equal_the_stream_with_their_versions() -> anyhow::Result<()> {
    let (mut redis, mut server) = (TestRedis::start().await?, TestClickHouse::front(&[])?);
    let folder = tempfile::tempdir()?;
    common::stream::publish(&redis, common::stream::bars(700)).await;
    let expected = common::stream::winners(&redis).await;
    let rounds = std::env::var("SQEP_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let (mut struck, mut again) = (0, 0);
    for seed in 0..rounds {
        let log = folder.path().join(format!("{seed}.log"));
        let mut round = Round {
            redis: &mut redis,
            server: &mut server,
            log: &log,
            group: format!("round-{seed}"),
            rng: SmallRng::seed_from_u64(seed),
        };
        round.storm().await?;
        let held: BTreeMap<_, (u64, DayBar)> = common::held(&server, Kind::BarDay)?;
        assert_eq!(held.len(), expected.len(), "round {seed}");
        assert_eq!(held, expected, "round {seed}");
        let rows: usize = server.ask("SELECT count() FROM bar_1d")?.trim().parse()?;
        again += rows - held.len().min(rows);
        struck += usize::from(std::fs::read_to_string(&log)?.contains("inserting into bar_1d"));
        server.clear()?;
    }
    println!("{struck} of {rounds} rounds struck an insert; {again} rows came again");
    assert!(u64::try_from(struck)? * 4 >= rounds, "only {struck} of {rounds} rounds struck an insert");
    Ok(())
}
