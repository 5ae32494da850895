//! Real files through the real programs, when `SQEP_DATA` names their folder.

use std::{path::PathBuf, process::Command};

use sqep_testkit::{TestRedis, given::data, programs::program};

struct Rig {
    redis: TestRedis,
    folder: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Rig {
        let redis = TestRedis::start().await.expect("redis");
        Rig { redis, folder: tempfile::tempdir().expect("folder") }
    }

    /// Runs `sqep-csv --once` over a path; exit code and what it printed.
    fn publish(&self, set: &[&str], path: &PathBuf) -> (i32, String) {
        let mut command = Command::new(program("sqep-csv").expect("built"));
        command.env_clear().args(["--once", "--set", &format!("redis.url={}", self.redis.url())]);
        for value in set {
            command.args(["--set", value]);
        }
        let output = command.arg(path).output().expect("starts");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code().unwrap_or(-1), text)
    }

    async fn length(&self, key: &str) -> u64 {
        self.redis.command(&["XLEN", key]).await.expect("length")
    }

    /// The archive's rows, as JSON lines without source and version, sorted.
    fn rows(&self) -> Vec<String> {
        let root = format!("parquet.root={}", self.folder.path().display());
        let url = format!("redis.url={}", self.redis.url());
        let status = Command::new(program("sqep-parquet").expect("built"))
            .env_clear()
            .args(["--once", "--set", &url, "--set", &root, "--set", "reader.start=earliest"])
            .status()
            .expect("starts");
        assert!(status.success());
        let mut rows = Vec::new();
        for year in std::fs::read_dir(self.folder.path().join("bar_1d")).expect("archive") {
            for file in sqep_parquet::files(&year.expect("folder").path()).expect("files") {
                let mut open = sqep_parquet::Rows::<sqep::DayBar>::open(&file).expect("opens");
                while let Some(part) = open.next().expect("reads") {
                    rows.extend(part.iter().map(|row| format!("{:?}", row.record)));
                }
            }
        }
        rows.sort_unstable();
        rows
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_files_go_through_with_every_row_accounted_for() {
    let Some(data) = data() else { return };
    let rig = Rig::new().await;
    let (code, text) = rig.publish(&["csv.dialect=tushare"], &data.join("tushare/daily_raw"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("files 60 = published 60"), "{text}");
    let files = std::fs::read_dir(data.join("tushare/daily_raw")).expect("folder");
    let lines = |path: PathBuf| std::fs::read_to_string(path).expect("text").lines().count() - 1;
    let expected: usize = files.map(|file| lines(file.expect("file").path())).sum();
    assert_eq!(rig.rows().len(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_vendors_give_equal_bars_of_the_same_stock() {
    let Some(data) = data() else { return };
    let mut archives = Vec::new();
    for (dialect, file) in
        [("tushare", "tushare/daily_raw/600030.SH.csv"), ("baostock", "baostock/daily_raw/sh.600030.csv")]
    {
        let rig = Rig::new().await;
        let (code, text) = rig.publish(&[&format!("csv.dialect={dialect}")], &data.join(file));
        assert_eq!(code, 0, "{text}");
        archives.push(rig.rows());
    }
    // Prices and dates are equal to the digit; volume and turnover to what each vendor rounds to.
    let prices = |row: &String| row.split(", vol:").next().expect("fields").to_owned();
    let (left, right): (Vec<String>, Vec<String>) =
        (archives[0].iter().map(prices).collect(), archives[1].iter().map(prices).collect());
    let shared = left.iter().filter(|row| right.contains(row)).count();
    let days = |rows: &[String]| -> std::collections::BTreeSet<String> {
        rows.iter()
            .filter_map(|row| Some(row.split("frame: ").nth(1)?.split(',').next()?.to_owned()))
            .collect()
    };
    let common = days(&left).intersection(&days(&right)).count();
    assert!(common > 80, "the files share {common} days");
    assert_eq!(shared, common, "every shared day has the same open, high, low and close");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_as_a_whole_is_refused_whole_with_one_letter_and_nothing_on_the_stream() {
    let Some(data) = data() else { return };
    let cases: [(&str, &[&str], &str); 4] = [
        ("tushare/daily_qfq_full/002402.SZ.csv", &["csv.dialect=tushare"], "units_or_adjusted"),
        (
            "tushare/daily_raw/000001.SZ.csv",
            &["csv.dialect=tushare", "csv.vol_unit=shares"],
            "units_or_adjusted",
        ),
        (
            "dialects/yahoo/DeltaF_000001.SZ.csv",
            &["csv.dialect=yahoo", "csv.price_basis=raw"],
            "frames_shifted",
        ),
        ("dialects/yahoo/600519.SS.csv", &["csv.dialect=yahoo"], "price_basis"),
    ];
    for (file, set, reason) in cases {
        let rig = Rig::new().await;
        for _ in 0..2 {
            let (code, text) = rig.publish(set, &data.join(file));
            assert_eq!(code, 1, "{file}: {text}");
            assert!(text.contains(reason), "{file}: {text}");
        }
        assert_eq!(rig.length("sqep:{bar:1d:0}").await, 0, "{file}: nothing on the stream");
        assert_eq!(
            rig.length("sqep:{bar:1d:0}:dead").await,
            1,
            "{file}: one letter, also after a second run"
        );
    }
}
