//! `sqep fake-tushare`: a fake of Tushare Pro on a port of this host, for demos and tests. Knows arguments; must not know
//! the service ([`sqep_testkit::tushare`]).

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use chrono::{NaiveDate, NaiveDateTime};
use sqep::{Calendar, app::Usage};
use sqep_testkit::{
    market::SYMBOLS_MAX,
    tushare::{FakeTushare, Faults, Rates, TOKEN, World},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::Config,
    out::{count, say},
};

/// Arguments of `sqep fake-tushare`.
#[derive(Debug, clap::Args)]
pub(crate) struct FakeTushareArgs {
    /// Files API_*.csv or API.csv with Tushare's columns, in this folder or its subfolders; without it, a made-up
    /// market.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["symbols", "days", "to"])]
    data: Option<PathBuf>,
    /// Where it listens; port 0 is a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8765")]
    listen: String,
    /// Everything random comes from it: the market, and what goes wrong.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Securities of the market: stocks of all boards, funds, indices.
    #[arg(long, value_name = "N", default_value_t = 200)]
    symbols: usize,
    /// Sessions of the market.
    #[arg(long, value_name = "N", default_value_t = 60)]
    days: usize,
    /// The last session, or the day after which there is none.
    #[arg(long, value_name = "DATE", default_value = "2026-06-30")]
    to: NaiveDate,
    /// What time it is in Shanghai, like 2026-06-30T16:30:00: later rows are not there yet. Without it all are.
    #[arg(long, value_name = "TIME")]
    now: Option<NaiveDateTime>,
    /// Points of the account, like 2000; without them it may ask everything.
    #[arg(long, value_name = "N")]
    points: Option<u32>,
    /// Calls a minute of each API.
    #[arg(long, value_name = "N")]
    per_minute: Option<u32>,
    /// Everything that passes when one asks again goes wrong now and then: 429, 503, HTML, stalled and cut bodies,
    /// resets, pages that repeat.
    #[arg(long)]
    faults: bool,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

pub(crate) async fn run(
    args: FakeTushareArgs,
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let faults = faults(&args);
    let (listen, check) = (args.listen.clone(), args.common.check);
    let calendar = config.calendar.load()?;
    let world = tokio::task::spawn_blocking(move || world(&args, &calendar)).await??;
    for api in world.apis() {
        info!("{api}: {} rows", count(u64::try_from(world.table(api).len()).unwrap_or(u64::MAX)));
    }
    if check {
        return Ok(());
    }
    let fake = FakeTushare::listen(&listen, world, faults).await.map_err(|error| anyhow!(Usage(error)))?;
    say(&format!("{} token {TOKEN}", fake.url()))?;
    stop.cancelled().await;
    info!("answered {} calls", fake.calls().len());
    Ok(())
}

fn world(args: &FakeTushareArgs, calendar: &Calendar) -> anyhow::Result<World> {
    let mut world = match &args.data {
        Some(folder) => World::from_csv(folder)
            .with_context(|| format!("cannot serve --data {}", folder.display()))
            .map_err(|error| anyhow!(Usage(error)))?,
        None => made_up(args, calendar)?,
    };
    world.set_now(args.now);
    Ok(world)
}

fn made_up(args: &FakeTushareArgs, calendar: &Calendar) -> anyhow::Result<World> {
    if args.symbols == 0 || args.symbols > SYMBOLS_MAX {
        bail!(Usage(anyhow!("--symbols {}: a market has 1 to {SYMBOLS_MAX}", args.symbols)));
    }
    let sessions: Vec<NaiveDate> = calendar.sessions(calendar.first(), args.to).collect();
    let first = args.days.checked_sub(1).and_then(|before| sessions.iter().rev().nth(before));
    let Some(&from) = first.filter(|_| args.to <= calendar.last()) else {
        bail!(Usage(anyhow!(
            "--days {} --to {}: the calendar goes from {} to {} and has {} sessions up to that day",
            args.days,
            args.to,
            calendar.first(),
            calendar.last(),
            sessions.len()
        )));
    };
    Ok(World::generated(args.seed, args.symbols, from, args.to))
}

fn faults(args: &FakeTushareArgs) -> Faults {
    let faults = if args.faults { Faults::passing(args.seed) } else { Faults::default() };
    Faults { points: args.points, rates: Rates { per_minute: args.per_minute, ..Rates::default() }, ..faults }
}
