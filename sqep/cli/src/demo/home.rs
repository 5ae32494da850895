//! The folder of a demo: what lies where, that only one demo works in it, and that what an earlier one left running is
//! ended first. Must not know what the programs do.
//!
//! ```text
//! OUT/archive/          the Parquet archive: what the demo is for
//! OUT/csv/PLAN/         the generated files
//! OUT/state/redis/      the private server's append-only file, log and socket
//! OUT/state/*.log, *.pid what the programs said, and their process numbers
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
/// The name of the private server's process file, in its own folder.
pub(super) const PID_FILE: &str = "redis.pid";

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

    pub(super) fn pid_file(&self, program: &str) -> PathBuf {
        self.state().join(format!("{program}.pid"))
    }

    /// Ends what an earlier demo left running: a server kept on purpose, or everything after a kill that could not be
    /// caught. The server goes last, as in a stop.
    pub(super) async fn end_leftovers(&self) -> anyhow::Result<()> {
        let state = self.state();
        for name in ["sqep-csv", "sqep-parquet"] {
            end(name, || process(&self.pid_file(name), &[name], &state)).await?;
        }
        let redis = self.redis();
        end("redis", || process(&redis.join(PID_FILE), &["redis-server", "valkey-server"], &redis)).await
    }
}

/// Asks a process to end, as long as it is there, and waits until it is not.
async fn end(name: &str, find: impl Fn() -> Option<Pid>) -> anyhow::Result<()> {
    let Some(pid) = find() else { return Ok(()) };
    let number = pid.as_raw_nonzero();
    tracing::info!("ending {name} of an earlier demo (process {number})");
    kill_process(pid, Signal::TERM).with_context(|| format!("cannot end {name} of an earlier demo"))?;
    let since = Instant::now();
    while find().is_some() {
        if since.elapsed() > END_MAX {
            bail!("{name} of an earlier demo (process {number}) does not end");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The process of a process file, if it goes by one of these names and works in this folder: numbers are used again.
fn process(file: &Path, names: &[&str], folder: &Path) -> Option<Pid> {
    let number: i32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let process = PathBuf::from(format!("/proc/{number}"));
    let name = fs::read_to_string(process.join("comm")).ok()?;
    let ours = fs::read_link(process.join("cwd")).ok()? == folder;
    Pid::from_raw(number).filter(|_| ours && names.contains(&name.trim()))
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
    fn a_process_file_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let here = std::env::current_dir().unwrap();
        let own_name = fs::read_to_string("/proc/self/comm").unwrap();
        let file = folder.path().join("some.pid");
        assert_eq!(process(&file, &[own_name.trim()], &here), None, "there is no file");
        fs::write(&file, std::process::id().to_string()).unwrap();
        assert!(process(&file, &[own_name.trim()], &here).is_some(), "this very process");
        assert_eq!(process(&file, &["redis-server"], &here), None, "another name");
        assert_eq!(process(&file, &[own_name.trim()], folder.path()), None, "another folder");
    }
}
