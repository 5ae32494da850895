//! The process of the front (`testkit/python/chdb_http.py`): started on a free port, killed when dropped. Knows how it says
//! that it answers; must not know a statement.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// A connection is reset before its process is gone.
const DEATH_MAX: Duration = Duration::from_secs(5);

/// A front, with a folder that goes away with it.
#[derive(Debug)]
pub(super) struct Front {
    child: Child,
    port: u16,
    tls_port: Option<u16>,
    options: Vec<(String, String)>,
    // After the child: it must be gone before its folder.
    folder: TempDir,
}

impl Front {
    pub(super) fn start(options: &[(&str, &str)]) -> anyhow::Result<Front> {
        let folder = tempfile::Builder::new().prefix("sqep-clickhouse-").tempdir()?;
        let options = owned(options);
        let (child, port, tls_port) = launch(folder.path(), 0, &options)?;
        Ok(Front { child, port, tls_port, options, folder })
    }

    pub(super) fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(super) fn is_dead(&mut self) -> anyhow::Result<bool> {
        let since = Instant::now();
        while self.child.try_wait()?.is_none() {
            if since.elapsed() > DEATH_MAX {
                return Ok(false);
            }
            std::thread::yield_now();
        }
        Ok(true)
    }

    /// What it is told from its next start on.
    pub(super) fn options(&mut self, options: &[(&str, &str)]) {
        self.options = owned(options);
    }

    /// Starts it again on the same port.
    pub(super) fn launch(&mut self) -> anyhow::Result<()> {
        (self.child, _, self.tls_port) = launch(self.folder.path(), self.port, &self.options)?;
        Ok(())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

fn owned(options: &[(&str, &str)]) -> Vec<(String, String)> {
    options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Starts the process and waits until it says its port, which it does when the engine has answered.
fn launch(
    folder: &Path,
    port: u16,
    options: &[(String, String)],
) -> anyhow::Result<(Child, u16, Option<u16>)> {
    let python = env::var("SQEP_PYTHON").context(
        "SQEP_PYTHON is not set: run tests by `make test`, or `testkit/setup.sh test` and set it to .venv/bin/python",
    )?;
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python/chdb_http.py");
    let mut child = Command::new(&python)
        .arg(&script)
        .args([&folder.join("data"), Path::new(&port.to_string())])
        .envs(options.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {python}"))?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("no standard output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let words: Vec<_> = line.split_whitespace().collect();
    match words.first().and_then(|word| word.parse().ok()) {
        Some(port) => Ok((child, port, words.get(2).and_then(|word| word.parse().ok()))),
        None => bail!("the front did not start; its own message stands above ({})", child.wait()?),
    }
}
