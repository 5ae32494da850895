//! `sqep audit`: whether an archive holds what it should. Knows what is compared with what and how it is told; must not know
//! how either side is read ([`against`]) nor how keys meet ([`compare`]).
//!
//! Of both sides the row that wins its key counts: of the archive that of the highest version, of a stream too, of files
//! the last one in the order in which they are published. A row's hash covers its key and every field, not its version
//! nor its source; a day's hash is the sum of its rows' hashes, whatever their order.

mod against;
mod compare;
pub(crate) mod settings;
mod spool;
mod tell;

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use sqep::{DayBar, DayFeature, Kind, MinuteBar, MinuteFeature, RefDay, app::Usage};
use sqep_archive::{Filter, Reader, any_narrow};

use self::{
    against::{Against, Audited},
    compare::{Compare, Extra},
    spool::Spool,
};
use crate::{
    config::Config,
    get::ask::{Span, wanted},
};

/// Arguments of `sqep audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// The archive; the same as `--set parquet.root=DIR`.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// Files, folders or patterns as sqep-csv takes them, read as its configuration says; or the word stream: what the
    /// stream holds, and of the archive only the keys that it holds.
    #[arg(long, value_name = "FILES|stream", num_args = 1.., required = true)]
    against: Vec<String>,
    /// bar:1d, bar:1m, ref:1d and so on; by default `stream.kind`.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// The dialect of the files; the same as `--set csv.dialect=NAME`.
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,
    /// Only these securities, or exchanges, on both sides; repeatable.
    #[arg(long, value_name = "SYMBOL")]
    symbols: Vec<String>,
    #[command(flatten)]
    span: Span,
    /// Days and keys that differ are shown up to so many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    show: usize,
    /// One JSON object, with every day, instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

pub(crate) async fn run(args: AuditArgs, config: &Config) -> anyhow::Result<()> {
    match args.kind.unwrap_or(config.stream.kind) {
        Kind::BarDay => audit::<DayBar>(args, config, Kind::BarDay).await,
        kind @ Kind::BarMinute(_) => audit::<MinuteBar>(args, config, kind).await,
        Kind::RefDay => audit::<RefDay>(args, config, Kind::RefDay).await,
        kind @ Kind::FeatureDay => audit::<DayFeature>(args, config, kind).await,
        kind @ Kind::FeatureMinute => audit::<MinuteFeature>(args, config, kind).await,
    }
}

async fn audit<R: Audited>(args: AuditArgs, config: &Config, kind: Kind) -> anyhow::Result<()> {
    let root = args.archive.clone().unwrap_or_else(|| config.parquet.root.clone());
    if root.as_os_str().is_empty() {
        bail!(Usage(anyhow!("no archive is named: give --archive DIR or parquet.root")));
    }
    let symbols = wanted(&args.symbols).map_err(|error| anyhow!(Usage(error)))?.together();
    args.span.validate().map_err(|error| anyhow!(Usage(error)))?;
    let filter = args.span.filter(symbols);
    let against = Against::of(&args.against, args.dialect.as_deref(), config, kind)?;
    Reader::<R>::open(&root, kind, Filter::default())?;
    if kind.is_feature() && any_narrow(&root, kind)? {
        let why = "keeps them in 32 bits, which nothing equals bit by bit: sqep-features verify knows how to compare";
        bail!(Usage(anyhow!("{} of {kind} {why}", root.display())));
    }
    if args.common.check {
        return against.check().await;
    }
    let mut spool = Spool::new(config.audit.spool.as_deref(), config.audit.keys_max)?;
    let read = against.each::<R>(&filter, |record, order| spool.add(record, order)).await?;
    let extra = if against.is_stream() { Extra::Ignored } else { Extra::Differs };
    let reader = Reader::<R>::open(&root, kind, filter)?;
    let show = args.show;
    let compare = move || Compare::new(extra, show).run(reader, spool);
    let mut found = tokio::task::spawn_blocking(compare).await??;
    if !found.differences.is_empty() {
        against.explain::<R>(&root, &mut found.differences).await?;
    }
    tell::tell(&tell::Audit { kind, root: &root, against: against.name(), read, found: &found }, &args)?;
    match found.wrong() {
        0 => Ok(()),
        wrong => bail!("{} and {} differ in {wrong} keys", root.display(), against.name()),
    }
}
