//! `sqep-clickhouse`: delivers one stream to ClickHouse.
//!
//! Knows the order of a program's life; must not know streams or tables: those are [`sqep::app`] and [`sqep_clickhouse`].

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use serde::{Deserialize, Serialize};
use sqep::{
    DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, RefDay,
    app::{self, App, Args, CalendarSettings, HttpSettings, Inward, ReaderSettings, Usage},
    redis::{RedisSettings, keys::StreamSettings},
};
use sqep_clickhouse::{ClickHouseError, ClickHouseSink, Config, Key, Store};

/// The group's name unless `reader.group` says another.
const NAME: &str = "clickhouse";

/// Delivers one stream of market bars to ClickHouse.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    common: Args,
    /// Reads everything the stream still holds again, after a stop that says so; each key stays once.
    #[arg(long)]
    resume: bool,
    /// Applies the schema to the database, and ends.
    #[arg(long)]
    migrate: bool,
    /// Takes over a list of securities (CSV with `ts_code`, `name`, `market`, `list_date`, `delist_date`), and ends.
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
}

impl AsRef<Args> for Arguments {
    fn as_ref(&self) -> &Args {
        &self.common
    }
}

/// The configuration file.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    redis: RedisSettings,
    stream: StreamSettings,
    reader: ReaderSettings,
    calendar: CalendarSettings,
    http: HttpSettings,
    clickhouse: Config,
}

fn main() -> ExitCode {
    app::main(run)
}

async fn run(app: App<Arguments, Settings>) -> anyhow::Result<()> {
    let store = Store::new(app.config.clickhouse.clone()).map_err(|error| Usage(error.into()))?;
    if app.args.migrate || app.args.symbols.is_some() {
        return administer(store, &app.args).await.map_err(told);
    }
    match app.config.stream.kind {
        Kind::BarDay => Box::pin(deliver::<DayBar>(app, store)).await,
        Kind::BarMinute(_) => Box::pin(deliver::<MinuteBar>(app, store)).await,
        Kind::RefDay => Box::pin(deliver::<RefDay>(app, store)).await,
        Kind::FeatureDay => Box::pin(deliver::<DayFeature>(app, store)).await,
        Kind::FeatureMinute => Box::pin(deliver::<MinuteFeature>(app, store)).await,
    }
}

/// What is done to the database without a stream.
async fn administer(mut store: Store, args: &Arguments) -> Result<(), ClickHouseError> {
    let scripts = sqep_clickhouse::administer(&mut store).await?;
    tracing::info!(scripts, "the schema is up to date");
    if let Some(path) = &args.symbols {
        let count = sqep_clickhouse::import(&store, path).await?;
        tracing::info!(count, "securities taken over from {}", path.display());
    }
    Ok(())
}

async fn deliver<R: Record>(app: App<Arguments, Settings>, store: Store) -> anyhow::Result<()> {
    let Settings { redis, stream, reader, calendar, http, clickhouse } = &app.config;
    let (kind, once) = (stream.kind, app.args.common.once);
    let inward = Inward { redis, stream, reader, calendar, meters: &app.meters };
    let key = Key { kind, prefix: stream.prefix.clone(), group: inward.group(NAME).to_owned() };
    let mut probe = ClickHouseSink::<R>::new(store, key).map_err(told)?;
    if app.args.common.check {
        probe.check().await.map_err(told)?;
        inward.check(NAME).await?;
        tracing::info!("configuration and both servers are in order");
        return Ok(());
    }
    match probe.prepare().await {
        // A server that is away or busy comes back, and the loop waits for it; what else it refuses it would refuse again.
        Err(error) if error.passes() => tracing::warn!("{:#}", anyhow::Error::from(error)),
        prepared => prepared.map_err(told)?,
    }
    app.serve(http).await?;
    // The limit is the program's: its partitions share it.
    let records_max = (clickhouse.records_max / inward.partitions()?.len()).max(1);
    let mut resume = app.args.resume;
    loop {
        let turn = app.stop.child_token();
        let sink = |_| Ok(probe.beside(records_max, turn.clone()));
        if std::mem::take(&mut resume) {
            inward.resume(NAME, sink).await?;
        }
        sqep_archive::replay::deliver(&inward, NAME, once, &turn, sink).await?;
        if app.stop.is_cancelled() || !turn.is_cancelled() {
            return Ok(());
        }
        // A database that is not what it was: what it lacks is found as at any start.
        tracing::warn!("begins again with the database as it is");
    }
}

/// An error of a start, with its exit code.
fn told(error: ClickHouseError) -> anyhow::Error {
    if error.is_usage() { Usage(error.into()).into() } else { error.into() }
}
