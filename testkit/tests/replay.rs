//! A new group is given the past by the real programs: from an archive and from the stream, killed at random moments, on
//! one partition and on several, and hands over to the stream without a gap.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqep::{DayBar, EntryId, Kind, Record, Symbol};
use sqep_archive::{Filter, Reader};
use sqep_testkit::{
    TestRedis,
    programs::{Running, program},
};

/// What an archive says of a key: the record, its version and its source.
type Archive = BTreeMap<(Symbol, i64), (DayBar, u64, String)>;

/// A server, a folder, and the programs in them.
struct World {
    redis: TestRedis,
    folder: tempfile::TempDir,
    set: Vec<String>,
}

impl World {
    async fn new(set: &[&str]) -> anyhow::Result<World> {
        let redis = TestRedis::start().await?;
        let mut all = vec![format!("redis.url={}", redis.url()), "stream.kind=bar:1d".to_owned()];
        all.extend(set.iter().map(|&set| set.to_owned()));
        Ok(World { redis, folder: tempfile::Builder::new().prefix("sqep-replay-").tempdir()?, set: all })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, name: &str, words: &[&str], set: &[String]) -> anyhow::Result<Running> {
        let set = self.set.iter().chain(set).flat_map(|set| ["--set".to_owned(), set.clone()]);
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).chain(set).collect();
        Running::start(name, &words, &self.path(&format!("{name}.log")))
    }

    /// Publishes a made-up market.
    fn publish(&self, seed: u32, symbols: u32, days: u32) -> anyhow::Result<()> {
        self.publisher(seed, symbols, days)?.finish()
    }

    fn publisher(&self, seed: u32, symbols: u32, days: u32) -> anyhow::Result<Running> {
        let out = self.path(&format!("csv-{seed}"));
        if !out.exists() {
            let status = std::process::Command::new(program("sqep")?)
                .args([
                    "gen",
                    "--dialect",
                    "sqep",
                    "--seed",
                    &seed.to_string(),
                    "--symbols",
                    &symbols.to_string(),
                ])
                .args(["--days", &days.to_string(), "--out"])
                .arg(&out)
                .stdout(std::process::Stdio::null())
                .status()?;
            anyhow::ensure!(status.success(), "sqep gen ended with {status}");
        }
        let set = ["csv.dialect=sqep".to_owned(), "publish.records_max=900".to_owned()];
        self.start("sqep-csv", &["--once", &out.display().to_string()], &set)
    }

    fn reader(&self, group: &str, once: bool, more: &[&str]) -> anyhow::Result<Running> {
        let root = format!("parquet.root={}", self.path(group).display());
        let mut set = vec![root, format!("reader.group={group}"), "parquet.records_max=4000".to_owned()];
        set.extend(more.iter().map(|&more| more.to_owned()));
        self.start("sqep-parquet", if once { &["--once"] } else { &[] }, &set)
    }

    fn replay(&self, group: &str, words: &[&str]) -> anyhow::Result<Running> {
        let words: Vec<&str> = ["replay", "--into", group].iter().chain(words).copied().collect();
        self.start("sqep", &words, &[])
    }

    /// Everything there is goes into the archive `first`, then the stream forgets it.
    fn archive_and_trim(&self) -> anyhow::Result<()> {
        self.reader("first", true, &["reader.start=earliest"])?.finish()?;
        self.start("sqep", &["trim"], &["stream.keep_hours_min=0".to_owned()])?.finish()
    }

    fn archive(&self, name: &str) -> anyhow::Result<Archive> {
        archive(&self.path(name))
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

/// The current rows of an archive.
fn archive(root: &Path) -> anyhow::Result<Archive> {
    let mut reader = Reader::<DayBar>::open(root, Kind::BarDay, Filter::default())?;
    let mut archive = Archive::new();
    while let Some(block) = reader.next()? {
        for row in block.rows {
            let source = reader.sources()[usize::from(row.source)].to_string();
            archive.insert(row.record.key(), (row.record, row.version, source));
        }
    }
    Ok(archive)
}

fn same(left: &Archive, right: &Archive) {
    assert_eq!(left.len(), right.len());
    let differs = left.iter().find(|&(key, row)| right.get(key) != Some(row));
    assert!(differs.is_none(), "{differs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_has_the_archive_and_the_stream_with_the_versions_they_had() -> anyhow::Result<()> {
    let world = World::new(&[]).await?;
    world.publish(3, 40, 60)?;
    world.publish(4, 40, 40)?;
    world.archive_and_trim()?;
    let left: u64 = world.redis.command(&["XLEN", "sqep:{bar:1d:0}"]).await?;
    assert_eq!(left, 0, "the past is in the archive alone");
    // Rows that come before, while and after the past is given.
    world.publish(5, 30, 20)?;
    let archive = world.path("first").display().to_string();
    let early = world.reader("second", true, &[])?.finish().expect_err("an error").to_string();
    assert!(early.contains("reader.start is not set"), "it came before there was a past: {early}");
    world.publish(6, 30, 30)?;
    world.replay("second", &["--archive", &archive])?.finish()?;
    world.publish(7, 50, 10)?;
    world.reader("first", true, &[])?.finish()?;
    world.reader("second", true, &[])?.finish()?;
    let (first, second) = (world.archive("first")?, world.archive("second")?);
    same(&first, &second);
    assert!(second.values().all(|(_, _, source)| source == "csv"), "the source travels along");
    let beside: Vec<String> = world.redis.command(&["KEYS", "*replay*"]).await?;
    assert!(beside.is_empty(), "nothing of the replay stays behind: {beside:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_while_the_past_is_given_nothing_is_missing_and_nothing_comes_twice()
-> anyhow::Result<()> {
    for seed in 0..4 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let partitions = if seed % 2 == 0 { "stream.partitions=1" } else { "stream.partitions=3" };
        let mut world = World::new(&[partitions, "stream.backlog_entries_max=20"]).await?;
        world.publish(3, 60, 120)?;
        world.archive_and_trim()?;
        let archive = world.path("first").display().to_string();
        let replay = |world: &World| world.replay("second", &["--archive", &archive]);
        let reader = |world: &World| world.reader("second", false, &["reader.lease_s_max=5"]);
        let mut giver = replay(&world)?;
        let (mut taker, mut live) = (reader(&world)?, world.publisher(4, 40, 60)?);
        let mut given = false;
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(rng.random_range(5..120))).await;
            match rng.random_range(0..8) {
                0 => {
                    giver.kill()?;
                    giver = replay(&world)?;
                }
                1 | 2 => {
                    taker.kill()?;
                    taker = reader(&world)?;
                }
                3 => {
                    world.redis.server.kill()?;
                    world.redis.server.restart().await?;
                }
                _ => {}
            }
            if taker.ended()?.is_some() {
                taker = reader(&world)?;
            }
            match giver.ended()? {
                Some(0) => given = true,
                Some(_) if !given => giver = replay(&world)?,
                _ => {}
            }
            if live.ended()?.is_some_and(|code| code != 0) {
                live = world.publisher(4, 40, 60)?;
            }
        }
        drop(live);
        world.publish(4, 40, 60)?;
        // A giver that finds the past given and taken says that the group reads already.
        drop(giver);
        let mut giver = replay(&world)?;
        while giver.ended()?.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if taker.ended()?.is_some() {
                taker = reader(&world)?;
            }
        }
        assert_eq!(taker.terminate()?, 0, "{}", world.log("sqep-parquet"));
        world.reader("second", true, &[])?.finish()?;
        world.reader("first", true, &[])?.finish()?;
        same(&world.archive("first")?, &world.archive("second")?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_starts_with_an_archive_needs_nobody_else() -> anyhow::Result<()> {
    let world = World::new(&["stream.partitions=2"]).await?;
    world.publish(3, 40, 60)?;
    world.archive_and_trim()?;
    world.publish(4, 30, 30)?;
    let archive = format!("reader.archive={}", world.path("first").display());
    world.reader("second", true, &["reader.start=archive", &archive])?.finish()?;
    world.reader("first", true, &[])?.finish()?;
    same(&world.archive("first")?, &world.archive("second")?);
    // Once is enough: the next start goes on with the stream.
    world.publish(5, 30, 30)?;
    world.reader("second", true, &["reader.start=archive", &archive])?.finish()?;
    world.reader("first", true, &[])?.finish()?;
    same(&world.archive("first")?, &world.archive("second")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_stream_is_given_by_security_and_day() -> anyhow::Result<()> {
    let world = World::new(&[]).await?;
    world.publish(3, 40, 60)?;
    world.reader("first", true, &["reader.start=earliest"])?.finish()?;
    let all = world.archive("first")?;
    let day = all.values().map(|(bar, ..)| bar.frame).nth(all.len() / 2).expect("a day");
    let from = day.to_string();
    world.replay("second", &["--from", &from, "--symbols", "SZ"])?.finish()?;
    world.reader("second", true, &[])?.finish()?;
    let shenzhen = 2_000_000..3_000_000;
    let part = |(bar, ..): &(DayBar, u64, String)| bar.frame >= day && shenzhen.contains(&bar.symbol.get());
    let expected: Archive = all.into_iter().filter(|(_, row)| part(row)).collect();
    assert!(!expected.is_empty());
    same(&expected, &world.archive("second")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_replayed_from_the_stream_is_not_trimmed_meanwhile() -> anyhow::Result<()> {
    let world = World::new(&[]).await?;
    // More than one transaction holds.
    world.publish(3, 120, 500)?;
    world.reader("first", true, &["reader.start=earliest"])?.finish()?;
    let mut giver = world.replay("second", &["--set", "stream.backlog_entries_max=0"])?;
    while !world.log("sqep").contains("holding back") {
        assert_eq!(giver.ended()?, None, "{}", world.log("sqep"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before: u64 = world.redis.command(&["XLEN", "sqep:{bar:1d:0}"]).await?;
    world.start("sqep", &["trim"], &["stream.keep_hours_min=0".to_owned()])?.finish()?;
    let after: u64 = world.redis.command(&["XLEN", "sqep:{bar:1d:0}"]).await?;
    assert_eq!(after, before, "the new group needs all of it");
    let mut taker = world.reader("second", true, &[])?;
    giver.finish()?;
    taker.finish()?;
    same(&world.archive("first")?, &world.archive("second")?);
    world.start("sqep", &["trim"], &["stream.keep_hours_min=0".to_owned()])?.finish()?;
    let after: u64 = world.redis.command(&["XLEN", "sqep:{bar:1d:0}"]).await?;
    assert_eq!(after, 0, "nobody needs it any more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_that_is_gone_and_a_group_that_reads_are_errors_and_not_silence() -> anyhow::Result<()> {
    let world = World::new(&[]).await?;
    world.publish(3, 20, 30)?;
    world.archive_and_trim()?;
    world.publish(4, 20, 30)?;
    let told = |words: &[&str], into: &str| {
        let error = world.replay(into, words)?.finish().expect_err("an error").to_string();
        anyhow::Ok(error)
    };
    let error = told(&["--from", "2001-01-02"], "second")?;
    assert!(error.contains("was trimmed up to") && error.contains("--archive"), "{error}");
    let error = told(&["--from", &EntryId::new(1, 0).to_string()], "second")?;
    assert!(error.contains("was trimmed up to"), "{error}");
    let archive = world.path("first").display().to_string();
    let error = told(&["--archive", &archive], "first")?;
    assert!(error.contains("reads bar:1d already") && error.contains("sqep group retire first"), "{error}");
    let groups: Vec<redis::Value> = world.redis.command(&["XINFO", "GROUPS", "sqep:{bar:1d:0}"]).await?;
    assert_eq!(groups.len(), 1, "a refused replay leaves no group behind");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_says_where_it_starts_by_id_or_time_and_not_before_what_is_left() -> anyhow::Result<()> {
    let world = World::new(&[]).await?;
    world.publish(3, 20, 30)?;
    let last: String = {
        let info: Vec<(String, redis::Value)> =
            world.redis.command(&["XREVRANGE", "sqep:{bar:1d:0}", "+", "-", "COUNT", "1"]).await?;
        info[0].0.clone()
    };
    world.reader("second", true, &[&format!("reader.start={last}")])?.finish()?;
    let from = last.parse::<EntryId>()?.version();
    let second = world.archive("second")?;
    assert!(
        !second.is_empty() && second.values().all(|&(_, version, _)| version >= from),
        "the entry named and what follows"
    );
    world.archive_and_trim()?;
    world.publish(4, 20, 30)?;
    let error =
        world.reader("third", true, &["reader.start=1-0"])?.finish().expect_err("an error").to_string();
    assert!(error.contains("was trimmed up to") && error.contains("archive"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_their_own_partitions_hold_the_whole_together_and_another_number_is_refused()
-> anyhow::Result<()> {
    let world = World::new(&["stream.partitions=4"]).await?;
    let (mut low, mut high) = (
        world.reader("first", false, &["reader.start=earliest", "reader.partitions=0-1"])?,
        world.reader("first", false, &["reader.start=earliest", "reader.partitions=2,3"])?,
    );
    // Two markets over the same keys: of each symbol the later row must win, on whichever partition it lies.
    world.publish(3, 60, 60)?;
    world.publish(4, 60, 60)?;
    assert_eq!(low.terminate()?, 0);
    assert_eq!(high.terminate()?, 0);
    world.reader("first", true, &[])?.finish()?;
    let one = World::new(&[]).await?;
    one.publish(3, 60, 60)?;
    one.publish(4, 60, 60)?;
    one.reader("first", true, &["reader.start=earliest"])?.finish()?;
    let records =
        |archive: Archive| archive.into_iter().map(|(key, (bar, ..))| (key, bar)).collect::<BTreeMap<_, _>>();
    assert_eq!(records(world.archive("first")?), records(one.archive("first")?));
    for partition in 0..4 {
        let entries: u64 = world.redis.command(&["XLEN", &format!("sqep:{{bar:1d:{partition}}}")]).await?;
        assert!(entries > 0, "partition {partition} has its share");
    }
    let other = world.start(
        "sqep-csv",
        &["--once", &world.path("csv-3").display().to_string()],
        &["csv.dialect=sqep".to_owned(), "stream.partitions=2".to_owned()],
    );
    let error = other?.finish().expect_err("an error").to_string();
    assert!(error.contains("spread over 4 partitions") && error.contains("stream.partitions = 4"), "{error}");
    Ok(())
}

/// The longest that anything a group had to do lay there, asked again and again until `done`, in milliseconds.
async fn longest_lag(
    world: &World,
    group: &str,
    mut done: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<u64> {
    let keys = ("sqep:{bar:1d:0}", "sqep:{bar:1d:0}:groups");
    let (mut behind_since, mut longest) = (None::<std::time::Instant>, 0);
    while !done()? {
        let last: Vec<(String, redis::Value)> =
            world.redis.command(&["XREVRANGE", keys.0, "+", "-", "COUNT", "1"]).await?;
        let settled: Option<String> = world.redis.command(&["HGET", keys.1, group]).await?;
        let last = last.first().map(|(id, _)| id.parse::<EntryId>()).transpose()?.unwrap_or_default();
        let settled = settled.map(|id| id.parse::<EntryId>()).transpose()?.unwrap_or_default();
        behind_since =
            if settled >= last { None } else { behind_since.or_else(|| Some(std::time::Instant::now())) };
        let lag = behind_since.map_or(0, |since| since.elapsed().as_millis());
        longest = longest.max(u64::try_from(lag)?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(longest)
}

/// `SQEP_REPLAY_BARS` sets how many bars are replayed; `make soak` takes a million.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_group_is_given_the_past_the_live_one_stays_within_a_second() -> anyhow::Result<()> {
    let bars: u32 =
        std::env::var("SQEP_REPLAY_BARS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let world = World::new(&["stream.trim_interval_s=0"]).await?;
    world.publish(3, bars / 500, 520)?;
    world.archive_and_trim()?;
    let live = world.start(
        "sqep-parquet",
        &[],
        &[
            format!("parquet.root={}", world.path("first").display()),
            "reader.group=first".to_owned(),
            "parquet.wait_s_max=0".to_owned(),
        ],
    )?;
    let archive = world.path("first").display().to_string();
    let mut giver = world.replay("second", &["--archive", &archive])?;
    let mut taker = world.reader("second", false, &["parquet.records_max=200000"])?;
    let mut fed = 10;
    let longest = {
        let world = &world;
        let mut feeder = None::<Running>;
        longest_lag(world, "first", || {
            // A little market after the other, as a day's bars come in.
            if feeder.as_mut().map(Running::ended).transpose()?.flatten().is_some() || feeder.is_none() {
                fed += 1;
                feeder = Some(world.publisher(fed, 30, 2)?);
            }
            if taker.ended()?.is_some() {
                taker = world.reader("second", false, &["parquet.records_max=200000"])?;
            }
            Ok(giver.ended()?.is_some())
        })
        .await?
    };
    assert!(fed > 10, "bars came in while the past was given");
    giver.finish()?;
    assert!(longest < 1_000, "the live group was {longest} ms behind");
    drop((live, taker));
    for group in ["second", "first"] {
        world.reader(group, true, &[])?.finish()?;
    }
    same(&world.archive("first")?, &world.archive("second")?);
    Ok(())
}
