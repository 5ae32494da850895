//! `sqep compact`: one file a partition, one row a key. Knows how to ask for it and to report it; must not know how
//! it is done.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use sqep::app::Usage;
use sqep_parquet::{Report, compact_root};
use tracing::info;

use crate::{
    config::Config,
    out::{bytes, count, say},
};

/// Arguments of `sqep compact`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompactArgs {
    /// The archive; the same as `--set parquet.root=DIR`.
    #[arg(value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: sqep::app::Args,
}

pub(crate) async fn run(args: CompactArgs, config: &Config) -> anyhow::Result<()> {
    let mut parquet = config.parquet.clone();
    if let Some(root) = args.root {
        parquet.root = root;
    }
    parquet.validate().map_err(|error| anyhow!(Usage(error.into())))?;
    if !parquet.root.is_dir() {
        bail!(Usage(anyhow!("{} is no folder: name the archive with parquet.root", parquet.root.display())));
    }
    if args.common.check {
        info!("{} is there", parquet.root.display());
        return Ok(());
    }
    let root = parquet.root.clone();
    let report =
        tokio::task::spawn_blocking(move || compact_root(&parquet.root, parquet.compaction())).await??;
    tell(&report)?;
    report.complete().map(drop).with_context(|| format!("not all of {} is compacted", root.display()))
}

fn tell(report: &Report) -> anyhow::Result<()> {
    for done in &report.compacted {
        say(&format!(
            "{}: {} files, {} rows, {} → 1 file, {} rows, {}",
            done.folder.display(),
            count(u64::try_from(done.files)?),
            count(done.rows_before),
            bytes(done.bytes_before),
            count(done.rows_after),
            bytes(done.bytes_after),
        ))?;
    }
    for failed in &report.failed {
        tracing::error!(
            "{}: {}",
            failed.folder.display(),
            anyhow::Chain::new(&failed.error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
        );
    }
    say(&format!(
        "partitions {} = compacted {} + left alone {} + failed {}",
        report.compacted.len() + report.left_alone + report.failed.len(),
        report.compacted.len(),
        report.left_alone,
        report.failed.len(),
    ))?;
    Ok(())
}
