//! A new group is given the past by the real programs: from an archive and from the stream, killed at random moments, on
//! one partition and on several, and hands over to the stream without a gap.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use sqep::{DayBar, EntryId, Kind, Record, Symbol};
use sqep_archive::{FileName, Filter, Reader, Rows, layout};
use sqep_testkit::{
    TestRedis,
    programs::{Running, program},
};

/// What an archive says of a key: the record, its version and its source.
type Archive = BTreeMap<(Symbol, i64), (DayBar, u64, String)>;

/// Nothing that is waited for may take longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

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
        let out = self.generate(seed, symbols, days)?.display().to_string();
        let set = ["csv.dialect=sqep".to_owned(), "publish.records_max=900".to_owned()];
        self.start("sqep-csv", &["--once", &out], &set)
    }

    /// The files of a made-up market, one a security.
    fn generate(&self, seed: u32, symbols: u32, days: u32) -> anyhow::Result<PathBuf> {
        let out = self.path(&format!("csv-{seed}"));
        if !out.exists() {
            let status = std::process::Command::new(program("sqep")?)
                .args(["gen", "--dialect", "sqep", "--seed", &seed.to_string()])
                .args(["--symbols", &symbols.to_string(), "--days", &days.to_string(), "--out"])
                .arg(&out)
                .stdout(std::process::Stdio::null())
                .status()?;
            anyhow::ensure!(status.success(), "sqep gen ended with {status}");
        }
        Ok(out)
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

    /// Whether a group has settled everything that lies on a partition.
    async fn is_settled(&self, group: &str, partition: u16) -> anyhow::Result<bool> {
        let stream = format!("sqep:{{bar:1d:{partition}}}");
        let last: Vec<(String, redis::Value)> =
            self.redis.command(&["XREVRANGE", &stream, "+", "-", "COUNT", "1"]).await?;
        let settled: Option<String> =
            self.redis.command(&["HGET", &format!("{stream}:groups"), group]).await?;
        Ok(settled.is_some() && settled.as_ref() == last.first().map(|(id, _)| id))
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

/// The rows of every file of a batch, as they lie there.
fn batches(root: &Path) -> anyhow::Result<Vec<Batch>> {
    let mut batches = Vec::new();
    for folder in layout::folders(&root.join("bar_1d"))? {
        for (name, path) in layout::named_files(&folder)? {
            let FileName::Batch { partition, first, last, .. } = name else {
                anyhow::bail!("{} is no batch's", path.display());
            };
            let (mut file, mut rows) = (Rows::<DayBar>::open(&path)?, Vec::new());
            while let Some(part) = file.next()? {
                rows.extend(part.into_iter().map(|row| (row.record.key(), row.version)));
            }
            batches.push(Batch { partition, ids: first.version()..=last.version(), rows });
        }
    }
    Ok(batches)
}

/// Key and version.
type Stored = ((Symbol, i64), u64);

/// One file: which entries it was made of, and its rows.
struct Batch {
    partition: u16,
    ids: RangeInclusive<u64>,
    rows: Vec<Stored>,
}

/// By which entries a row came. A row of the past has a version older than the entry it came by.
#[derive(Debug)]
struct Way {
    past: bool,
    partition: u16,
    ids: RangeInclusive<u64>,
}

impl Way {
    /// Whether both may be the same entry, delivered again after a crash between writing and settling.
    fn may_be_one(&self, other: &Way) -> bool {
        let overlap = self.ids.start() <= other.ids.end() && other.ids.start() <= self.ids.end();
        (self.past, self.partition) == (other.past, other.partition) && overlap && self.ids != other.ids
    }
}

/// Every row was given once, however often it was written.
fn given_once(root: &Path) -> anyhow::Result<()> {
    let mut seen: BTreeMap<Stored, Vec<Way>> = BTreeMap::new();
    for Batch { partition, ids, rows } in batches(root)? {
        for row in rows {
            let way = Way { past: !ids.contains(&row.1), partition, ids: ids.clone() };
            let others = seen.entry(row).or_default();
            assert!(
                others.iter().all(|other| way.may_be_one(other)),
                "{row:?} came by {way:?} and {others:?}"
            );
            others.push(way);
        }
    }
    assert!(!seen.is_empty());
    Ok(())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let since = Instant::now();
    while !holds().await? {
        anyhow::ensure!(since.elapsed() < WAIT_MAX, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
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

/// Who is killed.
const BLOWS: [Blow; 3] = [Blow::Giver, Blow::Taker, Blow::Server];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Giver,
    Taker,
    Server,
}

/// A past on its way from an archive to a group, while other bars come in.
struct Giving {
    world: World,
    giver: Running,
    taker: Running,
    live: Running,
}

impl Giving {
    fn start(world: World) -> anyhow::Result<Giving> {
        let (giver, taker, live) =
            (Giving::giver(&world)?, Giving::taker(&world)?, world.publisher(4, 40, 60)?);
        Ok(Giving { world, giver, taker, live })
    }

    fn giver(world: &World) -> anyhow::Result<Running> {
        world.replay("second", &["--archive", &world.path("first").display().to_string()])
    }

    fn taker(world: &World) -> anyhow::Result<Running> {
        world.reader("second", false, &["reader.lease_s_max=5", "parquet.records_max=1000"])
    }

    async fn strike(&mut self, blow: Blow) -> anyhow::Result<()> {
        match blow {
            Blow::Giver => {
                self.giver.kill()?;
                self.giver = Giving::giver(&self.world)?;
            }
            Blow::Taker => {
                self.taker.kill()?;
                self.taker = Giving::taker(&self.world)?;
            }
            Blow::Server => {
                self.world.redis.server.kill()?;
                self.world.redis.server.restart().await?;
            }
        }
        Ok(())
    }

    /// Starts whoever has ended again; whether the past is given.
    fn go_on(&mut self) -> anyhow::Result<bool> {
        if self.taker.ended()?.is_some() {
            self.taker = Giving::taker(&self.world)?;
        }
        if self.live.ended()?.is_some_and(|code| code != 0) {
            self.live = self.world.publisher(4, 40, 60)?;
        }
        match self.giver.ended()? {
            Some(0) => return Ok(true),
            // Killed after its last word: the group took all of it meanwhile.
            Some(_) if self.world.log("sqep").contains("reads bar:1d already") => return Ok(true),
            Some(_) => self.giver = Giving::giver(&self.world)?,
            None => {}
        }
        Ok(false)
    }

    /// Everything that is still on its way arrives; the world they lived in.
    async fn finish(mut self) -> anyhow::Result<World> {
        until("the past is given", async || self.go_on()).await?;
        let Giving { world, giver, mut taker, live } = self;
        drop((giver, live));
        world.publish(4, 40, 60)?;
        assert_eq!(taker.terminate()?, 0, "{}", world.log("sqep-parquet"));
        world.reader("second", true, &[])?.finish()?;
        world.reader("first", true, &[])?.finish()?;
        Ok(world)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_while_the_past_is_given_nothing_is_missing_and_nothing_comes_twice()
-> anyhow::Result<()> {
    let mut struck = BTreeMap::from(BLOWS.map(|blow| (blow, 0)));
    for seed in 0..4 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let partitions = if seed % 2 == 0 { "stream.partitions=1" } else { "stream.partitions=3" };
        let world = World::new(&[partitions, "stream.backlog_entries_max=4"]).await?;
        world.publish(3, 60, 1_500)?;
        world.archive_and_trim()?;
        let mut giving = Giving::start(world)?;
        // Each of them once, and again as long as it lasts.
        for _ in 0..3 {
            let mut blows = BLOWS;
            blows.shuffle(&mut rng);
            for blow in blows {
                tokio::time::sleep(Duration::from_millis(rng.random_range(5..60))).await;
                if !giving.go_on()? {
                    giving.strike(blow).await?;
                    *struck.entry(blow).or_default() += 1;
                }
            }
        }
        let world = giving.finish().await?;
        same(&world.archive("first")?, &world.archive("second")?);
        given_once(&world.path("first"))?;
        given_once(&world.path("second"))?;
    }
    assert!(struck.values().all(|&times| times >= 2), "while the past was given: {struck:?}");
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
    // Bars come in any order: what is left need not be all there was of a day, however late.
    let error = told(&["--from", "2031-01-02"], "second")?;
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
    until("all four partitions are settled", async || {
        for reader in [&mut low, &mut high] {
            anyhow::ensure!(reader.ended()?.is_none(), "a reader has ended: {}", world.log("sqep-parquet"));
        }
        let mut settled = true;
        for partition in 0..4 {
            settled &= world.is_settled("first", partition).await?;
        }
        Ok(settled)
    })
    .await?;
    for (partition, reader) in [(0, &low), (1, &low), (2, &high), (3, &high)] {
        let holder: String =
            world.redis.command(&["GET", &format!("sqep:{{bar:1d:{partition}}}:lease:first")]).await?;
        assert!(holder.contains(&format!("/{}/", reader.pid())), "partition {partition}: {holder}");
    }
    assert_eq!(low.terminate()?, 0);
    assert_eq!(high.terminate()?, 0);
    let batches = batches(&world.path("first"))?;
    let of_partition = |batch: &Batch| {
        batch.rows.iter().all(|((symbol, _), _)| symbol.get() % 4 == i32::from(batch.partition))
    };
    assert!(batches.iter().all(of_partition), "a security has one partition");
    let one = World::new(&[]).await?;
    one.publish(3, 60, 60)?;
    one.publish(4, 60, 60)?;
    one.reader("first", true, &["reader.start=earliest"])?.finish()?;
    let records =
        |archive: Archive| archive.into_iter().map(|(key, (bar, ..))| (key, bar)).collect::<BTreeMap<_, _>>();
    assert_eq!(records(world.archive("first")?), records(one.archive("first")?));
    for partition in 0..4 {
        assert!(batches.iter().any(|batch| batch.partition == partition), "{partition} has its share");
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

/// How a live group fares: the longest that anything it had to do lay there, and how often it settled.
#[derive(Default)]
struct Fared {
    behind_since: Option<Instant>,
    longest: Duration,
    settled: EntryId,
    settles: u32,
}

impl Fared {
    /// Looks once.
    async fn look(&mut self, world: &World, group: &str) -> anyhow::Result<()> {
        let keys = ("sqep:{bar:1d:0}", "sqep:{bar:1d:0}:groups");
        let last: Vec<(String, redis::Value)> =
            world.redis.command(&["XREVRANGE", keys.0, "+", "-", "COUNT", "1"]).await?;
        let settled: Option<String> = world.redis.command(&["HGET", keys.1, group]).await?;
        let last = last.first().map(|(id, _)| id.parse::<EntryId>()).transpose()?.unwrap_or_default();
        let settled = settled.map(|id| id.parse::<EntryId>()).transpose()?.unwrap_or_default();
        self.settles += u32::from(settled != self.settled);
        self.settled = settled;
        self.behind_since = if settled >= last { None } else { self.behind_since.or(Some(Instant::now())) };
        self.longest = self.longest.max(self.behind_since.map_or(Duration::ZERO, |since| since.elapsed()));
        Ok(())
    }
}

/// Files that come in one after the other, as a day's bars do, to a publisher that watches their folder.
struct Feed {
    files: Vec<PathBuf>,
    folder: PathBuf,
    publisher: Running,
    fed: usize,
}

impl Feed {
    fn start(world: &World, symbols: u32) -> anyhow::Result<Feed> {
        let mut files: Vec<PathBuf> = fs::read_dir(world.generate(9, symbols, 2)?)?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<_>>()?;
        files.sort_unstable();
        let folder = world.path("in");
        fs::create_dir(&folder)?;
        let set = ["csv.dialect=sqep".to_owned(), "csv.quiet_ms=0".to_owned()];
        let publisher = world.start("sqep-csv", &[&folder.display().to_string()], &set)?;
        Ok(Feed { files, folder, publisher, fed: 0 })
    }

    /// The next file comes in.
    fn feed(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.publisher.ended()?.is_none(), "the publisher has ended");
        let file = self.files.get(self.fed).and_then(|file| Some((file, file.file_name()?)));
        if let Some((file, name)) = file {
            fs::rename(file, self.folder.join(name))?;
            self.fed += 1;
        }
        Ok(())
    }
}

/// `SQEP_REPLAY_BARS` sets how many bars are replayed; `make soak` takes a million.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_group_is_given_the_past_the_live_one_stays_within_a_second() -> anyhow::Result<()> {
    let bars: u32 =
        std::env::var("SQEP_REPLAY_BARS").ok().and_then(|text| text.parse().ok()).unwrap_or(400_000);
    let world = World::new(&["stream.trim_interval_s=0"]).await?;
    world.publish(3, bars / 500, 520)?;
    world.archive_and_trim()?;
    let mut live = world.reader("first", false, &["parquet.wait_s_max=0"])?;
    let mut feed = Feed::start(&world, 2_000)?;
    feed.feed()?;
    until("the live group reads", async || world.is_settled("first", 0).await).await?;

    let (archive, taking) = (world.path("first").display().to_string(), ["parquet.records_max=20000"]);
    let giving = ["--archive", &archive, "--set", "stream.backlog_entries_max=40"];
    let mut giver = world.replay("second", &giving)?;
    let mut taker = world.reader("second", false, &taking)?;
    let (mut fared, mut looks) = (Fared::default(), 0);
    while giver.ended()?.is_none() {
        if looks % 2 == 0 {
            feed.feed()?;
        }
        looks += 1;
        fared.look(&world, "first").await?;
        anyhow::ensure!(live.ended()?.is_none(), "the live reader has ended: {}", world.log("sqep-parquet"));
        if taker.ended()?.is_some() {
            taker = world.reader("second", false, &taking)?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    giver.finish()?;
    // What came in last counts too, however soon the past was given.
    until("the live group has settled", async || {
        fared.look(&world, "first").await?;
        Ok(fared.behind_since.is_none())
    })
    .await?;
    assert!(fared.longest < Duration::from_secs(1), "the live group was {:?} behind", fared.longest);
    assert!(fared.settles >= 5, "{} files, settled {} times", feed.fed, fared.settles);
    assert_eq!((feed.publisher.terminate()?, live.terminate()?), (0, 0));
    drop(taker);
    for group in ["second", "first"] {
        world.reader(group, true, &[])?.finish()?;
    }
    same(&world.archive("first")?, &world.archive("second")?);
    // And by the program's own word, against the files in the order they were published.
    let [past, fed, second] = ["csv-3", "in", "second"].map(|name| world.path(name).display().to_string());
    let audit = ["audit", "--dialect", "sqep", "--archive", &second, "--against", &past, &fed];
    world.start("sqep", &audit, &[])?.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_is_refused_and_what_was_given_is_not_given_again() -> anyhow::Result<()> {
    let world = World::new(&["stream.partitions=2"]).await?;
    world.publish(3, 20, 20)?;
    let error = world.replay("second", &["--speed", "60x"])?.finish().expect_err("no pace").to_string();
    assert!(error.contains("no order to keep pace with"), "{error}");
    world.archive_and_trim()?;
    let archive = world.path("first").display().to_string();
    world.replay("second", &["--archive", &archive])?.finish()?;
    let error =
        world.replay("second", &["--archive", &archive, "--speed", "60x"])?.finish().expect_err("pace");
    assert!(error.to_string().contains("is being given another past"), "{error}");
    world.replay("second", &["--archive", &archive])?.finish()?;
    assert!(world.log("sqep").contains("all of this past was given"), "{}", world.log("sqep"));
    let set = [format!("parquet.root={}", world.path("second").display()), "reader.group=second".to_owned()];
    let error = world.start("sqep-parquet", &["--once", "--resume"], &set)?.finish().expect_err("no resume");
    assert!(error.to_string().contains("is being given its past"), "{error}");
    world.reader("second", true, &[])?.finish()?;
    same(&world.archive("first")?, &world.archive("second")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn days_after_the_end_of_the_calendar_are_given_at_a_pace_as_well() -> anyhow::Result<()> {
    let world = World::new(&[]).await?;
    let file = world.path("late.csv");
    let header = "symbol,frame,open,high,low,close,vol,amount,adjust,st,buy_limit,sell_limit";
    let rows = ["2031-03-05", "2031-03-06"].map(|day| format!("1600000,{day},1,1,1,1,100,100,1,0,,"));
    std::fs::write(&file, format!("{header}\n{}\n", rows.join("\n")))?;
    let words = ["--once", &file.display().to_string()];
    world.start("sqep-csv", &words, &["csv.dialect=sqep".to_owned()])?.finish()?;
    world.archive_and_trim()?;
    let archive = world.path("first").display().to_string();
    world.replay("second", &["--archive", &archive, "--speed", "86400x"])?.finish()?;
    world.reader("second", true, &[])?.finish()?;
    assert_eq!(world.archive("first")?.len(), 2);
    same(&world.archive("first")?, &world.archive("second")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_by_gives_the_rest_of_the_past_when_the_first_is_killed() -> anyhow::Result<()> {
    let world = World::new(&["stream.backlog_entries_max=4"]).await?;
    world.publish(3, 60, 1_500)?;
    world.archive_and_trim()?;
    let archive = format!("reader.archive={}", world.path("first").display());
    let more = ["reader.start=archive", &archive, "reader.lease_s_max=5", "parquet.records_max=1000"];
    let mut first = world.reader("second", false, &more)?;
    let (lane, replays) = ("sqep:{bar:1d:0}:replay:second", "sqep:{bar:1d:0}:replays");
    until("the past is on its way", async || Ok(world.redis.command::<u64>(&["XLEN", lane]).await? > 0))
        .await?;
    let mut second = world.reader("second", false, &more)?;
    let holds = || world.log("sqep-parquet").contains("another reader holds");
    until("the second stands by", async || Ok(holds())).await?;
    let given = world.redis.command::<u64>(&["HEXISTS", replays, "second"]).await? == 0;
    assert!(!given, "the past was given before the second stood by");
    first.kill()?;
    until("the past is settled", async || {
        assert_eq!(second.ended()?, None, "{}", world.log("sqep-parquet"));
        Ok(world.redis.command::<u64>(&["HEXISTS", replays, "second"]).await? == 0)
    })
    .await?;
    assert_eq!(second.terminate()?, 0);
    same(&world.archive("first")?, &world.archive("second")?);
    Ok(())
}
