//! `sqep audit` on archives that the sink wrote, against files and against a private server.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use serde_json::Value;
use sqep::{
    Batch, Calendar, DayBar, EntryId, Kind, Record, Row, Sink,
    redis::{embedded::Embedded, keys::StreamSettings},
};
use sqep_parquet::{Config, Options, compact_root, open};
use sqep_testkit::{
    feed,
    market::{Market, Plan},
};
use tempfile::TempDir;

const DAY: Kind = Kind::BarDay;

fn bars() -> Vec<DayBar> {
    let plan = Plan { seed: 5, symbols: 12, days: 150, to: "2026-03-31".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    market.securities().iter().flat_map(|security| market.days(security.symbol)).collect()
}

/// A folder with files that `sqep gen` wrote of the same market.
fn files(folder: &Path) -> PathBuf {
    let csv = folder.join("csv");
    let arguments = ["gen", "--symbols", "12", "--days", "150", "--to", "2026-03-31", "--seed", "5", "--out"];
    let status =
        Command::new(env!("CARGO_BIN_EXE_sqep")).args(arguments).arg(&csv).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
    csv
}

/// Writes a batch of one version.
async fn write(root: &Path, version: u64, bars: &[DayBar]) {
    let rows: Vec<Row<DayBar>> = bars.iter().map(|&record| Row { record, version, source: 0 }).collect();
    let sources: [Arc<str>; 1] = ["test".into()];
    let id = EntryId::of_version(version);
    let batch = Batch { partition: 0, first: id, last: id, rows: &rows, sources: &sources };
    let mut sink = open::<DayBar>(Config { root: root.to_owned(), ..Config::default() }, DAY).unwrap();
    sink.write(&batch).await.unwrap();
}

struct World {
    folder: TempDir,
    csv: PathBuf,
    root: PathBuf,
}

/// Files, and an archive of what they hold.
async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let (csv, root) = (files(folder.path()), folder.path().join("archive"));
    write(&root, 7, &bars()).await;
    World { folder, csv, root }
}

