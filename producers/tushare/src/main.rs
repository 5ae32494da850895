//! `sqep-tushare`: publishes bars of Tushare Pro. Knows arguments, what is printed and exit codes; everything else is the
//! library's.

use std::{collections::BTreeMap, io::Write, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail};
use chrono::{Days, NaiveDate};
use clap::{Parser, Subcommand};
use sqep::{
    Calendar, DayBar, Kind, MinuteBar, RefDay,
    app::{self, App, Args, Usage},
    kind::NotSent,
    redis::{Server, inspect::Inspector, keys::StreamSettings},
};
use sqep_tushare::{
    client::{ApiError, Client, Reach, api},
    config::Config,
    cost::Cost,
    desk::Desk,
    gaps::Gaps,
    handed::Handed,
    job::Feed,
    lost::Lost,
    plan::{Range, Work},
    shown::Shown,
    source::{Errand, TushareSource},
    summary::Summary,
    tables::Tables,
};

/// Days of the gap ledger that are printed; the rest is counted.
const LINES_MAX: usize = 1_000;

/// The longest the exchanges were ever closed, with room to spare.
const CLOSED_DAYS_MAX: u64 = 30;

/// A daemon looks at its clock at least this often.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// Publishes bars of Tushare Pro to an SQEP stream. Without a command: what is due, for ever, by the schedule of the
/// configuration; with `--once`: yesterday and today.
#[derive(Debug, Parser)]
#[command(name = "sqep-tushare", version, mut_args = |arg: clap::Arg| arg.global(true))]
struct Cli {
    #[command(flatten)]
    common: Args,
    /// Prints what would be asked, how many calls that is and how long they take, and ends.
    #[arg(long)]
    plan: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do instead.
#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Publishes the days of a span that are not done yet, and ends.
    Backfill {
        /// The first day, YYYY-MM-DD.
        #[arg(long)]
        from: NaiveDate,
        /// The last day; by default today.
        #[arg(long)]
        to: Option<NaiveDate>,
        /// Asks for every day of the span again, done or not, and publishes all its rows as a later version, but for
        /// those that know less than before and, of indices and minutes, those without a turnover: this brings
        /// corrections of the service.
        #[arg(long)]
        again: bool,
    },
    /// Prints what was expected of each day, what came, and what is missing why.
    Gaps {
        /// Asks again for the days on which something is missing, and publishes what is new of them. Rows that were
        /// published stay as they are, but for those that know more now; `backfill --again` publishes them all.
        #[arg(long)]
        fill: bool,
        /// Also days that are complete.
        #[arg(long)]
        all: bool,
    },
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
    let job = Job { calendar: app.config.calendar.load().map_err(Usage)?, app };
    job.app.config.fetch.check(job.app.config.stream.kind).map_err(Usage)?;
    if let Some(Command::Gaps { fill: false, all }) = job.app.args.command {
        return job.print_gaps(all).await;
    }
    let client = Client::new(job.app.config.tushare.clone(), job.app.stop.clone()).map_err(Usage)?;
    let fetch = &job.app.config.fetch;
    let tables = Tables::new(client, job.app.config.symbol.alias).read_anew_at([fetch.ref_at, fetch.bars_at]);
    let tables = match job.app.args.command {
        Some(Command::Backfill { to: Some(to), again: false, .. }) => tables.as_of(to),
        _ => tables,
    };
    let done = Box::pin(job.work(&tables)).await;
    let spent = tables.client().spent();
    if !spent.is_empty() {
        say(&format!("calls: {}", counts(&spent)));
    }
    done.map_err(told)
}

/// One run of the program.
struct Job {
    app: App<Cli, Config>,
    calendar: Arc<Calendar>,
}

