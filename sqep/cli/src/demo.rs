//! `sqep demo`: the whole pipe in one command. Knows the order of things and which counts must agree; must not know how
//! a bar moves: the real programs do that.

mod clickhouse;
mod features;
mod flow;
mod home;
mod programs;
mod qmt;
mod report;
mod service;

use std::{
    future::Future,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use sqep::{
    DayBar, Kind, MinuteBar, Record, RefDay,
    app::Usage,
    kind::NotSent,
    redis::{
        Server,
        embedded::{self, Embedded},
        inspect::Inspector,
        keys::Keys,
    },
};
use sqep_csv::files;
use sqep_parquet::{Options, compact_root};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{
    clickhouse::Warehouse,
    flow::{Flow, Job, Stores, Vendor},
    home::Home,
    programs::Programs,
    report::{Letters, Outcome},
};
use crate::{
    config::Config,
    digest,
    generate::{Layout, MarketArgs, Order, Packing, sides_of},
    out::{bytes, count, say},
};

/// Arguments of `sqep demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The folder everything goes to. A second run in the same folder goes on: what is on the stream already is not
    /// published again.
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Where the bars come from. `tushare`: from a fake of Tushare Pro that serves the made-up market in this process. `qmt`:
    /// from the agent that is shipped, beside a stand-in for QMT with minutes of as many securities; needs python3.
    #[arg(long, value_enum, default_value_t)]
    source: Origin,
    /// Files of your own instead of a made-up market: a file, a folder or a pattern; repeatable.
    #[arg(long, value_name = "PATH")]
    csv: Vec<String>,
    /// The dialect of the files: `auto` or a name. The made-up market is written in it, too (default: tushare).
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,
    /// A producer of your own instead of sqep-csv, as `sqep new producer` writes it: the name of a program beside this
    /// one, or its path. It is told NAME.folder; a made-up market is written for it with a file a session.
    #[arg(long, value_name = "PROGRAM")]
    producer: Option<String>,
    /// A consumer of your own beside sqep-parquet, as `sqep new consumer` writes it; repeatable. It is told NAME.root.
    #[arg(long, value_name = "PROGRAM")]
    consumer: Vec<String>,
    /// Loads another store beside the archive and asks it at the end. `clickhouse`: the server that `SQEP_CLICKHOUSE_URL`
    /// names, or the engine itself; `make demo SINK=clickhouse` sets that up.
    #[arg(long, value_enum)]
    sink: Option<Store>,
    #[command(flatten)]
    market: MarketArgs,
    /// Leaves the private Redis running, to look at it.
    #[arg(long)]
    keep_redis: bool,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

/// Where bars go beside the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Store {
    /// A database of the demo's own.
    Clickhouse,
}

impl Store {
    /// The consumer of a store.
    fn program(self) -> &'static str {
        match self {
            Store::Clickhouse => "sqep-clickhouse",
        }
    }
}

/// Where the bars of a demo come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Origin {
    /// Files.
    #[default]
    Csv,
    /// A fake of Tushare Pro.
    Tushare,
    /// A stand-in for QMT.
    Qmt,
}

impl Origin {
    /// The producer of a vendor.
    fn program(self) -> Option<&'static str> {
        match self {
            Origin::Csv => None,
            Origin::Tushare => Some("sqep-tushare"),
            Origin::Qmt => Some("sqep-qmt"),
        }
    }
}

