//! The sink under the suite that every sink must pass, and the example configuration.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sqep::{
    Batch, DayBar, EntryId, Kind, Record, Sink,
    codec::{Encoding, decode},
};
use sqep_testkit::suite::sink::{self, Held, Rig};
use tempfile::TempDir;

use sqep_{{ident}}::{config::StoreSettings, sink::JsonLines};

/// Files that can be unmounted.
struct Store {
    folder: TempDir,
}

impl Store {
    fn new() -> anyhow::Result<Store> {
        Ok(Store { folder: tempfile::tempdir()? })
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root().join("bar_1d")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Rig for Store {
    type Sink = JsonLines<DayBar>;

    async fn open(&mut self) -> anyhow::Result<Self::Sink> {
        JsonLines::open(&StoreSettings { root: self.root(), ..StoreSettings::default() }, Kind::BarDay)
    }

    /// What a reader sees that knows the rule: of each key the line with the highest version.
    async fn held(&mut self) -> anyhow::Result<Held> {
        let mut held = Held::new();
        for file in self.files() {
            if file.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            let text = fs::read_to_string(file)?;
            let lines = text.lines().collect::<Vec<_>>().join(",");
            let rows = decode::<DayBar>(Encoding::Json, format!("[{lines}]").as_bytes())?;
            for (record, version) in rows.records.into_iter().zip(rows.versions.unwrap_or_default()) {
                let best = held.entry(record.key()).or_insert((version, record));
                if version > best.0 {
                    *best = (version, record);
                }
            }
        }
        Ok(held)
    }

    async fn take_down(&mut self) -> anyhow::Result<()> {
        Ok(fs::rename(self.root(), self.folder.path().join("aside"))?)
    }

    async fn bring_back(&mut self) -> anyhow::Result<()> {
        Ok(fs::rename(self.folder.path().join("aside"), self.root())?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_keep_every_promise_of_a_sink() -> anyhow::Result<()> {
    sink::sink(|| async { Store::new() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_is_cleared_away_by_its_successor_alone() -> anyhow::Result<()> {
    let mut store = Store::new()?;
    let mut sink = store.open().await?;
    let folder = store.root().join("bar_1d");
    for name in ["p0_1-0_2-0_ab.jsonl.cd.tmp", "mark-0.json.cd.tmp", "p1_1-0_2-0_ab.jsonl.cd.tmp"] {
        fs::write(folder.join(name), "{")?;
    }
    assert_eq!(sink.mark(0).await?, None);
    assert_eq!(store.files(), [folder.join("p1_1-0_2-0_ab.jsonl.cd.tmp")]);
    let (first, last) = (EntryId::new(1, 0), EntryId::new(2, 0));
    sink.write(&Batch { partition: 0, first, last, rows: &[], sources: &[] }).await?;
    assert_eq!(store.held().await?, Held::new(), "nobody takes a draft for a file");
    Ok(())
}

#[test]
fn the_example_configuration_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sqep-{{name}}.toml");
    let mut program = Command::new(env!("CARGO_BIN_EXE_sqep-{{name}}"));
    let loaded = program.arg("--config").arg(path).arg("--print-config").output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
}
