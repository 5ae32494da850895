//! `sqep compact` on an archive that `sqep-parquet` wrote in many files.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use sqep::{Calendar, DayBar, Record};
use sqep_parquet::Rows;
use sqep_testkit::market::{Market, Plan};

fn program(name: &str) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_sqep")).with_file_name(name);
    assert!(path.is_file(), "{} is missing: run cargo build --workspace first", path.display());
    Command::new(path)
}

fn compact(root: &Path) -> Output {
    program("sqep").args(["compact", "--set", &format!("parquet.root={}", root.display())]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn files(root: &Path) -> Vec<std::path::PathBuf> {
    let folders = fs::read_dir(root.join("bar_1d")).unwrap();
    folders.flat_map(|folder| sqep_parquet::files(&folder.unwrap().path()).unwrap()).collect()
}

fn bars(root: &Path) -> Vec<DayBar> {
    let mut bars = Vec::new();
    for file in files(root) {
        let mut rows = Rows::<DayBar>::open(&file).unwrap();
        while let Some(part) = rows.next().unwrap() {
            bars.extend(part.into_iter().map(|row| row.record));
        }
    }
    bars.sort_by_key(Record::key);
    bars
}

/// An archive of two years and two markets: the later one's rows win.
async fn archive(folder: &Path) {
    let server = sqep::redis::embedded::Embedded::start(&folder.join("redis")).await.unwrap();
    let run = |command: &mut Command| {
        let said = command.output().unwrap();
        assert!(said.status.success(), "{}", text(&said.stderr));
    };
    let root = folder.join("archive");
    let url = format!("redis.url={}", server.url());
    for seed in ["3", "4"] {
        let csv = folder.join("csv").join(seed);
        let size = ["--symbols", "40", "--days", "60", "--to", "2026-02-27", "--seed", seed, "--out"];
        run(program("sqep").arg("gen").args(size).arg(&csv));
        run(program("sqep-csv").args(["--once", "--set", &url, "--set", "csv.dialect=sqep"]).arg(&csv));
        let mut parquet = program("sqep-parquet");
        parquet.args(["--once", "--set", &url, "--set", "reader.start=earliest"]);
        run(parquet.args(["--set", &format!("parquet.root={}", root.display())]));
    }
}

fn market(seed: u64) -> Vec<DayBar> {
    let plan = Plan { seed, symbols: 40, days: 60, to: "2026-02-27".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    market.securities().iter().flat_map(|security| market.days(security.symbol)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_partition_becomes_one_file_with_the_newest_row_of_each_key() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path()).await;
    let root = folder.path().join("archive");
    let written = market(3).into_iter().chain(market(4));
    assert_eq!(files(&root).len(), 4, "two years, two runs");
    assert_eq!(bars(&root).len(), written.clone().count());

    let said = compact(&root);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let told = text(&said.stdout);
    assert!(told.contains("partitions 2 = compacted 2 + left alone 0 + failed 0"), "{told}");
    assert_eq!(files(&root).len(), 2);
    let newest: BTreeMap<_, DayBar> = written.map(|bar| (bar.key(), bar)).collect();
    assert_eq!(bars(&root), newest.into_values().collect::<Vec<_>>());

    let again = text(&compact(&root).stdout);
    assert!(again.contains("partitions 2 = compacted 0 + left alone 2 + failed 0"), "{again}");
}

#[test]
fn a_folder_that_is_no_archive_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let absent = compact(&folder.path().join("absent"));
    assert_eq!(absent.status.code(), Some(2));
    assert!(text(&absent.stderr).contains("absent is no folder"), "{}", text(&absent.stderr));
    let empty = compact(folder.path());
    assert_eq!(empty.status.code(), Some(1));
    assert_eq!(program("sqep").arg("compact").status().unwrap().code(), Some(2), "no root at all");
}
