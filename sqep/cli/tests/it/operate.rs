//! `sqep group`, `sqep trim` and `sqep dead` on a private server that the test fills.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sqep_testkit::{TestRedis, programs::program};
use tempfile::TempDir;

const STREAM: &str = "sqep:{bar:1d:0}";

/// A server, an archive beside it, and files to publish.
struct World {
    redis: TestRedis,
    folder: TempDir,
}

impl World {
    async fn new() -> World {
        World { redis: TestRedis::start().await.unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, path: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(path);
        let root = format!("parquet.root={}", self.folder.path().join("archive").display());
        command.args(arguments).env_clear().env("SQEP__REDIS__URL", self.redis.url()).stdin(Stdio::null());
        if path.ends_with("sqep-parquet") {
            command.args(["--once", "--set", &root]);
        }
        command
    }

    /// Exit code, standard output and standard error of `sqep`.
    fn sqep(&self, arguments: &[&str]) -> (i32, String, String) {
        told(self.command(env!("CARGO_BIN_EXE_sqep"), arguments).output().unwrap())
    }

    /// Publishes rows of Tushare's form.
    fn publish(&self, name: &str, rows: &[&str]) {
        const HEADER: &str = "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount";
        let path = self.folder.path().join(name);
        std::fs::write(&path, [&[HEADER], rows].concat().join("\n") + "\n").unwrap();
        let path = path.display().to_string();
        let csv = program("sqep-csv").unwrap().display().to_string();
        let done = self.command(&csv, &["--once", "--set", "csv.dialect=tushare", &path]).output().unwrap();
        assert!(done.status.success(), "{}", told(done).2);
    }

    /// Runs the archive's reader once.
    fn read(&self, arguments: &[&str]) -> (i32, String, String) {
        let parquet = program("sqep-parquet").unwrap().display().to_string();
        told(
            self.command(&parquet, &[&["--set", "reader.start=earliest"], arguments].concat())
                .output()
                .unwrap(),
        )
    }

    async fn letters(&self) -> Vec<(String, Vec<Vec<u8>>)> {
        self.redis.command(&["XRANGE", &format!("{STREAM}:dead"), "-", "+"]).await.unwrap()
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

const GOOD: &str = "000001.SZ,20180718,8.75,8.85,8.69,8.70,8.72,-0.02,-0.23,525152.77,460697.377";
const LATER: &str = "000001.SZ,20180719,8.73,8.87,8.66,8.78,8.70,0.08,0.92,471676.88,413844.404";
const TORN: &str = "000002.SZ,20180718,23.50,23.00,23.20,23.40,23.30,0.10,0.43,100000.00,234000.000";

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_resumed_and_retired() {
    let world = World::new().await;
    let (code, said, _) = world.sqep(&["group", "list"]);
    assert_eq!((code, said.as_str()), (0, "no group reads it\n"));
    world.publish("one.csv", &[GOOD]);
    assert_eq!(world.read(&[]).0, 0);
    world.publish("two.csv", &[LATER]);
    let (code, said, _) =
        world.sqep(&["group", "list", "--json", "--set", "stream.groups=[\"parquet\", \"clickhouse\"]"]);
    let groups: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(code, 0);
    let facts =
        ["group", "counts", "exists", "pending", "lag", "pins_entries"].map(|name| groups[0][name].clone());
    assert_eq!(Value::from(facts.to_vec()), serde_json::json!(["parquet", true, true, 0, 1, 1]));
    assert!(groups[0]["pins_bytes"].as_u64().unwrap() > 500, "{said}");
    assert!(groups[1]["group"] == "clickhouse" && groups[1]["exists"] == false, "{said}");
    let table = world.sqep(&["group", "list", "--kind", "bar:1d"]).1;
    assert!(table.contains("lowest pending") && table.contains("parquet"), "{table}");

    std::fs::remove_dir_all(world.folder.path().join("archive")).unwrap();
    let (code, _, error) = world.read(&[]);
    let told = format!("sqep group resume parquet --new --stream '{STREAM}'");
    assert!(code == 1 && error.contains(&told), "{error}");
    let resume = ["group", "resume", "parquet", "--new", "--stream", STREAM];
    let (code, said, _) = world.sqep(&[&resume[..], &["--dry-run"]].concat());
    assert!(code == 0 && said.contains("would go on after 0-0"), "{said}");
    assert_eq!(world.read(&[]).0, 1, "a dry run does nothing");
    assert!(world.sqep(&resume).1.contains("goes on after 0-0"));
    assert!(world.sqep(&["group", "list"]).1.contains("goes on after 0-0 when its reader starts"));
    let (code, _, said) = world.read(&[]);
    assert!(code == 0 && said.contains("fetched=2 written=2"), "{said}");

    let (code, _, error) = world.sqep(&["group", "retire", "parqet"]);
    assert!(code == 1 && error.contains("no group \"parqet\"; there is parquet"), "{error}");
    let lease = format!("{STREAM}:lease:parquet");
    world.redis.command::<()>(&["SET", &lease, "host/1/2/3"]).await.unwrap();
    let (code, _, error) = world.sqep(&["group", "retire", "parquet"]);
    assert!(code == 1 && error.contains("host/1/2/3") && error.contains("--force"), "{error}");
    let (code, said, _) = world.sqep(&["group", "retire", "parquet", "--force", "--dry-run"]);
    assert!(code == 0 && said.contains("would be retired; it had 0 entries pending"), "{said}");
    let (code, said, warned) =
        world.sqep(&["group", "retire", "parquet", "--force", "--set", "stream.groups=[\"parquet\"]"]);
    assert!(code == 0 && said.contains("is retired"), "{said}");
    assert!(warned.contains("stream.groups still names \"parquet\""), "{warned}");
    assert_eq!(world.sqep(&["group", "list"]).1, "no group reads it\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_none_is_wrong_usage_or_said_to_be_gone() {
    let world = World::new().await;
    assert_eq!(world.sqep(&["group", "resume", "parquet", "--at", "yesterday"]).0, 2);
    assert_eq!(world.sqep(&["group", "resume", "parquet", "--at", "archive"]).0, 2);
    assert_eq!(world.sqep(&["group", "list", "--stream", "sqep:bar"]).0, 2);
    let (code, _, error) = world.sqep(&["group", "resume", "parquet"]);
    assert!(code == 1 && error.contains("there is no stream"), "{error}");
    world.publish("one.csv", &[GOOD]);
    let (code, _, error) = world.sqep(&["group", "resume", "parquet"]);
    assert!(code == 1 && error.contains("there is no group"), "{error}");
    let (code, _, error) =
        world.sqep(&["group", "resume", "parquet", "--new", "--at", "2100-01-01T00:00:00+08:00"]);
    assert!(code == 1 && error.contains("--at latest"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trim_says_what_goes_who_holds_the_rest_and_when_memory_is_full() {
    let world = World::new().await;
    world.publish("one.csv", &[GOOD]);
    world.publish("two.csv", &[LATER]);
    let trim = ["trim", "--set", "stream.keep_hours_min=0"];
    let (code, said, _) = world.sqep(&trim);
    assert_eq!(code, 0);
    assert!(said.contains("nothing to trim\n  nobody reads it: what is unread is kept for 168 h"), "{said}");
    assert!(said.contains("has no maxmemory"), "{said}");

    assert_eq!(world.read(&[]).0, 0);
    world.redis.command::<()>(&["XGROUP", "CREATE", STREAM, "guest", "0"]).await.unwrap();
    world.redis.command::<()>(&["CONFIG", "SET", "maxmemory", "1gb"]).await.unwrap();
    let (_, said, _) = world.sqep(&trim);
    assert!(said.contains("nothing to trim") && said.contains("group guest pins 2 entries"), "{said}");
    assert!(
        said.contains("of 1.0 GiB; ") && said.contains(" a day come, going by the last 60 min: full in "),
        "{said}"
    );

    let named = [&trim[..], &["--set", "stream.groups=[\"parquet\"]"]].concat();
    let (_, said, _) = world.sqep(&named);
    assert!(said.contains("group guest pins 2 entries") && said.contains("for 168 h at most"), "{said}");
    let missing = [&trim[..], &["--set", "stream.groups=[\"parquet\", \"later\"]"]].concat();
    let (_, said, _) = world.sqep(&missing);
    assert!(said.contains("group later of stream.groups is missing"), "{said}");

    assert_eq!(world.sqep(&["group", "retire", "guest"]).0, 0);
    let (_, said, _) = world.sqep(&[&trim[..], &["--dry-run"]].concat());
    assert!(said.contains("2 entries would go, up to"), "{said}");
    let length = || async { world.redis.command::<u64>(&["XLEN", STREAM]).await.unwrap() };
    assert_eq!(length().await, 2);
    let (_, said, _) = world.sqep(&[&trim[..], &["--json"]].concat());
    let round: Value = serde_json::from_str(&said).unwrap();
    let done = &round["streams"][0];
    assert!(done["entries"] == 2 && done["gone"] == 2 && done["dry"] == false, "{said}");
    assert!(done["groups"][0]["group"] == "parquet" && length().await == 0, "{said}");
    assert!(round["forecast"]["full_in_ms"].is_null() || round["forecast"]["full_in_ms"].is_u64(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trim_that_goes_on_ends_when_it_is_told_to() {
    let world = World::new().await;
    world.publish("one.csv", &[GOOD]);
    let mut trim = world.command(env!("CARGO_BIN_EXE_sqep"), &["trim", "--every", "3600"]);
    let mut trim = trim.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(trim.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert!(line.contains("nothing to trim"), "{line}");
    assert!(Command::new("kill").args(["-TERM", &trim.id().to_string()]).status().unwrap().success());
    assert_eq!(trim.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_and_exported() {
    let world = World::new().await;
    let (code, said, _) = world.sqep(&["dead", "list"]);
    assert!(code == 0 && said.ends_with("rows in all dead letters: none\n"), "{said}");
    world.publish("torn.csv", &[GOOD, TORN]);
    world.redis.command::<String>(&["XADD", STREAM, "*", "v", "9", "p", "later"]).await.unwrap();
    assert_eq!(world.read(&[]).0, 0);
    let letters = world.letters().await;
    let (_, said, _) = world.sqep(&["dead", "list"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[1].starts_with(&letters[1].0) && lines[2].starts_with(&letters[0].0),
        "newest first: {said}"
    );
    assert!(lines[1].contains("group parquet") && lines[1].contains("unknown_version"), "{said}");
    assert!(lines[2].contains("source csv") && lines[2].contains("000002.SZ"), "{said}");
    assert_eq!(lines[3], "rows in all dead letters: ohlc_order 1, unknown_version 1");
    let listed =
        |arguments: &[&str]| world.sqep(&[&["dead", "list"], arguments].concat()).1.lines().count() - 2;
    assert_eq!(listed(&["--limit", "1"]), 1);
    assert_eq!(listed(&["--reason", "ohlc_order"]), 1);
    assert_eq!(listed(&["--group", "parquet"]), 1);
    assert_eq!(listed(&["--source", "parquet"]), 0);
    assert_eq!((listed(&["--since", "1h"]), listed(&["--until", "1h"])), (2, 0));
    assert_eq!(world.sqep(&["dead", "list", "--reason", "bad"]).0, 2);

    let (code, said, _) = world.sqep(&["dead", "show", &letters[1].0]);
    assert_eq!(code, 0);
    for part in
        ["stream  sqep:{bar:1d:0}", "by      group parquet", "first seen 20", "field   p (5 B): later"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("unknown_version: v wire version \"9\""), "{said}");
    let (_, said, _) = world.sqep(&["dead", "show", &letters[0].0]);
    assert!(
        said.contains("row 3 000002.SZ") && said.contains("ohlc_order") && said.contains("raw: "),
        "{said}"
    );
    let (code, _, error) = world.sqep(&["dead", "show", "1-0"]);
    assert!(code == 1 && error.contains("no dead letter 1-0"), "{error}");

    let file = world.folder.path().join("letters.jsonl").display().to_string();
    let (code, said, _) = world.sqep(&["dead", "export", "--out", &file]);
    assert!(code == 0 && said.starts_with("2 letters in "), "{said}");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["reason"] == "ohlc_order" && lines[0]["by"] == "source", "{text}");
    assert_eq!(lines[1]["fields"][1], serde_json::json!({ "name": "p", "text": "later" }));
    assert_eq!(lines[0]["refusals"][0]["row"], 3);
    assert_eq!(world.sqep(&["dead", "export", "--out", "-"]).1, text);
    let (code, _, error) = world.sqep(&["dead", "export", "--out", &file]);
    assert!(code == 1 && error.contains("letters.jsonl"), "an export overwrites nothing: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_come_back_after_a_fix_and_go_when_that_is_meant() {
    let world = World::new().await;
    world.publish("torn.csv", &[GOOD, TORN]);
    let calendar = world.folder.path().join("calendar.csv");
    let published =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/calendar/sse.csv"));
    std::fs::write(&calendar, published.unwrap() + "2018-07-18\n").unwrap();
    let wrong = format!("calendar.file={}", calendar.display());
    let (code, _, said) = world.read(&["--set", &wrong]);
    assert!(code == 0 && said.contains("fetched=1 written=0 buried=1"), "{said}");

    let (code, said, _) = world.sqep(&["dead", "redrive", "--set", &wrong]);
    assert!(
        code == 0 && said.contains("0 records of 0 letters are back on the stream; 2 letters stay"),
        "{said}"
    );
    assert!(said.contains("not_a_session") && said.contains("sqep-csv --force"), "{said}");
    let (_, said, _) = world.sqep(&["dead", "redrive", "--dry-run"]);
    assert!(said.contains("1 records of 1 letters would be back"), "{said}");
    assert_eq!(world.letters().await.len(), 2, "a dry run changes nothing");
    let letters = world.letters().await;
    let (_, said, _) = world.sqep(&["dead", "redrive", &letters[1].0]);
    assert!(said.contains("1 records of 1 letters are back on the stream; 0 letters stay"), "{said}");
    let (code, _, said) = world.read(&[]);
    assert!(code == 0 && said.contains("fetched=1 written=1 buried=0"), "{said}");

    let (code, _, error) = world.sqep(&["dead", "purge"]);
    assert!(code == 2 && error.contains("--yes"), "{error}");
    assert!(world.sqep(&["dead", "purge", "--dry-run"]).1.contains("1 letters about 1 rows would go"));
    assert!(world.sqep(&["dead", "purge", "--yes", "--group", "parquet"]).1.contains("0 letters"));
    assert!(
        world
            .sqep(&["dead", "purge", "--yes", "--source", "csv"])
            .1
            .contains("1 letters about 1 rows are gone")
    );
    assert_eq!(world.letters().await.len(), 0);
}
