//! What the archive does at the limits of the machine: a full disk and a small memory. Each test runs itself again as a
//! child, whose limits are its own.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

#[path = "it/common/mod.rs"]
mod common;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::{day, folders, later, list, now, open, rows, write};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sqep::{DayBar, Kind, Sink};
use sqep_parquet::{Options, compact_root};

const DAY: Kind = Kind::BarDay;
const MEMORY_BYTES_MAX: u64 = 300 << 20;
const SYMBOLS: u32 = 5_000;
const DAYS_A_BATCH: u32 = 4;
const BATCHES: u32 = 100;

/// Runs `test` again as a child. A shell lets it live on when a file grows over its limit, as a disk's end would.
fn child(test: &str, root: &Path) {
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("SQEP_LIMITS_ROOT", root)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{test} as a child: {status}");
}

/// In a child: the root it was told. `None`: this is the test itself.
fn told() -> Option<PathBuf> {
    env::var_os("SQEP_LIMITS_ROOT").map(PathBuf::from)
}

fn file_bytes_max(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

fn writes_to_a_full_disk(root: &Path) {
    let bars: Vec<_> = (0..5_000).map(|n| (day(n, n % 300, n), u64::from(n))).collect();
    let mut sink = open(root, DAY);
    now(sink.mark(0)).unwrap();
    file_bytes_max(Some(20_000));
    for _ in 0..3 {
        let told = later(write(&mut sink, (1, 1), &bars));
        assert!(told.contains("write-0-rows.tmp") && told.contains("raise the limit"), "{told}");
        assert_eq!(list(&root.join("_sqep/bar_1d")), [root.join("_sqep/bar_1d/lock-0")], "no draft stays");
    }
    file_bytes_max(None);
    write(&mut sink, (1, 1), &bars).unwrap();
}

#[test]
fn a_full_disk_is_waited_for_and_the_write_goes_on() {
    if let Some(root) = told() {
        return writes_to_a_full_disk(&root);
    }
    let root = tempfile::tempdir().unwrap();
    child("a_full_disk_is_waited_for_and_the_write_goes_on", root.path());
    assert_eq!(rows::<DayBar>(root.path(), DAY).len(), 5_000);
}

fn compacts_two_million_rows(root: &Path) {
    let report = compact_root(root, Options::default()).unwrap().complete().unwrap();
    let done = &report.compacted[0];
    let rows = u64::from(SYMBOLS * DAYS_A_BATCH * BATCHES);
    assert_eq!((done.files, done.rows_before), (100, rows));
    assert_eq!(done.rows_after, rows / 2, "every key came twice");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    assert!(peak < MEMORY_BYTES_MAX, "peak {} MiB", peak >> 20);
    fs::write(root.join("done"), "").unwrap();
}

#[test]
fn a_compaction_of_two_million_rows_in_a_hundred_files_stays_within_its_memory() {
    if let Some(root) = told() {
        return compacts_two_million_rows(&root);
    }
    let root = tempfile::tempdir().unwrap();
    let mut sink = open(root.path(), DAY);
    let mut bars = Vec::new();
    for id in 0..BATCHES {
        bars.clear();
        for code in 0..SYMBOLS {
            let days = id / 2 * DAYS_A_BATCH..(id / 2 + 1) * DAYS_A_BATCH;
            bars.extend(days.map(|at| (day(code, at, code + at), u64::from(id))));
        }
        write(&mut sink, (id.into(), id.into()), &bars).unwrap();
    }
    assert_eq!(folders(root.path(), DAY).len(), 1);
    child("a_compaction_of_two_million_rows_in_a_hundred_files_stays_within_its_memory", root.path());
    assert!(root.path().join("done").exists(), "the child has judged its memory");
}
