//! The real program beside the agent, and what it says. Must not know what a test expects.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sqep::{Kind, Record, shanghai};

use crate::{
    common::{Rig, at, day},
    standin::{Agent, CODES, RUN, TOKEN, shipped},
};

/// The program beside the agent, from a time of the market on.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) out: BufReader<ChildStdout>,
    pub(crate) agent: Option<Agent>,
}

impl Program {
    pub(crate) fn start(
        rig: &Rig,
        folder: &Path,
        start: &str,
        more: &[&str],
        habits: &[(&str, &str)],
    ) -> Program {
        let words = [
            "--rehearse",
            start,
            "--speed",
            "60",
            "--set",
            "agent.listen=127.0.0.1:0",
            "--set",
            "stream.kind=bar:1m",
        ];
        let mut command = rig.command(&[&words[..], &["--set", "qmt.day_bars=true"], more].concat());
        let mut child = command
            .env("SQEP__AGENT__TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        #[expect(clippy::disallowed_methods, reason = "the stand-in's clock begins where the program's does")]
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let base = shanghai::instant_ms(at(start)).unwrap().to_string();
        let habits = [&[("STANDIN_BASE_MS", &*base), ("STANDIN_CLOSED", "20250101")], habits].concat();
        let agent = shipped(RUN, &address, folder, epoch, &[], &habits).spawn().unwrap();
        Program { child, out, agent: Some(Agent(agent)) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.agent.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until a stream has a row of each code on a day.
pub(crate) async fn day_of<R: Record>(rig: &Rig, kind: Kind) -> Vec<R> {
    let day = day("2025-01-02").signed_duration_since(day("1970-01-01")).num_days();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(40) {
        let rows = rig.stream::<R>(kind).await.rows;
        let today: Vec<R> =
            rows.into_iter().filter(|((_, time), _)| *time == day).map(|(_, row)| row).collect();
        if today.len() == CODES.len() {
            return today;
        }
    }
    panic!("no {kind} of every code in 40 seconds");
}

/// A program that is done: what it said on both ways, and how it ended.
pub(crate) fn end(mut program: Program) -> (Option<i32>, String) {
    let status = program.child.wait().unwrap();
    let mut text = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (status.code(), text)
}

/// What a program says until this is in a line.
pub(crate) fn said(stderr: ChildStderr, part: &'static str) -> Vec<String> {
    let (tell, told) = std::sync::mpsc::sync_channel(1_000);
    std::thread::spawn(move || {
        BufReader::new(stderr)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| tell.send(line.clone()).is_ok())
            .count()
    });
    let mut log = Vec::new();
    while !log.last().is_some_and(|line: &String| line.contains(part)) {
        log.push(
            told.recv_timeout(Duration::from_secs(40)).unwrap_or_else(|_| panic!("no {part} in {log:?}")),
        );
    }
    log
}

/// One of four that QMT never gives.
pub(crate) const BROKEN: [(&str, &str); 2] =
    [("STANDIN_CODES", "600000.SH,000001.SZ,510300.SH,600999.SH"), ("STANDIN_BROKEN", "600999.SH")];
