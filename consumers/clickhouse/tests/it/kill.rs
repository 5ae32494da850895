//! The program, the engine and Redis, each killed in the middle of an insert of which some rows are there already, and the
//! program between an insert and its mark: the current rows equal what is on the stream, with their versions.
//!
//! `SQEP_KILL_ROUNDS` sets how many rounds are run.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use sqep::{DayBar, Kind};
use sqep_testkit::{TestClickHouse, TestRedis, clickhouse::Mishap, programs::Running};

use crate::common;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Loader,
    Engine,
    /// The engine, the moment some rows of an insert are there.
    Insert,
    Redis,
}

/// By then an insert is under way: a loader waits two seconds at most before it tries again.
const INSERT_MAX: Duration = Duration::from_secs(60);
/// How long an insert is held; longer than a blow takes.
const HOLD_MS: u64 = 15_000;
/// Rows of a batch; a blow falls after some of them.
const BATCH: u64 = 700;
const INSERT: &str = "^INSERT INTO bar_1d .*FORMAT";
const MARK: &str = "^INSERT INTO sqep_mark";
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
            format!("clickhouse.records_max={BATCH}"),
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

    /// Makes the next insert a broken one; some of its rows are there all the same.
    fn aim(&mut self, blow: Blow) -> anyhow::Result<()> {
        let rows = self.rng.random_range(0..BATCH);
        let mishap =
            if blow == Blow::Insert { Mishap::Die { rows } } else { Mishap::Hold { rows, ms: HOLD_MS } };
        self.server.fail(&[mishap.befalls(1, INSERT)])
    }

    /// Waits until an insert is in its middle, or the engine has died of it.
    fn until_struck(&mut self, blow: Blow, loader: &mut Running) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let struck = if blow == Blow::Insert { self.server.is_dead()? } else { self.server.held()? > 0 };
            if struck {
                return Ok(());
            }
            if let Some(code) = loader.ended()? {
                bail!("the loader ended with {code} before {blow:?}");
            }
            ensure!(since.elapsed() < INSERT_MAX, "no insert to strike with {blow:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the loader when rows are acknowledged and their mark is not there yet, or is and nobody was told.
    async fn strike_before_the_mark(&mut self) -> anyhow::Result<()> {
        let mishap = if self.rng.random() { Mishap::Delay { ms: HOLD_MS } } else { Mishap::Lose };
        let before = self.server.said(MARK)?;
        self.server.fail(&[mishap.befalls(1, MARK)])?;
        let (mut loader, since) = (self.loader(&[])?, Instant::now());
        while self.server.said(MARK)? == before {
            ensure!(since.elapsed() < INSERT_MAX, "no mark was written");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.while_passes(30).await;
        loader.kill()?;
        self.server.fail(&[])
    }

    /// Each blow once, in any order, in the middle of an insert; then the rest in peace. Returns how many struck one.
    async fn storm(&mut self) -> anyhow::Result<usize> {
        self.loader(&["--migrate"])?.finish()?;
        self.strike_before_the_mark().await?;
        let mut blows = BLOWS;
        blows.shuffle(&mut self.rng);
        self.aim(blows[0])?;
        let mut loader = self.loader(&[])?;
        for (at, &blow) in blows.iter().enumerate() {
            if at > 0 {
                self.while_passes(60).await;
                self.aim(blow)?;
            }
            self.until_struck(blow, &mut loader)?;
            match blow {
                Blow::Loader => {
                    loader.kill()?;
                    self.server.fail(&[])?;
                    loader = self.loader(&[])?;
                }
                Blow::Engine => {
                    self.server.kill()?;
                    self.while_passes(300).await;
                    self.server.restart()?;
                }
                Blow::Insert => self.server.restart()?,
                Blow::Redis => {
                    self.redis.server.kill()?;
                    self.while_passes(100).await;
                    self.redis.server.restart().await?;
                    self.server.fail(&[])?;
                }
            }
        }
        drop(loader);
        self.server.fail(&[])?;
        self.loader(&["--once"])?.finish()?;
        Ok(blows.len())
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
        struck += round.storm().await?;
        let held: BTreeMap<_, (u64, DayBar)> = common::held(&server, Kind::BarDay)?;
        assert_eq!(held.len(), expected.len(), "round {seed}");
        assert_eq!(held, expected, "round {seed}");
        let rows: usize = server.ask("SELECT count() FROM bar_1d")?.trim().parse()?;
        again += rows - held.len().min(rows);
        server.clear()?;
    }
    println!("{struck} inserts struck in {rounds} rounds; {again} rows came again");
    assert_eq!(u64::try_from(struck)?, 4 * rounds, "every blow falls in the middle of an insert");
    assert!(u64::try_from(again)? >= rounds, "and some rows of them were there: {again}");
    Ok(())
}
