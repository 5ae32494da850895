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
        let output = self.run("sqep", &[&["doctor", "--json"], words].concat());
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let finding = |finding: &Value| {
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            (text("severity"), format!("{}: {} → {}", text("about"), text("what"), text("advice")))
        };
        (output.status.code().unwrap(), told["findings"].as_array().unwrap().iter().map(finding).collect())
    }
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