impl Job {
    async fn work(&self, tables: &Tables) -> anyhow::Result<()> {
        let (config, today) = (&self.app.config, tables.now().date());
        if self.app.args.common.check {
            return self.check(tables).await;
        }
        let errand = match &self.app.args.command {
            Some(Command::Backfill { from, to, again }) => {
                let to = to.unwrap_or(today).min(today);
                if *from > to {
                    bail!(Usage(anyhow!("--from {from} is after --to {to}, or in the future")));
                }
                let span = Range { from: *from, to };
                if *again {
                    Errand::Anew(self.undone(tables, span, &Handed::default()).await?)
                } else {
                    Errand::Span(span)
                }
            }
            Some(Command::Gaps { .. }) => {
                let lost = self.lost().await?;
                let lost = lost.days.into_iter().chain(lost.codes).collect();
                let kind = config.stream.kind;
                let rows_max = self.desk(tables, kind).minute_rows_max;
                Errand::Again { holes: self.ledger(kind).holes(kind, rows_max, &self.calendar)?, lost }
            }
            None if self.app.args.common.once => {
                Errand::Span(Range { from: self.session_before(today), to: today })
            }
            None => Errand::Daemon,
        };
        self.show_plan(tables, &errand).await?;
        if self.app.args.plan {
            return Ok(());
        }
        self.ledger(config.stream.kind).check()?;
        self.app.serve(&config.http).await?;
        match config.stream.kind {
            Kind::BarDay if errand == Errand::Daemon && config.fetch.ref_day => {
                let bars = self.publish::<DayBar>(tables, Kind::BarDay, errand.clone());
                let refs = self.publish::<RefDay>(tables, Kind::RefDay, errand);
                tokio::try_join!(bars, refs).map(drop)
            }
            kind @ Kind::BarDay => self.publish::<DayBar>(tables, kind, errand).await,
            kind @ Kind::RefDay => self.publish::<RefDay>(tables, kind, errand).await,
            kind @ Kind::BarMinute(_) => self.publish::<MinuteBar>(tables, kind, errand).await,
            kind @ (Kind::FeatureDay | Kind::FeatureMinute) => bail!(Usage(NotSent(kind).into())),
        }
    }

    /// Yesterday, or the last session before it.
    fn session_before(&self, today: NaiveDate) -> NaiveDate {
        let before = today - Days::new(1);
        self.calendar.sessions(before - Days::new(CLOSED_DAYS_MAX), before).last().unwrap_or(before)
    }

    fn ledger(&self, kind: Kind) -> Gaps {
        Gaps::new(&self.app.config.fetch.state_dir, &self.app.config.stream.prefix, kind)
    }

    fn desk(&self, tables: &Tables, kind: Kind) -> Desk {
        let config = &self.app.config;
        Desk {
            kind,
            tables: tables.clone(),
            settings: config.fetch.clone(),
            calendar: Arc::clone(&self.calendar),
            gaps: self.ledger(kind),
            minute_rows_max: self.cap("stk_mins").min(self.cap("idx_mins")),
            live_rows_max: self.cap("rt_min"),
            look_max: LOOK_MAX,
        }
    }

    fn cap(&self, name: &str) -> usize {
        self.app.config.tushare.caps.get(name).copied().unwrap_or(api(name).cap)
    }

    async fn publish<R: Feed>(&self, tables: &Tables, kind: Kind, errand: Errand) -> anyhow::Result<()> {
        let (config, daemon) = (&self.app.config, errand == Errand::Daemon);
        let mut source = TushareSource::<R>::new(Arc::new(self.desk(tables, kind)), errand);
        let stream = StreamSettings { kind, ..config.stream.clone() };
        let outward = sqep::app::Outward { stream: &stream, ..config.outward(&self.app.meters) };
        let published =
            outward.publish(&mut source, &config.fetch.source, !daemon, &self.app.stop, |_| {}).await;
        let summary = source.summary();
        say(&format!("{kind}: {summary}"));
        let totals = published?;
        say(&format!(
            "stream: read {} = appended {} + refused {} + skipped {} in {} entries",
            totals.read,
            totals.appended,
            totals.refused(),
            totals.skipped(),
            totals.entries
        ));
        if summary.has_gaps() {
            say("what is missing: sqep-tushare gaps; once more: sqep-tushare gaps --fill");
        }
        if daemon {
            return Ok(());
        }
        if self.app.stop.is_cancelled() {
            bail!("stopped before the end; run it again for the rest");
        }
        is_done(summary)
    }

    /// The work of a span, beside what is done.
    async fn undone(&self, tables: &Tables, span: Range, handed: &Handed) -> anyhow::Result<Vec<Work>> {
        let (desk, universe) = (self.desk(tables, self.app.config.stream.kind), tables.universe().await?);
        Ok(desk.plan(&universe, span, handed))
    }

    /// What is on the stream.
    async fn handed(&self) -> anyhow::Result<Handed> {
        let Config { redis, stream, fetch, .. } = &self.app.config;
        let mut inspector = Inspector::connect(&Server::new(redis).map_err(Usage)?).await?;
        Ok(Handed::read(&inspector.cursors(&stream.prefix, stream.kind, &fetch.source).await?))
    }

