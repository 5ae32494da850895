//! The ten queries of `schemas/clickhouse/queries`, on a market small enough to know their answers by hand.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{collections::BTreeSet, fs, path::Path};

use chrono::NaiveDateTime;
use sqep::{DayBar, Kind, MinuteBar, kind::Grid};
use sqep_testkit::TestClickHouse;

use crate::common::{sink, write};

const DAYS: [&str; 7] =
    ["2025-01-02", "2025-01-03", "2025-01-06", "2025-01-07", "2025-01-08", "2025-01-09", "2025-01-10"];
/// What the queries are asked about.
const ABOUT: [(&str, &str); 3] = [("symbol", "2000001"), ("other", "2000002"), ("day", "2025-01-10")];

fn bar(code: &str, at: usize, close: f64) -> DayBar {
    DayBar {
        symbol: code.parse().unwrap(),
        frame: DAYS[at].parse().unwrap(),
        open: close,
        high: close,
        low: close,
        close,
        vol: 100.0,
        amount: Some(1000.0),
        adjust: Some(1.0),
        st: Some(false),
        buy_limit: Some(99.0),
        sell_limit: Some(1.0),
    }
}

/// 000001 splits on the 9th, and closes at its limit on the 10th with ten times its volume. 000002 moves as it does. 600000
/// has no bar on the 7th, and ST until the 8th.
fn days() -> Vec<(DayBar, u64)> {
    let mut bars = Vec::new();
    for (at, close) in [10.0, 10.5, 10.0, 11.0, 11.0, 5.5, 6.05].into_iter().enumerate() {
        let mut bar = bar("000001.SZ", at, close);
        if at >= 5 {
            bar.adjust = Some(2.0);
        }
        if at == 6 {
            (bar.buy_limit, bar.vol) = (Some(6.05), 1000.0);
        }
        bars.push(bar);
    }
    for (at, close) in [30.0, 31.5, 30.0, 33.0, 33.0, 33.0, 36.3].into_iter().enumerate() {
        bars.push(bar("000002.SZ", at, close));
    }
    for (at, close) in
        [20.0, 20.0, 20.0, 0.0, 20.0, 20.0, 18.0].into_iter().enumerate().filter(|(at, _)| *at != 3)
    {
        bars.push(DayBar { st: Some((2..5).contains(&at)), ..bar("600000.SH", at, close) });
    }
    bars.into_iter().map(|bar| (bar, 1)).collect()
}

fn minutes() -> Vec<(MinuteBar, u64)> {
    let minute = |frame: &str, vol| MinuteBar {
        symbol: "000001.SZ".parse().unwrap(),
        frame: NaiveDateTime::parse_from_str(frame, "%Y-%m-%d %H:%M").unwrap(),
        open: 6.0,
        high: 6.0,
        low: 6.0,
        close: 6.0,
        vol,
        amount: None,
    };
    let of = [("2025-01-09 09:31", 100.0), ("2025-01-09 09:32", 100.0)];
    let of = of.into_iter().chain([("2025-01-10 09:31", 300.0), ("2025-01-10 09:32", 100.0)]);
    of.map(|(frame, vol)| (minute(frame, vol), 1)).collect()
}

fn queries() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/clickhouse/queries");
    let mut queries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    queries.sort();
    queries
}

fn answer(server: &TestClickHouse, sql: &str) -> Vec<String> {
    let sql = sql.trim_end().trim_end_matches(';');
    let answer = server.ask_with(sql, &ABOUT).unwrap();
    answer.lines().map(|line| line.replace('\t', " ")).collect()
}

