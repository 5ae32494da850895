//! The archive under the suite that every sink must pass.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{fs, path::PathBuf};

use sqep::{DayBar, Kind};
use sqep_parquet::ParquetSink;
use sqep_testkit::suite::sink::{self, Held, Rig};
use tempfile::TempDir;

/// An archive that can be unmounted.
struct Archive {
    folder: TempDir,
    compacted: bool,
}

impl Archive {
    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn aside(&self) -> PathBuf {
        self.folder.path().join("aside")
    }
}

impl Rig for Archive {
    type Sink = ParquetSink<DayBar>;

    async fn open(&mut self) -> anyhow::Result<Self::Sink> {
        Ok(sqep_parquet::open(crate::common::config(&self.root()), Kind::BarDay)?)
    }

    async fn held(&mut self) -> anyhow::Result<Held> {
        if self.compacted {
            sqep_parquet::compact_root(&self.root(), sqep_parquet::Options::default())?.complete()?;
        }
        Ok(crate::common::best::<DayBar>(&self.root(), Kind::BarDay))
    }

    async fn take_down(&mut self) -> anyhow::Result<()> {
        Ok(fs::rename(self.root(), self.aside())?)
    }

    async fn bring_back(&mut self) -> anyhow::Result<()> {
        Ok(fs::rename(self.aside(), self.root())?)
    }
}

#[tokio::test]
async fn the_archive_keeps_every_promise_of_a_sink() -> anyhow::Result<()> {
    sink::sink(|| async { Ok(Archive { folder: tempfile::tempdir()?, compacted: false }) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_keeps_them_when_it_is_compacted_in_between() -> anyhow::Result<()> {
    sink::sink(|| async { Ok(Archive { folder: tempfile::tempdir()?, compacted: true }) }).await
}
