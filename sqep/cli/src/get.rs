//! `sqep get`: bars out of the archive. Knows what may be asked for and in which order it comes; must not know where rows
//! lie ([`sqep_archive`]), what a price is multiplied with ([`adjust`]) nor how a row is written ([`show`]).

mod adjust;
pub(crate) mod ask;
mod show;

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use sqep::{DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, Record, RefDay, Symbol, app::Usage};
use sqep_archive::{Filter, Reader, Symbols};
use tracing::warn;

use self::{
    adjust::{Adjust, Factors},
    ask::{Span, Wanted, wanted},
    show::{Format, Show},
};
use crate::config::Config;

/// Arguments of `sqep get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// Securities in any spelling (000001.SZ, sh600000, 600000.XSHG) or whole exchanges (SH, SZ, BJ); none: all, if days
    /// are named. Named one by one they come one after the other, each in the order of time; an exchange or all come by
    /// year (minutes: by day), in it by security, then by time.
    #[arg(value_name = "SYMBOL")]
    symbols: Vec<String>,
    #[command(flatten)]
    span: Span,
    /// bar:1d, bar:1m, ref:1d and so on; by default `stream.kind`.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// none: as traded. hfq: times the factor of the day. qfq: that, over the last factor known within the asked days.
    /// Prices and limits are adjusted, volume and turnover never; without a factor a price is empty. Minutes take the
    /// factors of bar:1d and ref:1d of the same archive.
    #[arg(long, value_enum, default_value_t)]
    adjust: Adjust,
    /// The archive; the same as `--set parquet.root=DIR`.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// How rows are written. csv is what the dialect `sqep` reads, json one object a line, arrow an IPC stream.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

pub(crate) async fn run(args: GetArgs, config: &Config) -> anyhow::Result<()> {
    let kind = args.kind.unwrap_or(config.stream.kind);
    let root = args.archive.clone().unwrap_or_else(|| config.parquet.root.clone());
    if root.as_os_str().is_empty() {
        bail!(Usage(anyhow!("no archive is named: give --archive DIR or parquet.root")));
    }
    tokio::task::spawn_blocking(move || match kind {
        Kind::BarDay => get::<DayBar>(&args, kind, &root),
        Kind::BarMinute(_) => get::<MinuteBar>(&args, kind, &root),
        Kind::RefDay => get::<RefDay>(&args, kind, &root),
        Kind::FeatureDay => get::<DayFeature>(&args, kind, &root),
        Kind::FeatureMinute => get::<MinuteFeature>(&args, kind, &root),
    })
    .await?
}

fn get<R: Record>(args: &GetArgs, kind: Kind, root: &Path) -> anyhow::Result<()> {
    let wanted = wanted(&args.symbols).map_err(|error| anyhow!(Usage(error)))?;
    args.span.validate().map_err(|error| anyhow!(Usage(error)))?;
    if wanted.is_all() && args.span.is_open() {
        let what =
            "neither securities nor days are named: add SYMBOL, an exchange (SH SZ BJ), --on, --from or --to";
        bail!(Usage(anyhow!(what)));
    }
    if args.common.check {
        Reader::<R>::open(root, kind, Filter::default())?;
        return Ok(());
    }
    let mut pass = Pass { args, kind, root, show: Show::new::<R>(args.format, args.adjust)?, unadjusted: 0 };
    let done = pass.all::<R>(&wanted);
    if pass.show.nobody_reads() {
        return Ok(());
    }
    done?;
    pass.show.end::<R>()?;
    if pass.unadjusted > 0 {
        let rows = pass.unadjusted;
        warn!(
            "{rows} rows have no factor: their prices are empty; publish adj_factor of these days, or ask for raw prices"
        );
    }
    Ok(())
}

/// One command at work.
struct Pass<'a> {
    args: &'a GetArgs,
    kind: Kind,
    root: &'a Path,
    show: Show,
    unadjusted: u64,
}

impl Pass<'_> {
    fn all<R: Record>(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        for &symbol in &wanted.symbols {
            let rows = self.some::<R>([symbol].into_iter().collect())?;
            if rows == 0 {
                self.nothing_of(symbol);
            }
        }
        if let Some(symbols) = wanted.ranges() {
            self.some::<R>(symbols)?;
        }
        Ok(())
    }

    /// Shows the rows of these securities; says how many there were.
    fn some<R: Record>(&mut self, symbols: Symbols) -> anyhow::Result<u64> {
        let filter = self.args.span.filter(symbols);
        let factors = Factors::of::<R>(self.root, self.kind, &filter, self.args.adjust)?;
        let mut reader = Reader::<R>::open(self.root, self.kind, filter)?;
        let mut rows = 0;
        while let Some(block) = reader.next()? {
            rows += u64::try_from(block.rows.len())?;
            self.unadjusted += self.show.rows(&block.rows, &factors)?;
        }
        Ok(rows)
    }

    fn nothing_of(&self, symbol: Symbol) {
        warn!("no {} of {symbol}{} in {}", self.kind, self.args.span, self.root.display());
    }
}
