//! The programs at work side by side: started, watched until every row is settled, ended. Knows progress and patience;
//! must not know what the rows are.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use sqep::{
    Kind, Totals,
    redis::{
        Server,
        embedded::Embedded,
        inspect::{Inspector, StreamStatus},
        keys::Keys,
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    clickhouse::{self, Warehouse},
    home::Home,
    programs::{Connector, Programs, Running},
    qmt::Desk,
    service::Service,
};
use crate::{
    generate::SIDE_NAMES,
    out::{count, say},
};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is told where there is no terminal.
const TELL: Duration = Duration::from_secs(5);
/// How long nothing may move before the demo gives up.
const STILL_MAX: Duration = Duration::from_secs(120);
/// The group of `sqep-parquet`.
const GROUP: &str = "parquet";

/// What to move.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) kind: Kind,
    pub(super) dialect: String,
    pub(super) paths: Vec<String>,
    /// The folder of side files.
    pub(super) sides: Option<PathBuf>,
    /// Rows there will be, where that is known.
    pub(super) rows: Option<u64>,
    /// Serves the bars, in place of files.
    pub(super) vendor: Option<Vendor>,
}

/// What stands in for a vendor.
#[derive(Debug)]
pub(super) enum Vendor {
    /// Of `--source tushare`.
    Tushare(Service),
    /// Of `--source qmt`.
    Qmt(Desk),
}

/// How it went.
#[derive(Debug)]
pub(super) struct Flow {
    /// What became of the rows of this run.
    pub(super) run: Totals,
    /// What became of all rows ever, this run's included.
    pub(super) all: Totals,
    /// From the start of the programs until everything was on the stream.
    pub(super) published: Duration,
    /// From the start of the programs until everything was settled.
    pub(super) settled: Duration,
    /// What the source says of files it could not take.
    pub(super) complaint: Option<String>,
    /// Entries that each group besides the archive's has settled.
    pub(super) groups: Vec<(String, u64)>,
}

/// The servers of a demo.
#[derive(Debug)]
pub(super) struct Stores<'a> {
    pub(super) redis: &'a Embedded,
    /// Loaded beside the archive.
    pub(super) warehouse: Option<&'a Warehouse>,
}

/// A consumer at work.
struct Reader {
    group: String,
    running: Running,
}

