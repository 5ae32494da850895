//! Two readers of one group, real programs on a real server: one works, the other waits, and takes over when the first is
//! gone, whichever way it went.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use sqep::{DayBar, Kind, Record};
use sqep_archive::{Filter, Reader};
use sqep_testkit::{
    TestRedis,
    programs::{Running, program},
};

const STREAM: &str = "sqep:{bar:1d:0}";

struct World {
    redis: TestRedis,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> anyhow::Result<World> {
        let folder = tempfile::Builder::new().prefix("sqep-lease-").tempdir()?;
        Ok(World { redis: TestRedis::start().await?, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn publish(&self, seed: &str) -> anyhow::Result<()> {
        let out = self.path(&format!("csv-{seed}")).display().to_string();
        let made = std::process::Command::new(program("sqep")?)
            .args([
                "gen",
                "--dialect",
                "sqep",
                "--symbols",
                "30",
                "--days",
                "40",
                "--seed",
                seed,
                "--out",
                &out,
            ])
            .stdout(std::process::Stdio::null())
            .status()?;
        anyhow::ensure!(made.success(), "sqep gen ended with {made}");
        let url = format!("redis.url={}", self.redis.url());
        let words = ["--once", "--set", &url, "--set", "csv.dialect=sqep", &out].map(str::to_owned);
        Running::start("sqep-csv", &words, &self.path("csv.log"))?.finish()
    }

    /// A reader of the one group into the one archive; what it says goes to `log`.
    fn reader(&self, log: &str, lease_s: u64, once: bool) -> anyhow::Result<Running> {
        let set = [
            format!("redis.url={}", self.redis.url()),
            "reader.start=earliest".to_owned(),
            format!("reader.lease_s_max={lease_s}"),
            "parquet.wait_s_max=0".to_owned(),
            format!("parquet.root={}", self.path("archive").display()),
        ];
        let mut words: Vec<String> = set.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect();
        words.extend(once.then(|| "--once".to_owned()));
        Running::start("sqep-parquet", &words, &self.path(log))
    }

    fn said(&self, log: &str) -> String {
        std::fs::read_to_string(self.path(log)).unwrap_or_default()
    }

    async fn holder(&self) -> anyhow::Result<Option<String>> {
        self.redis.command(&["GET", &format!("{STREAM}:lease:parquet")]).await
    }

    /// Waits until `reader` holds the lease.
    async fn held_by(&self, reader: &Running) -> anyhow::Result<()> {
        let pid = format!("/{}/", reader.pid());
        until("the lease is held", async || {
            Ok(self.holder().await?.is_some_and(|holder| holder.contains(&pid)))
        })
        .await
    }

    /// Waits until nothing is left to do.
    async fn settled(&self) -> anyhow::Result<()> {
        let last: Vec<(String, redis::Value)> =
            self.redis.command(&["XREVRANGE", STREAM, "+", "-", "COUNT", "1"]).await?;
        until("everything is settled", async || {
            let settled: Option<String> =
                self.redis.command(&["HGET", &format!("{STREAM}:groups"), "parquet"]).await?;
            Ok(settled.as_ref() == last.first().map(|(id, _)| id))
        })
        .await
    }

    /// How many rows the archive has stored, and the current ones.
    fn archive(&self) -> anyhow::Result<(u64, Vec<DayBar>)> {
        let mut reader = Reader::<DayBar>::open(&self.path("archive"), Kind::BarDay, Filter::default())?;
        let (mut stored, mut bars) = (0, Vec::new());
        while let Some(block) = reader.next()? {
            stored += block.stored;
            bars.extend(block.rows.iter().map(|row| row.record));
        }
        bars.sort_by_key(Record::key);
        Ok((stored, bars))
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let since = Instant::now();
    while !holds().await? {
        anyhow::ensure!(since.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reader_says_who_it_waits_for_and_takes_over_when_that_one_ends() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut first = world.reader("first.log", 60, false)?;
    world.held_by(&first).await?;
    let mut second = world.reader("second.log", 60, false)?;
    until("it says whom it waits for", async || {
        let pid = format!("/{}/", first.pid());
        Ok(world.said("second.log").contains("another reader holds")
            && world.said("second.log").contains(&pid))
    })
    .await?;
    let url = format!("redis.url={}", world.redis.url());
    let status = std::process::Command::new(program("sqep")?).args(["status", "--set", &url]).output()?;
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(shown.contains(&format!("/{}", first.pid())) && shown.contains(STREAM), "{shown}");
    assert_eq!(first.terminate()?, 0);
    world.held_by(&second).await?;
    world.publish("3")?;
    world.settled().await?;
    assert_eq!(second.terminate()?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_successor_does_not_wait_for_the_lease_to_pass() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut first = world.reader("first.log", 600, false)?;
    world.held_by(&first).await?;
    world.publish("3")?;
    first.kill()?;
    let since = Instant::now();
    world.reader("second.log", 600, true)?.finish()?;
    assert!(since.elapsed() < Duration::from_secs(60), "the lease would have lasted ten minutes");
    assert!(world.said("second.log").contains("is dead: taking its lease"), "{}", world.said("second.log"));
    world.settled().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_stopped_beyond_its_lease_and_let_go_again_changes_nothing() -> anyhow::Result<()> {
    let world = World::new().await?;
    let mut first = world.reader("first.log", 5, false)?;
    world.held_by(&first).await?;
    world.publish("3")?;
    world.settled().await?;
    first.signal("STOP")?;
    world.publish("4")?;
    let mut second = world.reader("second.log", 5, false)?;
    world.held_by(&second).await?;
    // The stopped one still keeps it from the archive: two must not write one.
    until("it says why it waits", async || Ok(world.said("second.log").contains("writes this archive")))
        .await?;
    first.signal("CONT")?;
    world.settled().await?;
    assert!(world.holder().await?.is_some_and(|holder| holder.contains(&format!("/{}/", second.pid()))));
    let pending: redis::Value = world.redis.command(&["XPENDING", STREAM, "parquet"]).await?;
    assert!(format!("{pending:?}").starts_with("array([int(0)"), "{pending:?}");
    assert_eq!(first.terminate()?, 0);
    assert_eq!(second.terminate()?, 0);
    let alone = World::new().await?;
    alone.publish("3")?;
    alone.publish("4")?;
    alone.reader("first.log", 5, true)?.finish()?;
    assert!(world.archive()? == alone.archive()?, "as if there had been one: {}", world.said("first.log"));
    Ok(())
}
