//! Trimming never takes what somebody has to wait for: on a real server, with entries of ids that the test chooses.

mod pipe;

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqep::{
    EntryId,
    redis::{
        RedisOutlet, RedisSettings, Server, groups,
        keys::{Keys, StreamSettings},
        trim::{Trim, entries_upto, forecast, trim},
    },
    transport::Outlet,
};
use sqep_testkit::TestRedis;

use self::pipe::{Pipe, STREAM};

const HOUR_MS: u64 = 3_600_000;

impl Pipe {
    async fn add(&self, ids: impl IntoIterator<Item = u64>) -> anyhow::Result<()> {
        for ms in ids {
            self.redis.command::<()>(&["XADD", STREAM, &format!("{ms}-0"), "p", "x"]).await?;
        }
        Ok(())
    }

    /// Makes a group that reads after `at`.
    async fn group(&self, name: &str, at: &str) -> anyhow::Result<()> {
        self.redis.command(&["XGROUP", "CREATE", STREAM, name, at, "MKSTREAM"]).await
    }

    /// Hands `count` entries to a group.
    async fn read(&self, group: &str, count: u64) -> anyhow::Result<()> {
        let count = count.to_string();
        self.redis
            .command(&["XREADGROUP", "GROUP", group, group, "COUNT", &count, "STREAMS", STREAM, ">"])
            .await
    }

    /// Settles entries of a group, as far as `mark`.
    async fn settle(&self, group: &str, ids: &[u64], mark: u64) -> anyhow::Result<()> {
        for ms in ids {
            self.redis.command::<u64>(&["XACK", STREAM, group, &format!("{ms}-0")]).await?;
        }
        self.redis.command(&["HSET", &self.keys().groups(), group, &format!("{mark}-0")]).await
    }

    async fn trim(&self) -> anyhow::Result<Trim> {
        pipe::trim(self).await
    }

    async fn left(&self) -> anyhow::Result<Vec<u64>> {
        Ok(self.ids().await?.into_iter().map(|id| id.ms).collect())
    }

    async fn trimmed(&self) -> anyhow::Result<Option<String>> {
        self.redis.command(&["GET", &self.keys().trimmed()]).await
    }
}

#[tokio::test]
async fn what_every_group_has_settled_goes_and_nothing_else() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    for group in ["a", "b"] {
        pipe.group(group, "0").await?;
    }
    pipe.add(1..=8).await?;
    assert_eq!((pipe.trim().await?.entries, pipe.trimmed().await?), (0, None), "nobody has read anything");
    pipe.read("a", 6).await?;
    pipe.settle("a", &[1, 2, 3, 4, 5, 6], 6).await?;
    pipe.read("b", 5).await?;
    pipe.settle("b", &[1, 2, 4, 5], 2).await?;
    let trim = pipe.trim().await?;
    assert_eq!((trim.entries, trim.upto), (2, Some(EntryId::new(2, 0))), "b has 3 pending: {trim:?}");
    assert_eq!(pipe.trimmed().await?.as_deref(), Some("2-0"));
    pipe.settle("b", &[3], 5).await?;
    assert_eq!(pipe.trim().await?.entries, 3);
    assert_eq!((pipe.left().await?, pipe.trimmed().await?.as_deref()), (vec![6, 7, 8], Some("5-0")));
    assert_eq!(pipe.trim().await?.upto, None, "twice is once");
    Ok(())
}

#[tokio::test]
async fn a_named_group_that_is_missing_has_settled_nothing() -> anyhow::Result<()> {
    let mut pipe = Pipe::new().await?;
    pipe.settings.groups = vec!["there".to_owned(), "not-yet".to_owned()];
    pipe.settings.keep_hours_max = 1;
    pipe.group("there", "0").await?;
    pipe.add(1..=3).await?;
    pipe.read("there", 3).await?;
    pipe.settle("there", &[1, 2, 3], 3).await?;
    let trim = pipe.trim().await?;
    assert_eq!((trim.entries, trim.missing), (0, vec!["not-yet".to_owned()]));
    let listed = groups::list(&mut pipe.connection().await?, &pipe.keys(), &pipe.settings.groups).await?;
    let missing = listed.iter().find(|group| group.pin.group == "not-yet").expect("is listed");
    assert!(missing.counts && !missing.exists && missing.pins_entries == 3, "{missing:?}");
    pipe.settings.groups.pop();
    assert_eq!(pipe.trim().await?.entries, 3);
    Ok(())
}

