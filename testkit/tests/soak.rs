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

use anyhow::Context;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
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
/// Nothing that is waited for may take longer: two programs that failed in a row each pause up to half a minute.
const WAIT_MAX: Duration = Duration::from_secs(180);
/// What a disk that is full says.
const FULL: &str = "File too large";
/// The random name of the stream, which a flush takes away.
const BORN: &str = "sqep:{bar:1m:0}:born";
/// Empties the server and says how many keys it had before and after.
const FLUSH: &str =
    "local had = redis.call('DBSIZE') redis.call('FLUSHALL') return {had, redis.call('DBSIZE')}";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Misfortune {
    ProducerKilled,
    ConsumerKilled,
    ServerKilled,
    ProducerStopped,
    ConsumerStopped,
    ServerStopped,
    DiskFull,
    Flushed,
}

/// All of it, but for the flush, which comes once.
const MISFORTUNES: [Misfortune; 7] = {
    use Misfortune::{
        ConsumerKilled, ConsumerStopped, DiskFull, ProducerKilled, ProducerStopped, ServerKilled,
        ServerStopped,
    };
    [ProducerKilled, ConsumerKilled, ServerKilled, ProducerStopped, ConsumerStopped, ServerStopped, DiskFull]
};

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

    /// As a crash would.
    fn kill(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.running.ended()?.is_none(), "{} was dead already", self.name);
        self.running.kill()
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
        if self.is_day() {
            self.fed += 1;
            self.put(self.fed - 1)?;
        }
        if rng.random_range(0..4) == 0 { self.correct(rng) } else { Ok(()) }
    }

    /// More was traded in some minute at the same prices than was said at first.
    fn correct(&mut self, rng: &mut SmallRng) -> anyhow::Result<()> {
        let at = rng.random_range(0..self.fed);
        for bar in self.minutes[at].iter_mut().step_by(97) {
            (bar.vol, bar.amount) = (bar.vol * 2.0, bar.amount.map(|amount| amount * 2.0));
        }
        self.put(at)
    }

    /// Whether there are minutes left.
    fn is_day(&self) -> bool {
        self.fed < self.minutes.len()
    }
}

/// Whom the misfortunes strike, and what goes on meanwhile.
struct Storm<'a> {
    producer: Daemon,
    consumer: Daemon,
    feeder: &'a mut Feeder,
}

struct Soak {
    redis: TestRedis,
    folder: tempfile::TempDir,
    rng: SmallRng,
    seconds: u64,
    /// What is still to come before everything has come once more.
    deck: Vec<Misfortune>,
    dealt: BTreeMap<Misfortune, u32>,
}

