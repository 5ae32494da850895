//! `sqep doctor` and `sqep top` on real servers and archives: they find what is wrong, and say what to do.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use sqep_testkit::{TestRedis, programs::program};

struct World {
    redis: TestRedis,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(options: &[&str]) -> World {
        let redis = TestRedis::start_with(options).await.unwrap();
        World { redis, folder: tempfile::tempdir().unwrap() }
    }

    fn run(&self, name: &str, words: &[&str]) -> Output {
        let mut command = Command::new(program(name).unwrap());
        command.args(words).env_clear().env("SQEP__REDIS__URL", self.redis.url());
        if name != "sqep-csv" {
            command.env("SQEP__PARQUET__ROOT", self.root());
        }
        command.output().unwrap()
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("archive")
    }

    /// A market on the stream and in the archive.
    fn fill(&self) {
        let csv = self.folder.path().join("csv").display().to_string();
        let gen_words = ["gen", "--dialect", "sqep", "--symbols", "20", "--days", "20", "--out", &csv];
        for (name, words) in [
            ("sqep", &gen_words[..]),
            ("sqep-csv", &["--once", "--set", "csv.dialect=sqep", &csv]),
            ("sqep-parquet", &["--once", "--set", "reader.start=earliest"]),
        ] {
            let output = self.run(name, words);
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Exit code, and the findings by severity.
    fn doctor(&self, words: &[&str]) -> (i32, Vec<(String, String)>) {
        told(&self.run("sqep", &[&["doctor", "--json"], words].concat()))
    }

    /// The same, looked at by a user of the server.
    fn doctor_as(&self, user: &str) -> Vec<(String, String)> {
        let mut command = Command::new(program("sqep").unwrap());
        let url = format!("{}?user={user}&pass=secret", self.redis.url());
        told(&command.args(["doctor", "--json"]).env_clear().env("SQEP__REDIS__URL", url).output().unwrap()).1
    }

    /// Makes a user by the rules that are delivered for operators, and some more.
    async fn operator(&self, user: &str, more: &[&str]) {
        let delivered = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/redis/users.acl");
        let rules = std::fs::read_to_string(delivered).unwrap();
        let rules = rules.lines().find_map(|line| line.strip_prefix("user sqep-operator ")).unwrap();
        let rules = rules.replace(">CHANGE-ME", ">secret");
        let words = [&["ACL", "SETUSER", user], &rules.split(' ').collect::<Vec<_>>()[..], more].concat();
        let _: () = self.redis.command(&words).await.unwrap();
    }

    /// What the server was asked and denied.
    async fn denials(&self) -> usize {
        let log: Vec<Vec<String>> = self.redis.command(&["ACL", "LOG"]).await.unwrap();
        let _: () = self.redis.command(&["ACL", "LOG", "RESET"]).await.unwrap();
        log.len()
    }
}

/// Exit code, and the findings by severity.
fn told(output: &Output) -> (i32, Vec<(String, String)>) {
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        (text("severity"), format!("{}: {} → {}", text("about"), text("what"), text("advice")))
    };
    (output.status.code().unwrap(), told["findings"].as_array().unwrap().iter().map(finding).collect())
}

fn found<'a>(findings: &'a [(String, String)], severity: &str, word: &str) -> &'a str {
    let hit = findings.iter().find(|(grave, text)| grave == severity && text.contains(word));
    hit.map_or_else(|| panic!("no {severity} with {word:?} in {findings:#?}"), |(_, text)| text)
}