#[tokio::test]
async fn a_group_that_does_not_count_holds_for_so_long_and_its_loss_is_said() -> anyhow::Result<()> {
    let mut pipe = Pipe::new().await?;
    let now = pipe.now_ms().await?;
    (pipe.settings.groups, pipe.settings.keep_hours_max) = (vec!["counted".to_owned()], 10);
    for group in ["counted", "guest"] {
        pipe.group(group, "0").await?;
    }
    pipe.add([now - 12 * HOUR_MS, now - 11 * HOUR_MS, now - 9 * HOUR_MS]).await?;
    pipe.read("counted", 3).await?;
    pipe.settle("counted", &[now - 12 * HOUR_MS, now - 11 * HOUR_MS, now - 9 * HOUR_MS], now - 9 * HOUR_MS)
        .await?;
    let trim = pipe.trim().await?;
    assert_eq!(pipe.left().await?, [now - 9 * HOUR_MS], "what is younger than ten hours waits for the guest");
    let losses = trim.losses();
    assert!(
        losses.len() == 1 && losses[0].contains("\"guest\"") && losses[0].contains("is gone"),
        "{losses:?}"
    );
    assert_eq!(pipe.trim().await?.losses(), [""; 0], "said once");
    pipe.settings.keep_hours_max = 0;
    pipe.add([now - 8 * HOUR_MS]).await?;
    assert_eq!(pipe.trim().await?.entries, 0, "0: a guest is waited for without end");
    Ok(())
}

#[tokio::test]
async fn a_stream_nobody_reads_is_kept_for_so_long_and_its_loss_is_said() -> anyhow::Result<()> {
    let mut pipe = Pipe::new().await?;
    let now = pipe.now_ms().await?;
    pipe.settings.keep_hours_max = 10;
    pipe.add([now - 11 * HOUR_MS, now - 9 * HOUR_MS]).await?;
    let trim = pipe.trim().await?;
    assert_eq!(pipe.left().await?, [now - 9 * HOUR_MS]);
    assert!(trim.losses()[0].contains("read by nobody"), "{:?}", trim.losses());
    pipe.settings.keep_hours_max = 0;
    pipe.redis.command::<()>(&["XTRIM", STREAM, "MAXLEN", "0"]).await?;
    pipe.add([now - 8 * HOUR_MS]).await?;
    assert_eq!(pipe.trim().await?.entries, 0);
    Ok(())
}

#[tokio::test]
async fn settled_entries_stay_for_the_hours_they_are_to_be_kept_unless_memory_is_short() -> anyhow::Result<()>
{
    let mut pipe = Pipe::new().await?;
    let now = pipe.now_ms().await?;
    pipe.settings.keep_hours_min = 24;
    pipe.group("a", "0").await?;
    pipe.add([now - 25 * HOUR_MS, now - 23 * HOUR_MS, now - HOUR_MS, now - 1_000]).await?;
    pipe.read("a", 3).await?;
    pipe.settle("a", &[now - 25 * HOUR_MS, now - 23 * HOUR_MS], now - 23 * HOUR_MS).await?;
    assert_eq!(pipe.trim().await?.upto, Some(EntryId::new(now - 25 * HOUR_MS, 0)));
    let (keys, mut connection) = (pipe.keys(), pipe.connection().await?);
    let pressed = trim(&mut connection, &keys, &pipe.settings, true, false).await?.expect("a stream");
    assert_eq!(pressed.upto, Some(EntryId::new(now - 23 * HOUR_MS, 0)));
    assert_eq!(
        pipe.left().await?,
        [now - HOUR_MS, now - 1_000],
        "what is pending stays however short memory is"
    );
    Ok(())
}

#[tokio::test]
async fn a_group_moved_by_hand_keeps_what_its_mark_does_not_cover() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    pipe.group("a", "0").await?;
    pipe.add(1..=6).await?;
    pipe.read("a", 2).await?;
    pipe.settle("a", &[1, 2], 2).await?;
    pipe.redis.command::<()>(&["XGROUP", "SETID", STREAM, "a", "$"]).await?;
    pipe.trim().await?;
    assert_eq!(pipe.left().await?, [3, 4, 5, 6], "moved forward: the mark holds");
    pipe.redis.command::<()>(&["XGROUP", "SETID", STREAM, "a", "3-0"]).await?;
    pipe.settle("a", &[], 6).await?;
    pipe.trim().await?;
    assert_eq!(pipe.left().await?, [4, 5, 6], "moved back: what it will be handed holds");
    Ok(())
}

