//! The project's programs as child processes, and ways to end them. Knows where cargo puts them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context, bail};

/// A program of this workspace, built beside the test that asks.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().find(|folder| folder.join(name).is_file());
    let folder =
        folder.with_context(|| format!("{name} is not built; run: cargo build --workspace --bins"))?;
    Ok(folder.join(name))
}

/// What a program came to that ran to its end.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// What it said.
    pub out: String,
    /// What it said on standard error.
    pub err: String,
}

impl Run {
    /// What there is of a program's end.
    pub fn of(output: Output) -> anyhow::Result<Run> {
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        Ok(Run { code: output.status.code(), out, err })
    }

    /// The run, which must have gone well.
    ///
    /// # Panics
    ///
    /// With what it said, if it did not.
    #[expect(
        clippy::must_use_candidate,
        clippy::return_self_not_must_use,
        reason = "that it went well may be all there is to ask"
    )]
    pub fn good(self) -> Run {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }
}

/// A program at work; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `name`; what it says goes to the end of `log`.
    pub fn start(name: &str, arguments: &[String], log: &Path) -> anyhow::Result<Running> {
        Running::spawn(&mut Command::new(program(name)?), arguments, log)
    }

    /// As [`Running::start`], but a file that grows over its limit is an error for it, as on a full disk, and not its end.
    pub fn start_limited(name: &str, arguments: &[String], log: &Path) -> anyhow::Result<Running> {
        // The shell's word on the signal outlives it; the process stays the same. What it says has room of its own.
        let mut shell = Command::new("/bin/bash");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\" > >(exec cat) 2>&1"]).arg(program(name)?);
        let mut running = Running::spawn(&mut shell, arguments, log)?;
        // As long as it is the shell, a limit would reach what carries its words, too.
        let comm = format!("/proc/{}/comm", running.pid());
        let is_shell = || std::fs::read_to_string(&comm).is_ok_and(|comm| !name.starts_with(comm.trim()));
        while running.ended()?.is_none() && is_shell() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(running)
    }

    fn spawn(command: &mut Command, arguments: &[String], log: &Path) -> anyhow::Result<Running> {
        let open = || std::fs::OpenOptions::new().create(true).append(true).open(log);
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        Ok(Running { child: command.spawn()?, log: log.to_owned() })
    }

    /// How large a file may grow under its hands, from now on; `None`: as large as it likes.
    pub fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = self.pid().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).status()?;
        if set.success() { Ok(()) } else { bail!("prlimit cannot limit process {pid}") }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.try_wait()?.map(|status| status.code().unwrap_or(-1)))
    }

    /// Ends it without a word, as a crash would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal, such as `STOP` or `CONT`.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status()?.success();
        if sent { Ok(()) } else { bail!("cannot send {name} to process {pid}") }
    }

    /// Asks it to end, as systemd would, and returns its exit code.
    pub fn terminate(&mut self) -> anyhow::Result<i32> {
        let pid = self.child.id().to_string();
        if !Command::new("kill").args(["-TERM", &pid]).status()?.success() {
            bail!("cannot ask process {pid} to end");
        }
        Ok(self.child.wait()?.code().unwrap_or(-1))
    }

    /// Waits for its end, which must be a good one.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        if !status.success() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(8).collect();
            bail!("ended with {status}: {}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
