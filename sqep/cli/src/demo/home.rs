//! The folder of a demo: what lies where, that only one demo works in it, and that what an earlier one left running is
//! ended first. Must not know what the programs do.
//!
//! ```text
//! OUT/archive/          the Parquet archive: what the demo is for
//! OUT/csv/PLAN/         the generated files
//! OUT/state/redis/      the private server's append-only file, log and socket
//! OUT/state/*.log       what the programs said
//! ```

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};

/// How long a process that was left behind may take to end.
const END_MAX: Duration = Duration::from_secs(20);

/// A demo's folder, held for as long as this lives.
#[derive(Debug)]
pub(super) struct Home {
    out: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the folder and takes it.
    pub(super) fn take(out: &Path) -> anyhow::Result<Home> {
        let state = out.join("state");
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let out = out.canonicalize().with_context(|| format!("cannot find {}", out.display()))?;
        let path = out.join("state").join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "another demo is at work in {}: wait for it, or choose another folder with --out",
                out.display()
            );
        }
        Ok(Home { out, _lock: lock })
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    pub(super) fn archive(&self) -> PathBuf {
        self.out.join("archive")
    }

    pub(super) fn csv(&self, plan: &str) -> PathBuf {
        self.out.join("csv").join(plan)
    }

    /// The folder the programs work in.
    pub(super) fn state(&self) -> PathBuf {
        self.out.join("state")
    }

    pub(super) fn redis(&self) -> PathBuf {
        self.state().join("redis")
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.state().join(format!("{program}.log"))
    }

    /// Ends what an earlier demo left running: a server kept on purpose, or everything after a kill that could not be
    /// caught. The server goes last, as in a stop.
    pub(super) async fn end_leftovers(&self) -> anyhow::Result<()> {
        end(|name| name.starts_with("sqep-") || name.starts_with("python"), &self.state()).await?;
        end(|name| ["redis-server", "valkey-server"].contains(&name), &self.redis()).await
    }
}

/// Asks processes to end, and waits until they have.
async fn end(ours: impl Fn(&str) -> bool, folder: &Path) -> anyhow::Result<()> {
    for pid in at_work(&ours, folder) {
        tracing::info!("ending process {} of an earlier demo", pid.as_raw_nonzero());
        // It may end by itself at this moment.
        if let Err(error) = kill_process(pid, Signal::TERM) {
            tracing::debug!(%error, "it could not be asked to end");
        }
    }
    let since = Instant::now();
    while let Some(pid) = at_work(&ours, folder).first() {
        if since.elapsed() > END_MAX {
            bail!("process {} of an earlier demo in {} does not end", pid.as_raw_nonzero(), folder.display());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Processes that go by such a name and work in this folder: nobody but a demo's programs does.
fn at_work(ours: impl Fn(&str) -> bool, folder: &Path) -> Vec<Pid> {
    let found = |process: &Path| {
        let name = fs::read_to_string(process.join("comm")).ok()?;
        let here = fs::read_link(process.join("cwd")).ok()? == folder;
        let number = process.file_name()?.to_str()?.parse().ok()?;
        Pid::from_raw(number).filter(|_| here && ours(name.trim()))
    };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes.filter_map(|process| found(&process.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_demo_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Home::take(folder.path()).unwrap();
        let error = Home::take(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("another demo is at work in"), "{error}");
        drop(first);
        Home::take(folder.path()).unwrap();
    }

    #[test]
    fn only_processes_of_that_name_in_that_folder_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let here = std::env::current_dir().unwrap();
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let this = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(at_work(|found| found == name.trim(), &here).contains(&this));
        assert!(!at_work(|found| found == "redis-server", &here).contains(&this), "another name");
        assert_eq!(at_work(|found| found == name.trim(), folder.path()), [], "another folder");
    }
}
