//! `sqep new`: what it writes compiles as it is, passes its suite and moves a market; what cannot be meant is refused and
//! nothing is overwritten.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use sqep::{Calendar, DayBar, Record};
use sqep_testkit::market::{Market, Plan};
use tempfile::TempDir;

/// Everything a workspace has at its top and a build needs.
const TOP: [&str; 7] =
    ["Cargo.toml", "rustfmt.toml", "clippy.toml", "CONTRIBUTING.md", "schemas", "sqep", "testkit"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// A checkout that is this one by links, but for the folders that take connectors.
fn checkout(root: &Path) {
    let ours = repository();
    for name in TOP {
        symlink(ours.join(name), root.join(name)).unwrap();
    }
    fs::copy(ours.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    for (folder, member) in [("producers", "csv"), ("consumers", "parquet")] {
        fs::create_dir(root.join(folder)).unwrap();
        symlink(ours.join(folder).join(member), root.join(folder).join(member)).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn new(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sqep"));
    command.arg("new").args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn good(said: &Output) -> String {
    assert!(said.status.success(), "{}\n{}", text(&said.stdout), text(&said.stderr));
    text(&said.stdout)
}

/// A folder that stays from run to run and belongs to one run at a time: cargo knows what it built there by its path.
fn kept() -> (PathBuf, File) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(folder.join("new.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let root = folder.join("new");
    if root.exists() {
        fs::remove_dir_all(&root).unwrap();
    }
    fs::create_dir(&root).unwrap();
    (root, lock)
}

/// Cargo in that checkout, with the artifacts of this one; offline.
fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let built = Path::new(env!("CARGO_BIN_EXE_sqep")).ancestors().nth(2).unwrap();
    let mut command = Command::new(env!("CARGO"));
    // What cargo tells the tests it runs is not for the builds that they run: dependencies would be built anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let told =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "OUT_DIR"];
        if told.iter().any(|start| name.starts_with(start)) {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(root).env("CARGO_TARGET_DIR", built).stdin(Stdio::null());
    command
}

/// Builds the checkout's own crates without optimising them, which takes a fifth of the time; what they depend on stays
/// as it is built already.
fn quick() -> Vec<String> {
    let crates = ["sqep", "sqep-archive", "sqep-testkit", "sqep-acme-files", "sqep-my-lines"];
    let quick = |name: &str| {
        let of = format!("profile.dev.package.{name}");
        ["--config".to_owned(), format!("{of}.opt-level=0"), "--config".to_owned(), format!("{of}.debug=0")]
    };
    crates.iter().flat_map(|name| quick(name)).collect()
}

fn bars() -> BTreeMap<(String, String), f64> {
    let plan = Plan { seed: 7, symbols: 30, days: 60, to: "2026-06-30".parse().unwrap() };
    let market = Market::new(&plan, &Calendar::published()).unwrap();
    let days = market.securities().iter().flat_map(|security| market.days(security.symbol));
    days.map(|bar: DayBar| ((bar.symbol().get().to_string(), bar.frame.to_string()), bar.vol)).collect()
}

/// Volume by symbol and day of every line that a consumer wrote.
fn lines(folder: &Path) -> Vec<((String, String), f64)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let frame = row["frame"].as_str().unwrap().to_owned();
        assert_eq!(row["source"], "acme-files");
        ((row["symbol"].to_string(), frame), row["vol"].as_f64().unwrap())
    };
    let mut rows = Vec::new();
    for file in files {
        rows.extend(fs::read_to_string(file).unwrap().lines().map(row));
    }
    rows
}

#[test]
fn what_is_written_compiles_passes_its_suite_and_moves_a_market() {
    let (root, _lock) = kept();
    checkout(&root);
    let told = good(&new(&root.join("producers"), &["producer", "acme-files"]));
    assert!(
        told.contains("producers/acme-files/src/row.rs") && told.contains("cargo test -p sqep-acme-files")
    );
    let at = root.join("consumers/lines");
    good(&new(&repository(), &["consumer", "my-lines", "--path", &at.to_string_lossy()]));
    let both = ["-p", "sqep-acme-files", "-p", "sqep-my-lines"];

    let formatted = cargo(&root, &["fmt", "--check"]).args(both).output().unwrap();
    good(&formatted);
    let tested = cargo(&root, &["test", "--offline"]).args(quick()).args(both).output().unwrap();
    let report = good(&tested);
    assert!(report.contains("keep_every_promise_of_a_source ... ok"), "{report}");
    assert!(report.contains("keep_every_promise_of_a_sink ... ok"), "{report}");

    let out = TempDir::new().unwrap();
    let size = ["--symbols", "30", "--days", "60", "--out"];
    let mut demo = Command::new(env!("CARGO_BIN_EXE_sqep"));
    demo.args(["demo", "--producer", "sqep-acme-files", "--consumer", "sqep-my-lines"])
        .args(size)
        .arg(out.path());
    let moved = good(&demo.stdin(Stdio::null()).output().unwrap());
    assert!(moved.contains("ok  entries settled by my-lines") && !moved.contains("NOT"), "{moved}");
    let (bars, lines) = (bars(), lines(&out.path().join("my-lines/bar_1d")));
    assert_eq!(lines.len(), bars.len(), "every row once");
    assert_eq!(lines.into_iter().collect::<BTreeMap<_, _>>(), bars, "in shares");

    let row = root.join("producers/acme-files/src/row.rs");
    fs::write(&row, walked_through(&fs::read_to_string(&row).unwrap())).unwrap();
    let tested =
        cargo(&root, &["test", "--offline", "--lib", "-p", "sqep-acme-files"]).args(quick()).output();
    let report = good(&tested.unwrap());
    assert!(report.contains("the_example_reads_as_it_says ... ok"), "{report}");
}

/// `row.rs` after the walk through CONTRIBUTING.md, with a test of the rows that stand there.
fn walked_through(row: &str) -> String {
    const TEST: &str = r#"
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_reads_as_it_says() {
        let text = include_str!("../../../CONTRIBUTING.md");
        let rows: Vec<_> = text.lines().filter(|line| line.matches('|').count() == 8).skip(1).collect();
        let bar = parse(rows[0]).unwrap().unwrap();
        assert_eq!((bar.vol, bar.amount, bar.adjust), (32_145_600.0, Some(228_868_100.0), Some(12.8941)));
        assert_eq!(parse(rows[1]).unwrap().unwrap().symbol.to_string(), "000001.SZ");
        assert_eq!(parse(rows[2]), Ok(None), "suspended");
        assert!(text.contains(HEADER));
        assert_eq!(parse(&rows[0].replace("321456", "32145600")).unwrap_err().reason, Reason::Unit);
    }
}
"#;
    let text = fs::read_to_string(repository().join("CONTRIBUTING.md")).unwrap();
    let example =
        text.split("```rust\n").find(|part| part.trim_start().starts_with("pub const HEADER")).unwrap();
    let example = example.split("```").next().unwrap();
    let between = |from: &str, to: &str| row.split(from).nth(1).unwrap().split(to).next().unwrap().to_owned();
    let head = row.split("/// The first line of every file.").next().unwrap();
    let helpers = between("/// `600000.SH`.", "#[cfg(test)]").replace("%Y%m%d", "%Y-%m-%d");
    format!("{head}{example}\n// {helpers}{TEST}")
}

#[test]
fn what_cannot_be_meant_is_refused_and_nothing_is_overwritten() {
    let folder = TempDir::new().unwrap();
    checkout(folder.path());
    let refused = |arguments: &[&str], why: &str| {
        let said = new(folder.path(), arguments);
        assert_eq!(said.status.code(), Some(2), "{arguments:?}");
        assert!(text(&said.stderr).contains(why), "{arguments:?}: {}", text(&said.stderr));
    };
    refused(&["producer", "Acme"], "\"Acme\" is not 1 to 24 small letters");
    refused(&["producer", "type"], "keyword of Rust");
    refused(&["consumer", "redis"], "section of every program");
    refused(&["consumer", "csv"], "sqep-csv exists already");
    refused(&["producer", "cli"], "sqep-cli exists already");
    refused(&["producer", "acme", "--path", "consumers/acme"], "producers, where the workspace looks for it");
    refused(&["producer", "acme", "--path", "elsewhere/producers/acme"], "where the workspace looks for it");
    let before = fs::read_dir(folder.path().join("producers")).unwrap().count();
    assert!(new(folder.path(), &["producer", "acme", "--check"]).status.success());
    assert_eq!(
        fs::read_dir(folder.path().join("producers")).unwrap().count(),
        before,
        "a check writes nothing"
    );

    good(&new(folder.path(), &["producer", "acme"]));
    let row = folder.path().join("producers/acme/src/row.rs");
    fs::write(&row, "// mine\n").unwrap();
    refused(&["producer", "acme"], "sqep-acme exists already");
    refused(&["producer", "other", "--path", "producers/acme"], "nothing is overwritten");
    assert_eq!(fs::read_to_string(row).unwrap(), "// mine\n");

    let nowhere = TempDir::new().unwrap();
    let said = new(nowhere.path(), &["producer", "acme"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(text(&said.stderr).contains("lies in no checkout of this repository"), "{}", text(&said.stderr));
}
