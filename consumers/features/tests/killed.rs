//! The program killed at random moments together with its server, with late corrections in the input: the archive of
//! features is what the bars give in one go, bit for bit.
//!
//! `SQEP_KILL_ROUNDS` sets how many rounds are run.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod world;

use std::{collections::BTreeMap, iter, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqep::{Calendar, DayBar, Kind};
use sqep_features::{DayFeatures, Facts};
use sqep_testkit::{
    market::{Market, Plan},
    programs::Running,
};
use world::{World, batch, by_day};

const BARS: Kind = Kind::BarDay;

/// What is sent, in its order, with corrections of what was sent before; and what counts in the end.
fn input(seed: u64) -> (Vec<DayBar>, Vec<DayBar>) {
    let plan = Plan { seed, symbols: 30, days: 260, to: "2025-12-31".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let securities: Vec<_> = market.securities().iter().map(|security| security.symbol).collect();
    let days: Vec<Vec<DayBar>> = securities.iter().map(|&symbol| market.days(symbol).collect()).collect();
    let bars = by_day(&days);
    let mut sent: Vec<DayBar> = Vec::new();
    let corrections = market.corrections(40);
    let every = bars.len() / 40;
    for (part, correction) in bars.chunks(every).zip(corrections.iter().map(Some).chain(iter::repeat(None))) {
        sent.extend(part);
        let known = correction
            .filter(|fixed| sent.iter().any(|bar| (bar.symbol, bar.frame) == (fixed.symbol, fixed.frame)));
        sent.extend(known);
    }
    sent.extend(corrections);
    // The last one sent of each key counts.
    let newest: BTreeMap<_, _> = sent.iter().map(|bar| ((bar.symbol, bar.frame), *bar)).collect();
    let newest = newest.into_values().collect();
    (sent, newest)
}

struct Round {
    world: World,
    rng: SmallRng,
}

impl Round {
    fn set(&self, more: &[String]) -> Vec<String> {
        let url = format!("redis.url={}", self.world.redis.url());
        let all = [vec![url, "reader.start=earliest".into()], more.to_vec()].concat();
        all.into_iter().flat_map(|value| ["--set".to_owned(), value]).collect()
    }

    fn features(&self, once: bool) -> Running {
        let state = self.world.path("state");
        let mut arguments = self.set(&[
            "stream.kind=bar:1d".into(),
            format!("features.state={}", state.display()),
            "features.records_max=700".into(),
            "features.snapshot_s=0".into(),
            "output.backlog_entries_max=1000000".into(),
        ]);
        arguments.extend(once.then(|| "--once".to_owned()));
        Running::start("sqep-features", &arguments, &self.world.path("features.log")).unwrap()
    }

    fn archive(&self, kind: &str) {
        let root = self.world.path("archive");
        let mut arguments =
            self.set(&[format!("stream.kind={kind}"), format!("parquet.root={}", root.display())]);
        arguments.push("--once".into());
        Running::start("sqep-parquet", &arguments, &self.world.path("parquet.log"))
            .unwrap()
            .finish()
            .unwrap();
    }

    async fn while_passes(&mut self) {
        let millis = self.rng.random_range(5..80);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Sends the input in parts, killing the program or its server after some of them.
    async fn storm(&mut self, sent: &[DayBar]) -> usize {
        let mut program = self.features(false);
        let mut kills = 0;
        for part in sent.chunks(sent.len() / 12) {
            self.world.publish(BARS, part, 300).await;
            self.while_passes().await;
            if program.ended().unwrap().is_some() {
                program = self.features(false);
            }
            match self.rng.random_range(0..4) {
                0 | 1 => {
                    program.kill().unwrap();
                    kills += 1;
                    program = self.features(false);
                }
                2 => {
                    self.world.redis.server.kill().unwrap();
                    kills += 1;
                    self.while_passes().await;
                    self.world.redis.server.restart().await.unwrap();
                }
                _ => {}
            }
        }
        program.kill().unwrap();
        kills + 1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_the_features_are_those_of_the_batch() {
    let rounds = std::env::var("SQEP_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut kills = 0;
    for seed in 0..rounds {
        let (sent, newest) = input(seed);
        let mut round = Round { world: World::new(BARS).await, rng: SmallRng::seed_from_u64(seed) };
        kills += round.storm(&sent).await;
        // What a crash of the server took back is sent again; what is there already changes nothing.
        round.world.publish(BARS, &newest, 2_000).await;
        round.features(true).finish().unwrap();
        let want = batch::<DayFeatures>(&newest, |_| Facts::default());
        round.world.assert_whole::<DayFeatures>(&want).await;
        round.archive("bar:1d");
        round.archive("feature:1d");
        let root = round.world.path("archive").display().to_string();
        let verify = ["verify".to_owned(), "--archive".to_owned(), root];
        Running::start("sqep-features", &verify, &round.world.path("verify.log")).unwrap().finish().unwrap();
    }
    assert!(kills >= 3 * usize::try_from(rounds).unwrap(), "only {kills} kills in {rounds} rounds");
}