    /// What is on the stream without a record in the ledger.
    async fn lost(&self) -> anyhow::Result<Lost> {
        let kind = self.app.config.stream.kind;
        Ok(Lost::new(kind, &self.handed().await?, &self.ledger(kind), &self.calendar))
    }

    /// Says what is going to be asked before it is asked.
    async fn show_plan(&self, tables: &Tables, errand: &Errand) -> anyhow::Result<()> {
        if *errand == Errand::Daemon {
            self.show_schedule();
            return Ok(());
        }
        let handed = self.handed().await.unwrap_or_else(|error| {
            say(&format!("plan: as if nothing was on the stream yet: {error:#}"));
            Handed::default()
        });
        let works = match errand {
            Errand::Span(span) => self.undone(tables, *span, &handed).await?,
            _ => errand.works().unwrap_or_default(),
        };
        let (desk, universe) = (self.desk(tables, self.app.config.stream.kind), tables.universe().await?);
        let cost = Cost { desk: &desk, universe: &universe, handed: &handed, errand };
        let calls = cost.calls(&works);
        let lists: u64 = tables.client().spent().values().sum();
        let listed: Vec<_> = calls.iter().map(|(name, count)| (api(name), *count)).collect();
        let time = tables.client().estimate(&listed);
        say(&format!("plan: {} pieces of work, calls: {}", works.len(), counts(&calls)));
        say(&format!(
            "plan: {} calls, at least {} under the limits of the account; {lists} were made for the lists",
            calls.values().sum::<u64>(),
            span(time)
        ));
        Ok(())
    }

    fn show_schedule(&self) {
        let fetch = &self.app.config.fetch;
        let at = |time: chrono::NaiveTime| time.format("%H:%M").to_string();
        say(&format!(
            "schedule, Asia/Shanghai: factors, limits and ST from {}, bars from {}, indices from {}, minutes from {}; again \
             after {} s, then less often, until a day is complete",
            at(fetch.ref_at),
            at(fetch.bars_at),
            at(fetch.indices_at),
            at(fetch.minutes_at),
            fetch.retry_s
        ));
    }

    /// Prints the ledger by day and by code, and what it has no record of.
    async fn print_gaps(&self, all: bool) -> anyhow::Result<()> {
        let kind = self.app.config.stream.kind;
        let ledger = Shown::new(&self.ledger(kind), &self.calendar)?;
        let lines = ledger.lines(all);
        lines.iter().take(LINES_MAX).for_each(|line| say(line));
        if let Some(more) = lines.len().checked_sub(LINES_MAX).filter(|&more| more > 0) {
            say(&format!("and {more} more"));
        }
        ledger.totals().iter().for_each(|line| say(line));
        match self.lost().await {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => say(&lost.to_string()),
            Err(error) => say(&format!("the ledger was not compared with the stream: {error:#}")),
        }
        Ok(())
    }

    /// Finds what is wrong without writing anything: asks the service once.
    async fn check(&self, tables: &Tables) -> anyhow::Result<()> {
        let config = &self.app.config;
        config.outward(&self.app.meters).check().await?;
        tables.universe().await?;
        say("configuration, token and server are in order");
        Ok(())
    }
}

/// Says what keeps a run from being done.
fn is_done(summary: &Summary) -> anyhow::Result<()> {
    let (failures, refused) = (summary.failures(), summary.refused_whole());
    if failures > 0 {
        bail!("questions the service does not take: {failures}; they are named above");
    }
    if refused > 0 {
        bail!(
            "answers refused as a whole (units_or_adjusted): {refused}; nothing of them is published, `sqep dead list` \
             shows why, and the next run asks again"
        );
    }
    if summary.lost_records() > 0 {
        bail!("the gap ledger could not be written {} times: check fetch.state_dir", summary.lost_records());
    }
    if summary.open() > 0 {
        bail!("days not complete yet: {}; they are named above: run again later", summary.open());
    }
    Ok(())
}

/// A wrong token or a missing permission is a wrong configuration: it does not get better by itself.
fn told(error: anyhow::Error) -> anyhow::Error {
    let Some(api) = error.downcast_ref::<ApiError>() else { return error };
    match api.advice() {
        Some(advice) => anyhow!(Usage(anyhow!("{error}; {advice}"))),
        None if api.is_denied() || api.reach() == Reach::Account => anyhow!(Usage(error)),
        None => error,
    }
}

fn counts(calls: &BTreeMap<&'static str, u64>) -> String {
    let texts: Vec<String> = calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{} s", time.as_secs()),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// A line on standard output; where nobody listens any more, nobody is told.
fn say(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}").context("standard output"));
}