/// Stops a process for a while, and sees to it that it stood still.
async fn stopped(pid: u32, pause: Duration) -> anyhow::Result<()> {
    let signal = |name: &str| std::process::Command::new("kill").args([name, &pid.to_string()]).status();
    anyhow::ensure!(signal("-STOP")?.success(), "cannot stop process {pid}");
    until("it stands still", async || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(state.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
    })
    .await?;
    tokio::time::sleep(pause).await;
    anyhow::ensure!(signal("-CONT")?.success(), "cannot let process {pid} go on");
    Ok(())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let since = Instant::now();
    while !holds().await? {
        anyhow::ensure!(since.elapsed() < WAIT_MAX, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
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

    /// One misfortune; none comes again before all the others have come.
    async fn misfortune(&mut self, storm: &mut Storm<'_>) -> anyhow::Result<()> {
        if self.deck.is_empty() {
            self.deck.extend(MISFORTUNES);
            if self.dealt.is_empty() {
                self.deck.push(Misfortune::Flushed);
            }
            self.deck.shuffle(&mut self.rng);
        }
        let pause = Duration::from_millis(self.rng.random_range(100..7_000));
        let misfortune = self.deck.pop().expect("just shuffled");
        match misfortune {
            Misfortune::ProducerKilled => storm.producer.kill()?,
            Misfortune::ConsumerKilled => storm.consumer.kill()?,
            Misfortune::ServerKilled => {
                self.redis.server.kill()?;
                tokio::time::sleep(pause / 8).await;
                self.redis.server.restart().await?;
            }
            Misfortune::ProducerStopped => stopped(storm.producer.running.pid(), pause).await?,
            // Beyond its lease, at times.
            Misfortune::ConsumerStopped => stopped(storm.consumer.running.pid(), pause).await?,
            Misfortune::ServerStopped => stopped(self.redis.server.pid(), pause).await?,
            Misfortune::DiskFull => self.disk_full(storm, pause).await?,
            Misfortune::Flushed => self.flush().await?,
        }
        *self.dealt.entry(misfortune).or_default() += 1;
        Ok(())
    }

    /// The last a program said.
    fn tail(&self, log: &str) -> String {
        let text = fs::read_to_string(self.path(log)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The disk is full until somebody has noticed, and for a while longer.
    async fn disk_full(&mut self, storm: &mut Storm<'_>, pause: Duration) -> anyhow::Result<()> {
        let log = self.path("parquet.log");
        let noticed = || fs::read_to_string(&log).unwrap_or_default().matches(FULL).count();
        let before = noticed();
        storm.consumer.running.limit_files(Some(4_096))?;
        storm.feeder.correct(&mut self.rng)?;
        until("a write fails for want of room", async || {
            let ended = storm.consumer.running.ended()?;
            anyhow::ensure!(ended.is_none(), "a full disk ended the reader: {}", self.tail("parquet.log"));
            storm.producer.keep_alive()?;
            Ok(noticed() > before)
        })
        .await?;
        tokio::time::sleep(pause).await;
        storm.consumer.running.limit_files(None)
    }

    /// Empties the server, once there is something on it.
    async fn flush(&self) -> anyhow::Result<()> {
        let born = || self.redis.command::<Option<String>>(&["GET", BORN]);
        until("there is a stream", async || Ok(born().await?.is_some())).await?;
        let before = born().await?;
        let (had, has): (u64, u64) = self.redis.command(&["EVAL", FLUSH, "0"]).await?;
        assert!(had > 0 && has == 0, "{had} keys before, {has} after");
        until("there is another stream", async || Ok(born().await?.is_some_and(|born| Some(born) != before)))
            .await
    }

    async fn storm(&mut self, feeder: &mut Feeder) -> anyhow::Result<()> {
        let (csv, parquet) = (self.producer(&[]), self.consumer(&[]));
        let producer = Daemon::start("sqep-csv", csv, self.path("csv.log"))?;
        let consumer = Daemon::start("sqep-parquet", parquet, self.path("parquet.log"))?;
        let mut storm = Storm { producer, consumer, feeder };
        let (begun, length) = (Instant::now(), Duration::from_secs(self.seconds));
        while begun.elapsed() < length || self.dealt.len() <= MISFORTUNES.len() {
            while PACE * u32::try_from(storm.feeder.fed)? < begun.elapsed() && storm.feeder.is_day() {
                storm.feeder.feed(&mut self.rng)?;
            }
            storm.producer.keep_alive()?;
            storm.consumer.keep_alive()?;
            self.misfortune(&mut storm).await.with_context(|| {
                format!("{:?}\n{}\n{}", self.dealt, self.tail("csv.log"), self.tail("parquet.log"))
            })?;
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(100..1_500))).await;
        }
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
    let mut soak = Soak { redis, folder, rng, seconds, deck: Vec::new(), dealt: BTreeMap::new() };
    let minutes = usize::try_from(seconds)? / 3 + 1;
    let mut feeder = Feeder::new(soak.path("in"), if seconds > 60 { 5_500 } else { 600 }, minutes)?;
    soak.storm(&mut feeder).await?;
    println!("{:?}", soak.dealt);
    let times = |misfortune| soak.dealt.get(&misfortune).copied().unwrap_or_default();
    assert!(MISFORTUNES.into_iter().all(|misfortune| times(misfortune) > 0), "{:?}", soak.dealt);
    assert_eq!(times(Misfortune::Flushed), 1, "{:?}", soak.dealt);
    soak.calm()?;
    soak.audit(&feeder.truth).await
}
