//! Real programs and a real Redis, killed at random moments: the compacted archive equals the input row by row.
//!
//! `SQEP_KILL_ROUNDS` sets how many rounds are run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::NaiveDate;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use sqep::{DayBar, Record, Symbol};
use sqep_parquet::{Rows, files};
use sqep_testkit::{
    TestRedis,
    programs::{Running, program},
};

type Archive = BTreeMap<(Symbol, i64), DayBar>;

/// The most blows of one round.
const BLOWS_MAX: usize = 9;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Producer,
    Consumer,
    Server,
}

/// Blows in any order, of which none comes a second time before the others have come once.
#[derive(Default)]
struct Deck {
    left: Vec<Blow>,
    dealt: BTreeMap<Blow, u32>,
}

impl Deck {
    fn draw(&mut self, rng: &mut SmallRng) -> Blow {
        if self.left.is_empty() {
            self.left = vec![Blow::Producer, Blow::Consumer, Blow::Server];
            self.left.shuffle(rng);
        }
        let blow = self.left.pop().expect("just shuffled");
        *self.dealt.entry(blow).or_default() += 1;
        blow
    }
}

/// What the programs of one round share.
struct Round {
    redis: TestRedis,
    folder: tempfile::TempDir,
    rng: SmallRng,
}

impl Round {
    async fn new(seed: u64) -> anyhow::Result<Round> {
        let folder = tempfile::Builder::new().prefix("sqep-round-").tempdir()?;
        Ok(Round { redis: TestRedis::start().await?, folder, rng: SmallRng::seed_from_u64(seed) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn set(&self, more: &[String]) -> Vec<String> {
        let mut all: Vec<String> =
            vec![format!("redis.url={}", self.redis.url()), "stream.kind=bar:1d".into()];
        all.extend_from_slice(more);
        all.into_iter().flat_map(|value| ["--set".to_owned(), value]).collect()
    }

    fn producer(&self, input: &Path) -> anyhow::Result<Running> {
        // Small transactions, and few of them ahead of the reader, so that there is something to be killed in the middle of.
        let mut arguments = self.set(&[
            "csv.dialect=tushare".into(),
            "publish.records_max=900".into(),
            "stream.groups=[\"parquet\"]".into(),
            "stream.backlog_entries_max=4".into(),
        ]);
        arguments.extend(["--once".into(), input.display().to_string()]);
        Running::start("sqep-csv", &arguments, &self.path("csv.log"))
    }

    fn consumer(&self, once: bool) -> anyhow::Result<Running> {
        let root = format!("parquet.root={}", self.path("archive").display());
        let mut arguments =
            self.set(&["reader.start=earliest".into(), "parquet.records_max=2000".into(), root]);
        if once {
            arguments.push("--once".into());
        }
        Running::start("sqep-parquet", &arguments, &self.path("parquet.log"))
    }

    /// Lets a random while pass.
    async fn while_passes(&mut self) {
        let millis = self.rng.random_range(5..120);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Runs both programs over `input`, killing one or the other or the server until the producer has come through;
    /// returns how many of them were killed at their work.
    async fn storm(&mut self, input: &Path, deck: &mut Deck) -> anyhow::Result<usize> {
        let (mut producer, mut consumer) = (self.producer(input)?, self.consumer(false)?);
        let mut kills = 0;
        loop {
            self.while_passes().await;
            match producer.ended()? {
                Some(0) => break,
                Some(_) => producer = self.producer(input)?,
                None => {}
            }
            if consumer.ended()?.is_some() {
                consumer = self.consumer(false)?;
            }
            if kills == BLOWS_MAX {
                continue;
            }
            kills += 1;
            match deck.draw(&mut self.rng) {
                Blow::Producer => {
                    producer.kill()?;
                    producer = self.producer(input)?;
                }
                Blow::Consumer => {
                    consumer.kill()?;
                    consumer = self.consumer(false)?;
                }
                Blow::Server => {
                    self.redis.server.kill()?;
                    self.while_passes().await;
                    self.redis.server.restart().await?;
                }
            }
        }
        assert_eq!(consumer.terminate()?, 0, "a reader that is asked to end ends well");
        Ok(kills)
    }

    /// What a crash of the server took back is published again; then everything is delivered and compacted.
    fn calm(&self, input: &Path) -> anyhow::Result<()> {
        let mut consumer = self.consumer(false)?;
        self.producer(input)?.finish()?;
        assert_eq!(consumer.terminate()?, 0, "a reader that is asked to end ends well");
        self.consumer(true)?.finish()?;
        let root = format!("parquet.root={}", self.path("archive").display());
        let arguments = ["compact".to_owned(), "--set".to_owned(), root];
        Running::start("sqep", &arguments, &self.path("compact.log"))?.finish()
    }

    /// Every row of the archive; a key that comes twice after compaction is a broken promise.
    fn archive(&self) -> anyhow::Result<Archive> {
        let mut archive = Archive::new();
        for folder in std::fs::read_dir(self.path("archive").join("bar_1d"))? {
            let files = files(&folder?.path())?;
            assert_eq!(files.len(), 1, "a compacted partition is one file: {files:?}");
            for file in files {
                let mut rows = Rows::<DayBar>::open(&file)?;
                while let Some(rows) = rows.next()? {
                    for row in rows {
                        let before = archive.insert(row.record.key(), row.record);
                        assert_eq!(before, None, "a key twice in the compacted archive");
                    }
                }
            }
        }
        Ok(archive)
    }
}

/// The input, read by the simplest means there are: split lines, lots of 100 shares, thousands of yuan.
fn input(folder: &Path) -> anyhow::Result<Archive> {
    let mut rows = Archive::new();
    for file in std::fs::read_dir(folder)? {
        let text = std::fs::read_to_string(file?.path())?;
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let at = |name: &str| header.iter().position(|column| *column == name).expect("column");
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let number = |name: &str| cells[at(name)].parse::<f64>().expect("number");
            let bar = DayBar {
                symbol: cells[at("ts_code")].parse()?,
                frame: NaiveDate::parse_from_str(cells[at("trade_date")], "%Y%m%d")?,
                open: number("open"),
                high: number("high"),
                low: number("low"),
                close: number("close"),
                vol: (number("vol") * 100.0).round(),
                amount: Some((number("amount") * 1000.0).round()),
                adjust: None,
                st: None,
                buy_limit: None,
                sell_limit: None,
            };
            rows.insert(bar.key(), bar);
        }
    }
    Ok(rows)
}

fn generate(folder: &Path, symbols: u32, days: u32) -> anyhow::Result<()> {
    let status = std::process::Command::new(program("sqep")?)
        .args(["gen", "--dialect", "tushare", "--seed", "11", "--symbols", &symbols.to_string()])
        .args(["--days", &days.to_string(), "--out"])
        .arg(folder)
        .stdout(std::process::Stdio::null())
        .status()?;
    anyhow::ensure!(status.success(), "sqep gen ended with {status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_the_compacted_archive_equals_the_input() -> anyhow::Result<()> {
    let made = tempfile::tempdir()?;
    let folder = made.path().join("csv");
    generate(&folder, 120, 400)?;
    let expected = input(&folder)?;
    let rounds = std::env::var("SQEP_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut deck = Deck::default();
    for seed in 0..rounds {
        let mut round = Round::new(seed).await?;
        let kills = round.storm(&folder, &mut deck).await?;
        round.calm(&folder)?;
        let archive = round.archive()?;
        assert_eq!(archive.len(), expected.len(), "round {seed}, {kills} kills");
        for (key, bar) in &expected {
            assert_eq!(archive.get(key), Some(bar), "round {seed}, {kills} kills");
        }
    }
    println!("{:?}", deck.dealt);
    for blow in [Blow::Producer, Blow::Consumer, Blow::Server] {
        let times = deck.dealt.get(&blow).copied().unwrap_or_default();
        assert!(u64::from(times) >= rounds, "{blow:?} was struck {times} times in {rounds} rounds");
    }
    Ok(())
}
