//! `sqep-csv`: publishes bars from CSV files. Knows arguments, what is printed and exit codes; everything else is the
//! library's.

use std::{
    io::{IsTerminal, stdin, stdout},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use sqep::{
    Calendar, DayBar, Kind, MinuteBar, RefDay, Totals,
    app::{self, App, Args, Kept, Usage},
    kind::NotSent,
};
use sqep_csv::{
    config::{Config, CsvSettings},
    dry,
    enrich::Enrich,
    plan::Plan,
    report::{Counts, Report},
    source::CsvSource,
};

/// Rows that a dry run shows.
const SAMPLES_MAX: usize = 3;

/// Publishes bars from CSV files to an SQEP stream.
#[derive(Debug, Parser)]
#[command(name = "sqep-csv", version)]
struct Cli {
    #[command(flatten)]
    common: Args,
    /// Ignores the ledger: publishes every file again, as a later version.
    #[arg(long)]
    force: bool,
    /// Parses and checks everything, publishes nothing, shows what would happen if nothing had been published before.
    #[arg(long)]
    dry_run: bool,
    /// Files parsed at the same time; one a core by default.
    #[arg(long, value_name = "N")]
    max_workers: Option<usize>,
    /// Files, folders, patterns, or - for standard input; added to csv.paths.
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

impl AsRef<Args> for Cli {
    fn as_ref(&self) -> &Args {
        &self.common
    }
}

fn main() -> ExitCode {
    app::main(run)
}

async fn run(app: App<Cli, Config>) -> anyhow::Result<()> {
    match app.config.stream.kind {
        Kind::BarDay => Job::new(app)?.run::<DayBar>().await,
        Kind::BarMinute(_) => Job::new(app)?.run::<MinuteBar>().await,
        Kind::RefDay => Job::new(app)?.run::<RefDay>().await,
        kind @ (Kind::FeatureDay | Kind::FeatureMinute) => bail!(Usage(NotSent(kind).into())),
    }
}

/// One run of the program.
struct Job {
    app: App<Cli, Config>,
    settings: CsvSettings,
    calendar: Arc<Calendar>,
    plan: Plan,
    report: Arc<Report>,
}

impl Job {
    fn new(app: App<Cli, Config>) -> anyhow::Result<Job> {
        let (args, mut settings) = (&app.args, app.config.csv.clone());
        settings.paths.extend(args.paths.iter().cloned());
        settings.force |= args.force;
        settings.max_workers = args.max_workers.unwrap_or(settings.max_workers);
        settings.watch &= !(args.common.once || args.dry_run);
        let usage = |error| anyhow!(Usage(error));
        let calendar = app.config.calendar.load().map_err(usage)?;
        let kind = app.config.stream.kind;
        let plan = Plan::new(&settings, app.config.symbol, kind, Arc::clone(&calendar), settings.watch)
            .map_err(usage)?;
        // The bar and the lines share a terminal; where one of them goes elsewhere, the lines do.
        let bar = std::io::stderr().is_terminal() && !args.common.check;
        let report = Arc::new(Report::new(Box::new(stdout()), bar));
        Ok(Job { app, settings, calendar, plan, report })
    }

    async fn run<R: Enrich>(mut self) -> anyhow::Result<()> {
        if self.app.args.common.check {
            return self.check().await;
        }
        let Some(_kept) = self.keep_stdin().await? else { return Ok(()) };
        let mut source = CsvSource::<R>::new(self.plan.clone(), Arc::clone(&self.report))?;
        let ended = if self.app.args.dry_run {
            self.rehearse(&mut source).await
        } else {
            self.publish(&mut source).await
        };
        self.report.finish();
        let totals = ended?;
        let summary = self.report.summary();
        if self.app.stop.is_cancelled() && !(source.has_ended() && totals.read == summary.totals.read) {
            return self.cut_short(&totals, &summary.totals);
        }
        self.report.say(&summary.to_string());
        if summary.is_clean() {
            return Ok(());
        }
        bail!("files refused: {}, not read: {}; they are named above", summary.refused, summary.failed)
    }

    /// A daemon that is stopped has done its work; a run that was to come to an end has not.
    fn cut_short(&self, published: &Totals, read: &Totals) -> anyhow::Result<()> {
        let left = match read.read.saturating_sub(published.read) {
            0 => String::new(),
            rows => format!(", {rows} rows of the files above not among them"),
        };
        self.report.say(&format!(
            "stopped before the end: the rows counted as the stream's are on it{left}; the next run goes on from there"
        ));
        if self.settings.watch { Ok(()) } else { bail!("stopped before the end; run it again for the rest") }
    }

    /// Finds what is wrong without writing anything.
    async fn check(&self) -> anyhow::Result<()> {
        let missing = self.plan.missing()?;
        if let Some(error) = missing.first() {
            return Err(anyhow!(Usage(anyhow!("{error}"))));
        }
        self.app.config.outward(&self.app.meters).check().await?;
        self.report.say("configuration, paths and server are in order");
        Ok(())
    }

    /// Keeps what comes by standard input, if it is asked for. `None`: stopped meanwhile.
    async fn keep_stdin(&mut self) -> anyhow::Result<Option<Option<Kept>>> {
        if !self.settings.paths.iter().any(|path| path == "-") {
            return Ok(Some(None));
        }
        let folder = self.settings.spool.clone().unwrap_or_else(std::env::temp_dir);
        let keeping =
            tokio::task::spawn_blocking(move || Kept::of(stdin().lock(), &folder, "sqep-csv", "csv.spool"));
        let kept = tokio::select! {
            kept = keeping => kept.context("reading standard input was cut off")??,
            () = self.app.stop.cancelled() => return Ok(None),
        };
        self.plan.keep_stdin(kept.path());
        Ok(Some(Some(kept)))
    }

    async fn publish<R: Enrich>(&self, source: &mut CsvSource<R>) -> anyhow::Result<Totals> {
        let (once, stop) = (!self.settings.watch, &self.app.stop);
        self.app.serve(&self.app.config.http).await?;
        let outward = self.app.config.outward(&self.app.meters);
        let totals = outward.publish(source, &self.settings.source, once, stop, |_| {}).await?;
        self.report.say(&format!("stream: {} in {} entries", Counts(&totals), totals.entries));
        Ok(totals)
    }

    async fn rehearse<R: Enrich>(&self, source: &mut CsvSource<R>) -> anyhow::Result<Totals> {
        let dry = dry::run(source, self.app.config.stream.kind, &self.calendar, SAMPLES_MAX).await?;
        self.report.say(&format!("dry run, nothing was published; it would be: {}", Counts(&dry.totals)));
        for (file, line, record) in &dry.samples {
            let place = if *line > 0 { format!("{file}:{line}") } else { file.clone() };
            self.report.say(&format!("  {place} {}", dry::shown(record)?));
        }
        Ok(dry.totals)
    }
}
