//! The vendor of a demo whose bars come from a service: a fake of Tushare Pro in this process. Knows what it serves and what
//! `sqep-tushare` must be told to find it; must not know the protocol ([`sqep_testkit::tushare`]).

use std::{fs, path::PathBuf};

use anyhow::{Context, anyhow, bail};
use chrono::NaiveDate;
use sqep::{Kind, app::Usage, kind::Grid};
use sqep_testkit::tushare::{FakeTushare, Faults, TOKEN, World};

use super::{
    flow::{Job, Vendor, set},
    home::Home,
};
use crate::{
    config::Config,
    generate::MarketArgs,
    out::{count, say},
};

/// Sessions that are served unless it is said.
const DAYS: usize = 60;

/// A service at work, and the days it has.
#[derive(Debug)]
pub(super) struct Service {
    fake: FakeTushare,
    token: PathBuf,
    days: (NaiveDate, NaiveDate),
}

impl Service {
    /// What the producer is told.
    pub(super) fn arguments(&self, home: &Home) -> Vec<String> {
        let (from, to) = (self.days.0.to_string(), self.days.1.to_string());
        let place = |name: &str| home.state().join(name).to_string_lossy().into_owned();
        let words = ["backfill", "--from", &from, "--to", &to].map(str::to_owned).to_vec();
        let keys = [
            set("tushare.base_url", &self.fake.url()),
            set("tushare.token_file", &self.token.to_string_lossy()),
            set("tushare.cache_dir", &place("tushare-cache")),
            set("tushare.points", "15000"),
            // The fake has no limits: a minute of waiting would teach nobody anything.
            set("tushare.minute_ms", "100"),
            set("fetch.state_dir", &place("tushare-state")),
        ];
        [words, keys.concat()].concat()
    }
}

/// Starts the service with a made-up market.
pub(super) async fn prepare(args: &MarketArgs, config: &Config, home: &Home) -> anyhow::Result<Job> {
    let kind = args.kind(config)?;
    if !matches!(kind, Kind::BarDay | Kind::RefDay | Kind::BarMinute(Grid::M1)) {
        bail!(Usage(anyhow!("--source tushare has bar:1d, bar:1m and ref:1d in a demo, not {kind}")));
    }
    let args = MarketArgs {
        days: args.days.or((!matches!(kind, Kind::BarMinute(_))).then_some(DAYS)),
        ..args.clone()
    };
    let market = args.market(kind, config)?;
    let sessions = market.sessions();
    let (Some(&from), Some(&to)) = (sessions.first(), sessions.last()) else {
        bail!(Usage(anyhow!("--days 0: a service without a day has nothing to show")));
    };
    let (seed, symbols, days) = (args.seed, args.symbols, sessions.len());
    let world = tokio::task::spawn_blocking(move || World::generated(seed, symbols, from, to)).await?;
    let rows = u64::try_from(world.table("daily").len()).unwrap_or(u64::MAX);
    let token = home.state().join("tushare-token");
    fs::write(&token, TOKEN).with_context(|| format!("cannot write {}", token.display()))?;
    let fake = FakeTushare::start(world, Faults::default()).await?;
    say(&format!(
        "service   a fake of Tushare Pro at {}: {} day bars of {symbols} securities × {days} sessions",
        fake.url(),
        count(rows)
    ))?;
    let rows = (kind == Kind::BarDay).then_some(rows);
    let service = Service { fake, token, days: (from, to) };
    let (dialect, vendor) = (String::new(), Some(Vendor::Tushare(service)));
    Ok(Job { kind, dialect, paths: Vec::new(), sides: None, rows, vendor })
}
