//! The program killed at random moments together with its server, with late corrections in the input, then killed while its
//! past is given anew: the archive of features is what the bars give in one go, bit for bit. Days and minutes take turns.
//!
//! `SQEP_KILL_ROUNDS` sets how many rounds are run.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod world;

use std::{
    collections::BTreeMap,
    iter,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::NaiveDate;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqep::{Calendar, DayBar, Kind, MinuteBar, Record, RefDay, Symbol};
use sqep_features::{DayFeatures, Facts, MinuteFeatures, engine::Engine};
use sqep_testkit::{
    market::{Market, Plan, minutes_of},
    programs::Running,
};
use world::{World, batch, by_day};

/// What is sent, in its order, with corrections of what was sent before; and what counts in the end.
struct Input<B> {
    sent: Vec<B>,
    newest: Vec<B>,
    /// Facts of days, of minutes only; some come long after their day.
    refs: Vec<RefDay>,
}

impl<B: Record> Input<B> {
    /// The last one sent of each key counts.
    fn new(sent: Vec<B>, refs: Vec<RefDay>) -> Input<B> {
        let newest: BTreeMap<_, _> = sent.iter().map(|bar| (bar.key(), *bar)).collect();
        Input { sent, newest: newest.into_values().collect(), refs }
    }

    fn facts(&self) -> BTreeMap<(Symbol, NaiveDate), Facts> {
        self.refs.iter().map(|day| ((day.symbol, day.frame), Facts::from(day))).collect()
    }
}

fn market(seed: u64, symbols: usize, days: usize) -> Market {
    let plan = Plan { seed, symbols, days, to: "2025-12-31".parse().unwrap() };
    Market::new(&plan, &Calendar::published()).unwrap()
}

fn days(seed: u64) -> Input<DayBar> {
    let market = market(seed, 30, 260);
    let securities: Vec<_> = market.securities().iter().map(|security| security.symbol).collect();
    let days: Vec<Vec<DayBar>> = securities.iter().map(|&symbol| market.days(symbol).collect()).collect();
    let bars = by_day(&days);
    let mut sent: Vec<DayBar> = Vec::new();
    let mut corrections = market.corrections(40);
    // Some turn out to have been no bar at all.
    for bar in corrections.iter_mut().step_by(3) {
        *bar = DayBar { vol: 0.0, amount: Some(0.0), ..*bar };
    }
    let every = bars.len() / 40;
    for (part, correction) in bars.chunks(every).zip(corrections.iter().map(Some).chain(iter::repeat(None))) {
        sent.extend(part);
        let known = correction
            .filter(|fixed| sent.iter().any(|bar| (bar.symbol, bar.frame) == (fixed.symbol, fixed.frame)));
        sent.extend(known);
    }
    sent.extend(corrections);
    Input::new(sent, Vec::new())
}

fn minutes(seed: u64) -> Input<MinuteBar> {
    let (market, mut rng) = (market(seed, 5, 4), SmallRng::seed_from_u64(seed));
    let (mut bars, mut refs) = (Vec::new(), Vec::new());
    for symbol in market.securities().iter().map(|security| security.symbol) {
        bars.extend(market.days(symbol).flat_map(|day| minutes_of(seed, &day)));
        refs.extend(market.history(symbol).map(|day| day.reference));
    }
    bars.sort_by_key(|bar| (bar.frame, bar.symbol));
    let mut sent: Vec<MinuteBar> = Vec::new();
    let mut late = Vec::new();
    for (at, bar) in bars.iter().enumerate() {
        match rng.random_range(0..60) {
            0 => late.push(*bar),
            1 if at > 100 && bar.vol > 0.0 => {
                // Now with other numbers, and those that count come later.
                sent.push(MinuteBar { vol: bar.vol + 100.0, ..*bar });
                late.push(*bar);
            }
            2 => {
                // Turns out to have been no bar at all.
                sent.push(*bar);
                late.push(MinuteBar { vol: 0.0, amount: Some(0.0), ..*bar });
            }
            _ => sent.push(*bar),
        }
        if at % 600 == 599 {
            sent.append(&mut late);
        }
    }
    sent.append(&mut late);
    Input::new(sent, refs)
}

struct Round {
    world: World,
    rng: SmallRng,
    bars: Kind,
    features: Kind,
    /// The group, whose name is also that of its state and archive.
    group: &'static str,
    /// The archive the past is looked up in.
    past: Option<PathBuf>,
}

impl Round {
    async fn new<E: Engine>(seed: u64) -> Round {
        let rng = SmallRng::seed_from_u64(seed);
        let (bars, features) = (E::BARS, E::FEATURES);
        Round { world: World::new(bars).await, rng, bars, features, group: "first", past: None }
    }

    fn root(&self) -> PathBuf {
        self.world.path(&format!("archive-{}", self.group))
    }

    fn set(&self, more: &[String]) -> Vec<String> {
        let url = format!("redis.url={}", self.world.redis.url());
        let all = [vec![url, "reader.start=earliest".into()], more.to_vec()].concat();
        all.into_iter().flat_map(|value| ["--set".to_owned(), value]).collect()
    }

    fn features(&self, once: bool) -> Running {
        let state = self.world.path(&format!("state-{}", self.group));
        let mut keys = vec![
            format!("stream.kind={}", self.bars),
            format!("reader.group={}", self.group),
            format!("features.state={}", state.display()),
            "features.records_max=700".into(),
            "features.past_records_max=900".into(),
            "features.snapshot_s=0".into(),
            "output.backlog_entries_max=1000000".into(),
        ];
        keys.extend(self.past.as_ref().map(|root| format!("features.archive={}", root.display())));
        let mut arguments = self.set(&keys);
        arguments.extend(once.then(|| "--once".to_owned()));
        Running::start("sqep-features", &arguments, &self.world.path("features.log")).unwrap()
    }

    fn archive(&self, kind: Kind, root: &Path) {
        let mut arguments = self.set(&[
            format!("stream.kind={kind}"),
            format!("parquet.root={}", root.display()),
            format!("reader.group=parquet-{}", self.group),
        ]);
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
    async fn storm<B: Record>(&mut self, input: &Input<B>) -> usize {
        let mut program = self.features(false);
        let mut kills = 0;
        let mut refs: Vec<&[RefDay]> = input.refs.chunks(input.refs.len() / 8 + 1).collect();
        for part in input.sent.chunks(input.sent.len() / 12) {
            self.world.publish(self.bars, part, 300).await;
            if let Some(refs) = refs.pop() {
                self.world.publish(Kind::RefDay, refs, 300).await;
            }
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

    /// Lets the program come to its end: stream and archive hold what the bars give.
    async fn end<E: Engine>(&self, input: &Input<E::Bar>) {
        self.features(true).finish().unwrap();
        let facts = input.facts();
        let known = |bar: &E::Bar| facts.get(&(bar.symbol(), E::day(bar))).copied().unwrap_or_default();
        self.world.assert_whole::<E>(&batch::<E>(&input.newest, known)).await;
        let root = self.root();
        self.archive(self.bars, &root);
        self.archive(self.features, &root);
        if E::JOINED {
            self.archive(Kind::RefDay, &root);
        }
        let kind = format!("stream.kind={}", self.bars);
        let verify = ["--set", &kind, "verify", "--archive", &root.display().to_string()].map(str::to_owned);
        Running::start("sqep-features", &verify, &self.world.path("verify.log")).unwrap().finish().unwrap();
    }

    /// Forgets the features and gives another group the past, killing its program on the way.
    async fn again<B: Record>(&mut self, from_archive: bool) -> usize {
        let keys: Vec<String> =
            self.world.redis.command(&["KEYS", &format!("sqep:{{{}:0}}*", self.features)]).await.unwrap();
        let words: Vec<&str> = iter::once("DEL").chain(keys.iter().map(String::as_str)).collect();
        let _: i64 = self.world.redis.command(&words).await.unwrap();
        self.past = from_archive.then(|| self.root());
        self.group = "second";
        self.world.replay::<B>(self.bars, self.group, self.past.as_deref()).await;
        for _ in 0..3 {
            let mut program = self.features(false);
            self.while_passes().await;
            self.while_passes().await;
            program.kill().unwrap();
        }
        3
    }
}

async fn round<E: Engine>(seed: u64, input: Input<E::Bar>) -> usize {
    let mut round = Round::new::<E>(seed).await;
    let mut kills = round.storm(&input).await;
    // What a crash of the server took back is sent again; what is there already changes nothing.
    round.world.publish(E::BARS, &input.newest, 2_000).await;
    if E::JOINED {
        round.world.publish(Kind::RefDay, &input.refs, 2_000).await;
    }
    round.end::<E>(&input).await;
    kills += round.again::<E::Bar>(seed % 4 >= 2).await;
    round.end::<E>(&input).await;
    kills
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_the_features_are_those_of_the_batch() {
    let rounds = std::env::var("SQEP_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut kills = 0;
    for seed in 0..rounds {
        println!("round {seed}");
        kills += match seed % 2 {
            0 => Box::pin(round::<DayFeatures>(seed, days(seed))).await,
            _ => Box::pin(round::<MinuteFeatures>(seed, minutes(seed))).await,
        };
    }
    assert!(kills >= 6 * usize::try_from(rounds).unwrap(), "only {kills} kills in {rounds} rounds");
}
