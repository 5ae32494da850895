//! Memory stays bounded whatever a file's size. A program of its own, so that its peak is the source's.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

#[path = "it/common/mod.rs"]
mod common;

use std::io::{BufWriter, Write};

use chrono::TimeDelta;
use common::{at, clock, record, settings};
use sqep::{Cursors, Kind, MinuteBar, Source, kind::Grid};
use sqep_qmt::{
    config::{AliasChoice, SourceChoice},
    dat::HEADER,
    folder::{FolderPlan, FolderSource},
};

/// Records: 128 MiB.
const RECORDS: i64 = 2 << 20;
/// What the whole process may take at its peak.
const PEAK_KIB_MAX: u64 = 48 << 10;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_file_passes_through_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("SH/60/600000.DAT");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    file.write_all(&HEADER).unwrap();
    for minute in 0..RECORDS {
        let wall = at("2020-01-01T00:00:00") + TimeDelta::minutes(minute);
        file.write_all(&record(wall, 10_000, 50).encode()).unwrap();
    }
    file.flush().unwrap();
    let settings = settings(SourceChoice::Dat, folder.path());
    let kind = Kind::BarMinute(Grid::M1);
    let plan =
        FolderPlan::new(&settings, AliasChoice::Current, kind, true, clock("2030-01-01T00:00:00")).unwrap();
    let mut source = FolderSource::<MinuteBar>::new(plan.unwrap());
    source.open(&Cursors::default()).await.unwrap();
    let mut rows = 0;
    while let Some(chunk) = source.read().await.unwrap() {
        assert!(chunk.refused.is_empty(), "{:?}", chunk.refused);
        rows += chunk.read();
    }
    assert_eq!(rows, RECORDS.cast_unsigned());
    assert!(peak_kib() < PEAK_KIB_MAX, "{} KiB at the peak, for a file of 128 MiB", peak_kib());
}
