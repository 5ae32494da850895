//! `sqep-tushare`: publishes bars of Tushare Pro. Knows arguments, what is printed and exit codes; everything else is the
//! library's.

use std::{collections::BTreeMap, io::Write, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail};
use chrono::{Days, NaiveDate};
use clap::{Parser, Subcommand};
use sqep::{
    Calendar, DayBar, Kind, MinuteBar, RefDay, Symbol,
    app::{self, App, Args, Usage},
    redis::keys::StreamSettings,
    shanghai,
};
use sqep_tushare::{
    client::{ApiError, Client, Reach, api},
    config::Config,
    desk::Desk,
    gaps::{DayGaps, Gaps},
    job::Feed,
    plan::{self, Dataset, Range, Work},
    source::{Errand, TushareSource},
    tables::{Clock, Tables},
};

/// Days of the gap ledger that are printed; the rest is counted.
const LINES_MAX: usize = 1_000;

/// The longest the exchanges were ever closed, with room to spare.
const CLOSED_DAYS_MAX: u64 = 30;

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
        /// those that know less than before: this brings corrections of the service.
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
        return print_gaps(&job.ledger(job.app.config.stream.kind), all);
    }
    let client = Client::new(job.app.config.tushare.clone(), job.app.stop.clone()).map_err(Usage)?;
    let fetch = &job.app.config.fetch;
    let tables = Tables::new(client, wall_clock(), job.app.config.symbol.alias)
        .read_anew_at([fetch.ref_at, fetch.bars_at]);
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
                if *again { Errand::Anew(self.everything(tables, span).await?) } else { Errand::Span(span) }
            }
            Some(Command::Gaps { .. }) => Errand::Again(self.holes()?),
            None if self.app.args.common.once => {
                Errand::Span(Range { from: self.session_before(today), to: today })
            }
            None => Errand::Daemon,
        };
        self.show_plan(tables, &errand).await?;
        if self.app.args.plan {
            return Ok(());
        }
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
        if self.app.stop.is_cancelled() && !daemon {
            bail!("stopped before the end; run it again for the rest");
        }
        if summary.has_gaps() {
            say("what is missing: sqep-tushare gaps; once more: sqep-tushare gaps --fill");
        }
        if summary.failures() > 0 {
            bail!("questions the service does not take: {}; they are named above", summary.failures());
        }
        if summary.open() > 0 && !daemon {
            bail!("days not complete yet: {}; they are named above: run again later", summary.open());
        }
        Ok(())
    }

    /// The work of a span of which nothing is done yet.
    async fn everything(&self, tables: &Tables, span: Range) -> anyhow::Result<Vec<Work>> {
        let (desk, universe) = (self.desk(tables, self.app.config.stream.kind), tables.universe().await?);
        Ok(desk.plan(&universe, span, &BTreeMap::new(), &BTreeMap::new()))
    }

    /// Days of the ledger that are not whole.
    fn holes(&self) -> anyhow::Result<Vec<Work>> {
        let datasets = [Dataset::Stocks, Dataset::Funds, Dataset::Ref];
        let work = |gaps: &DayGaps| {
            let dataset = datasets.into_iter().find(|dataset| dataset.name() == gaps.dataset)?;
            Some(Work::Day { dataset, day: gaps.day })
        };
        let (kind, ledger) = (self.app.config.stream.kind, self.ledger(self.app.config.stream.kind));
        let days = ledger.all()?;
        let mut works: Vec<Work> = days.iter().filter(|gaps| !gaps.is_whole()).filter_map(work).collect();
        for gaps in ledger.all_codes()? {
            let symbol: Symbol =
                gaps.symbol.parse().with_context(|| format!("gap ledger of {}", gaps.symbol))?;
            let dataset = Dataset::of_code(kind, symbol);
            works.extend(gaps.missing.iter().map(|&day| Work::Range { dataset, symbol, from: day, to: day }));
        }
        Ok(works)
    }

    /// Says what is going to be asked before it is asked.
    async fn show_plan(&self, tables: &Tables, errand: &Errand) -> anyhow::Result<()> {
        let desk = self.desk(tables, self.app.config.stream.kind);
        let works = match errand {
            Errand::Again(works) | Errand::Anew(works) => works.clone(),
            Errand::Span(span) => self.everything(tables, *span).await?,
            Errand::Daemon => {
                self.show_schedule();
                return Ok(());
            }
        };
        let mut calls = plan::calls(&works, &desk.settings, self.cap("stk_limit"));
        calls.retain(|name, _| tables.client().allows(api(name)));
        let listed: Vec<_> = calls.iter().map(|(name, count)| (api(name), *count)).collect();
        let time = tables.client().estimate(&listed);
        say(&format!("plan: {} pieces of work, calls: {}", works.len(), counts(&calls)));
        say(&format!(
            "plan: at least {} under the limits of the account; what is on the stream or in the cache costs no call",
            span(time)
        ));
        Ok(())
    }

    fn show_schedule(&self) {
        let fetch = &self.app.config.fetch;
        let at = |time: chrono::NaiveTime| time.format("%H:%M").to_string();
        say(&format!(
            "schedule, Asia/Shanghai: factors, limits and ST from {}, bars from {}, indices from {}, minutes from {}; again \
             every {} s until a day is complete",
            at(fetch.ref_at),
            at(fetch.bars_at),
            at(fetch.indices_at),
            at(fetch.minutes_at),
            fetch.retry_s
        ));
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

fn print_gaps(ledger: &Gaps, all: bool) -> anyhow::Result<()> {
    let (days, codes) = (ledger.all()?, ledger.all_codes()?);
    let shown = days.iter().filter(|gaps| all || !gaps.is_whole()).map(ToString::to_string);
    let lines: Vec<String> = shown.chain(codes.iter().map(ToString::to_string)).collect();
    for line in lines.iter().take(LINES_MAX) {
        say(line);
    }
    if let Some(more) = lines.len().checked_sub(LINES_MAX).filter(|&more| more > 0) {
        say(&format!("and {more} more"));
    }
    let whole = days.iter().filter(|gaps| gaps.is_whole()).count();
    let missing: usize = days.iter().map(DayGaps::missing).sum();
    say(&format!("days: {} on record, {whole} complete; rows missing: {missing}", days.len()));
    let missing: Vec<usize> = codes.iter().map(|gaps| gaps.missing.len()).filter(|&days| days > 0).collect();
    if !missing.is_empty() {
        say(&format!("codes with days missing: {}, days: {}", missing.len(), missing.iter().sum::<usize>()));
    }
    Ok(())
}

/// A wrong token or a missing permission is a wrong configuration: it does not get better by itself.
fn told(error: anyhow::Error) -> anyhow::Error {
    let Some(api) = error.downcast_ref::<ApiError>() else { return error };
    match api {
        ApiError::Permission { api: name, .. } => {
            let without = match *name {
                "adj_factor" | "fund_adj" => ", or take \"adjust\" out of fetch.join",
                "stk_limit" => ", or take \"limits\" out of fetch.join",
                "stock_st" | "namechange" => ", or take \"st\" out of fetch.join",
                "rt_min" => ", or set fetch.live = false",
                _ => "",
            };
            anyhow!(Usage(anyhow!("{error}; buy it{without}")))
        }
        ApiError::UnknownApi { .. } => anyhow!(Usage(error)),
        api if api.reach() == Reach::Account => anyhow!(Usage(error)),
        _ => error,
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

/// The wall clock of Shanghai.
fn wall_clock() -> Clock {
    Arc::new(|| shanghai::wall(chrono::Utc::now().timestamp_millis()).unwrap_or_default())
}

/// A line on standard output; where nobody listens any more, nobody is told.
fn say(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}").context("standard output"));
}
