//! A private server as a child process on a unix socket: for the demo, the tests, and programs that bring their own.
//!
//! Knows how to find, start and end a server; must not know streams.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use super::{RedisSettings, Server};
use crate::transport::TransportError;

/// Names a server goes by.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// A running server. It ends, saving what it holds, when this is dropped.
#[derive(Debug)]
pub struct Embedded {
    child: Child,
    socket: PathBuf,
    folder: PathBuf,
    program: PathBuf,
    options: Vec<String>,
}

/// The server's program on this machine.
pub fn find() -> anyhow::Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&paths)
        .chain(["/usr/bin", "/usr/local/bin", "/usr/sbin"].map(PathBuf::from))
        .collect();
    let found = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|p| p.exists());
    found.context(
        "neither redis-server nor valkey-server is installed; on Debian or Ubuntu: apt-get install redis-server",
    )
}

impl Embedded {
    /// Starts a server that keeps its append-only file in `folder`, and waits until it answers.
    pub async fn start(folder: &Path) -> anyhow::Result<Embedded> {
        Embedded::start_with(folder, &[]).await
    }

    /// As [`Embedded::start`], with further options such as `["--maxmemory", "1gb"]`.
    pub async fn start_with(folder: &Path, options: &[&str]) -> anyhow::Result<Embedded> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
        let socket = socket_path(&folder);
        let program = find()?;
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let child = spawn(&program, &folder, &socket, &options)?;
        let mut server = Embedded { child, socket, folder, program, options };
        server.ready().await?;
        Ok(server)
    }

    /// Starts the server again after it has ended or was killed, on the same folder and socket.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.end()?;
        self.child = spawn(&self.program, &self.folder, &self.socket, &self.options)?;
        self.ready().await
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Settings that reach it.
    pub fn settings(&self) -> RedisSettings {
        RedisSettings { url: self.url(), ..RedisSettings::default() }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a word, as a crash would.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Ready means it answers, not that its socket is there.
    async fn ready(&mut self) -> anyhow::Result<()> {
        const TRIES_MAX: u32 = 1_200;
        let server = Server::new(&self.settings())?;
        for _ in 0..TRIES_MAX {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                bail!("{} ended with {status}: {}", self.program.display(), last.join(" | "));
            }
            // A server that refuses us answers too: its password is not this file's business.
            if self.socket.exists() && matches!(server.connect().await, Ok(_) | Err(TransportError::Wrong(_)))
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("{} does not answer on {}", self.program.display(), self.socket.display())
    }

    /// Asks it to end and waits.
    fn end(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            let pid = self.child.id().to_string();
            let asked = Command::new("kill").args(["-TERM", &pid]).status();
            if asked.is_ok_and(|status| status.success()) {
                self.child.wait()?;
            } else {
                self.kill()?;
            }
        }
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!("cannot end {}: {error:#}", self.program.display());
        }
        if self.socket.parent() != Some(&self.folder) {
            drop(std::fs::remove_file(&self.socket));
        }
    }
}

/// A path short enough for a socket: in the folder itself where it fits into the system's 107 bytes.
fn socket_path(folder: &Path) -> PathBuf {
    let socket = folder.join("redis.sock");
    if socket.as_os_str().len() < 100 {
        return socket;
    }
    std::env::temp_dir().join(format!("sqep-{}.sock", super::lease::unique()))
}

fn spawn(program: &Path, folder: &Path, socket: &Path, options: &[String]) -> anyhow::Result<Child> {
    drop(std::fs::remove_file(socket));
    Command::new(program)
        .args(["--port", "0", "--save", "", "--appendonly", "yes", "--daemonize", "no"])
        .arg("--dir")
        .arg(folder)
        .arg("--unixsocket")
        .arg(socket)
        .args(["--unixsocketperm", "700", "--logfile", "redis.log", "--maxmemory-policy", "noeviction"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}