fn first_file(folder: &Path) -> std::path::PathBuf {
    let years = std::fs::read_dir(folder.join("bar_1d")).unwrap();
    let year = years.flatten().next().unwrap().path();
    std::fs::read_dir(year).unwrap().flatten().next().unwrap().path()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_pipeline_has_no_errors_and_a_group_without_reader_is_a_warning() {
    let world = World::new(&["--maxmemory", "512mb"]).await;
    world.fill();
    let (code, findings) = world.doctor(&["--deep"]);
    assert_eq!(code, 3, "{findings:#?}");
    assert!(findings.iter().all(|(severity, _)| severity != "error"), "{findings:#?}");
    found(&findings, "warning", "nobody reads; nothing waits");
    found(&findings, "good", "keys, each once");
    found(&findings, "good", "holds sqep:{bar:1d:0} up to");
    let text = world.run("sqep", &["doctor"]);
    assert!(String::from_utf8_lossy(&text.stdout).ends_with("0 errors, 1 warnings\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_throws_bars_away_or_keeps_none_is_found_with_what_to_do() {
    let world = World::new(&["--maxmemory", "512mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let (code, findings) = world.doctor(&[]);
    assert_eq!(code, 1);
    assert!(found(&findings, "error", "allkeys-lru").contains("noeviction"));
    found(&findings, "warning", "there is none under the prefix");
    let world = World::new(&["--appendonly", "no", "--save", ""]).await;
    let (code, findings) = world.doctor(&[]);
    assert!(code == 1 || code == 3, "{findings:#?}");
    found(&findings, "warning", "keeps nothing on disk");
    found(&findings, "warning", "no maxmemory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_file_a_foreign_stream_and_an_unread_backlog_are_errors_by_name() {
    let world = World::new(&["--maxmemory", "512mb"]).await;
    world.fill();
    let file = first_file(&world.root());
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let stream = "sqep:{bar:1d:0}";
    let _: String = world.redis.command(&["XADD", stream, "*", "v", "9"]).await.unwrap();
    let _: String = world.redis.command(&["XADD", &format!("{stream}:dead"), "*", "v", "1"]).await.unwrap();
    let (code, findings) = world.doctor(&[]);
    assert_eq!(code, 1);
    let name = file.file_name().unwrap().to_str().unwrap();
    found(&findings, "error", name);
    assert!(
        found(&findings, "error", "nobody reads, and 1 entries wait").contains("sqep group retire parquet")
    );
    found(&findings, "warning", "1 dead letters");
    let _: () = world.redis.command(&["SET", &format!("{stream}:born"), "another"]).await.unwrap();
    found(&world.doctor(&[]).1, "warning", "holds another stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_an_error_and_the_archive_is_looked_at_all_the_same() {
    let mut world = World::new(&[]).await;
    world.fill();
    world.redis.server.kill().unwrap();
    let (code, findings) = world.doctor(&[]);
    assert_eq!(code, 1);
    found(&findings, "error", "until it answers");
    found(&findings, "good", "read well");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_streams_and_groups_and_leaves_no_trace() {
    let world = World::new(&[]).await;
    world.fill();
    let before: u64 = world.redis.command(&["DBSIZE"]).await.unwrap();
    let output = world.run("sqep", &["top", "--looks", "2", "--every", "1"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("entries/s").count(), 2, "{text}");
    assert!(
        text.contains("parquet") && text.contains("nobody") && text.contains("sqep:{bar:1d:0}"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no screen, no escapes");
    assert_eq!(world.redis.command::<u64>(&["DBSIZE"]).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_logged_in_user_may_not_do_is_named_by_work_command_and_key_and_nothing_is_done() {
    let world = World::new(&["--maxmemory", "512mb"]).await;
    world.fill();
    let stream = "sqep:{bar:1d:0}";
    let state = async || {
        let entries: u64 = world.redis.command(&["XLEN", stream]).await.unwrap();
        let info: Vec<Vec<Option<String>>> = world.redis.command(&["XINFO", "GROUPS", stream]).await.unwrap();
        (entries, world.redis.command::<u64>(&["DBSIZE"]).await.unwrap(), info)
    };
    let before = state().await;
    world.operator("whole", &[]).await;
    let findings = world.doctor_as("whole");
    found(&findings, "good", "lets us trim, steer groups, replay");
    found(&findings, "good", "knows us as user \"whole\"");
    assert_eq!(world.denials().await, 1, "it may not ask for the rights of others, nothing else");
    world.operator("lame", &["-xtrim", "-xgroup|destroy", "-hincrby"]).await;
    let findings = world.doctor_as("lame");
    for (work, act) in [
        ("sqep trim", format!("XTRIM {stream}")),
        ("sqep group", format!("XGROUP DESTROY {stream}")),
        ("sqep dead", format!("HINCRBY {stream}:dead:counts")),
    ] {
        let warning = found(&findings, "warning", &format!("needs: {act} →"));
        assert!(warning.contains(&format!("what {work} needs")), "{warning}");
        assert!(warning.contains("deploy/redis/users.acl"), "{warning}");
    }
    assert_eq!(findings.iter().filter(|(_, text)| text.contains("denies")).count(), 3, "{findings:#?}");
    world.operator("mute", &["-multi"]).await;
    found(&world.doctor_as("mute"), "warning", "does not tell what this user may do");
    assert_eq!(state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_unread_entries_stay_is_said_as_it_is() {
    let world = World::new(&["--maxmemory", "512mb"]).await;
    let stream = "sqep:{bar:1d:0}";
    let _: String = world.redis.command(&["XADD", stream, "*", "v", "1"]).await.unwrap();
    let advice = |words: &[&str], what: &str| {
        let findings = world.doctor(words).1;
        findings.iter().find(|(_, text)| text.contains(what)).unwrap().1.clone()
    };
    let unread = "no group reads its 1 entries";
    let told = advice(&[], unread);
    assert!(told.contains("older than 168 hours is trimmed unread"), "{told}");
    let told = advice(&["--set", "stream.keep_hours_max=0"], unread);
    assert!(told.contains("nothing is trimmed before"), "{told}");
    let _: () = world.redis.command(&["XGROUP", "CREATE", stream, "parquet", "0"]).await.unwrap();
    let told = advice(&[], "nobody reads, and 1 entries wait");
    assert!(!told.contains("trimmed"), "a group that counts loses nothing: {told}");
    let _: () = world.redis.command(&["XGROUP", "CREATE", stream, "other", "0"]).await.unwrap();
    let told = advice(&["--set", "stream.groups=[\"other\"]"], "parquet: nobody reads");
    assert!(told.contains("does not count") && told.contains("older than 168 hours"), "{told}");
}
