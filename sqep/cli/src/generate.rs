//! `sqep gen`: a made-up market as CSV files. Knows plans, layouts and files; must not know how the market is made
//! ([`sqep_testkit::market`]) nor how a dialect writes a row.

mod files;
mod sides;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{anyhow, bail};
use chrono::NaiveDate;
use clap::ValueEnum;
use sqep::{
    DayBar, Kind, MinuteBar, Record, RefDay,
    app::Usage,
    kind::{Grid, NotSent},
};
use sqep_testkit::market::{Market, Plan, minutes_of};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::files::{Writer, Written};
pub(crate) use self::{files::Packing, sides::NAMES as SIDE_NAMES};
use crate::{
    config::Config,
    out::{bytes, count, say},
};

/// Which market.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MarketArgs {
    /// Securities: stocks of all boards, funds, indices.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) symbols: usize,
    /// Sessions; by default 750 for days, 5 for minutes.
    #[arg(long, value_name = "N")]
    pub(crate) days: Option<usize>,
    /// The last session, or the day after which there is none.
    #[arg(long, value_name = "DATE", default_value = "2026-06-30")]
    pub(crate) to: NaiveDate,
    /// bar:1d, bar:1m or ref:1d; by default `stream.kind`.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<Kind>,
    /// Everything random comes from it.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
}

impl MarketArgs {
    /// The kind that was asked for, if a market has it.
    pub(crate) fn kind(&self, config: &Config) -> anyhow::Result<Kind> {
        match self.kind.unwrap_or(config.stream.kind) {
            kind @ (Kind::BarDay | Kind::RefDay | Kind::BarMinute(Grid::M1)) => Ok(kind),
            kind => bail!(Usage(anyhow!("{kind} is not generated: choose bar:1d, bar:1m or ref:1d"))),
        }
    }

    /// The market that was asked for.
    pub(crate) fn market(&self, kind: Kind, config: &Config) -> anyhow::Result<Market> {
        let days = self.days.unwrap_or(if matches!(kind, Kind::BarMinute(_)) { 5 } else { 750 });
        let plan = Plan { seed: self.seed, symbols: self.symbols, days, to: self.to };
        let calendar = config.calendar.load()?;
        Market::new(&plan, &calendar).map_err(|error| anyhow!(Usage(error.into())))
    }
}

/// Arguments of `sqep gen`.
#[derive(Debug, clap::Args)]
pub(crate) struct GenArgs {
    #[command(flatten)]
    market: MarketArgs,
    /// How rows are written: any dialect that can be, such as sqep, tushare, baostock, qmt, or the path of one's own.
    #[arg(long, value_name = "NAME", default_value = "sqep")]
    dialect: String,
    /// How rows are spread over files.
    #[arg(long, value_enum, default_value_t = Layout::Symbol)]
    layout: Layout,
    /// Where the files go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Packs every file with gzip.
    #[arg(long, conflicts_with = "zstd")]
    gzip: bool,
    /// Packs every file with zstd.
    #[arg(long)]
    zstd: bool,
    /// Also factors, limits and special treatment in Tushare's shape, beside the bars: `DIR.sides/adj_factor.csv`,
    /// `stk_limit.csv`, `stock_st.csv`.
    #[arg(long)]
    sides: bool,
    /// Also so many rows as a vendor corrects them later: `DIR.late/`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    corrections: usize,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

/// How rows are spread over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// A file a security.
    Symbol,
    /// A file a session, with all securities.
    Day,
    /// One file.
    Single,
}

/// What is to be written.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) market: Market,
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) dialect: String,
    pub(crate) layout: Layout,
    pub(crate) packing: Packing,
    pub(crate) out: PathBuf,
    pub(crate) sides: bool,
    pub(crate) corrections: usize,
}

/// Where the side files of a folder are.
pub(crate) fn sides_of(out: &Path) -> PathBuf {
    beside(out, "sides")
}

/// Where the corrections of a folder are.
fn late_of(out: &Path) -> PathBuf {
    beside(out, "late")
}

/// Beside the folder, not in it: whoever reads the folder must not meet them.
fn beside(out: &Path, what: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    PathBuf::from(name)
}

pub(crate) async fn run(args: GenArgs, config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    let kind = args.market.kind(config)?;
    let order = Order {
        market: args.market.market(kind, config)?,
        seed: args.market.seed,
        kind,
        dialect: args.dialect,
        layout: args.layout,
        packing: match (args.gzip, args.zstd) {
            (true, _) => Packing::Gzip,
            (_, true) => Packing::Zstd,
            _ => Packing::Plain,
        },
        out: args.out,
        sides: args.sides,
        corrections: args.corrections,
    };
    if args.common.check {
        order.writer(order.out.clone())?;
        info!(
            "{} securities × {} sessions can be written",
            order.market.securities().len(),
            order.market.sessions().len()
        );
        return Ok(());
    }
    let (start, stop, out) = (Instant::now(), stop.clone(), order.out.clone());
    let written = tokio::task::spawn_blocking(move || order.write(&stop)).await??;
    say(&format!(
        "{} rows of {kind} in {} files, {}, {:.1} s: {}",
        count(written.rows),
        count(written.files),
        bytes(written.bytes),
        start.elapsed().as_secs_f64(),
        out.display(),
    ))?;
    Ok(())
}