fn command(root: &Path, against: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqep"));
    command.args(["audit", "--archive"]).arg(root).arg("--against").args(against).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn ended(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

/// What an audit against the files finds, as JSON, with its exit code.
fn audit(world: &World, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = command(&world.root, &[world.csv.to_str().unwrap()]);
    command.args(["--json", "--dialect", "sqep"]).args(more);
    let (code, said, told) = ended(command);
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said} {told}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_the_files_is_equal_day_by_day_before_and_after_compaction() {
    let world = world().await;
    let (keys, again) = (bars().len(), &bars()[..500]);
    write(&world.root, 8, again).await;
    let (code, found) = audit(&world, &[]);
    assert_eq!((code, &found["equal"]), (Some(0), &Value::Bool(true)));
    assert_eq!(found["superseded"], 500, "older versions are told and are no difference");
    assert_eq!(found["total"]["archive"], found["total"]["against"]);
    assert_eq!(found["total"]["archive"]["keys"], keys);
    let days = found["days"].as_array().unwrap();
    assert_eq!(days.len(), 150);
    assert!(
        days.iter().all(|day| day["archive"] == day["against"] && day["archive"]["keys"].as_u64() > Some(5))
    );

    compact_root(&world.root, Options::default()).unwrap().complete().unwrap();
    let (code, after) = audit(&world, &[]);
    assert_eq!((code, &after["superseded"]), (Some(0), &Value::from(0)));
    assert_eq!(after["days"], found["days"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_a_missing_key_and_a_key_too_many_are_each_found_and_named() {
    let world = world().await;
    let bars = bars();
    let (changed, lone) = (DayBar { close: bars[40].low, vol: 1.0, ..bars[40] }, bars[100]);
    write(&world.root, 9, &[changed]).await;
    for entry in fs::read_dir(&world.csv).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let line = format!("{},{},", lone.symbol.get(), lone.frame);
        fs::write(&path, text.lines().filter(|row| !row.starts_with(&line)).collect::<Vec<_>>().join("\n"))
            .unwrap();
    }
    let extra = DayBar { frame: "2026-04-01".parse().unwrap(), ..bars[0] };
    let more = world.csv.join("more.csv");
    let header = "symbol,frame,open,high,low,close,vol,amount,adjust,st,buy_limit,sell_limit";
    let DayBar { open, high, low, close, vol, .. } = extra;
    let row = format!("{},2026-04-01,{open},{high},{low},{close},{vol},,,,,", extra.symbol.get());
    fs::write(more, format!("{header}\n{row}\n")).unwrap();

    let (code, found) = audit(&world, &[]);
    assert_eq!(code, Some(1));
    let total = &found["total"];
    assert_eq!(
        (&total["not_in_archive"], &total["only_in_archive"], &total["differ"]),
        (&1.into(), &1.into(), &1.into())
    );
    let wrong =
        found["days"].as_array().unwrap().iter().filter(|day| day["archive"] != day["against"]).count();
    assert_eq!(wrong, 3, "three days differ, one key on each");
    let differences = found["differences"].as_array().unwrap();
    let of = |what: &str| differences.iter().find(|found| found["what"] == what).unwrap();
    let named = |what: &str| (of(what)["symbol"].as_str().unwrap().to_owned(), of(what)["frame"].clone());
    assert_eq!(named("not_in_archive"), (extra.symbol.to_string(), "2026-04-01".into()));
    assert_eq!(named("only_in_archive"), (lone.symbol.to_string(), lone.frame.to_string().into()));
    assert_eq!(named("differs"), (changed.symbol.to_string(), changed.frame.to_string().into()));
    let fields = of("differs")["fields"].as_array().unwrap();
    let close = fields.iter().find(|pair| pair["field"] == "close").unwrap();
    assert_eq!(
        (&close["archive"], &close["against"]),
        (&changed.close.to_string().into(), &bars[40].close.to_string().into())
    );

    let mut plain = command(&world.root, &[world.csv.to_str().unwrap()]);
    plain.args(["--show", "1"]);
    let (code, said, told) = ended(plain);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("and 2 more days that differ") && said.contains("and 2 more keys that differ"),
        "{said}"
    );
    assert!(told.contains("differ in 3 keys"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_row_of_a_key_in_the_files_counts_and_bounds_count_on_both_sides() {
    let world = world().await;
    let bars = bars();
    let at = bars.iter().position(|bar| bar.adjust.is_some()).unwrap();
    let DayBar { symbol, frame, open, high, low, close, .. } = bars[at];
    let header = "symbol,frame,open,high,low,close,vol";
    let row = |vol: &str| format!("{},{frame},{open},{high},{low},{close},{vol}", symbol.get());
    let correction = world.folder.path().join("correction.csv");
    fs::write(&correction, format!("{header}\n{}\n", row("77"))).unwrap();
    let against = [world.csv.to_str().unwrap(), correction.to_str().unwrap()];
    let (code, said, _) = ended(command(&world.root, &against));
    let line = format!("{symbol} {frame}: vol is {} in the archive, 77 in the files", bars[at].vol);
    assert!(code == Some(1) && said.contains(&line), "{said}");

    let others: Vec<String> =
        bars.iter().map(|bar| bar.symbol.to_string()).filter(|name| *name != symbol.to_string()).collect();
    let mut bounded = command(&world.root, &against);
    bounded.args(["--symbols", &others.join(",")]);
    assert_eq!(ended(bounded).0, Some(0));
    let mut bounded = command(&world.root, &against);
    bounded.args(["--from", &frame.succ_opt().unwrap().to_string()]);
    assert_eq!(ended(bounded).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_a_failure_and_never_equal() {
    let world = world().await;
    let absent = world.folder.path().join("absent.csv");
    let (code, _, told) =
        ended(command(&world.root, &[world.csv.to_str().unwrap(), absent.to_str().unwrap()]));
    assert!(code == Some(1) && told.contains("absent.csv"), "{told}");
    assert_eq!(ended(command(&world.root, &["-"])).0, Some(2));
    let few = ["--set", "audit.keys_max=100"];
    let mut command = command(&world.root, &[world.csv.to_str().unwrap()]);
    command.args(few);
    let (code, _, told) = ended(command);
    assert!(code == Some(1) && told.contains("audit.keys_max"), "{told}");
}

async fn publish(server: &Embedded, bars: Vec<DayBar>, partitions: u16) {
    let stream = StreamSettings { kind: DAY, partitions, ..StreamSettings::default() };
    feed::publish(&server.settings(), &stream, &bars, 45_000).await.unwrap();
}

fn against_stream(world: &World, server: &Embedded) -> (Option<i32>, Value) {
    let mut command = command(&world.root, &["stream"]);
    command.args(["--json", "--set", &format!("redis.url={}", server.url())]);
    let (code, said, told) = ended(command);
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said} {told}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_compared_by_its_own_keys_over_all_partitions() {
    let world = world().await;
    let server = Embedded::start(&world.folder.path().join("redis")).await.unwrap();
    let bars = bars();
    publish(&server, bars[..700].to_vec(), 3).await;
    let (code, found) = against_stream(&world, &server);
    assert_eq!((code, &found["equal"]), (Some(0), &Value::Bool(true)));
    assert_eq!(found["total"]["against"]["keys"], 700, "the archive holds more, the stream no longer does");
    assert_eq!(found["total"]["archive"], found["total"]["against"]);

    let later = DayBar { vol: bars[0].vol + 100.0, ..bars[0] };
    let fresh = DayBar { frame: "2026-04-01".parse().unwrap(), ..bars[0] };
    publish(&server, vec![later, fresh], 3).await;
    let (code, found) = against_stream(&world, &server);
    assert_eq!(
        (code, &found["total"]["differ"], &found["total"]["not_in_archive"]),
        (Some(1), &1.into(), &1.into())
    );

    write(&world.root, u64::MAX, &[later, fresh]).await;
    let (code, found) = against_stream(&world, &server);
    assert_eq!(
        (code, &found["newer_in_archive"]),
        (Some(0), &2.into()),
        "newer than the stream: nothing to say"
    );
    assert_eq!(found["total"]["archive"]["keys"], 699);
    assert_eq!(later.key(), bars[0].key());
}