#[tokio::test]
async fn ids_too_long_for_a_number_are_compared_to_the_last_digit() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    pipe.group("a", "0").await?;
    let ids = ["9-18446744073709551613", "9-18446744073709551614", "9-18446744073709551615", "10-0"];
    for id in ids {
        pipe.redis.command::<()>(&["XADD", STREAM, id, "p", "x"]).await?;
    }
    pipe.read("a", 2).await?;
    for id in &ids[..2] {
        pipe.redis.command::<u64>(&["XACK", STREAM, "a", id]).await?;
    }
    pipe.redis.command::<()>(&["HSET", &pipe.keys().groups(), "a", ids[1]]).await?;
    assert_eq!(pipe.trim().await?.upto.map(|id| id.to_string()).as_deref(), Some(ids[0]));
    let left: Vec<String> = pipe.ids().await?.iter().map(ToString::to_string).collect();
    assert_eq!(left, &ids[1..], "one more than needed stays rather than one less");
    Ok(())
}

#[tokio::test]
async fn a_dry_run_says_what_a_trim_does_and_changes_nothing() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    assert!(
        trim(&mut pipe.connection().await?, &pipe.keys(), &pipe.settings, false, true).await?.is_none(),
        "no stream"
    );
    pipe.group("a", "0").await?;
    pipe.add(1..=200).await?;
    pipe.read("a", 150).await?;
    pipe.settle("a", &(1..=150).collect::<Vec<u64>>(), 150).await?;
    let (keys, mut connection) = (pipe.keys(), pipe.connection().await?);
    let dry = trim(&mut connection, &keys, &pipe.settings, false, true).await?.expect("a stream");
    let upto = dry.upto.expect("an id");
    assert_eq!(entries_upto(&mut connection, &keys, upto).await?, 150);
    assert_eq!((pipe.left().await?.len(), pipe.trimmed().await?), (200, None));
    let done = pipe.trim().await?;
    assert_eq!((done.entries, done.upto, done.pins.len()), (150, dry.upto, 1));
    Ok(())
}

/// What each group has not settled, by a model that knows nothing of the server.
#[derive(Default)]
struct Model {
    next: usize,
    pending: BTreeSet<u64>,
    settled: u64,
}

#[tokio::test]
async fn whatever_groups_do_no_entry_goes_that_one_of_them_needs() -> anyhow::Result<()> {
    for seed in 0..6 {
        let (pipe, mut rng) = (Pipe::new().await?, SmallRng::seed_from_u64(seed));
        let (mut ids, mut groups) = (Vec::<u64>::new(), Vec::<(String, Model)>::new());
        pipe.group("first", "0").await?;
        groups.push(("first".to_owned(), Model::default()));
        for _ in 0..120 {
            match rng.random_range(0..10) {
                0..3 => {
                    let ms = ids.last().copied().unwrap_or(0) + rng.random_range(1..4);
                    ids.push(ms);
                    pipe.add([ms]).await?;
                }
                3..5 => {
                    let count = rng.random_range(1..5);
                    let which = rng.random_range(0..groups.len());
                    let (name, model) = &mut groups[which];
                    pipe.read(name, u64::try_from(count)?).await?;
                    let end = (model.next + count).min(ids.len());
                    model.pending.extend(&ids[model.next..end]);
                    model.next = end;
                }
                5..8 => {
                    let which = rng.random_range(0..groups.len());
                    let (name, model) = &mut groups[which];
                    // The loop settles from the oldest on.
                    let some: Vec<u64> = model.pending.iter().take(rng.random_range(1..4)).copied().collect();
                    if let Some(&mark) = some.last() {
                        model.settled = mark;
                        model.pending.retain(|ms| !some.contains(ms));
                        pipe.settle(name, &some, mark).await?;
                    }
                }
                8 if groups.len() < 3 => {
                    let name = format!("late{}", groups.len());
                    let at = ids.last().copied().unwrap_or(0);
                    pipe.group(&name, &format!("{at}-0")).await?;
                    groups.push((name, Model { next: ids.len(), settled: at, ..Model::default() }));
                }
                _ => {
                    pipe.trim().await?;
                    let left: BTreeSet<u64> = pipe.left().await?.into_iter().collect();
                    for (name, model) in &groups {
                        let needed = model.pending.iter().chain(&ids[model.next..]);
                        for ms in needed {
                            assert!(left.contains(ms), "seed {seed}: {name} needs {ms}, which is gone");
                        }
                    }
                    let settled = groups.iter().map(|(_, model)| model.settled).min().unwrap_or(0);
                    assert!(
                        left.iter().all(|ms| *ms > settled),
                        "seed {seed}: what all have settled up to {settled} goes"
                    );
                    let gone = ids.iter().filter(|ms| !left.contains(ms)).max().map(|ms| format!("{ms}-0"));
                    assert_eq!(pipe.trimmed().await?, gone, "seed {seed}");
                }
            }
        }
    }
    Ok(())
}

