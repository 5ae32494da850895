//! What a service manager hears from the real programs: ready when connected, alive while the loop moves, how it goes,
//! and the end.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqep_testkit::{TestRedis, programs::program};
use tempfile::TempDir;

/// Nothing that is waited for may take longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A service manager of the test's own: a socket, and a program that is told of it.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
    child: Child,
}

impl Manager {
    fn start(name: &str, arguments: &[String], watchdog: Option<Duration>) -> Manager {
        let folder = tempfile::tempdir().expect("folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("socket");
        socket.set_read_timeout(Some(WAIT_MAX)).expect("time-out");
        let mut command = Command::new(program(name).expect("built"));
        command.args(arguments).env_clear().env("NOTIFY_SOCKET", folder.path().join("notify"));
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let log = || std::fs::File::create(folder.path().join("log")).expect("log");
        let child = command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().expect("starts");
        Manager { socket, folder, child }
    }

    /// The next message.
    fn hear(&self) -> String {
        let mut bytes = [0; 4_096];
        let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("nothing heard: {error}; {log}")
        });
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Everything heard up to the first message with `word` in it, that one included.
    fn hear_until(&self, word: &str) -> Vec<String> {
        let (since, mut heard) = (Instant::now(), Vec::new());
        loop {
            heard.push(self.hear());
            if heard.last().is_some_and(|last| last.contains(word)) {
                return heard;
            }
            assert!(since.elapsed() < WAIT_MAX, "{word} did not come: {heard:?}");
        }
    }

    fn terminate(&mut self) -> (Option<i32>, Duration) {
        let since = Instant::now();
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.expect("kill").success());
        let status = self.child.wait().expect("ends");
        (status.code(), since.elapsed())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn set(keys: &[(&str, &str)]) -> Vec<String> {
    keys.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect()
}

/// One bar on the stream.
fn publish(redis: &TestRedis, folder: &Path) {
    const ROW: &str = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount\n\
                       000001.SZ,20180718,8.75,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377\n";
    let file = folder.join("000001.csv");
    std::fs::write(&file, ROW).expect("writes");
    let output = Command::new(program("sqep-csv").expect("built"))
        .args(set(&[("redis.url", &redis.url()), ("csv.dialect", "tushare")]))
        .args(["--once".to_owned(), file.display().to_string()])
        .env_clear()
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn archive(redis: &TestRedis, folder: &Path) -> Vec<String> {
    let root = folder.join("archive").display().to_string();
    set(&[("redis.url", &redis.url()), ("reader.start", "earliest"), ("parquet.root", &root)])
}

/// A program between two streams.
fn features(redis: &TestRedis, folder: &Path) -> Vec<String> {
    let state = folder.join("state").display().to_string();
    set(&[("redis.url", &redis.url()), ("reader.start", "earliest"), ("features.state", &state)])
}

/// A reader that hangs in its first write, and counts as stuck after a second.
fn hung(redis: &TestRedis, folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    set(&[
        ("redis.url", &redis.url()),
        ("reader.start", "earliest"),
        ("reader.write_timeout_s_max", "1"),
        ("hung.folder", &folder),
    ])
}

/// What a program is started with, for a server and a folder of its own.
type Arguments = fn(&TestRedis, &Path) -> Vec<String>;

/// Programs that read a stream.
const READERS: [(&str, Arguments); 2] = [("sqep-parquet", archive), ("sqep-features", features)];

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_said_once_redis_answers_and_not_before() {
    for (name, arguments) in READERS {
        let mut redis = TestRedis::start().await.expect("redis");
        redis.server.kill().expect("killed");
        let folder = tempfile::tempdir().expect("folder");
        let manager = Manager::start(name, &arguments(&redis, folder.path()), None);
        let before = manager.hear_until("not connected: redis at");
        assert!(before.iter().all(|message| !message.contains("READY")), "{name}: {before:?}");
        redis.server.restart().await.expect("redis again");
        let after = manager.hear_until("lag 0 entries");
        assert_eq!(after.iter().filter(|message| *message == "READY=1").count(), 1, "{name}: {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_tells_its_lag_and_that_it_stops_and_ends_in_time() {
    for (name, arguments) in READERS {
        let redis = TestRedis::start().await.expect("redis");
        let folder = tempfile::tempdir().expect("folder");
        publish(&redis, folder.path());
        let mut manager = Manager::start(name, &arguments(&redis, folder.path()), None);
        let group = name.trim_start_matches("sqep-");
        let heard = manager.hear_until(&format!("bar:1d/0 for {group}: lag 0 entries, 0 s"));
        assert!(heard.contains(&"READY=1".to_owned()), "{name}: {heard:?}");
        assert!(heard.iter().all(|message| !message.contains("WATCHDOG")), "nobody asked: {heard:?}");
        let (code, took) = manager.terminate();
        manager.hear_until("STOPPING=1");
        assert_eq!(code, Some(0), "{name}");
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_is_ready_and_fed_while_it_waits_for_files() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let mut arguments =
        set(&[("redis.url", &redis.url()), ("csv.dialect", "tushare"), ("csv.watch", "true")]);
    arguments.push(folder.path().display().to_string());
    let mut manager = Manager::start("sqep-csv", &arguments, Some(Duration::from_secs(2)));
    manager.hear_until("READY=1");
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    assert_eq!(manager.terminate().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_starves_the_watchdog_and_still_ends_in_time() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    publish(&redis, folder.path());
    let mut manager =
        Manager::start("sqep-hung", &hung(&redis, folder.path()), Some(Duration::from_millis(500)));
    let before = manager.hear_until("stuck for");
    assert!(before.contains(&"READY=1".to_owned()) && before.contains(&"WATCHDOG=1".to_owned()));
    let after = manager.hear_until("STATUS=");
    assert_eq!(after.len(), 1, "after a step that lasts too long nothing is fed: {after:?}");
    assert!(after[0].contains("stuck for"), "{after:?}");
    let (code, took) = manager.terminate();
    manager.hear_until("STOPPING=1");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reader_is_ready_and_says_who_holds_the_lease() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    let arguments = archive(&redis, folder.path());
    let first = Manager::start("sqep-parquet", &arguments, None);
    first.hear_until("READY=1");
    let second = Manager::start("sqep-parquet", &arguments, None);
    let heard = second.hear_until("standing by: ");
    let pid = format!("/{}/", first.child.id());
    assert!(heard.last().is_some_and(|status| status.contains(&pid)), "{heard:?}");
    assert!(heard.contains(&"READY=1".to_owned()), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_not_there_does_not_keep_a_program_from_its_work() {
    let redis = TestRedis::start().await.expect("redis");
    let folder = tempfile::tempdir().expect("folder");
    publish(&redis, folder.path());
    let output = Command::new(program("sqep-parquet").expect("built"))
        .arg("--once")
        .args(archive(&redis, folder.path()))
        .env_clear()
        .env("NOTIFY_SOCKET", folder.path().join("nowhere/notify"))
        .env("WATCHDOG_USEC", "500000")
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("fetched=1 written=1"), "{text}");
}
