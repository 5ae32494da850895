//! Recorded lines of an agent, from a file to the stream.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, path::Path, process::Stdio};

use chrono::NaiveDate;
use sqep::{Kind, MinuteBar, kind::Grid, shanghai};
use sqep_testkit::given::data;

use crate::common::{Rig, Run, at, day};

const MINUTES: Kind = Kind::BarMinute(Grid::M1);
const REPLAY: [&str; 5] = ["--once", "--set", "qmt.source=recording", "--set", "stream.kind=bar:1m"];

fn ms(wall: &str) -> i64 {
    shanghai::instant_ms(at(wall)).unwrap()
}

/// A pushed row of 600000.SH on 2025-01-02: lots so far, at 10 yuan.
fn push(time: &str, lots: u32) -> String {
    line("live", time, lots, "")
}

fn line(src: &str, time: &str, lots: u32, more: &str) -> String {
    let (time, amount) = (ms(&format!("2025-01-02T{time}:00")), lots * 1_000);
    format!(
        "{{\"t\":\"bars\",\"period\":\"1m\",\"src\":\"{src}\",\"code\":\"600000.SH\",\"rows\":[{{\"time\":{time},\"open\":10.0,\
         \"high\":10.000000000000002,\"low\":10,\"close\":10,\"volume\":{lots},\"amount\":{amount}{more}}}]}}\n"
    )
}

fn beat(time: &str) -> String {
    format!("{{\"t\":\"hb\",\"now\":{},\"connected\":true}}\n", ms(&format!("2025-01-02T{time}")))
}

fn hello(unit: &str) -> String {
    format!("{{\"t\":\"hello\",\"v\":1,\"agent\":\"pc1\",\"unit\":{{\"volume\":\"{unit}\"}}}}\n")
}

async fn replay(lines: &[String], more: &[&str]) -> (Run, Vec<(String, f64)>) {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("day.ndjson");
    std::fs::write(&path, lines.concat()).unwrap();
    let run = rig.run(&[&REPLAY[..], more, &[path.to_str().unwrap()]].concat());
    let stream = rig.stream::<MinuteBar>(MINUTES).await;
    let bars: Vec<(String, f64)> =
        stream.rows.values().map(|bar| (bar.frame.format("%H:%M").to_string(), bar.vol / 100.0)).collect();
    assert_eq!(stream.count, bars.len(), "each key once");
    (run, bars)
}

