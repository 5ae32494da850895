//! Memory stays bounded whatever a file's size. A program of its own, so that its peak is the source's.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

#[path = "it/common/mod.rs"]
mod common;

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use common::{HEADER, settings, source};
use sqep::{Calendar, Cursors, DayBar, Kind, Source};
use sqep_csv::config::CsvSettings;

/// Bytes of text, uncompressed.
const TEXT_BYTES: usize = 300 << 20;

/// What the whole process may take at its peak: half of what a program may.
const PEAK_KIB_MAX: u64 = 150 << 10;

/// Writes many securities, one after another, each over all sessions of some years; returns how many rows.
fn fill(mut out: impl Write) -> u64 {
    let calendar = Calendar::published();
    let (from, to) = ("2010-01-01".parse().unwrap(), "2024-12-31".parse().unwrap());
    let days: Vec<String> = calendar.sessions(from, to).map(|day| day.to_string()).collect();
    out.write_all(HEADER.as_bytes()).unwrap();
    let (mut bytes, mut rows, mut code) = (0, 0, 0);
    while bytes < TEXT_BYTES {
        code += 1;
        let symbol = common::symbol(code).get();
        for day in &days {
            let row =
                format!("{symbol},{day},10.11,10.25,10.02,10.2,123456,1255555.55,101.5,false,11.1,9.1\n");
            bytes += row.len();
            rows += 1;
            out.write_all(row.as_bytes()).unwrap();
        }
    }
    out.flush().unwrap();
    rows
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Counts what comes and lets go of it, as a publisher does.
async fn count(path: &Path) -> u64 {
    let settings = CsvSettings { rows_block_max: 8_192, max_workers: 2, ..settings(&[path]) };
    let (mut source, _, _) = source::<DayBar>(&settings, Kind::BarDay, false);
    source.open(&Cursors::default()).await.unwrap();
    let mut rows = 0;
    while let Some(chunk) = source.read().await.unwrap() {
        rows += chunk.read();
        assert!(chunk.refused.is_empty(), "{:?}", chunk.refused);
    }
    rows
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_passes_through_bounded_memory_packed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("large.csv.gz");
    let file = File::create(&packed).unwrap();
    let rows = fill(BufWriter::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast())));
    assert_eq!(count(&packed).await, rows);
    std::fs::remove_file(&packed).unwrap();

    let plain = folder.path().join("large.csv");
    assert_eq!(fill(BufWriter::new(File::create(&plain).unwrap())), rows);
    assert_eq!(count(&plain).await, rows);
    assert!(peak_kib() < PEAK_KIB_MAX, "{} KiB at the peak, for a text of {TEXT_BYTES} bytes", peak_kib());
}