fn expected(file: &str) -> Vec<&'static str> {
    match file {
        "01_adjusted_history.sql" => vec![
            "2025-01-02 5 5 5 5 100",
            "2025-01-03 5.25 5.25 5.25 5.25 100",
            "2025-01-06 5 5 5 5 100",
            "2025-01-07 5.5 5.5 5.5 5.5 100",
            "2025-01-08 5.5 5.5 5.5 5.5 100",
            "2025-01-09 5.5 5.5 5.5 5.5 100",
            "2025-01-10 6.05 6.05 6.05 6.05 1000",
        ],
        "02_limit_ups.sql" => vec!["000001.SZ 6.05 1"],
        "03_cross_section.sql" => {
            vec!["000001.SZ 6.05 10 1000", "000002.SZ 36.3 10 1000", "600000.SH 18 -10 1000"]
        }
        "04_minute_profile.sql" => vec!["09:31 0.625", "09:32 0.375"],
        "05_gaps.sql" => vec!["600000.SH 1 ['2025-01-07']"],
        "06_top_movers.sql" => vec!["000001.SZ 21", "000002.SZ 21", "600000.SH -10"],
        "07_st_history.sql" => vec!["600000.SH 2025-01-06 2025-01-08 2"],
        "08_volume_spikes.sql" => vec!["000001.SZ 2025-01-10 1000 10"],
        "09_correlation.sql" => vec!["6 1"],
        "10_coverage.sql" => vec![
            "2025-01-02 3 3 3 3 3000",
            "2025-01-03 3 3 3 3 3000",
            "2025-01-06 3 3 3 3 3000",
            "2025-01-07 2 2 2 2 2000",
            "2025-01-08 3 3 3 3 3000",
            "2025-01-09 3 3 3 3 3000",
            "2025-01-10 3 3 3 3 3000",
        ],
        other => panic!("{other} has no answer here"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_page_gives_the_answer_known_by_hand() {
    let server = TestClickHouse::start().unwrap();
    write(&mut sink::<DayBar>(&server, Kind::BarDay), &days()).await.unwrap();
    write(&mut sink::<MinuteBar>(&server, Kind::BarMinute(Grid::M1)), &minutes()).await.unwrap();
    let queries = queries();
    assert_eq!(queries.len(), 10);
    for (file, sql) in &queries {
        assert_eq!(answer(&server, sql), expected(file), "{file}");
    }
}

/// A day without volume, a minute that is not there every day, a move from before the window.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_traded_is_no_part_of_an_average_and_no_move_is_lost() {
    let server = TestClickHouse::start().unwrap();
    let day = |frame: &str, close, vol| {
        (DayBar { frame: frame.parse().unwrap(), vol, ..bar("000001.SZ", 0, close) }, 1)
    };
    let quiet = ["2025-01-02", "2025-01-03", "2025-01-06", "2025-01-07", "2025-01-08", "2025-01-09"];
    let mut bars = vec![day("2024-11-29", 10.0, 100.0), day("2024-12-16", 20.0, 100.0)];
    bars.extend(quiet.map(|frame| day(frame, 20.0, 0.0)));
    bars.push(day("2025-01-10", 22.0, 0.0));
    write(&mut sink::<DayBar>(&server, Kind::BarDay), &bars).await.unwrap();
    let minute = |frame: &str, vol| {
        let frame = NaiveDateTime::parse_from_str(frame, "%Y-%m-%d %H:%M").unwrap();
        (MinuteBar { frame, vol, ..minutes()[0].0 }, 1)
    };
    let each_at_another = [("2025-01-08 09:31", 5.0), ("2025-01-09 09:32", 7.0), ("2025-01-10 09:31", 9.0)];
    let mut traded = each_at_another.map(|(frame, vol)| minute(frame, vol)).to_vec();
    traded.push(minute("2025-01-07 09:31", 0.0));
    write(&mut sink::<MinuteBar>(&server, Kind::BarMinute(Grid::M1)), &traded).await.unwrap();
    let asked =
        |file: &str| answer(&server, &queries().into_iter().find(|(name, _)| name == file).unwrap().1);
    assert_eq!(asked("04_minute_profile.sql"), ["09:31 0.6667", "09:32 0.3333"]);
    assert_eq!(asked("06_top_movers.sql"), ["000001.SZ 120"]);
    assert_eq!(asked("08_volume_spikes.sql"), [""; 0]);
}

/// A suspension of one of two stocks, a year of which nobody knows, a day without volume.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_or_was_not_traded_is_not_bridged() {
    let server = TestClickHouse::start().unwrap();
    let mut bars = Vec::new();
    for (at, close) in [(0, 10.0), (1, 11.0), (4, 22.0), (5, 11.0), (6, 22.0)] {
        bars.push(bar("000001.SZ", at, close));
    }
    for (at, close) in [20.0, 22.0, 100.0, 3.0, 44.0, 22.0, 44.0].into_iter().enumerate() {
        bars.push(bar("000002.SZ", at, close));
    }
    let st = [Some(true), Some(true), None, Some(true), Some(false), Some(false), Some(false)];
    for (at, (st, vol)) in st.into_iter().zip([100.0, 100.0, 0.0, 100.0, 100.0, 100.0, 250.0]).enumerate() {
        bars.push(DayBar { st, vol, ..bar("600000.SH", at, 20.0) });
    }
    let bars: Vec<_> = bars.into_iter().map(|bar| (bar, 1)).collect();
    write(&mut sink::<DayBar>(&server, Kind::BarDay), &bars).await.unwrap();
    let asked =
        |file: &str| answer(&server, &queries().into_iter().find(|(name, _)| name == file).unwrap().1);
    let spans = ["600000.SH 2025-01-02 2025-01-03 2", "600000.SH 2025-01-07 2025-01-07 1"];
    assert_eq!(asked("07_st_history.sql"), spans);
    assert_eq!(asked("08_volume_spikes.sql"), [""; 0]);
    assert_eq!(asked("09_correlation.sql"), ["4 1"]);
}

#[test]
fn the_page_names_every_query_and_every_query_is_there() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let files: BTreeSet<_> = queries().into_iter().map(|(file, _)| file).collect();
    for file in files {
        assert!(page.contains(&format!("| `{file}` |")), "{file}");
    }
}
