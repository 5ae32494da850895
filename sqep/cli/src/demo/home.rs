//! The folder of a demo: what lies where, that only one demo works in it, and that a server which an earlier one left
//! behind is ended first. Must not know what the programs do.
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

/// How long a server that was left behind may take to write its file and end.
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

    pub(super) fn redis(&self) -> PathBuf {
        self.out.join("state").join("redis")
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.out.join("state").join(format!("{program}.log"))
    }

    /// Ends the server of an earlier demo, if it still runs: kept on purpose, or orphaned by a kill.
    pub(super) async fn end_old_server(&self) -> anyhow::Result<()> {
        let Some(pid) = self.old_server() else { return Ok(()) };
        tracing::info!("ending the server of an earlier demo (process {})", pid.as_raw_nonzero());
        kill_process(pid, Signal::TERM).context("cannot end the server of an earlier demo")?;
        let since = Instant::now();
        while self.old_server().is_some() {
            if since.elapsed() > END_MAX {
                bail!("the server of an earlier demo (process {}) does not end", pid.as_raw_nonzero());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A process that calls itself a server and works in our server's folder.
    fn old_server(&self) -> Option<Pid> {
        let folder = self.redis();
        let text = fs::read_to_string(folder.join(PID_FILE)).ok()?;
        let number: i32 = text.trim().parse().ok()?;
        let process = PathBuf::from(format!("/proc/{number}"));
        let name = fs::read_to_string(process.join("comm")).ok()?;
        let ours = fs::read_link(process.join("cwd")).ok()? == folder;
        let server = name.starts_with("redis-server") || name.starts_with("valkey-server");
        Pid::from_raw(number).filter(|_| ours && server)
    }
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
        let home = Home::take(folder.path()).unwrap();
        fs::create_dir_all(home.redis()).unwrap();
        assert_eq!(home.old_server(), None);
        fs::write(home.redis().join(PID_FILE), std::process::id().to_string()).unwrap();
        assert_eq!(home.old_server(), None, "this test is no server of that folder");
    }
}
