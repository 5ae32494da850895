//! The frame every program stands in: arguments, layered configuration, logging, signals, exit codes.
//!
//! Knows how a program starts and ends; must not know what it does. Exit codes: 0 done, 1 failed at run time, 2 wrong
//! usage or configuration.

mod ends;
mod load;

use std::{fmt::Debug, future::Future, io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::anyhow;
use clap::{Parser, ValueEnum};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

pub use self::{
    ends::{CalendarSettings, Inward, Outward, PublishSettings, ReaderSettings},
    load::load,
};

/// After a stop was asked for, a program that is still busy ends all the same; what it held stays pending.
const STOP_MAX: Duration = Duration::from_secs(8);

/// Arguments of every program.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key, above environment and file; repeatable. Environment: `SQEP__SECTION__KEY`.
    #[arg(long, value_name = "section.key=value")]
    pub set: Vec<String>,
    /// Validates configuration and connections, writes nothing.
    #[arg(long)]
    pub check: bool,
    /// Works up to what is there now, then ends.
    #[arg(long)]
    pub once: bool,
    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// A program at work.
#[derive(Debug)]
pub struct App<A, C> {
    /// Its arguments.
    pub args: A,
    /// Its configuration.
    pub config: C,
    /// Fires at SIGTERM and SIGINT.
    pub stop: CancellationToken,
}

/// Marks an error as wrong usage or configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Usage(pub anyhow::Error);

/// Runs a program: the whole of its `main`. Errors are printed here, once.
pub fn main<A, C, F>(run: impl FnOnce(App<A, C>) -> F) -> ExitCode
where
    A: Parser + AsRef<Args>,
    C: DeserializeOwned + Debug,
    F: Future<Output = anyhow::Result<()>>,
{
    let args = A::parse();
    log_to_stderr(args.as_ref().log_format);
    // Two providers may be compiled in; the first TLS connection must not have to guess.
    drop(rustls::crypto::ring::default_provider().install_default());
    let ended = load::<C>(args.as_ref()).map_err(|error| anyhow!(Usage(error))).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let stop = CancellationToken::new();
            listen(stop.clone())?;
            run(App { args, config, stop }).await
        });
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::from(if error.downcast_ref::<Usage>().is_some() { 2 } else { 1 })
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("SQEP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Turns SIGTERM and SIGINT into a stop, and makes sure that it comes.
fn listen(stop: CancellationToken) -> anyhow::Result<()> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        stop.cancel();
        tokio::time::sleep(STOP_MAX).await;
        warn!("still busy after {STOP_MAX:?}: ending; what was in hand stays pending");
        std::process::exit(0);
    });
    Ok(())
}