/// Moves everything, and returns when it is settled and the programs have ended.
pub(super) async fn run(
    job: &Job,
    home: &Home,
    programs: &Programs,
    stores: &Stores<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<Flow> {
    let server = stores.redis;
    let mut inspector = Inspector::connect(&Server::new(&server.settings())?).await?;
    let key = Keys::new("sqep", job.kind, 0).stream().to_owned();
    let before = totals(&inspector.stream(&key).await?);
    let start = Instant::now();
    let mut readers = readers(job, home, programs, stores)?;
    let mut producer = producer(job, home, programs, server)?;
    let mut agent = match &job.vendor {
        Some(Vendor::Qmt(desk)) => Some(desk.agent(&mut producer, home).await?),
        Some(Vendor::Tushare(_)) | None => None,
    };
    let mut watch = Watch::new(job.rows, before.appended, start);
    let watched = tokio::select! {
        () = stop.cancelled() => Err(stopped()),
        watched = watch.until_settled(&mut inspector, &key, &mut producer, &mut readers, agent.as_mut()) => watched,
    };
    watch.bar.finish_and_clear();
    // All are asked before any is waited for.
    producer.term();
    for reader in &mut readers {
        reader.running.term();
    }
    let produced = producer.stop().await;
    // It would dial again for ever, and has nothing to settle.
    drop(agent);
    let mut ended = Vec::new();
    for reader in &mut readers {
        ended.push(reader.running.stop().await);
    }
    let (published, settled, status) = watched?;
    let produced = produced?;
    for (reader, status) in readers.iter().zip(ended) {
        let status = status?;
        if !status.success() {
            bail!("{} ended with {status}{}", reader.running.name(), reader.running.last_words());
        }
    }
    // Files it refused, for example: what came through all the same is worth a report.
    let complaint = (!produced.success())
        .then(|| format!("{} ended with {produced}{}", producer.name(), producer.last_words()));
    let (all, groups) = (totals(&status), settled_by(&status, &readers));
    Ok(Flow { run: all.since(&before), all, published, settled, complaint, groups })
}

/// Starts `sqep-csv`, or what takes its place.
fn producer(job: &Job, home: &Home, programs: &Programs, server: &Embedded) -> anyhow::Result<Running> {
    if let (Some(vendor), Some(program)) = (&job.vendor, &programs.vendor) {
        let words = match vendor {
            Vendor::Tushare(service) => service.arguments(home),
            Vendor::Qmt(desk) => desk.arguments(),
        };
        return Running::start(program, &[words, common(job, server)].concat(), home);
    }
    match &programs.producer {
        None => Running::start(&programs.csv, &csv_arguments(job, server), home),
        Some(own) => Running::start(&own.program, &producer_arguments(own, job, server), home),
    }
}

/// Starts `sqep-parquet` and the consumers beside it.
fn readers(job: &Job, home: &Home, programs: &Programs, stores: &Stores<'_>) -> anyhow::Result<Vec<Reader>> {
    let server = stores.redis;
    let parquet = Running::start(&programs.parquet, &parquet_arguments(job, home, server), home)?;
    let mut readers = vec![Reader { group: GROUP.to_owned(), running: parquet }];
    if let (Some(warehouse), Some(program)) = (stores.warehouse, &programs.store) {
        let (arguments, variables) = (warehouse.arguments(job, server), warehouse.variables());
        let running = Running::start_among(program, &arguments, &variables, home)?;
        readers.push(Reader { group: clickhouse::GROUP.to_owned(), running });
    }
    for own in &programs.consumers {
        let running = Running::start(&own.program, &consumer_arguments(own, job, home, server), home)?;
        readers.push(Reader { group: own.name.clone(), running });
    }
    Ok(readers)
}

/// What is said when the user ends a demo.
pub(super) fn stopped() -> anyhow::Error {
    anyhow!("stopped; run it again to go on where it was")
}

/// What the source counted so far.
fn totals(status: &StreamStatus) -> Totals {
    status.totals.clone().and_then(|totals| serde_json::from_value(totals).ok()).unwrap_or_default()
}

/// A key of the configuration as arguments.
pub(super) fn set(key: &str, value: &str) -> [String; 2] {
    ["--set".to_owned(), format!("{key}={value}")]
}

/// What every program is told.
pub(super) fn common(job: &Job, server: &Embedded) -> Vec<String> {
    [set("redis.url", &server.url()), set("stream.kind", job.kind.name())].concat()
}

fn csv_arguments(job: &Job, server: &Embedded) -> Vec<String> {
    let mut arguments = vec!["--once".to_owned()];
    arguments.extend(common(job, server));
    arguments.extend(set("csv.dialect", &job.dialect));
    for (key, name) in ["adj_factor", "stk_limit", "stock_st"].iter().zip(SIDE_NAMES) {
        let path = job.sides.as_ref().map(|folder| folder.join(name));
        arguments.extend(path.iter().flat_map(|path| set(&format!("csv.{key}"), &path.to_string_lossy())));
    }
    arguments.extend(job.paths.iter().cloned());
    arguments
}

fn parquet_arguments(job: &Job, home: &Home, server: &Embedded) -> Vec<String> {
    let mut arguments = common(job, server);
    arguments.extend(set("reader.group", GROUP));
    arguments.extend(set("reader.start", "earliest"));
    arguments.extend(set("parquet.root", &home.archive().to_string_lossy()));
    // The last batch is not full: let it not wait long for more.
    arguments.extend(set("parquet.wait_s_max", "1"));
    arguments
}

fn producer_arguments(own: &Connector, job: &Job, server: &Embedded) -> Vec<String> {
    let mut arguments = vec!["--once".to_owned()];
    arguments.extend(common(job, server));
    arguments.extend(job.paths.iter().flat_map(|folder| set(&own.key("folder"), folder)));
    arguments
}

fn consumer_arguments(own: &Connector, job: &Job, home: &Home, server: &Embedded) -> Vec<String> {
    let mut arguments = common(job, server);
    arguments.extend(set("reader.group", &own.name));
    arguments.extend(set("reader.start", "earliest"));
    arguments.extend(set(&own.key("root"), &home.out().join(&own.name).to_string_lossy()));
    arguments
}

/// Progress so far.
#[derive(Debug)]
struct Watch {
    start: Instant,
    /// Rows of earlier runs.
    before: u64,
    bar: ProgressBar,
    told: Instant,
    moved: Instant,
    seen: (u64, u64),
}

impl Watch {
    fn new(rows: Option<u64>, before: u64, start: Instant) -> Watch {
        let bar = match rows {
            Some(rows) => ProgressBar::new(rows),
            None => ProgressBar::new_spinner(),
        };
        let form = "{spinner} {msg} [{bar:30}] {pos}/{len} bars, {rate}/s, {eta} left";
        let form = if rows.is_some() { form } else { "{spinner} {msg} {pos} bars, {rate}/s" };
        let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // A rate that cannot be shown is not worth an error.
            write!(out, "{:.0}", state.per_sec()).unwrap_or_default();
        };
        bar.set_style(style.with_key("rate", rate));
        bar.set_message("publishing");
        Watch { start, before, bar, told: start, moved: start, seen: (0, 0) }
    }

    /// Looks again and again until the files are read and all groups have settled everything.
    async fn until_settled(
        &mut self,
        inspector: &mut Inspector,
        key: &str,
        producer: &mut Running,
        readers: &mut [Reader],
        mut agent: Option<&mut Running>,
    ) -> anyhow::Result<(Duration, Duration, StreamStatus)> {
        let mut published = None;
        loop {
            let read = producer.ended()?.is_some();
            let beside = agent.as_deref_mut();
            for running in readers.iter_mut().map(|reader| &mut reader.running).chain(beside) {
                if let Some(status) = running.ended()? {
                    bail!("{} ended too early, with {status}{}", running.name(), running.last_words());
                }
            }
            let status = inspector.stream(key).await?;
            if read && published.is_none() {
                published = Some(self.start.elapsed());
                self.bar.set_message("archiving");
            }
            let unsettled = unsettled(&status, readers);
            self.tell(&totals(&status), unsettled)?;
            if let (Some(published), Some(0)) = (published, unsettled) {
                return Ok((published, self.start.elapsed(), status));
            }
            if self.moved.elapsed() > STILL_MAX {
                let words: String = readers.iter().map(|reader| reader.running.last_words()).collect();
                bail!("nothing has moved for {STILL_MAX:?}{}{words}", producer.last_words());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn tell(&mut self, totals: &Totals, unsettled: Option<u64>) -> anyhow::Result<()> {
        let seen = (totals.read, unsettled.unwrap_or(u64::MAX));
        if seen != self.seen {
            (self.seen, self.moved) = (seen, Instant::now());
        }
        self.bar.set_position(totals.appended.saturating_sub(self.before));
        self.bar.tick();
        if self.bar.is_hidden() && self.told.elapsed() > TELL {
            self.told = Instant::now();
            let behind = unsettled.map_or_else(|| "all".to_owned(), count);
            say(&format!(
                "{} bars on the stream, {behind} entries still to be settled",
                count(totals.appended)
            ))?;
        }
        Ok(())
    }
}

/// Entries that the slowest group has not settled yet; `None` while one of them does not exist.
fn unsettled(status: &StreamStatus, readers: &[Reader]) -> Option<u64> {
    if status.entries == 0 {
        return Some(0);
    }
    let of = |reader: &Reader| backlog(status, &reader.group);
    readers.iter().map(of).collect::<Option<Vec<u64>>>()?.into_iter().max()
}

/// Entries of a stream that a group has not settled; `None` if there is no such group.
fn backlog(status: &StreamStatus, group: &str) -> Option<u64> {
    let group = status.groups.iter().find(|found| found.group == group)?;
    Some(group.pending + group.lag)
}

/// What each group besides the archive's has settled, as the server counts it.
fn settled_by(status: &StreamStatus, readers: &[Reader]) -> Vec<(String, u64)> {
    let own = readers.iter().map(|reader| &reader.group).filter(|group| *group != GROUP);
    let settled = |group: &String| status.entries - backlog(status, group).unwrap_or(status.entries);
    own.map(|group| (group.clone(), settled(group))).collect()
}