/// Lets time pass for the program alone.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_publisher_trims_now_and_then_by_itself() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    pipe.group("a", "0").await?;
    pipe.add(1..=5).await?;
    pipe.read("a", 4).await?;
    pipe.settle("a", &[1, 2, 3, 4], 4).await?;
    let never = StreamSettings { trim_interval_s: 0, ..pipe.settings.clone() };
    let mut never = RedisOutlet::new(pipe.redis.client()?, never, "test");
    let mut outlet = RedisOutlet::new(pipe.redis.client()?, pipe.settings.clone(), "test");
    assert_eq!((outlet.room().await?, never.room().await?), (None, None));
    assert_eq!(pipe.left().await?.len(), 5, "not before the interval has passed");
    pass(Duration::from_secs(61)).await;
    assert_eq!(never.room().await?, None);
    assert_eq!(pipe.left().await?.len(), 5, "0: it leaves trimming to others");
    assert_eq!(outlet.room().await?, None);
    assert_eq!(pipe.left().await?, [5]);
    Ok(())
}

#[tokio::test]
async fn a_publisher_short_of_memory_trims_before_it_waits() -> anyhow::Result<()> {
    let mut pipe = Pipe::on(TestRedis::start_with(&["--maxmemory", "64mb"]).await?);
    let now = pipe.now_ms().await?;
    (pipe.settings.keep_hours_min, pipe.settings.memory_percent_max) = (24, 40);
    pipe.group("a", "0").await?;
    let payload = "x".repeat(60_000);
    let ids: Vec<u64> = (1..=600).map(|at| now - HOUR_MS + at).collect();
    for ms in &ids {
        pipe.redis.command::<()>(&["XADD", STREAM, &format!("{ms}-0"), "p", &payload]).await?;
    }
    let settings = StreamSettings { backlog_entries_max: 10_000, ..pipe.settings.clone() };
    let mut outlet = RedisOutlet::new(pipe.redis.client()?, settings, "test");
    pass(Duration::from_secs(6)).await;
    let reason = outlet.room().await?.expect("waits");
    assert!(reason.contains("over 40 % of its maxmemory"), "{reason}");
    assert_eq!(pipe.left().await?.len(), 600, "what is not settled stays");

    pipe.read("a", 600).await?;
    pipe.settle("a", &ids, ids[599]).await?;
    pass(Duration::from_secs(6)).await;
    assert_eq!(outlet.room().await?, None, "an hour old and settled: it goes although a day is kept");
    assert_eq!(pipe.left().await?, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn a_publisher_whose_user_may_not_trim_goes_on_without() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    pipe.redis.command::<()>(&["ACL", "SETUSER", "feed", "on", ">pw", "~*", "&*", "+@all", "-xtrim"]).await?;
    pipe.group("a", "0").await?;
    pipe.add(1..=3).await?;
    pipe.read("a", 3).await?;
    pipe.settle("a", &[1, 2, 3], 3).await?;
    let url = format!("{}?user=feed&pass=pw", pipe.redis.url());
    let server = Server::new(&RedisSettings { url, ..RedisSettings::default() })?;
    let mut outlet = RedisOutlet::new(server, pipe.settings.clone(), "test");
    for _ in 0..2 {
        pass(Duration::from_secs(61)).await;
        assert_eq!(outlet.room().await?, None);
    }
    assert_eq!(pipe.left().await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_full_server_can_be_trimmed() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    pipe.group("a", "0").await?;
    pipe.add(1..=3).await?;
    pipe.read("a", 3).await?;
    pipe.settle("a", &[1, 2, 3], 3).await?;
    pipe.redis.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    assert!(pipe.add([9]).await.is_err(), "the server takes nothing more");
    assert_eq!(pipe.trim().await?.entries, 3);
    assert_eq!(pipe.trimmed().await?.as_deref(), Some("3-0"));
    Ok(())
}

#[tokio::test]
async fn the_forecast_goes_by_what_came_in_a_day() -> anyhow::Result<()> {
    let pipe = Pipe::new().await?;
    let (now, mut connection) = (pipe.now_ms().await?, pipe.connection().await?);
    let keys = [pipe.keys(), Keys::of("sqep:{bar:1m:0}")];
    assert_eq!(forecast(&mut connection, &keys).await?.day_bytes, 0, "no stream yet");
    // A hundred entries two days ago, of which trimming took note 20 hours ago; a hundred since.
    pipe.add((0..100).map(|at| now - 48 * HOUR_MS + at)).await?;
    let noted = format!("{} 100 77", now - 20 * HOUR_MS);
    pipe.redis.command::<()>(&["HSET", &pipe.keys().grown(), "1", &noted]).await?;
    pipe.add((0..100).map(|at| now - HOUR_MS + at)).await?;
    let unlimited = forecast(&mut connection, &keys).await?;
    assert_eq!((unlimited.bytes_max, unlimited.full_in_ms), (0, None));
    let size: u64 = pipe.redis.command(&["MEMORY", "USAGE", STREAM, "SAMPLES", "64"]).await?;
    let expected = size / 2 * 24 / 20;
    assert!(unlimited.day_bytes.abs_diff(expected) <= 250, "{unlimited:?}, not {expected}");
    assert!(unlimited.seen_ms / HOUR_MS == 20, "{unlimited:?}");

    pipe.redis.command::<()>(&["CONFIG", "SET", "maxmemory", "100mb"]).await?;
    let limited = forecast(&mut connection, &keys).await?;
    let days = (limited.bytes_max - limited.used_bytes) / limited.day_bytes;
    assert_eq!(limited.full_in_ms.map(|ms| ms / (24 * HOUR_MS)), Some(days), "{limited:?}");
    pipe.redis.command::<()>(&["DEL", &pipe.keys().grown()]).await?;
    let held = forecast(&mut connection, &keys).await?;
    assert!(held.day_bytes.abs_diff(size / 2) <= 250, "two hundred in two days: {held:?}");
    pipe.trim().await?;
    let noted: Vec<String> = pipe.redis.command(&["HVALS", &pipe.keys().grown()]).await?;
    let each = size / 200;
    assert!(noted.len() == 1 && noted[0].contains(" 200 "), "{noted:?}");
    pipe.redis.command::<()>(&["XTRIM", STREAM, "MAXLEN", "0"]).await?;
    pipe.add([now - 1]).await?;
    pipe.redis.command::<()>(&["XTRIM", STREAM, "MAXLEN", "0"]).await?;
    let empty = forecast(&mut connection, &keys).await?;
    assert!(empty.day_bytes.abs_diff(each * 24) <= 48, "one more in the last hour: {empty:?}, {each} each");
    Ok(())
}

#[tokio::test]
async fn a_server_says_at_the_start_what_a_crash_costs() -> anyhow::Result<()> {
    for (options, warns, says) in [
        (vec![], false, "synced every second"),
        (vec!["--appendfsync", "always"], false, "nothing is lost"),
        (vec!["--appendfsync", "no"], true, "when the system likes"),
        (vec!["--appendonly", "no"], true, "keeps nothing on disk"),
        (vec!["--appendonly", "no", "--save", "60 1"], true, "snapshots only"),
    ] {
        let redis = TestRedis::start_with(&options).await?;
        let health = redis.client()?.connect().await?.fit().await?;
        let (warned, said) = health.durability();
        assert!(warned == warns && said.contains(says), "{options:?}: {said}");
    }
    Ok(())
}