pub(crate) async fn run(args: DemoArgs, config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    let vendor = args.source.program();
    if vendor.is_some() && !(args.csv.is_empty() && args.dialect.is_none() && args.producer.is_none()) {
        bail!(Usage(anyhow!(
            "--source with a vendor serves a made-up market: leave out --csv, --dialect and --producer"
        )));
    }
    let store = args.sink.map(Store::program);
    let programs = Programs::find(vendor, store, args.producer.as_deref(), &args.consumer)
        .map_err(|error| anyhow!(Usage(error)))?;
    let server = embedded::find().map_err(|error| anyhow!(Usage(error)))?;
    if args.common.check {
        info!("{} and all programs are there", server.display());
        return Ok(());
    }
    let home = Home::take(&args.out)?;
    home.end_leftovers().await?;
    let job = match args.source {
        Origin::Csv => prepare(&args, config, &home, stop).await?,
        Origin::Tushare => service::prepare(&args.market, config, &home).await?,
        Origin::Qmt => qmt::prepare(&args.market, config, &home)?,
    };
    let warehouse = args.sink.map(|Store::Clickhouse| Warehouse::start()).transpose()?;
    let folder = home.redis();
    let server = unless(stop, Embedded::start(&folder)).await??;
    say(&format!("redis     private, append-only file on, at {}", server.url()))?;
    let stores = Stores { redis: &server, warehouse: warehouse.as_ref() };
    let outcome = match job.kind {
        Kind::BarDay => moved::<DayBar>(&job, &home, &programs, &stores, stop).await?,
        Kind::BarMinute(_) => moved::<MinuteBar>(&job, &home, &programs, &stores, stop).await?,
        Kind::RefDay => moved::<RefDay>(&job, &home, &programs, &stores, stop).await?,
        kind @ (Kind::FeatureDay | Kind::FeatureMinute) => bail!(Usage(NotSent(kind).into())),
    };
    if outcome.is_empty() {
        // Equations between nothing and nothing would hide what went wrong.
        outcome.verdict()?;
    }
    let features = features::run(&job, &home, &programs, &server, stop).await?;
    outcome.tell(home.out())?;
    if let Some(warehouse) = &warehouse {
        warehouse.tell(job.kind)?;
    }
    if let Some(features) = &features {
        features.tell()?;
    }
    if args.keep_redis {
        keep(server)?;
    }
    outcome.verdict()?;
    features.map_or(Ok(()), |features| features.verdict())
}

/// The outcome of `work`, unless a stop comes first: then whatever it holds is dropped, which ends it.
async fn unless<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::select! {
        () = stop.cancelled() => Err(flow::stopped()),
        done = work => Ok(done),
    }
}

/// What is to be moved: the user's files, or a market that is written now.
async fn prepare(
    args: &DemoArgs,
    config: &Config,
    home: &Home,
    stop: &CancellationToken,
) -> anyhow::Result<Job> {
    if !args.csv.is_empty() {
        if args.producer.is_some() && args.csv.len() > 1 {
            bail!(Usage(anyhow!("--producer reads one folder: name one with --csv")));
        }
        let kind = args.market.kind.unwrap_or(config.stream.kind);
        let dialect = args.dialect.clone().unwrap_or_else(|| "auto".to_owned());
        let paths: Vec<String> = args.csv.iter().map(|path| absolute(path)).collect::<anyhow::Result<_>>()?;
        let found = files::find(&paths);
        if found.files.is_empty()
            && let Some(missing) = found.missing.into_iter().next()
        {
            bail!(Usage(missing.into()));
        }
        return Ok(Job { kind, dialect, paths, sides: None, rows: None, vendor: None });
    }
    let kind = args.market.kind(config)?;
    let dialect = args.dialect.clone().unwrap_or_else(|| "tushare".to_owned());
    let market = args.market.market(kind, config)?;
    let sessions = market.sessions().len();
    // A vendor that has a producer of its own delivers a file a session; what its files do not say, nobody adds.
    let own = args.producer.is_some();
    let layout = if own { Layout::Day } else { Layout::Symbol };
    let plan = format!(
        "{}-{dialect}-{}x{sessions}-{}-seed{}{}",
        kind.table(),
        args.market.symbols,
        args.market.to,
        args.market.seed,
        if own { "-by-day" } else { "" }
    );
    let out = home.csv(&plan.replace('/', "_"));
    let sides = kind == Kind::BarDay && dialect == "tushare" && !own;
    let order = Order {
        market,
        seed: args.market.seed,
        kind,
        dialect: dialect.clone(),
        layout,
        packing: Packing::Plain,
        out: out.clone(),
        sides,
        corrections: 0,
    };
    let halt = stop.clone();
    let written = tokio::task::spawn_blocking(move || order.write(&halt)).await??;
    say(&format!(
        "market    {} {kind} rows of {} securities × {sessions} sessions in {} {dialect} files, {}",
        count(written.rows),
        args.market.symbols,
        count(written.files),
        bytes(written.bytes),
    ))?;
    let paths = vec![out.to_string_lossy().into_owned()];
    let sides = sides.then(|| sides_of(&out));
    Ok(Job { kind, dialect, paths, sides, rows: Some(written.rows), vendor: None })
}

