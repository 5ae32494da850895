//! A process of the agent, with a stand-in for QMT in it. Knows what the stand-in's market shows; must not know who listens.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
};

use chrono::{NaiveDateTime, Timelike};
use sqep::shanghai;

use crate::common::at;

pub(crate) const TOKEN: &str = "0123456789abcdef0123";
pub(crate) const SPEED: i32 = 60;
pub(crate) const START: &str = "2025-01-02T09:29:30";
pub(crate) const CODES: [u32; 3] = [600_000, 1, 510_300];

/// The shipped agent, with its pauses shortened as the market is sped up.
pub(crate) const RUN: &str = "import sys, sqep_qmt_agent as a
from xtquant import xtdata
a.BEAT_S, a.POLL_S, a.LOOK_S, a.LIST_S, a.TURN_S, a.MINUTE_S, a.PAUSE_S_MAX = 0.02, 0.05, 0.25, 0.5, 0.2, 1.0, 0.2
agent = a.Agent(xtdata, a.options())
while True: agent.step(0.01)";

/// The same, as a strategy inside the big QMT: everything on the strategy's thread, a turn at a time.
pub(crate) const INSIDE: &str = "import sys, sqep_qmt_agent as a
from xtquant import xtdata
a.BEAT_S, a.POLL_S, a.LOOK_S, a.LIST_S, a.TURN_S, a.MINUTE_S, a.PAUSE_S_MAX = 0.02, 0.05, 0.25, 0.5, 0.2, 1.0, 0.2
a.DEFAULTS, a.download_history_data = sys.argv[1:], xtdata.download_history_data
context = xtdata.ContextInfo()
a.init(context)
while True: getattr(a, context.timer)(context)";

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn python() -> PathBuf {
    std::env::var_os("SQEP_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// One process of the agent; killed when dropped.
pub(crate) struct Agent(pub(crate) Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn shipped(
    script: &str,
    address: &str,
    folder: &Path,
    epoch: f64,
    more: &[&str],
    habits: &[(&str, &str)],
) -> Command {
    let token = folder.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let path = [root().join("producers/qmt/agent"), root().join("testkit/python/standin")];
    let mut command = Command::new(python());
    command
        .args([
            "-c",
            script,
            "--connect",
            address,
            "--token-file",
            token.to_str().unwrap(),
            "--name",
            "pc1",
            "--sector",
            "all",
        ])
        .args(more)
        .env("PYTHONPATH", std::env::join_paths(path).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // The computer's own zone is another, and must not matter.
        .env("TZ", "America/New_York")
        .env("STANDIN_BASE_MS", shanghai::instant_ms(at(START)).unwrap().to_string())
        .env("STANDIN_AT", format!("{epoch:.3}"))
        .env("STANDIN_SPEED", SPEED.to_string())
        .envs(habits.iter().copied());
    command
}

/// The final bar of the stand-in's formula: lots and price.
pub(crate) fn wanted(code: u32, frame: NaiveDateTime) -> (f64, f64) {
    let minute = frame.hour() * 60 + frame.minute();
    // The stand-in counts minutes of the day in UTC.
    let utc = (minute + 1_440 - 480) % 1_440;
    let price = f64::from(10_000 + code % 100 * 10 + utc) / 1_000.0;
    (f64::from(100 + (code + utc) % 50), price)
}
