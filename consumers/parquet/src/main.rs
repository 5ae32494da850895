//! `sqep-parquet`: delivers one stream to a Parquet archive, and compacts the partitions that have gone quiet.
//!
//! Knows the order of a program's life; must not know streams or files: those are [`sqep::app`] and [`sqep_parquet`].

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::Parser;
use serde::{Deserialize, Serialize};
use sqep::{
    DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, RefDay,
    app::{self, App, Args, CalendarSettings, HttpSettings, Inward, ReaderSettings, Usage},
    redis::{RedisSettings, keys::StreamSettings},
};
use sqep_parquet::{ArchiveError, Config, compact_partitions, open, quiet_partitions};

/// The group's name unless `reader.group` says another.
const NAME: &str = "parquet";
/// How often the program looks for quiet partitions.
const LOOK: Duration = Duration::from_secs(60);

/// Delivers one stream of market bars to a hive-partitioned Parquet archive.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    common: Args,
    /// Reads everything the stream still holds again, after a stop that says so; each key stays once.
    #[arg(long)]
    resume: bool,
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
    parquet: Config,
}

fn main() -> ExitCode {
    app::main(run)
}

async fn run(app: App<Arguments, Settings>) -> anyhow::Result<()> {
    app.config.parquet.validate_for(app.config.stream.kind).map_err(|error| Usage(error.into()))?;
    match app.config.stream.kind {
        Kind::BarDay => Box::pin(deliver::<DayBar>(app)).await,
        Kind::BarMinute(_) => Box::pin(deliver::<MinuteBar>(app)).await,
        Kind::RefDay => Box::pin(deliver::<RefDay>(app)).await,
        Kind::FeatureDay => Box::pin(deliver::<DayFeature>(app)).await,
        Kind::FeatureMinute => Box::pin(deliver::<MinuteFeature>(app)).await,
    }
}

async fn deliver<R: Record>(app: App<Arguments, Settings>) -> anyhow::Result<()> {
    let Settings { redis, stream, reader, calendar, http, parquet } = &app.config;
    let (kind, once) = (stream.kind, app.args.common.once);
    let inward = Inward { redis, stream, reader, calendar, meters: &app.meters };
    if app.args.common.check {
        parquet.check()?;
        inward.check(NAME).await?;
        tracing::info!("configuration, folder and server are in order");
        return Ok(());
    }
    app.serve(http).await?;
    // The limit is the program's: its partitions share it.
    let records_max = (parquet.records_max / inward.partitions()?.len()).max(1);
    let sink = |_| Ok(open::<R>(Config { records_max, ..parquet.clone() }, kind)?);
    if app.args.resume {
        inward.resume(NAME, sink).await?;
    }
    if let (Some(quiet), false) = (parquet.quiet(), once) {
        tokio::spawn(tidy(parquet.clone(), kind, quiet));
    }
    sqep_archive::replay::deliver(&inward, NAME, once, &app.stop, sink).await.map(drop)
}

/// Compacts what has gone quiet, now and then, for as long as the program lives. Killed with it at any moment: the next
/// one finishes.
async fn tidy(config: Config, kind: Kind, quiet: Duration) {
    loop {
        tokio::time::sleep(LOOK.min(quiet)).await;
        let config = config.clone();
        let done = tokio::task::spawn_blocking(move || look(&config, kind, quiet)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("compaction: {:#}", anyhow::Error::from(error)),
            Err(error) => tracing::error!("compaction: {error}"),
        }
    }
}

fn look(config: &Config, kind: Kind, quiet: Duration) -> Result<(), ArchiveError> {
    #[expect(clippy::disallowed_methods, reason = "a program may ask for the time; the library is told")]
    let now = SystemTime::now();
    let folders = quiet_partitions(&config.root, kind, quiet, now)?;
    let report = match compact_partitions(&config.root, kind, &folders, config.compaction()) {
        // Another program of this archive is at it; there is a next time.
        Err(ArchiveError::Locked { .. }) => return Ok(()),
        report => report?,
    };
    for done in &report.compacted {
        let (files, rows) = (done.files, done.rows_after);
        tracing::info!(folder = ?done.folder, files, rows, bytes = done.bytes_after, "compacted");
    }
    report.complete().map(drop)
}
