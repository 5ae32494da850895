//! `make bench` on a small input. Knows how it is called and what it leaves; the figures are of no interest here.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqep_testkit::programs::program;

/// Pipelines of the contest: this project's and four others.
const PIPELINES: usize = 5;
/// Day bars of the input, before suspensions.
const BARS: &str = "20000";
/// Securities of the contest of features: enough for funds, an index and every board.
const SYMBOLS: &str = "24";
/// This project in two ways and polars with one core, TA-Lib in two ways, pandas; this project in two ways and polars with
/// two.
const SPEEDS: usize = 9;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of the programs.
fn programs() -> Result<PathBuf> {
    for name in ["sqep-csv", "sqep-parquet", "sqep-clickhouse", "sqep-features"] {
        program(name)?;
    }
    program("sqep")?.parent().map(Path::to_owned).context("a program lies in a folder")
}

#[test]
fn the_benchmark_shows_that_every_pipeline_did_the_same_work() -> Result<()> {
    let out = tempfile::tempdir()?;
    let python = env::var_os("SQEP_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    let run = Command::new(&python)
        .arg(root().join("testkit/bench/bench.py"))
        .args(["--bars", BARS, "--minutes", BARS, "--symbols", BARS, "--features", SYMBOLS])
        .args(["--repeat", "1", "--programs"])
        .arg(programs()?)
        .arg("--out")
        .arg(out.path())
        .output()
        .with_context(|| format!("run {}; testkit/setup.sh test makes it", python.display()))?;
    ensure!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );

    let kept: Value = serde_json::from_str(&fs::read_to_string(out.path().join("bench.json"))?)?;
    let pipelines = kept["results"][0]["pipelines"].as_array().context("no pipelines")?;
    assert_eq!(pipelines.len(), PIPELINES);
    for pipeline in pipelines {
        assert_eq!(pipeline["bars"], kept["results"][0]["bars"], "{pipeline}");
        assert!(pipeline["bars_per_s"].as_f64() > Some(0.0), "{pipeline}");
    }
    let clickhouse = &kept["results"][1]["clickhouse"];
    for kind in ["bar:1d", "bar:1m"] {
        let ways = clickhouse[kind].as_array().context("no ways into ClickHouse")?;
        assert_eq!(ways.len(), 4, "this project's loader, curl, a file and pandas: {ways:?}");
        assert!(
            ways.iter().all(|way| way["rows"] == ways[0]["rows"] && way["rows"].as_u64() > Some(0)),
            "{ways:?}"
        );
    }
    assert_eq!(clickhouse["integers"].as_array().map(Vec::len), Some(2), "ClickHouse and SQLite");
    let features = &kept["results"][2]["features"][0];
    let speeds = features["speeds"].as_array().context("no speeds of features")?;
    assert_eq!(speeds.len(), SPEEDS, "{speeds:?}");
    assert!(speeds.iter().all(|speed| speed["bars"] == speeds[0]["bars"]), "{speeds:?}");
    assert!(speeds.iter().all(|speed| speed["bars_per_cpu_s"].as_f64() > Some(0.0)), "{speeds:?}");
    let deviations = features["deviations"].as_object().context("no deviations of features")?;
    assert!(deviations.values().all(|of| of.as_object().is_some_and(|of| of.len() == 45)), "{deviations:?}");
    assert!(fs::read_to_string(out.path().join("bench.md"))?.contains("start to settled"));
    Ok(())
}