impl Order {
    /// Writes everything, each file under its name only when it is whole.
    pub(crate) fn write(&self, stop: &CancellationToken) -> anyhow::Result<Written> {
        if self.sides {
            sides::write(&self.market, &sides_of(&self.out), stop)?;
        }
        match self.kind {
            Kind::BarDay => self.rows(stop, |_, bar| bar.into_iter().collect::<Vec<DayBar>>()),
            Kind::RefDay => self.rows(stop, |reference, _| vec![reference]),
            Kind::BarMinute(_) => self.rows(stop, |_, bar| self.minutes(bar)),
            kind @ (Kind::FeatureDay | Kind::FeatureMinute) => bail!(Usage(NotSent(kind).into())),
        }
    }

    fn minutes(&self, bar: Option<DayBar>) -> Vec<MinuteBar> {
        bar.map(|bar| minutes_of(self.seed, &bar)).unwrap_or_default()
    }

    fn writer(&self, folder: PathBuf) -> anyhow::Result<Writer> {
        Writer::new(folder, &self.dialect, self.kind, self.packing).map_err(|error| anyhow!(Usage(error)))
    }

    fn rows<R: Record>(
        &self,
        stop: &CancellationToken,
        of: impl Fn(RefDay, Option<DayBar>) -> Vec<R>,
    ) -> anyhow::Result<Written> {
        let mut writer = self.writer(self.out.clone())?;
        if self.layout != Layout::Symbol || self.corrections > 0 {
            writer.holds_many().map_err(|error| anyhow!(Usage(error)))?;
        }
        match self.layout {
            Layout::Symbol => self.by_symbol(&mut writer, stop, &of)?,
            Layout::Day => self.by_day(&mut writer, stop, &of)?,
            Layout::Single => self.single(&mut writer, stop, &of)?,
        }
        if self.corrections > 0 {
            self.late(&of)?;
        }
        Ok(writer.written())
    }

    fn by_symbol<R: Record>(
        &self,
        writer: &mut Writer,
        stop: &CancellationToken,
        of: &impl Fn(RefDay, Option<DayBar>) -> Vec<R>,
    ) -> anyhow::Result<()> {
        for security in self.market.securities() {
            go_on(stop)?;
            let rows: Vec<R> =
                self.market.history(security.symbol).flat_map(|day| of(day.reference, day.bar)).collect();
            if !rows.is_empty() {
                writer.symbol_file(security.symbol, &rows)?;
            }
        }
        Ok(())
    }

    fn by_day<R: Record>(
        &self,
        writer: &mut Writer,
        stop: &CancellationToken,
        of: &impl Fn(RefDay, Option<DayBar>) -> Vec<R>,
    ) -> anyhow::Result<()> {
        for (date, days) in self.market.by_session() {
            go_on(stop)?;
            let rows: Vec<R> = days.iter().flat_map(|day| of(day.reference, day.bar)).collect();
            writer.file(&date.format("%Y%m%d.csv").to_string(), None, |file| file.rows(&rows))?;
        }
        Ok(())
    }

    fn single<R: Record>(
        &self,
        writer: &mut Writer,
        stop: &CancellationToken,
        of: &impl Fn(RefDay, Option<DayBar>) -> Vec<R>,
    ) -> anyhow::Result<()> {
        writer.file(&format!("{}.csv", self.kind.table()), None, |file| {
            for security in self.market.securities() {
                go_on(stop)?;
                let rows: Vec<R> =
                    self.market.history(security.symbol).flat_map(|day| of(day.reference, day.bar)).collect();
                file.rows(&rows)?;
            }
            Ok(())
        })
    }

    /// Corrected rows, in one file of their own.
    fn late<R: Record>(&self, of: &impl Fn(RefDay, Option<DayBar>) -> Vec<R>) -> anyhow::Result<()> {
        let mut writer = self.writer(late_of(&self.out))?;
        let corrections = self.market.corrections(self.corrections);
        writer.file("corrections.csv", None, |file| {
            for &bar in &corrections {
                let DayBar { symbol, frame, adjust, st, buy_limit, sell_limit, .. } = bar;
                let reference = RefDay { symbol, frame, adjust, st, buy_limit, sell_limit };
                file.rows(&of(reference, Some(bar)))?;
            }
            Ok(())
        })
    }
}

/// Ends the work between two files when a stop was asked for.
fn go_on(stop: &CancellationToken) -> anyhow::Result<()> {
    if stop.is_cancelled() {
        bail!("stopped; the files so far are whole");
    }
    Ok(())
}
