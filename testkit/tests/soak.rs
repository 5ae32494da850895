//! A trading day at twenty times its speed, with everything going wrong: programs and Redis killed and stopped at random,
//! disks that fill up, a server emptied in the middle, corrections of what was published. In the end the archive holds
//! every bar of the input once, as it was said last.
//!
//! `SQEP_SOAK_S` sets for how many seconds; `make soak` runs ten minutes.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqep::{
    Calendar, Kind, MinuteBar, Record, Symbol,
    codec::{Encoding, encode},
};
use sqep_archive::{Filter, Reader};
use sqep_testkit::{
    TestRedis,
    market::{Market, Plan},
    programs::Running,
};

const MINUTE: Kind = Kind::BarMinute(sqep::kind::Grid::M1);
/// A minute of the market every three seconds.
const PACE: Duration = Duration::from_secs(3);
/// What the archive must hold in the end.
type Truth = BTreeMap<(Symbol, i64), MinuteBar>;

/// A program that is started again whenever it is found dead.
struct Daemon {
    name: &'static str,
    arguments: Vec<String>,
    log: PathBuf,
    running: Running,
}

impl Daemon {
    fn start(name: &'static str, arguments: Vec<String>, log: PathBuf) -> anyhow::Result<Daemon> {
        let running = Running::start_limited(name, &arguments, &log)?;
        Ok(Daemon { name, arguments, log, running })
    }

    fn keep_alive(&mut self) -> anyhow::Result<()> {
        if self.running.ended()?.is_some() {
            self.running = Running::start_limited(self.name, &self.arguments, &self.log)?;
        }
        Ok(())
    }
}

/// Feeds files, minute by minute, and corrects some of them later.
struct Feeder {
    minutes: Vec<Vec<MinuteBar>>,
    folder: PathBuf,
    fed: usize,
    truth: Truth,
}

impl Feeder {
    fn new(folder: PathBuf, symbols: usize, minutes_max: usize) -> anyhow::Result<Feeder> {
        fs::create_dir_all(&folder)?;
        let plan = Plan { seed: 5, symbols, days: 2, to: "2026-02-27".parse()? };
        let market = Market::new(&plan, &Calendar::published())?;
        let mut by_minute: BTreeMap<i64, Vec<MinuteBar>> = BTreeMap::new();
        for security in market.securities() {
            for bar in market.minutes(security.symbol) {
                by_minute.entry(bar.time()).or_default().push(bar);
            }
        }
        let minutes = by_minute.into_values().take(minutes_max).collect();
        Ok(Feeder { minutes, folder, fed: 0, truth: Truth::new() })
    }

    /// Puts a minute's file into place, as a vendor's delivery should.
    fn put(&mut self, at: usize) -> anyhow::Result<()> {
        let bars = &self.minutes[at];
        let names: Vec<&str> = MinuteBar::FIELDS.iter().map(|field| field.name).collect();
        let mut text = format!("{}\n", names.join(",")).into_bytes();
        encode(Encoding::Csv, bars, None, &mut text)?;
        let draft = self.folder.join(format!(".{at}.draft"));
        fs::write(&draft, text)?;
        fs::rename(draft, self.folder.join(format!("{at:04}.csv")))?;
        self.truth.extend(bars.iter().map(|bar| (bar.key(), *bar)));
        Ok(())
    }

    fn feed(&mut self, rng: &mut SmallRng) -> anyhow::Result<()> {
        if self.fed < self.minutes.len() {
            self.fed += 1;
            self.put(self.fed - 1)?;
        }
        if rng.random_range(0..4) == 0 {
            let at = rng.random_range(0..self.fed);
            for bar in self.minutes[at].iter_mut().step_by(97) {
                // More was traded at the same prices than was said at first.
                (bar.vol, bar.amount) = (bar.vol * 2.0, bar.amount.map(|amount| amount * 2.0));
            }
            self.put(at)?;
        }
        Ok(())
    }
}

struct Soak {
    redis: TestRedis,
    folder: tempfile::TempDir,
    rng: SmallRng,
    seconds: u64,
    flushed: bool,
}

