//! `sqep replay`: gives a new group the past, from an archive or from what the stream still holds, and then lets it read
//! the stream. Knows what may be asked for and what people want to see; must not know how a past travels
//! ([`sqep_archive::replay`]).

use std::{path::PathBuf, str::FromStr, time::Duration};

use anyhow::{anyhow, bail};
use chrono::DateTime;
use indicatif::{HumanCount, HumanDuration};
use sqep::{
    DayBar, DayFeature, EntryId, Kind, MinuteBar, MinuteFeature, Record, RefDay, Totals,
    app::{Args, Outward, PublishSettings, Usage},
    redis::{inspect::Inspector, keys::StreamSettings},
};
use sqep_archive::{
    ArchiveFile, Home, layout,
    replay::{self, From, Order, Speed, Start},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::Config,
    get::ask::{Moment, wanted},
    out::say,
};

/// How often progress is told.
const TOLD: Duration = Duration::from_secs(5);

/// Arguments of `sqep replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// The new group: the `reader.group` of the consumer that is to have the past.
    #[arg(long, value_name = "GROUP")]
    into: String,
    /// Where it begins: a day (2021-01-01) or minute ("2021-01-04 09:31") of the rows; or, of the stream, an entry's id
    /// (1709256660000-0) or the time it came (2024-03-01T09:31:00+08:00). By default with the first row there is.
    #[arg(long, value_name = "WHEN")]
    from: Option<Where>,
    /// The last day or minute of the rows that are given from the past; what the stream brings afterwards is read in any
    /// case.
    #[arg(long, value_name = "DAY")]
    to: Option<Moment>,
    /// Only these securities or exchanges of the past: 000001.SZ,600000.SH or SZ.
    #[arg(long, value_name = "SYMBOL,…")]
    symbols: Vec<String>,
    /// What the streams hold: bar:1d, bar:1m and so on; by default stream.kind.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// The archive that holds the past; without one the stream itself, as far as it goes back.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// max: as fast as the group takes it. 1x: as the frames followed each other. 60x: an hour of them a minute.
    #[arg(long, value_name = "SPEED", default_value = "max")]
    speed: Speed,
    #[command(flatten)]
    pub(crate) common: Args,
}

/// Where a past begins, as people write it.
#[derive(Debug, Clone, Copy)]
struct Where(From);

impl FromStr for Where {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Where> {
        if let Ok(moment) = text.parse::<Moment>() {
            return Ok(Where(From::Frame(moment.first())));
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            let ms = u64::try_from(time.timestamp_millis())?;
            return Ok(Where(From::After(EntryId::new(ms.saturating_sub(1), u64::MAX))));
        }
        match text.split_once('-').and_then(|_| text.parse::<EntryId>().ok()) {
            // The entry itself is asked for.
            Some(id) => Ok(Where(From::After(id.previous()))),
            None => bail!(
                "{text:?} is no day like 2024-03-01, no minute like \"2024-03-01 09:31\", no time with its offset and no id \
                 of an entry"
            ),
        }
    }
}

pub(crate) async fn run(args: ReplayArgs, config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    let kind = args.kind.unwrap_or(config.stream.kind);
    match kind {
        Kind::BarDay => replay::<DayBar>(&args, kind, config, stop).await,
        Kind::BarMinute(_) => replay::<MinuteBar>(&args, kind, config, stop).await,
        Kind::RefDay => replay::<RefDay>(&args, kind, config, stop).await,
        Kind::FeatureDay => replay::<DayFeature>(&args, kind, config, stop).await,
        Kind::FeatureMinute => replay::<MinuteFeature>(&args, kind, config, stop).await,
    }
}

async fn replay<R: Record>(
    args: &ReplayArgs,
    kind: Kind,
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let server = config.server()?;
    let stored = Inspector::connect(&server).await?.partitions(&config.stream.prefix, kind).await?;
    let partitions = stored.unwrap_or(config.stream.partitions);
    let stream = StreamSettings { kind, partitions, ..config.stream.clone() };
    let (publish, meters) = (PublishSettings::default(), sqep::meter::Meters::default());
    let outward = Outward {
        redis: &config.redis,
        stream: &stream,
        publish: &publish,
        calendar: &config.calendar,
        meters: &meters,
    };
    let order = Order {
        group: args.into.clone(),
        archive: args.archive.clone(),
        from: args.from.map(|from| from.0).unwrap_or_default(),
        to: args.to.map(Moment::last),
        symbols: wanted(&args.symbols).map_err(|error| anyhow!(Usage(error)))?.together(),
        speed: args.speed,
    };
    if args.common.check {
        return outward.check().await;
    }
    match replay::begin(&outward, &order).await? {
        Start::Waits => {}
        Start::Given => {
            say(&format!(
                "all of this past was given to group {} before; nothing is left to do",
                order.group
            ))?;
            return Ok(());
        }
        Start::Reads => bail!(
            "group {:?} reads {kind} already, and a past is for a new group: name another, or end this one first: sqep \
             group retire {}",
            order.group,
            order.group
        ),
    }
    let mut progress = Progress::new(stored_rows(kind, &order).await);
    let given = replay::give::<R>(&outward, &order, true, stop, |totals| progress.tell(totals)).await?;
    if stop.is_cancelled() {
        say("stopped; the same command goes on where it was")?;
        return Ok(());
    }
    let group = &order.group;
    say(&format!(
        "{} rows lie ready for group {group}: its reader settles them, then reads the stream",
        HumanCount(given.appended)
    ))?;
    Ok(())
}

/// Rows in the folders that are asked for: at least what will be given, more where securities or days are picked. Only to tell
/// how far it is: unknown where a file went away, as under a compaction, while it was counted.
async fn stored_rows(kind: Kind, order: &Order) -> Option<u64> {
    let (home, filter) = (Home::new(order.archive.as_ref()?, kind), order.filter());
    let count = move || -> Result<u64, sqep_archive::Error> {
        let mut rows = 0;
        for (folder, path) in layout::partitions(home.data())? {
            if filter.overlaps(folder) {
                for file in layout::files(&path)? {
                    rows += ArchiveFile::open(&file)?.rows;
                }
            }
        }
        Ok(rows)
    };
    tokio::task::spawn_blocking(count).await.ok()?.ok()
}

/// Tells now and then how far it is.
struct Progress {
    begun: Instant,
    told: Instant,
    rows: Option<u64>,
}

impl Progress {
    fn new(rows: Option<u64>) -> Progress {
        let now = Instant::now();
        Progress { begun: now, told: now, rows }
    }

    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for the eye"
    )]
    fn tell(&mut self, totals: &Totals) {
        if self.told.elapsed() < TOLD {
            return;
        }
        self.told = Instant::now();
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = totals.appended as f64 / seconds;
        let (rows, rate_shown) = (HumanCount(totals.appended), HumanCount(rate as u64));
        match self.rows {
            Some(all) if rate > 0.0 => {
                let left = Duration::from_secs_f64(all.saturating_sub(totals.appended) as f64 / rate);
                info!(
                    "{rows} of at most {} rows, {rate_shown} rows/s, {} to go",
                    HumanCount(all),
                    HumanDuration(left)
                );
            }
            _ => info!("{rows} rows, {rate_shown} rows/s"),
        }
    }
}