fn wanted(bars: &[(&str, f64)]) -> Vec<(String, f64)> {
    bars.iter().map(|&(time, lots)| (time.to_owned(), lots)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_agent_b_shares_and_bonds_are_refused_by_name_and_all_else_goes_out() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("day.ndjson");
    let bar = line("history", "09:31", 10, "");
    // B shares, bonds, a fund, an index, and a code of no known range.
    let codes = ["900901.SH", "200002.SZ", "113050.SH", "128009.SZ", "510300.SH", "000300.SH", "880001.SH"];
    let lines: Vec<String> = codes.iter().map(|code| bar.replace("600000.SH", code)).collect();
    std::fs::write(&path, hello("lot") + &lines.concat()).unwrap();
    let run = rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
    assert!(run.out.contains("read 7 = appended 3 + refused 4 + skipped 0"), "{run:?}");
    let stream = rig.stream::<MinuteBar>(MINUTES).await;
    let out: Vec<String> = stream.rows.values().map(|bar| bar.symbol.to_string()).collect();
    assert_eq!(out, ["000300.SH", "510300.SH", "880001.SH"]);
    let letters: Vec<(String, Vec<String>)> =
        rig.redis.command(&["XRANGE", "sqep:{bar:1m:0}:dead", "-", "+"]).await.unwrap();
    let letters = format!("{letters:?}");
    for part in ["currency", "900901.SH", "200002.SZ", "113050.SH", "128009.SZ"] {
        assert!(letters.contains(part), "{part} in {letters}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_recording_only_the_securities_that_are_named_go_out() {
    let other = push("09:31", 5).replace("600000.SH", "000001.SZ");
    let lines = [hello("lot"), push("09:31", 10), other, push("09:32", 20), beat("09:33:30")];
    let (run, bars) = replay(&lines, &["--set", r#"qmt.codes=["600000.SH"]"#]).await;
    assert_eq!(bars, wanted(&[("09:31", 10.0), ("09:32", 20.0)]), "{run:?}");
    assert!(run.err.contains("000001.SZ, which qmt.codes does not name; it is left out"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_greeting_that_does_not_read_is_in_no_letter() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("day.ndjson");
    let greeting = hello("hand").replace("\"v\":1", "\"v\":1,\"token\":\"hunter2hunter2hunter2\"");
    std::fs::write(&path, greeting).unwrap();
    rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat());
    let letters: Vec<(String, Vec<String>)> =
        rig.redis.command(&["XRANGE", "sqep:{bar:1m:0}:dead", "-", "+"]).await.unwrap();
    let letters = format!("{letters:?}");
    assert!(letters.contains("row_illegal") && !letters.contains("hunter2"), "{letters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_goes_out_once_with_its_last_values() {
    let lines = [
        hello("lot"),
        push("09:31", 10),
        push("09:31", 25),
        push("09:31", 20),
        push("09:32", 5),
        push("09:31", 99),
        push("09:32", 6),
        beat("09:32:04"),
        push("09:32", 7),
        beat("09:32:06"),
        push("09:32", 7),
        push("09:32", 9),
        beat("11:29:30"),
        push("11:30", 40),
        beat("11:30:06"),
        beat("13:00:30"),
        push("13:01", 3),
        beat("14:59:30"),
        push("15:00", 70),
        beat("15:00:06"),
        push("15:00", 80),
        beat("15:00:11"),
    ];
    let (run, bars) = replay(&lines, &[]).await;
    run.good();
    assert_eq!(
        bars,
        wanted(&[("09:31", 25.0), ("09:32", 7.0), ("11:30", 40.0), ("13:01", 3.0), ("15:00", 80.0)])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_accounted_for_by_its_reason() {
    let lines = [
        hello("lot"),
        push("09:31", 10),
        push("09:31", 12),
        push("09:30", 1),
        push("09:32", 5),
        line("live", "09:33", 0, ",\"suspendFlag\":1"),
        line("live", "15:10", 4, ""),
        line("live", "12:00", 4, ""),
        "{\"t\":\"bars\",\"x\":\n".to_owned(),
        "{\"t\":\"surprise\"}\n".to_owned(),
        push("09:32", 5).replace("600000.SH", "600000"),
        push("09:34", 0),
        beat("09:40:00"),
    ];
    let (run, bars) = replay(&lines, &[]).await;
    let run = run.good();
    assert_eq!(
        bars,
        wanted(&[("09:31", 12.0), ("09:32", 5.0), ("09:34", 0.0)]),
        "a minute without trade is one"
    );
    assert!(run.out.contains("read 10 = appended 3 + refused 3 + skipped 4"), "{run:?}");
    assert!(run.err.contains("lines of type \"surprise\""), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_corrects_what_was_published_and_repeats_nothing() {
    let lines = [
        hello("lot"),
        push("09:31", 10),
        push("09:32", 10),
        beat("09:32:10"),
        line("history", "09:31", 10, ""),
        line("history", "09:32", 11, ""),
        line("history", "09:33", 4, ""),
        push("09:33", 6),
        beat("09:33:10"),
    ];
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("day.ndjson");
    std::fs::write(&path, lines.concat()).unwrap();
    let run = rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
    assert!(run.out.contains("read 6 = appended 4 + refused 0 + skipped 2"), "{run:?}");
    let stream = rig.stream::<MinuteBar>(MINUTES).await;
    let lots: Vec<f64> = stream.rows.values().map(|bar| bar.vol / 100.0).collect();
    assert_eq!((lots, stream.count), (vec![10.0, 11.0, 6.0], 4));
    let again = rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
    assert!(again.out.contains("read 0 "), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_another_unit_is_refused_and_never_guessed() {
    let rows: Vec<String> = ["09:31", "09:32", "09:33"].iter().map(|time| push(time, 5_000)).collect();
    let lines = [vec![hello("share")], rows.clone(), vec![beat("09:40:00")]].concat();
    let (run, bars) = replay(&lines, &[]).await;
    let run = run.good();
    assert!(bars.is_empty() && run.out.contains("appended 0 + refused 3"), "{run:?}");
    let (run, bars) = replay(&lines, &["--set", "qmt.vol_unit=lots"]).await;
    assert!(bars.len() == 3, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auction_is_folded_into_the_first_minute_when_asked_to() {
    let lines = [hello("lot"), push("09:30", 50), push("09:31", 7), push("09:32", 1), beat("09:40:00")];
    let (run, bars) = replay(&lines, &["--set", "qmt.auction=fold"]).await;
    assert_eq!(bars, wanted(&[("09:31", 57.0), ("09:32", 1.0)]), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_that_still_grows_waits_for_what_shows_it_final() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("day.ndjson");
    let mut text = [hello("lot"), push("09:31", 10), push("09:32", 5)].concat();
    for (more, lots, told) in [
        (vec![], vec![10.0], true),
        (vec![push("09:32", 8), beat("09:32:04")], vec![10.0], true),
        (vec![beat("09:32:06")], vec![10.0, 8.0], false),
        (vec![push("09:33", 2)], vec![10.0, 8.0], true),
        (vec![push("09:34", 1), beat("09:34:05")], vec![10.0, 8.0, 2.0, 1.0], false),
    ] {
        text.extend(more);
        std::fs::write(&path, &text).unwrap();
        let run = rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
        assert_eq!(run.err.contains("1 bars are not published"), told, "{run:?}");
        let stream = rig.stream::<MinuteBar>(MINUTES).await;
        let found: Vec<f64> = stream.rows.values().map(|bar| bar.vol / 100.0).collect();
        assert_eq!((&found, stream.count), (&lots, lots.len()), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_an_end_is_taken_when_it_is_whole_and_waited_for_when_it_is_not() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("day.ndjson");
    let text =
        [hello("lot"), push("09:31", 10), push("09:32", 5), beat("09:40:00"), push("09:41", 3)].concat();
    let last = text.trim_end().len();
    for (end, rows, told) in [
        (last - 20, "read 2 = appended 2 + refused 0", true),
        (last - 1, "read 0 = ", true),
        (last, "read 0 = ", false),
        (last + 1, "read 0 = ", false),
    ] {
        std::fs::write(&path, &text[..end]).unwrap();
        let run = rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
        assert!(run.out.contains(rows), "{run:?}");
        assert_eq!(run.err.contains("ends inside a line"), told, "{run:?}");
    }
    std::fs::write(&path, text + &beat("09:41:06")).unwrap();
    let run = rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
    assert!(run.out.contains("read 1 = appended 1 + refused 0"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_of_the_same_name_is_read_from_its_first_line() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("live.ndjson");
    let day = [hello("lot"), push("09:31", 10), push("09:32", 5), beat("09:40:00")].concat();
    std::fs::write(&path, &day).unwrap();
    rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
    // Rotated: larger than the one before, and another.
    let next = day.replace("pc1", "pc2").replace("600000.SH", "000001.SZ") + &beat("09:50:00");
    std::fs::write(&path, next).unwrap();
    let run = rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
    assert!(
        run.out.contains("read 2 = appended 2") && run.err.contains("is not the file that was read"),
        "{run:?}"
    );
}

/// The rows of an export as the agent would have sent them.
fn recorded(csv: &str, code: &str) -> String {
    let mut text = hello("lot");
    for row in csv.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        writeln!(
            text,
            "{{\"t\":\"bars\",\"seq\":1,\"period\":\"1m\",\"src\":\"history\",\"code\":\"{code}\",\"rows\":[{{\"time\":{},\
             \"open\":{},\"high\":{},\"low\":{},\"close\":{},\"volume\":{},\"amount\":{},\"openInterest\":{},\
             \"preClose\":{},\"suspendFlag\":{}}}]}}",
            cells[1], cells[2], cells[3], cells[4], cells[5], cells[6], cells[7], cells[9], cells[10], cells[11]
        )
        .unwrap();
    }
    text
}

/// A run that is given `text` by standard input.
fn piped(rig: &Rig, spool: &Path, text: &str) -> Run {
    let mut command = rig.command(&[&REPLAY[..], &["-"]].concat());
    command.env("TMPDIR", spool).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Run::of(child.wait_with_output().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_may_end_without_a_newline_and_what_is_cut_off_is_refused() {
    let (rig, spool) = (Rig::start().await, tempfile::tempdir().unwrap());
    let text = [hello("lot"), push("09:31", 10), beat("09:40:00"), line("history", "09:32", 5, "")].concat();
    let run = piped(&rig, spool.path(), text.trim_end()).good();
    assert!(run.out.contains("read 2 = appended 2 + refused 0"), "{run:?}");
    let text = [hello("lot"), line("history", "09:33", 5, ""), line("history", "09:34", 5, "")].concat();
    let run = piped(&rig, spool.path(), &text[..text.len() - 9]).good();
    assert!(run.out.contains("read 2 = appended 1 + refused 1"), "{run:?}");
    let letters: Vec<(String, Vec<String>)> =
        rig.redis.command(&["XRANGE", "sqep:{bar:1m:0}:dead", "-", "+"]).await.unwrap();
    assert!(format!("{letters:?}").contains("the recording ends inside this line"), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_a_recording_that_leaves_nothing_behind() {
    let (rig, spool) = (Rig::start().await, tempfile::tempdir().unwrap());
    let text = [hello("lot"), push("09:31", 10), push("09:32", 5), beat("09:40:00")].concat();
    piped(&rig, spool.path(), &text).good();
    assert_eq!(rig.stream::<MinuteBar>(MINUTES).await.count, 2);
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
    let fields: Vec<String> = rig.redis.command(&["HKEYS", "sqep:{bar:1m:0}:cursor:qmt"]).await.unwrap();
    assert!(fields.iter().any(|field| field.contains("600000.SH")), "{fields:?}");
    assert!(!fields.iter().any(|field| field.starts_with("file/")), "{fields:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_export_gives_241_bars_a_day_whose_sums_are_the_daily_bars() {
    let Some(data) = data() else { return };
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let csv = std::fs::read_to_string(data.join("qmt/csv/300750.SZ_1m.csv")).unwrap();
    let rows = csv.lines().count() - 1;
    let path = folder.path().join("real.ndjson");
    std::fs::write(&path, recorded(&csv, "300750.SZ")).unwrap();
    let run = rig.run(&[&REPLAY[..], &[path.to_str().unwrap()]].concat()).good();
    assert!(run.out.contains(&format!("read {rows} = appended {rows} ")), "{run:?}");
    let stream = rig.stream::<MinuteBar>(MINUTES).await;
    let mut days: BTreeMap<NaiveDate, Vec<MinuteBar>> = BTreeMap::new();
    stream.rows.values().for_each(|bar| days.entry(bar.frame.date()).or_default().push(*bar));
    let daily = std::fs::read_to_string(data.join("baostock/daily_raw/sz.300750.csv")).unwrap();
    let header: Vec<&str> = daily.lines().next().unwrap().trim_start_matches('\u{feff}').split(',').collect();
    let place = |name: &str| header.iter().position(|cell| *cell == name).unwrap();
    let mut compared = 0;
    for row in daily.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let number = |name: &str| cells[place(name)].parse::<f64>().unwrap();
        let Some(bars) = days.get(&day(cells[place("date")])) else { continue };
        compared += 1;
        assert_eq!(bars.len(), 241, "{row}");
        let near = |ours: f64, theirs: f64, part: f64| {
            assert!((ours - theirs).abs() <= part * theirs, "{ours} {row}");
        };
        near(bars[0].open, number("open"), 1e-9);
        near(bars[240].close, number("close"), 1e-9);
        near(bars.iter().map(|bar| bar.high).fold(0.0, f64::max), number("high"), 1e-9);
        near(bars.iter().map(|bar| bar.low).fold(f64::MAX, f64::min), number("low"), 1e-9);
        near(bars.iter().map(|bar| bar.vol).sum(), number("volume"), 3e-6);
        near(bars.iter().filter_map(|bar| bar.amount).sum(), number("amount"), 3e-6);
    }
    assert!(compared == days.len() && compared == 18, "{compared} days of {}", days.len());
}
