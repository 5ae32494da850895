//! A demo whose bars come from QMT: the agent that is shipped, beside a stand-in for QMT, dials `sqep-qmt`. Knows the
//! processes and what they must be told to find each other; must not know the protocol between them.
//!
//! The clock of the stand-in and of the producer is rehearsed: it is after the close of the last session, so that nobody
//! waits for a minute to end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, bail};
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Weekday};
use sqep::{Kind, app::Usage, kind::Grid, shanghai};

use super::{
    flow::{Job, Vendor, set},
    home::Home,
    programs::Running,
};
use crate::{
    config::Config,
    generate::MarketArgs,
    out::{count, say},
};

/// Bars of a session.
const MINUTES: usize = 241;
/// When it is: a minute after the close.
const CLOSE_MINUTES: i64 = 15 * 60 + 1;
/// How long the producer may take to listen.
const LISTEN_MAX: Duration = Duration::from_secs(20);
/// What the producer says before its address.
const LISTENS: &str = "listening for agents at ";
/// The secret between agent and producer; both are private to the demo.
const TOKEN: &str = "a-token-that-only-this-demo-knows";

/// The agent and the stand-in, as they are shipped.
const FILES: [(&str, &str); 3] = [
    ("sqep_qmt_agent.py", include_str!("../../../../producers/qmt/agent/sqep_qmt_agent.py")),
    ("xtquant/__init__.py", include_str!("../../../../testkit/python/standin/xtquant/__init__.py")),
    ("xtquant/xtdata.py", include_str!("../../../../testkit/python/standin/xtquant/xtdata.py")),
];

/// A computer with QMT on it.
#[derive(Debug)]
pub(super) struct Desk {
    python: PathBuf,
    folder: PathBuf,
    codes: Vec<String>,
    days: usize,
    now: NaiveDateTime,
    /// Weekdays without a session.
    closed: Vec<String>,
}

impl Desk {
    /// What the producer is told.
    pub(super) fn arguments(&self) -> Vec<String> {
        let words = ["--once", "--rehearse"].map(str::to_owned).to_vec();
        let now = vec![self.now.format("%Y-%m-%dT%H:%M:%S").to_string()];
        let keys = [
            set("qmt.source", "agent"),
            set("agent.listen", "127.0.0.1:0"),
            set("agent.token_file", &self.token().to_string_lossy()),
            set("agent.history_days", &(self.days - 1).to_string()),
        ];
        [words, now, keys.concat()].concat()
    }

    fn token(&self) -> PathBuf {
        self.folder.join("token")
    }

    /// Starts the agent, once the producer says where it listens.
    pub(super) async fn agent(&self, producer: &mut Running, home: &Home) -> anyhow::Result<Running> {
        let address = listens_at(producer).await?;
        let (agent, token) = (self.folder.join(FILES[0].0), self.token());
        let (agent, token) = (agent.to_string_lossy(), token.to_string_lossy());
        let dials = ["-u", &agent, "--connect", &address, "--token-file", &token];
        let offers = ["--name", "demo", "--sector", "沪深A股"];
        let words: Vec<String> = dials.into_iter().chain(offers).map(str::to_owned).collect();
        let variables = [
            ("PYTHONPATH", self.folder.to_string_lossy().into_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("PYTHONIOENCODING", "utf-8".to_owned()),
            ("STANDIN_BASE_MS", shanghai::instant_ms(self.now).unwrap_or_default().to_string()),
            ("STANDIN_AT", epoch_s().to_string()),
            ("STANDIN_CODES", self.codes.join(",")),
            ("STANDIN_CLOSED", self.closed.join(",")),
        ];
        Running::start_among(&self.python, &words, &variables, home)
    }
}

/// Writes down the agent and the stand-in with a market of so many securities.
pub(super) fn prepare(args: &MarketArgs, config: &Config, home: &Home) -> anyhow::Result<Job> {
    let kind = Kind::BarMinute(Grid::M1);
    let asked =
        args.kind.unwrap_or(if config.stream.kind == Kind::BarDay { kind } else { config.stream.kind });
    if asked != kind {
        bail!(Usage(anyhow!("--source qmt has {kind} in a demo, not {asked}")));
    }
    let python = python()?;
    let market = args.market(kind, config)?;
    let sessions = market.sessions();
    let (Some(&first), Some(&last)) = (sessions.first(), sessions.last()) else {
        bail!(Usage(anyhow!("--days 0: QMT without a day has nothing to show")));
    };
    let codes: Vec<String> = market.securities().iter().map(|security| security.symbol.to_string()).collect();
    let folder = home.state().join("qmt");
    for (name, text) in FILES.into_iter().chain([("token", TOKEN)]) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&folder))
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let (days, securities) = (sessions.len(), codes.len());
    let rows = u64::try_from(securities * days * MINUTES).unwrap_or(u64::MAX);
    say(&format!(
        "service   a stand-in for QMT, and the agent beside it: {} minutes of {securities} securities × {days} sessions",
        count(rows)
    ))?;
    let now = last.and_hms_opt(0, 0, 0).unwrap_or_default() + TimeDelta::minutes(CLOSE_MINUTES);
    let closed = closed(first, last, sessions);
    let desk = Desk { python, folder, codes, days, now, closed };
    let (dialect, vendor) = (String::new(), Some(Vendor::Qmt(desk)));
    Ok(Job { kind, dialect, paths: Vec::new(), sides: None, rows: Some(rows), vendor })
}

/// Weekdays between two sessions that are none.
fn closed(first: NaiveDate, last: NaiveDate, sessions: &[NaiveDate]) -> Vec<String> {
    let weekday = |day: &NaiveDate| !matches!(day.weekday(), Weekday::Sat | Weekday::Sun);
    let days = first.iter_days().take_while(|day| *day <= last).filter(weekday);
    days.filter(|day| !sessions.contains(day)).map(|day| day.format("%Y%m%d").to_string()).collect()
}

/// Where the producer listens, by what it says.
async fn listens_at(producer: &mut Running) -> anyhow::Result<String> {
    let since = Instant::now();
    loop {
        let words = producer.words();
        let line = words.lines().find_map(|line| line.split_once(LISTENS)).filter(|_| words.ends_with('\n'));
        if let Some((_, address)) = line {
            return Ok(address.trim().to_owned());
        }
        if producer.ended()?.is_some() || since.elapsed() > LISTEN_MAX {
            bail!("{} does not listen{}", producer.name(), producer.last_words());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A Python that runs.
fn python() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("SQEP_PYTHON").map(PathBuf::from).filter(|path| path.is_file());
    let python = named.unwrap_or_else(|| Path::new("python3").to_owned());
    let probe =
        Command::new(&python).args(["-c", "import sys; sys.exit(sys.version_info < (3, 6))"]).output();
    match probe {
        Ok(output) if output.status.success() => Ok(python),
        _ => bail!(Usage(anyhow!(
            "no {} from 3.6 on: the agent beside QMT is a Python file; install python3",
            python.display()
        ))),
    }
}

/// Seconds since 1970 at which the rehearsed clock begins.
fn epoch_s() -> f64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the stand-in counts from the system's clock, and has no other"
    )]
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weekday_without_a_session_is_closed_and_a_weekend_needs_no_word() {
        let day = |text: &str| text.parse().unwrap();
        // 2026-06-19 is a holiday, a Friday.
        let sessions = [day("2026-06-18"), day("2026-06-22")];
        assert_eq!(closed(sessions[0], sessions[1], &sessions), ["20260619"]);
    }
}