/// The programs get absolute paths, so that a file has one name whatever folder a demo is started in.
fn absolute(path: &str) -> anyhow::Result<String> {
    let path = std::path::absolute(path).with_context(|| format!("--csv {path:?}"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Moves everything, then adds it up.
async fn moved<R: Record>(
    job: &Job,
    home: &Home,
    programs: &Programs,
    stores: &Stores<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<Outcome> {
    let flow = flow::run(job, home, programs, stores, stop).await?;
    unless(stop, add_up::<R>(job, home, stores.redis, flow)).await?
}

/// Counts what is on the stream, in the dead letters and in the archive.
async fn add_up<R: Record>(job: &Job, home: &Home, server: &Embedded, flow: Flow) -> anyhow::Result<Outcome> {
    let mut inspector = Inspector::connect(&Server::new(&server.settings())?).await?;
    let key = Keys::new("sqep", job.kind, 0);
    let stream = digest::of_stream::<R>(&mut inspector, key.stream()).await?;
    let status = inspector.stream(key.stream()).await?;
    let letters = letters(&mut inspector, &key).await?;
    let (kind, archive) = (job.kind, home.archive());
    let archive = tokio::task::spawn_blocking(move || count_archive::<R>(&archive, kind)).await??;
    let repeats = matches!(job.vendor, Some(Vendor::Qmt(_)));
    Ok(Outcome {
        kind,
        rows_made: job.rows,
        repeats,
        flow,
        stream,
        stream_bytes: status.bytes,
        letters,
        archive,
    })
}

/// Rows in the dead letters.
async fn letters(inspector: &mut Inspector, key: &Keys) -> anyhow::Result<Letters> {
    let (mut letters, mut after) = (Letters::default(), sqep::EntryId::ZERO);
    loop {
        let entries = inspector.read(&key.dead(), after, 1).await?;
        if entries.is_empty() {
            return Ok(letters);
        }
        for entry in entries {
            after = entry.id;
            let text =
                |name: &str| entry.field(name).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            let rows: u64 =
                text("n").parse().with_context(|| format!("dead letter {} counts no rows", entry.id))?;
            letters.add(text("by") == "source", rows, text("reason"));
        }
    }
}

/// The archive before and after compaction.
fn count_archive<R: Record>(root: &Path, kind: Kind) -> anyhow::Result<report::Archive> {
    let mut archive = report::Archive::default();
    if !root.join(kind.table()).is_dir() {
        return Ok(archive);
    }
    let start = std::time::Instant::now();
    compact_root(root, Options::default())?.complete()?;
    archive.compaction = start.elapsed();
    archive.digest = digest::of_archive::<R>(root, kind)?;
    archive.bytes = digest::bytes_of_archive(root, kind)?;
    archive.samples = digest::samples::<R>(root, kind, 3)?.iter().map(crate::tail::line).collect();
    Ok(archive)
}

/// Lets the server go on without us.
fn keep(server: Embedded) -> anyhow::Result<()> {
    let (url, pid) = (server.url(), server.pid());
    say(&format!("redis goes on at {url}; look with: sqep status --set redis.url={url}"))?;
    say(&format!("end it with: kill {pid}, or with the next demo in this folder"))?;
    std::mem::forget(server);
    Ok(())
}
