//! The folders of QMT and TDX from the file to the stream, by the program.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqep::{DayBar, Kind, MinuteBar, kind::Grid};
use sqep_qmt::dat::DatRecord;
use sqep_testkit::given::data;

use crate::common::{Rig, at, dat, day, days, record};

const DAT: [&str; 3] = ["--once", "--set", "qmt.source=dat"];

#[tokio::test(flavor = "multi_thread")]
async fn files_go_out_once_and_what_they_grew_by_after_that() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().to_str().unwrap();
    dat(folder.path(), "SH/86400/600000.DAT", &days(0, 100));
    dat(folder.path(), "sz/86400/000001.dat", &days(0, 50));
    dat(folder.path(), "SH/60/600000.DAT", &[record(at("2024-01-02T09:31:00"), 10_000, 10)]);
    dat(folder.path(), "SH/86400/900901.DAT", &days(0, 5));
    std::fs::write(folder.path().join("SH/86400/600001.DAT"), "").unwrap();
    let first = rig.run(&[&DAT[..], &[path]].concat()).good();
    assert!(first.out.contains("read 150 = appended 150 + refused 0 + skipped 0"), "{first:?}");
    assert!(first.out.contains("files: 2 published") && first.out.contains("1 passed over"), "{first:?}");
    assert!(first.err.contains("600001.DAT holds no record yet"), "{first:?}");

    let again = rig.run(&[&DAT[..], &[path]].concat()).good();
    assert!(again.out.contains("read 0 ") && again.out.contains("2 unchanged"), "{again:?}");

    dat(folder.path(), "SH/86400/600000.DAT", &days(0, 120));
    let grown = rig.run(&[&DAT[..], &[path]].concat()).good();
    assert!(grown.out.contains("read 20 = appended 20"), "{grown:?}");

    // A deeper download puts older days before those that were published.
    dat(folder.path(), "sz/86400/000001.dat", &days(0, 60)[5..]);
    let anew = rig.run(&[&DAT[..], &[path]].concat()).good();
    assert!(anew.out.contains("read 55 = appended 55") && anew.err.contains("written anew"), "{anew:?}");
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    assert_eq!((stream.rows.len(), stream.count), (180, 225));
    let bar = stream.rows.values().next().unwrap();
    assert_eq!((bar.symbol.to_string(), bar.frame), ("600000.SH".to_owned(), day("2024-01-02")));
    assert_eq!((bar.open, bar.high, bar.low, bar.close), (10.0, 10.02, 9.98, 10.01));
    assert_eq!((bar.vol, bar.amount, bar.adjust), (500_000.0, Some(5_000_000.0), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_defect_is_refused_skipped_or_repaired_by_rule() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let good = days(0, 400);
    let mut records = good.clone();
    // A turnover that ran over 32 bits, a price above the high, a suspended day, a row again, one that goes back.
    records[10] = DatRecord { volume: 6_000_000, amount: 6_060_000_000 - (1 << 32), ..good[10] };
    records[20].prices[0] += 100;
    records[30] = DatRecord { volume: 0, amount: 0, ..good[30] };
    records.insert(41, good[40]);
    records.insert(52, DatRecord { volume: 1, ..good[45] });
    let path = dat(folder.path(), "SH/86400/600000.DAT", &records);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([1, 2, 3]);
    std::fs::write(&path, bytes).unwrap();
    // A file of something else, and one whose volume is in shares.
    let other = dat(folder.path(), "SH/86400/600001.DAT", &good[..3]);
    std::fs::write(&other, [vec![0; 8], std::fs::read(&other).unwrap()[8..].to_vec()].concat()).unwrap();
    let shares: Vec<DatRecord> =
        good[..50].iter().map(|record| DatRecord { volume: record.volume * 100, ..*record }).collect();
    dat(folder.path(), "SZ/86400/000002.DAT", &shares);

    let run = rig.run(&[&DAT[..], &[folder.path().to_str().unwrap()]].concat());
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.out.contains("read 455 = appended 398 + refused 55 + skipped 2"), "{run:?}");
    assert!(run.err.contains("600000.DAT ends inside a record"), "{run:?}");
    assert!(run.out.contains("1 published, 0 unchanged, 2 refused whole"), "{run:?}");
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    let repaired = stream.rows.values().find(|bar| bar.vol > 5e8).unwrap();
    assert_eq!(repaired.amount, Some(6_060_000_000.0));
    let letters: Vec<Vec<String>> = letters(&rig, Kind::BarDay).await;
    let text = format!("{letters:?}");
    for part in ["ohlc_order", "frame_illegal", "header_unknown", "units_or_adjusted", "in 50 of 50 rows"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let again = rig.run(&[&DAT[..], &[folder.path().to_str().unwrap()]].concat()).good();
    assert!(again.out.contains("read 0 "), "what was refused waits for another file or setting: {again:?}");
    let told = rig.run(
        &[
            &DAT[..],
            &[
                "--set",
                "qmt.vol_unit=shares",
                "--set",
                "qmt.codes=000002.SZ",
                folder.path().to_str().unwrap(),
            ],
        ]
        .concat(),
    );
    assert!(told.out.contains("appended 50"), "{told:?}");
}

async fn letters(rig: &Rig, kind: Kind) -> Vec<Vec<String>> {
    let key = format!("sqep:{{{kind}:0}}:dead");
    let found: Vec<(String, Vec<String>)> = rig.redis.command(&["XRANGE", &key, "-", "+"]).await.unwrap();
    found.into_iter().map(|(_, fields)| fields).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_keep_the_auction_or_fold_it_and_a_day_without_trade_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let minute = |time: &str, price, lots| record(at(&format!("2024-01-02T{time}:00")), price, lots);
    let mut records = vec![
        minute("09:30", 10_000, 50),
        minute("09:31", 10_100, 7),
        minute("09:32", 10_000, 0),
        minute("15:05", 10_000, 3),
    ];
    let idle = ["09:31", "09:32", "09:33", "09:34"]
        .map(|time| record(at(&format!("2024-01-03T{time}:00")), 10_000, 0));
    records.extend(idle);
    records.push(record(at("2024-01-04T09:30:00"), 10_000, 5));
    records.push(record(at("2024-01-04T09:35:00"), 10_000, 5));
    dat(folder.path(), "SH/60/600000.DAT", &records);
    let path = folder.path().to_str().unwrap();
    for (auction, counts, frames) in [
        (
            "keep",
            "read 10 = appended 5 + refused 0 + skipped 5",
            ["09:30", "09:31", "09:32", "09:30", "09:35"].as_slice(),
        ),
        (
            "fold",
            "read 10 = appended 4 + refused 0 + skipped 6",
            ["09:31", "09:32", "09:31", "09:35"].as_slice(),
        ),
    ] {
        let rig = Rig::start().await;
        let set = format!("qmt.auction={auction}");
        let run = rig.run(&[&DAT[..], &["--set", "stream.kind=bar:1m", "--set", &set, path]].concat()).good();
        assert!(run.out.contains(counts), "{run:?}");
        let stream = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
        let found: Vec<String> =
            stream.rows.values().map(|bar| bar.frame.format("%H:%M").to_string()).collect();
        assert_eq!(found, frames, "{auction}");
        if auction == "fold" {
            let bar = stream.rows.values().next().unwrap();
            assert_eq!((bar.open, bar.high, bar.low, bar.close), (10.0, 10.12, 9.98, 10.11));
            assert_eq!((bar.vol, bar.amount), (5_700.0, Some(57_070.0)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_and_kinds_say_what_to_do() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    for (arguments, part) in [
        (vec!["--set", "qmt.source=dat"], "qmt.paths is empty"),
        (
            vec!["--set", "qmt.source=dat", folder.path().to_str().unwrap()],
            "no file like SH/86400/600000.DAT below",
        ),
        (vec!["--set", "qmt.source=tdx", "--set", "stream.kind=bar:15m", "x"], "QMT and TDX keep bar:1d"),
        (vec!["--set", "qmt.source=wind"], "is not agent, recording, dat or tdx"),
    ] {
        let run = rig.run(&[&["--once"], arguments.as_slice()].concat());
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.err.contains(part), "{part} in {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_index_of_qmt_comes_whole() {
    let Some(data) = data() else { return };
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("SH/86400/000001.DAT");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::copy(data.join("qmt/dat/000001.SH-1d.dat"), &path).unwrap();
    let run = rig.run(&[&DAT[..], &[folder.path().to_str().unwrap()]].concat()).good();
    assert!(run.out.contains("read 8426 = appended 8426"), "{run:?}");
    let stream = rig.stream::<DayBar>(Kind::BarDay).await;
    let last = stream.rows.values().next_back().unwrap();
    assert_eq!(
        (last.frame, last.amount, last.close),
        (day("2025-06-25"), Some(620_173_277_605.0), 3_455.974)
    );
    assert_eq!(stream.rows.values().next().unwrap().frame, day("1990-12-19"));
}

#[tokio::test(flavor = "multi_thread")]
async fn real_files_of_tdx_come_as_they_are() {
    let Some(data) = data() else { return };
    let rig = Rig::start().await;
    let path = data.join("tdx");
    let path = path.to_str().unwrap();
    let tdx = ["--once", "--set", "qmt.source=tdx"];
    for (kind, rows, files) in [("bar:1d", 8_077, 7), ("bar:1m", 2_880, 1), ("bar:5m", 23_568, 1)] {
        let set = format!("stream.kind={kind}");
        let run = rig.run(&[&tdx[..], &["--set", &set, path]].concat()).good();
        assert!(run.out.contains(&format!("read {rows} = appended {rows} ")), "{run:?}");
        assert!(run.out.contains(&format!("files: {files} published")), "{run:?}");
    }
    let days = rig.stream::<DayBar>(Kind::BarDay).await.rows;
    let first = days.values().find(|bar| bar.symbol == "600028.SH".parse().unwrap()).unwrap();
    assert_eq!((first.frame, first.open, first.high), (day("2011-10-10"), 6.93, 6.95));
    assert_eq!((first.vol, first.amount), (12_585_035.0, Some(87_013_840.0)));
    let minutes = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await.rows;
    let mut a_day: BTreeMap<NaiveDate, usize> = BTreeMap::new();
    for bar in minutes.values() {
        *a_day.entry(bar.frame.date()).or_default() += 1;
        assert!(((bar.close * 100.0).round() - bar.close * 100.0).abs() < 1e-6, "{bar:?} without noise");
    }
    assert!(a_day.len() == 12 && a_day.values().all(|&count| count == 240), "{a_day:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_row_of_tdx_is_refused_by_its_rule() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let row = |date: u32, prices: [u32; 4], amount: f32, volume: u32| {
        let mut bytes = date.to_le_bytes().to_vec();
        bytes.extend(prices.iter().flat_map(|price| price.to_le_bytes()));
        bytes.extend(amount.to_le_bytes());
        bytes.extend(volume.to_le_bytes());
        bytes.extend([0; 4]);
        bytes
    };
    let rows = [
        row(19_920_615, [1_000, 1_010, 990, 1_000], 1_000_000.0, 100_000),
        row(19_920_616, [1_000, 980, 1_010, 1_000], 1_000_000.0, 100_000),
        row(19_920_617, [1_000, 1_010, 990, 1_000], 1_000_000.0, 100_000),
        row(19_921_399, [1_000, 1_010, 990, 1_000], 1_000_000.0, 100_000),
    ];
    let path = folder.path().to_str().unwrap();
    // One row of three outside the band would refuse so short a file whole.
    let long: Vec<u8> = days(0, 150)
        .iter()
        .flat_map(|record| {
            let wall = sqep::shanghai::wall(i64::from(record.time_s) * 1_000).unwrap();
            row(
                wall.format("%Y%m%d").to_string().parse().unwrap(),
                [1_000, 1_010, 990, 1_000],
                1_000_000.0,
                100_000,
            )
        })
        .collect();
    std::fs::write(folder.path().join("sz000001.day"), [rows.concat(), long].concat()).unwrap();
    let run = rig.run(&["--once", "--set", "qmt.source=tdx", path]).good();
    assert!(run.out.contains("read 154 = appended 152 + refused 2 + skipped 0"), "{run:?}");
    let text = format!("{:?}", letters(&rig, Kind::BarDay).await);
    assert!(text.contains("ohlc_order") && text.contains("1992-06-16"), "{text}");
    assert!(text.contains("value_illegal"), "{text}");
}
