//! The real programs as child processes: found beside this one, started with their output in a log, ended by SIGTERM and,
//! if need be, by force. None outlives its handle.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::home::Home;

/// How long a program may take to drain before it is ended by force: less than this program has itself.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 5;

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) csv: PathBuf,
    /// The producer of the vendor that `--source` names.
    pub(super) vendor: Option<PathBuf>,
    pub(super) parquet: PathBuf,
    pub(super) features: PathBuf,
    /// The consumer of the store that `--sink` names, beside `sqep-parquet`.
    pub(super) store: Option<PathBuf>,
    /// Instead of `sqep-csv`.
    pub(super) producer: Option<Connector>,
    /// Beside `sqep-parquet`.
    pub(super) consumers: Vec<Connector>,
}

/// A program as `sqep new` makes it.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) program: PathBuf,
    /// Its short name: its source on the stream, or its group.
    pub(super) name: String,
}

impl Programs {
    /// Looks beside this program; a connector of one's own may also be given by its path.
    pub(super) fn find(
        vendor: Option<&str>,
        store: Option<&str>,
        producer: Option<&str>,
        consumers: &[String],
    ) -> anyhow::Result<Programs> {
        let own = std::env::current_exe().context("cannot tell where this program is")?;
        let folder = own.parent().map(Path::to_owned).unwrap_or_default();
        let beside = |name: &str| {
            let path = folder.join(name);
            if path.is_file() {
                return Ok(path);
            }
            bail!(
                "{name} is not beside {}: build or install all programs (cargo build --workspace)",
                own.display()
            )
        };
        let connector = |text: &str| {
            let program = if text.contains('/') { std::path::absolute(text)? } else { beside(text)? };
            Connector::new(program)
        };
        Ok(Programs {
            csv: beside("sqep-csv")?,
            vendor: vendor.map(beside).transpose()?,
            parquet: beside("sqep-parquet")?,
            features: beside("sqep-features")?,
            store: store.map(beside).transpose()?,
            producer: producer.map(connector).transpose()?,
            consumers: consumers.iter().map(|text| connector(text)).collect::<anyhow::Result<_>>()?,
        })
    }
}

impl Connector {
    fn new(program: PathBuf) -> anyhow::Result<Connector> {
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.strip_prefix("sqep-").filter(|name| !name.is_empty()) {
            Some(name) => Ok(Connector { name: name.to_owned(), program }),
            None => bail!("{} is not called sqep-NAME, as a connector's program is", program.display()),
        }
    }

    /// A key of its section of the configuration.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name.replace('-', "_"))
    }
}

/// A running program.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts a program. It is told everything by `--set`, so that this shell's settings do not leak into the demo, and
    /// gets a process group of its own, so that Ctrl-C reaches it through us and in order.
    pub(super) fn start(program: &Path, arguments: &[String], home: &Home) -> anyhow::Result<Running> {
        Running::start_among(program, arguments, &[], home)
    }

    /// The same, with variables of its own.
    pub(super) fn start_among(
        program: &Path,
        arguments: &[String],
        variables: &[(&str, String)],
        home: &Home,
    ) -> anyhow::Result<Running> {
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let log = home.log(&name);
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SQEP__")) {
            command.env_remove(key);
        }
        let child = command
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(home.state())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Running { name, child, log, ended: None })
    }

    /// Its exit status, once it has ended.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Asks it to drain and end, and waits.
    pub(super) async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.term();
        let since = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if since.elapsed() > DRAIN_MAX {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end within {DRAIN_MAX:?}{}", self.name, self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGTERM to a program that still runs.
    pub(super) fn term(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.ended(), i32::try_from(self.child.id()))
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may end by itself at this moment.
            if let Err(error) = kill_process(pid, Signal::TERM) {
                tracing::debug!(%error, "{} could not be asked to end", self.name);
            }
        }
    }

    /// What it has said so far.
    pub(super) fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The end of its log, for an error.
    pub(super) fn last_words(&self) -> String {
        let text = self.words();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n  ");
        format!("; {} ends with\n  {last}", self.log.display())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> (Home, Running) {
        let home = Home::take(folder).unwrap();
        let running =
            Running::start(Path::new("/bin/sh"), &["-c".to_owned(), script.to_owned()], &home).unwrap();
        (home, running)
    }

    #[tokio::test]
    async fn a_program_is_asked_to_end_and_its_status_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (home, mut running) = shell("trap 'exit 7' TERM; echo ready; while :; do :; done", folder.path());
        while !fs::read_to_string(home.log("sh")).unwrap().contains("ready") {
            tokio::task::yield_now().await;
        }
        assert_eq!(running.stop().await.unwrap().code(), Some(7));
        assert_eq!(running.stop().await.unwrap().code(), Some(7), "a second time is no error");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let (_home, mut running) = shell("echo first; echo the disk is full >&2; exit 3", folder.path());
        while running.ended().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(running.ended().unwrap().unwrap().code(), Some(3));
        assert!(running.last_words().ends_with("first\n  the disk is full"), "{}", running.last_words());
    }

    #[test]
    fn no_program_outlives_its_handle() {
        let folder = tempfile::tempdir().unwrap();
        let (_home, running) = shell("trap '' TERM; while :; do :; done", folder.path());
        let process = PathBuf::from(format!("/proc/{}", running.child.id()));
        assert!(process.exists());
        drop(running);
        assert!(!process.exists());
    }
}