impl Soak {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, words: &[&str], set: &[String]) -> Vec<String> {
        let mut all = vec![format!("redis.url={}", self.redis.url()), "stream.kind=bar:1m".to_owned()];
        all.extend(["stream.trim_interval_s=2".to_owned(), "stream.keep_hours_min=0".to_owned()]);
        all.extend_from_slice(set);
        let set = all.into_iter().flat_map(|set| ["--set".to_owned(), set]);
        words.iter().map(|&word| word.to_owned()).chain(set).collect()
    }

    fn producer(&self, words: &[&str]) -> Vec<String> {
        let paths = format!("csv.paths=[\"{}\"]", self.path("in").display());
        self.arguments(words, &["csv.dialect=sqep".to_owned(), paths])
    }

    fn consumer(&self, words: &[&str]) -> Vec<String> {
        let root = format!("parquet.root={}", self.path("archive").display());
        let set =
            ["reader.start=earliest", "reader.lease_s_max=5", "parquet.wait_s_max=1", "parquet.quiet_s=5"];
        let set: Vec<String> = set.iter().map(|&set| set.to_owned()).chain([root]).collect();
        self.arguments(words, &set)
    }

    /// One misfortune.
    async fn misfortune(&mut self, producer: &mut Daemon, consumer: &mut Daemon) -> anyhow::Result<()> {
        let pause = Duration::from_millis(self.rng.random_range(100..7_000));
        match self.rng.random_range(0..8) {
            0 => producer.running.kill()?,
            1 | 2 => consumer.running.kill()?,
            3 => {
                self.redis.server.kill()?;
                tokio::time::sleep(pause / 8).await;
                self.redis.server.restart().await?;
            }
            4 => {
                producer.running.signal("STOP")?;
                tokio::time::sleep(pause).await;
                producer.running.signal("CONT")?;
            }
            // Beyond its lease, at times.
            5 => {
                consumer.running.signal("STOP")?;
                tokio::time::sleep(pause).await;
                consumer.running.signal("CONT")?;
            }
            6 => {
                consumer.running.limit_files(Some(4_096))?;
                tokio::time::sleep(pause).await;
                if consumer.running.ended()?.is_none() {
                    consumer.running.limit_files(None)?;
                }
            }
            _ if !self.flushed => {
                self.flushed = true;
                self.redis.command::<()>(&["FLUSHALL"]).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn storm(&mut self, feeder: &mut Feeder) -> anyhow::Result<()> {
        let (csv, parquet) = (self.producer(&[]), self.consumer(&[]));
        let mut producer = Daemon::start("sqep-csv", csv, self.path("csv.log"))?;
        let mut consumer = Daemon::start("sqep-parquet", parquet, self.path("parquet.log"))?;
        let (begun, length) = (Instant::now(), Duration::from_secs(self.seconds));
        while begun.elapsed() < length {
            while PACE * u32::try_from(feeder.fed)? < begun.elapsed() && feeder.fed < feeder.minutes.len() {
                feeder.feed(&mut self.rng)?;
            }
            self.misfortune(&mut producer, &mut consumer).await?;
            producer.keep_alive()?;
            consumer.keep_alive()?;
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(100..1_500))).await;
        }
        drop((producer, consumer));
        Ok(())
    }

    /// What is still on its way arrives, and the archive is compacted.
    fn calm(&self) -> anyhow::Result<()> {
        Running::start("sqep-csv", &self.producer(&["--once"]), &self.path("csv.log"))?.finish()?;
        Running::start("sqep-parquet", &self.consumer(&["--once"]), &self.path("parquet.log"))?.finish()?;
        let root = format!("parquet.root={}", self.path("archive").display());
        let words = ["compact".to_owned(), "--set".to_owned(), root];
        Running::start("sqep", &words, &self.path("sqep.log"))?.finish()
    }

    /// The programs' own audit, and ours.
    async fn audit(&self, truth: &Truth) -> anyhow::Result<()> {
        let (archive, files) =
            (self.path("archive").display().to_string(), self.path("in").display().to_string());
        let words =
            ["audit", "--archive", &archive, "--kind", "bar:1m", "--dialect", "sqep", "--against", &files];
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Running::start("sqep", &words, &self.path("sqep.log"))?.finish()?;
        let mut reader = Reader::<MinuteBar>::open(&self.path("archive"), MINUTE, Filter::default())?;
        let (mut stored, mut found) = (0, Truth::new());
        while let Some(block) = reader.next()? {
            stored += block.stored;
            found.extend(block.rows.iter().map(|row| (row.record.key(), row.record)));
        }
        assert_eq!(usize::try_from(stored)?, truth.len(), "every key once after compaction");
        let wrong = truth.iter().find(|&(key, bar)| found.get(key) != Some(bar));
        assert!(wrong.is_none(), "{wrong:?} is {:?}", wrong.and_then(|(key, _)| found.get(key)));
        let dead: u64 = self.redis.command(&["XLEN", "sqep:{bar:1m:0}:dead"]).await?;
        assert_eq!(dead, 0, "nothing was to be refused or buried");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_which_everything_goes_wrong_ends_with_every_bar_once() -> anyhow::Result<()> {
    let seconds = std::env::var("SQEP_SOAK_S").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let redis = TestRedis::start().await?;
    let folder = tempfile::Builder::new().prefix("sqep-soak-").tempdir()?;
    let rng = SmallRng::seed_from_u64(seconds);
    let mut soak = Soak { redis, folder, rng, seconds, flushed: false };
    let minutes = usize::try_from(seconds)? / 3 + 1;
    let mut feeder = Feeder::new(soak.path("in"), if seconds > 60 { 5_500 } else { 600 }, minutes)?;
    soak.storm(&mut feeder).await?;
    soak.calm()?;
    soak.audit(&feeder.truth).await
}
