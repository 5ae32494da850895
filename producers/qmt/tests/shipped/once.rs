//! A run with `--once`: it ends, whatever does not come, and says what that was.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
};

use sqep::{Kind, MinuteBar, kind::Grid};

use crate::{
    common::Rig,
    program::{BROKEN, Program, end},
    standin::CODES,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_once_ends_without_a_security_that_always_fails_and_says_which() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    let mut program = Program::start(&rig, folder.path(), "2025-01-02T09:40:00", &["--once"], &BROKEN);
    let out: Vec<String> = program.out.by_ref().lines().map(Result::unwrap).collect();
    for name in ["stream: read", "ref:1d: read", "bar:1d: read"] {
        assert!(out.iter().any(|line| line.starts_with(name)), "{name} comes to its end: {out:?}");
    }
    let (code, text) = end(program);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("securities whose history did not come: 600999.SH"), "{text}");
    let stream = rig.stream::<MinuteBar>(Kind::BarMinute(Grid::M1)).await;
    let symbols: BTreeSet<_> = stream.rows.keys().map(|(symbol, _)| symbol.code()).collect();
    assert_eq!(symbols.len(), CODES.len(), "the others are there: {symbols:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_once_whose_agent_is_killed_ends_and_says_what_to_do() {
    let (rig, folder) = (Rig::start().await, tempfile::tempdir().unwrap());
    // The download takes longer than the agent lives.
    let words = ["--once", "--set", "agent.once_patience_s_max=1"];
    let mut program = Program::start(
        &rig,
        folder.path(),
        "2025-01-02T09:40:00",
        &words,
        &[("STANDIN_DOWNLOAD_S", "36000")],
    );
    let mut log = BufReader::new(program.child.stderr.take().unwrap()).lines();
    log.find(|line| line.as_ref().unwrap().contains("agent pc1 is in")).unwrap().unwrap();
    // SIGKILL.
    drop(program.agent.take());
    let text: Vec<String> = log.map(Result::unwrap).collect();
    assert_eq!(program.child.wait().unwrap().code(), Some(1), "{text:?}");
    let last = text.join("\n");
    assert!(last.contains("the agent is gone") && last.contains("run this again"), "{last}");
}
