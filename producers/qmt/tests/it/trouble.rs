//! Files as they lie about after years: wrong clocks, links, copies that were cut, files that change while they are read.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, SystemTime},
};

use sqep::{Cursors, DayBar, Kind, MinuteBar, Source, kind::Grid, shanghai};
use sqep_qmt::{
    config::{AliasChoice, SourceChoice},
    dat::{DatRecord, HEADER, RECORD_BYTES},
    folder::{FolderPlan, FolderSource},
};

use crate::common::{Rig, Run, at, clock, dat, days, record, settings};

const NAME: &str = "SH/86400/600000.DAT";
const DAY_S: u32 = 86_400;

fn read(rig: &Rig, folder: &Path, more: &[&str]) -> Run {
    let dat = ["--once", "--set", "qmt.source=dat"];
    rig.run(&[&dat[..], more, &[folder.to_str().unwrap()]].concat())
}

async fn letters(rig: &Rig) -> Vec<String> {
    let found: Vec<(String, Vec<String>)> =
        rig.redis.command(&["XRANGE", "sqep:{bar:1d:0}:dead", "-", "+"]).await.unwrap();
    found.into_iter().map(|(_, fields)| fields.join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_ahead_of_its_time_costs_its_own_row_alone() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let mut records = days(0, 300);
    // Fifteen years ahead of the clock, and 90 days ahead of the rows around it.
    records[50].time_s += 15 * 365 * DAY_S;
    records[120].time_s += 90 * DAY_S;
    dat(folder.path(), NAME, &records[..200]);
    let run = read(&rig, folder.path(), &[]).good();
    assert!(run.out.contains("read 200 = appended 198 + refused 2 + skipped 0"), "{run:?}");
    let letters = letters(&rig).await.concat();
    for part in ["lies ahead of the clock", "before rows of earlier times"] {
        assert!(letters.contains(part), "{part} in {letters}");
    }
    dat(folder.path(), NAME, &records);
    let run = read(&rig, folder.path(), &[]).good();
    assert!(run.out.contains("read 100 = appended 100 + refused 0"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_stands_at_its_beginning_refuses_nothing() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    dat(folder.path(), NAME, &days(0, 20));
    let run = read(&rig, folder.path(), &["--rehearse", "1970-01-01T08:00:00"]).good();
    assert!(run.out.contains("read 0 = "), "{run:?}");
    let run = read(&rig, folder.path(), &[]).good();
    assert!(run.out.contains("read 20 = appended 20"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_no_unit_explains_is_refused_and_the_others_go_out() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let mut records = days(0, 300);
    records[7].amount *= 2;
    dat(folder.path(), NAME, &records);
    // Impossible prices say nothing about the unit, not even in a short file.
    let mut short = days(0, 5);
    short[2].prices = [10_000, 9_000, 11_000, 10_000];
    dat(folder.path(), "SH/86400/600001.DAT", &short);
    let run = read(&rig, folder.path(), &[]).good();
    assert!(run.out.contains("read 305 = appended 303 + refused 2 + skipped 0"), "{run:?}");
    let letters = letters(&rig).await.concat();
    for part in ["prices or turnover are not those of this volume", "ohlc_order"] {
        assert!(letters.contains(part), "{part} in {letters}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_row_does_not_make_a_quiet_afternoon_a_suspended_day() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let minute = |time: &str, lots| record(at(&format!("2024-01-03T{time}:00")), 10_000, lots);
    let mut records: Vec<DatRecord> = ["09:30", "09:31", "09:32"].map(|time| minute(time, 5)).into();
    records.push(record(at("2024-01-02T10:00:00"), 10_000, 5));
    records.extend(["13:01", "13:02", "13:03", "13:04", "13:05"].map(|time| minute(time, 0)));
    dat(folder.path(), "SH/60/600000.DAT", &records);
    let run = read(&rig, folder.path(), &["--set", "stream.kind=bar:1m"]).good();
    assert!(run.out.contains("read 9 = appended 8 + refused 1 + skipped 0"), "{run:?}");
    assert_eq!(rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await.count, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_unit_is_one_letter_a_day_however_often_the_file_grows() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let shares: Vec<DatRecord> =
        days(0, 100).iter().map(|record| DatRecord { volume: record.volume * 100, ..*record }).collect();
    for (rows, day, read_now, letters_now) in [
        (50, "05", "read 50 = appended 0 + refused 50", 1),
        (60, "05", "read 0 = ", 1),
        (70, "06", "read 20 = appended 0 + refused 20", 2),
        (80, "06", "read 0 = ", 2),
    ] {
        dat(folder.path(), NAME, &shares[..rows]);
        let run = read(&rig, folder.path(), &["--rehearse", &format!("2026-01-{day}T16:00:00")]);
        assert!(run.code == Some(1) && run.out.contains(read_now), "{rows}: {run:?}");
        assert_eq!(letters(&rig).await.len(), letters_now, "{rows}");
    }
    // Other rows in the same unit are told again, on the same day too.
    let others: Vec<DatRecord> =
        shares[10..90].iter().map(|record| DatRecord { open_interest: 15, ..*record }).collect();
    dat(folder.path(), NAME, &others);
    let run = read(&rig, folder.path(), &["--rehearse", "2026-01-06T16:00:00"]);
    assert!(run.out.contains("read 80 = appended 0 + refused 80"), "{run:?}");
    let sound = days(0, 100);
    dat(folder.path(), NAME, &sound);
    let run = read(&rig, folder.path(), &["--rehearse", "2026-01-06T16:00:00"]).good();
    assert!(run.out.contains("read 100 = appended 100"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_may_be_emptied_cut_touched_and_put_back() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let records = days(0, 100);
    let path = dat(folder.path(), NAME, &records);
    assert!(read(&rig, folder.path(), &[]).good().out.contains("read 100 = appended 100"));
    for bytes in [0, 5, 8, HEADER.len() + RECORD_BYTES / 2] {
        let whole = [HEADER.to_vec(), records[0].encode().to_vec()].concat();
        fs::write(&path, &whole[..bytes]).unwrap();
        let run = read(&rig, folder.path(), &[]).good();
        assert!(run.out.contains("read 0 = "), "{bytes} bytes: {run:?}");
    }
    dat(folder.path(), NAME, &records);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_733_000_000);
    File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
    let back = read(&rig, folder.path(), &[]).good();
    assert!(back.out.contains("read 0 = ") || back.out.contains("read 100 = appended 100"), "{back:?}");
    // Shorter, with the same first rows: what is there goes out again, what is not stays as it was.
    dat(folder.path(), NAME, &records[..60]);
    let run = read(&rig, folder.path(), &[]).good();
    assert!(run.out.contains("read 60 = appended 60") && run.err.contains("written anew"), "{run:?}");
    dat(folder.path(), NAME, &records[..70]);
    assert!(read(&rig, folder.path(), &[]).good().out.contains("read 10 = appended 10"));
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_eq!(stream.rows.len(), 100, "each key is there, whatever the file became");
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_was_made_and_not_written_is_waited_for() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let records = days(0, 100);
    let path = dat(folder.path(), NAME, &records[..60]);
    let written = fs::read(&path).unwrap();
    // More of it than is read at a time, as NTFS leaves it after a power cut.
    fs::write(&path, [written.clone(), vec![0; 5_000 * RECORD_BYTES + 7]].concat()).unwrap();
    let run = read(&rig, folder.path(), &[]).good();
    assert!(run.out.contains("read 60 = appended 60 + refused 0"), "{run:?}");
    assert!(run.err.contains("ends with 5000 records of zeros: they are waited for"), "{run:?}");
    // Zeros among records are rows that are none.
    let tail: Vec<u8> = records[61..].iter().flat_map(DatRecord::encode).collect();
    fs::write(&path, [written, vec![0; RECORD_BYTES], tail].concat()).unwrap();
    let run = read(&rig, folder.path(), &[]).good();
    assert!(run.out.contains("read 40 = appended 39 + refused 1"), "{run:?}");
    // Nothing but zeros is no file of another kind.
    fs::write(&path, vec![0; 100 * RECORD_BYTES]).unwrap();
    let run = read(&rig, folder.path(), &[]).good();
    assert!(run.out.contains("read 0 = ") && run.err.contains("holds no record yet"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_to_one_file_are_one_file_and_a_circle_of_them_ends() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let root = folder.path();
    let path = dat(root, "QMT/SH/86400/600000.DAT", &days(0, 10));
    symlink(root.join("QMT"), root.join("QMT/SH/again")).unwrap();
    symlink(root.join("QMT"), root.join("copy")).unwrap();
    symlink(&path, root.join("QMT/SH/86400/600001.DAT")).unwrap();
    fs::hard_link(&path, root.join("QMT/SH/86400/600000.dat")).unwrap();
    fs::create_dir_all(root.join("QMT/SH/86400/600002.DAT")).unwrap();
    let run = read(&rig, root, &[]).good();
    assert!(run.out.contains("read 20 = appended 20") && !run.err.contains("are both"), "{run:?}");
    symlink(root.join("nowhere"), root.join("QMT/SH/86400/600003.DAT")).unwrap();
    let run = read(&rig, root, &[]);
    assert!(run.code == Some(1) && run.err.contains("600003.DAT could not be looked at"), "{run:?}");
}

/// Writes a file as if at a moment of Shanghai's clock.
fn written(path: &Path, wall: &str) {
    let ms = u64::try_from(shanghai::instant_ms(at(wall)).unwrap()).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_in_the_middle_of_a_day_is_not_the_day() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let whole = days(0, 3);
    let half = [whole[0], whole[1], DatRecord { volume: 2_000, amount: 2_004_000, ..whole[2] }];
    let evening = ["--rehearse", "2024-01-04T18:00:00"];
    let written = |records: &[DatRecord], wall: &str| {
        written(&dat(folder.path(), NAME, records), wall);
    };
    for wall in ["2024-01-04T11:35:00", "2024-01-04T15:00:09"] {
        written(&half, wall);
        let run = read(&rig, folder.path(), &evening).good();
        assert!(run.out.contains("; 1 rows held back"), "{wall}: {run:?}");
        assert!(run.err.contains(&format!("600000.DAT: {}", at(wall))), "{wall}: {run:?}");
    }
    assert_eq!(rig.stream::<DayBar>(Kind::BarDay).await.count, 2);
    let again = read(&rig, folder.path(), &evening).good();
    assert!(again.out.contains("1 unchanged") && again.out.contains("; 1 rows held back"), "{again:?}");

    written(&whole, "2024-01-04T15:00:10");
    let run = read(&rig, folder.path(), &evening).good();
    assert!(run.out.contains("read 1 = appended 1") && run.out.contains("; 0 rows held back"), "{run:?}");
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_eq!(stream.count, 3, "nothing twice");
    assert!((stream.rows.values().next_back().unwrap().vol - 500_000.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_are_final_that_were_over_when_their_file_was_written() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let minute = |time: &str, lots| record(at(&format!("2024-01-04T{time}:00")), 10_000, lots);
    let mut records = vec![minute("11:29", 50), minute("11:30", 60), minute("13:01", 7)];
    let words = ["--set", "stream.kind=bar:1m", "--rehearse", "2024-01-04T18:00:00"];
    let name = "SH/60/600000.DAT";
    for (wall, told) in [
        ("11:30:04", "read 1 = appended 1 "),
        ("11:30:05", "read 1 = appended 1 "),
        ("13:00:30", "read 0 = "),
    ] {
        written(&dat(folder.path(), name, &records), &format!("2024-01-04T{wall}"));
        let run = read(&rig, folder.path(), &words).good();
        assert!(run.out.contains(told), "{wall}: {run:?}");
    }
    // A morning without trade is no suspended day as long as the afternoon is not known.
    let quiet = ["09:30", "09:31", "09:32", "09:33"].map(|time| minute(time, 0));
    written(&dat(folder.path(), "SH/60/600001.DAT", &quiet), "2024-01-04T11:35:00");
    records[2] = minute("13:01", 70);
    records.push(minute("15:00", 9));
    written(&dat(folder.path(), name, &records), "2024-01-04T15:30:00");
    let run = read(&rig, folder.path(), &words).good();
    assert!(run.out.contains("read 2 = appended 2 ") && run.out.contains("; 4 rows held back"), "{run:?}");
    let traded = [&quiet[..], &[minute("13:01", 70)]].concat();
    written(&dat(folder.path(), "SH/60/600001.DAT", &traded), "2024-01-04T15:30:00");
    let run = read(&rig, folder.path(), &words).good();
    assert!(run.out.contains("read 5 = appended 5 "), "{run:?}");
    let stream = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
    let lots: Vec<f64> = stream.rows.values().take(4).map(|bar| bar.vol / 100.0).collect();
    assert_eq!((lots, stream.count), (vec![50.0, 60.0, 70.0, 9.0], 9));
}

/// Reads a folder to its end, with `between` after the first chunk; how many bars came, and the cursors then.
async fn watch(folder: &Path, cursors: Cursors, between: impl FnOnce()) -> (u64, Cursors) {
    let settings = settings(SourceChoice::Dat, folder);
    let clock = clock("2030-01-01T00:00:00");
    let plan = FolderPlan::new(&settings, AliasChoice::Current, Kind::BarMinute(Grid::M1), true, clock);
    let mut source = FolderSource::<MinuteBar>::new(plan.unwrap().unwrap());
    source.open(&cursors).await.unwrap();
    let (mut rows, mut between, mut cursors) = (0, Some(between), cursors);
    while let Some(chunk) = source.read().await.unwrap() {
        assert!(chunk.refused.is_empty(), "{:?}", chunk.refused);
        rows += chunk.read();
        cursors.fields.extend(chunk.cursor.into_iter().map(|(name, value)| (name, value.unwrap())));
        if let Some(between) = between.take() {
            between();
        }
    }
    (rows, cursors)
}

#[tokio::test]
async fn a_file_that_is_replaced_or_cut_while_it_is_read_is_whole_at_the_next_look() {
    let minutes = |count: i64, price| -> Vec<DatRecord> {
        (0..count)
            .map(|minute| record(at("2020-01-01T00:00:00") + chrono::TimeDelta::minutes(minute), price, 5))
            .collect()
    };
    let name = "SH/60/600000.DAT";
    for (cut, first) in [(true, 4_096..6_000), (false, 6_000..6_001)] {
        let folder = tempfile::tempdir().unwrap();
        let path = dat(folder.path(), name, &minutes(6_000, 10_000));
        let (rows, cursors) = watch(folder.path(), Cursors::default(), || {
            if cut {
                File::options().write(true).open(&path).unwrap().set_len(808).unwrap();
            } else {
                let new = dat(folder.path(), "SH/60/600000.new", &minutes(5_000, 20_000));
                fs::rename(new, &path).unwrap();
            }
        })
        .await;
        assert!(first.contains(&rows), "{rows} bars of what was opened: cut {cut}");
        dat(folder.path(), name, &minutes(5_000, 20_000));
        let (rows, cursors) = watch(folder.path(), cursors, || ()).await;
        assert_eq!(rows, 5_000, "cut {cut}");
        assert_eq!(watch(folder.path(), cursors, || ()).await.0, 0);
    }
}
