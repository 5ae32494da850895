//! `sqep-qmt`: publishes bars of QMT. Knows arguments, what is printed and exit codes; everything else is the library's.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use chrono::NaiveDateTime;
use clap::Parser;
use sqep::{
    DayBar, Kind, MinuteBar, Source, Totals,
    app::{self, App, Args, Kept, Outward, Usage},
    redis::keys::StreamSettings,
};
use sqep_qmt::{
    bar::Bar,
    clock::Clock,
    config::{Config, SourceChoice},
    desk::Desk,
    folder::{FolderPlan, FolderSource},
    listen::listen,
    live::{LivePlan, LiveSource},
    recording::{RecordingPlan, RecordingSource},
    secret::Token,
    session::Door,
    shelf::ShelfSource,
    tls,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Publishes bars of QMT to an SQEP stream: from an agent beside QMT, or from the files that QMT or TDX keep.
#[derive(Debug, Parser)]
#[command(name = "sqep-qmt", version)]
struct Cli {
    #[command(flatten)]
    common: Args,
    /// Pretends that it is this time in Shanghai, such as 2025-01-02T09:25:00: to rehearse a session with a recording or a
    /// stand-in for QMT.
    #[arg(long, value_name = "TIME")]
    rehearse: Option<NaiveDateTime>,
    /// How many times as fast the time of a rehearsal runs.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "rehearse")]
    speed: u32,
    /// Folders, files, or - for standard input; added to qmt.paths.
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

async fn run(mut app: App<Cli, Config>) -> anyhow::Result<()> {
    app.config.qmt.paths.append(&mut app.args.paths);
    app.config.qmt.check(app.config.stream.kind).map_err(Usage)?;
    let job = Job { app };
    match job.app.config.stream.kind {
        Kind::BarDay => job.run::<DayBar>().await,
        _ => job.run::<MinuteBar>().await,
    }
}

/// One run of the program.
struct Job {
    app: App<Cli, Config>,
}

impl Job {
    async fn run<R: Bar>(&self) -> anyhow::Result<()> {
        if self.app.args.common.check {
            return self.check().await;
        }
        match self.app.config.qmt.source {
            SourceChoice::Dat | SourceChoice::Tdx => self.folder::<R>().await,
            SourceChoice::Recording => self.recording::<R>().await,
            SourceChoice::Agent => Box::pin(self.agent::<R>()).await,
        }
    }

    fn clock(&self) -> Clock {
        let args = &self.app.args;
        args.rehearse.map_or_else(Clock::system, |start| Clock::rehearsal(start, args.speed))
    }

    async fn folder<R: Bar>(&self) -> anyhow::Result<()> {
        let (config, once) = (&self.app.config, self.app.args.common.once);
        let plan = FolderPlan::new(&config.qmt, config.symbol.alias, config.stream.kind, once, self.clock());
        let Some(plan) = plan.map_err(Usage)? else { return Ok(()) };
        let mut source = FolderSource::<R>::new(plan);
        self.publish(&mut source).await?;
        let summary = source.summary();
        say(&format!(
            "files: {} published, {} unchanged, {} refused whole, {} not read, {} passed over (bonds, B shares and others); \
             {} rows held back, which were not over when their file was written",
            summary.files,
            summary.unchanged,
            summary.refused,
            summary.failed,
            summary.passed_over,
            summary.held
        ));
        if summary.refused + summary.failed > 0 {
            bail!("files refused: {}, not read: {}; they are named above", summary.refused, summary.failed);
        }
        Ok(())
    }

    async fn agent<R: Bar>(&self) -> anyhow::Result<()> {
        let config = &self.app.config;
        let (door, tls) = door(config)?;
        let listener = TcpListener::bind(&config.agent.listen)
            .await
            .with_context(|| format!("cannot listen at agent.listen {}", config.agent.listen))?;
        say(&format!("listening for agents at {}", listener.local_addr()?));
        let stop = self.app.stop.clone();
        let plan = LivePlan {
            settings: config.qmt.clone(),
            agent: config.agent.clone(),
            alias: config.symbol.alias,
            kind: config.stream.kind,
            calendar: config.calendar.load().map_err(Usage)?,
            once: self.app.args.common.once,
            clock: self.clock(),
            meters: self.app.meters.clone(),
            desk: config.qmt.day_bars.then(|| Desk::new(config.qmt.ref_at, config.symbol.alias)),
        };
        let days = plan.desk.as_ref().map(|desk| (desk.refs.clone(), desk.bars.clone()));
        let events = listen(listener, door, config.agent.clone(), tls, stop);
        let mut minutes = LiveSource::<R>::new(plan, events).map_err(Usage)?;
        let minutes = async move {
            self.publish(&mut minutes).await?;
            anyhow::Ok(minutes.complete())
        };
        let Some((refs, bars)) = days else { return minutes.await? };
        let (mut refs, mut bars) = (ShelfSource::new(refs), ShelfSource::new(bars));
        let refs = self.publish_kind(&mut refs, Kind::RefDay);
        let bars = self.publish_kind(&mut bars, Kind::BarDay);
        // What is missing of the minutes keeps no day from its end.
        let (complete, ..) = tokio::try_join!(minutes, refs, bars)?;
        complete
    }

    async fn recording<R: Bar>(&self) -> anyhow::Result<()> {
        let (config, once) = (&self.app.config, self.app.args.common.once);
        let Some((paths, kept)) = self.kept().await? else { return Ok(()) };
        let plan = RecordingPlan {
            paths,
            passing: kept.as_ref().map(|kept| kept.path().to_owned()),
            settings: config.qmt.clone(),
            alias: config.symbol.alias,
            kind: config.stream.kind,
            line_bytes_max: config.agent.line_bytes_max,
            rescan: Duration::from_secs(config.qmt.rescan_s),
            once,
        };
        self.publish(&mut RecordingSource::<R>::new(plan).map_err(Usage)?).await.map(drop)
    }

    /// The paths, with standard input kept in a file that goes away with it. `None`: stopped meanwhile.
    async fn kept(&self) -> anyhow::Result<Option<(Vec<PathBuf>, Option<Kept>)>> {
        let paths = &self.app.config.qmt.paths;
        let named = paths.iter().filter(|path| *path != "-").map(PathBuf::from);
        if !paths.iter().any(|path| path == "-") {
            return Ok(Some((named.collect(), None)));
        }
        let keep = || Kept::of(std::io::stdin().lock(), &std::env::temp_dir(), "sqep-qmt", "TMPDIR");
        let kept = tokio::select! {
            kept = tokio::task::spawn_blocking(keep) => kept.context("reading standard input was cut off")??,
            () = self.app.stop.cancelled() => return Ok(None),
        };
        Ok(Some((named.chain([kept.path().to_owned()]).collect(), Some(kept))))
    }

    /// Finds what is wrong without writing anything.
    async fn check(&self) -> anyhow::Result<()> {
        let config = &self.app.config;
        if config.qmt.source == SourceChoice::Agent {
            door(config)?;
        }
        config.outward(&self.app.meters).check().await?;
        say("configuration and server are in order");
        Ok(())
    }

    async fn publish<S: Source>(&self, source: &mut S) -> anyhow::Result<Totals> {
        self.app.serve(&self.app.config.http).await?;
        self.publish_kind(source, self.app.config.stream.kind).await
    }

    async fn publish_kind<S: Source>(&self, source: &mut S, kind: Kind) -> anyhow::Result<Totals> {
        let (config, once) = (&self.app.config, self.app.args.common.once);
        let stream = StreamSettings { kind, ..config.stream.clone() };
        let outward = Outward { stream: &stream, ..config.outward(&self.app.meters) };
        let totals = outward.publish(source, &config.qmt.name, once, &self.app.stop, |_| {}).await?;
        let name = if kind == config.stream.kind { "stream".to_owned() } else { kind.to_string() };
        say(&format!(
            "{name}: read {} = appended {} + refused {} + skipped {} in {} entries",
            totals.read,
            totals.appended,
            totals.refused(),
            totals.skipped(),
            totals.entries
        ));
        if self.app.stop.is_cancelled() && once {
            bail!("stopped before the end; run it again for the rest");
        }
        Ok(totals)
    }
}

/// Who is let in, and by which certificate.
fn door(config: &Config) -> anyhow::Result<(Door, Option<TlsAcceptor>)> {
    let token = Token::find(&config.agent.token, config.agent.token_file.as_deref()).map_err(Usage)?;
    let tls = tls::acceptor(&config.agent).map_err(Usage)?;
    Ok((Door { token, unit: config.qmt.vol_unit }, tls))
}

/// A line on standard output; where nobody listens any more, nobody is told.
fn say(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}").context("standard output"));
}
