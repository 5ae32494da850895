//! The examples of `schemas/qmt-agent.md` say what the program says.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use sqep::{Kind, MinuteBar, kind::Grid};
use sqep_qmt::protocol::{Message, Period, Reply, parse};

use crate::common::Rig;

const TEXT: &str = include_str!("../../../../schemas/qmt-agent.md");

fn block(whose: &str) -> Vec<&'static str> {
    let start = format!("```ndjson {whose}\n");
    let rest = TEXT.split(&start).nth(1).unwrap();
    rest.split("```").next().unwrap().lines().collect()
}

#[test]
fn every_example_of_an_agent_is_a_line_that_is_understood() {
    let kinds: Vec<&str> = block("agent")
        .into_iter()
        .map(|line| match parse(line.as_bytes()).unwrap() {
            Message::Hello(_) => "hello",
            Message::Bars(_) => "bars",
            Message::Instrument(_) => "instrument",
            Message::Divid(_) => "divid",
            Message::Beat(_) => "hb",
            Message::Done(_) => "done",
            Message::Failed(_) => "err",
            Message::Codes(_) => "codes",
            Message::Unknown(name) => panic!("{name}"),
            Message::Odd { why, .. } => panic!("{why}"),
        })
        .collect();
    assert_eq!(kinds, ["hello", "bars", "done", "instrument", "divid", "bars", "bars", "hb", "err", "codes"]);
}

#[test]
fn every_example_of_the_producer_is_a_line_it_writes() {
    let codes = vec!["600000.SH".to_owned()];
    let replies = [
        Reply::Ok { v: 1, session: "6f1d".to_owned() },
        Reply::Sub { codes: codes.clone(), period: Period::M1, start: "20250102000000".to_owned() },
        Reply::Hist {
            req: 1,
            codes,
            period: Period::M1,
            start: "20250102000000".to_owned(),
            end: "20250102093004".to_owned(),
            download: true,
            refs: false,
        },
        Reply::Hist {
            req: 2,
            codes: vec!["600000.SH".to_owned()],
            period: Period::Day,
            start: "20250102000000".to_owned(),
            end: "20250102084500".to_owned(),
            download: true,
            refs: true,
        },
        Reply::Ack { seq: 8 },
        Reply::bye("taken"),
    ];
    let lines: Vec<String> = replies.iter().map(|reply| reply.line().trim_end().to_owned()).collect();
    assert_eq!(block("producer"), lines);
}

#[test]
fn every_reason_is_explained() {
    use sqep_qmt::session::Bye;
    for bye in [
        Bye::Hello,
        Bye::Version,
        Bye::Token,
        Bye::Name,
        Bye::Taken,
        Bye::Unit,
        Bye::Json,
        Bye::Line,
        Bye::Rate,
        Bye::Silence,
        Bye::Full,
        Bye::Codes,
        Bye::Stop,
    ] {
        assert!(TEXT.contains(&format!("`{bye}`")), "{bye}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_a_recording_of_two_bars() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("example.ndjson");
    std::fs::write(&path, block("agent").join("\n") + "\n").unwrap();
    let words =
        ["--once", "--set", "qmt.source=recording", "--set", "stream.kind=bar:1m", path.to_str().unwrap()];
    let run = rig.run(&words).good();
    assert!(run.out.contains("read 3 = appended 2 + refused 0 + skipped 1"), "{run:?}");
    let stream = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
    let bars: Vec<(String, f64)> =
        stream.rows.values().map(|bar| (bar.frame.format("%H:%M").to_string(), bar.vol)).collect();
    assert_eq!(bars, [("09:30".to_owned(), 73_300.0), ("09:31".to_owned(), 62_500.0)]);
}
