//! The frame every program stands in: arguments, layered configuration, logging, signals, exit codes.
//!
//! Knows how a program starts and ends; must not know what it does. Exit codes: 0 done, 1 failed at run time, 2 wrong
//! usage or configuration.

mod ends;
mod http;
mod journal;
mod load;
mod lookout;
mod naming;
mod notify;
mod partitions;
mod print;
mod process;
mod stdin;

use std::{fmt::Debug, future::Future, io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::anyhow;
use clap::{Parser, ValueEnum};
use serde::{Serialize, de::DeserializeOwned};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use self::notify::Manager;
pub use self::{
    ends::{CalendarSettings, Inward, Outward, PublishSettings, ReaderSettings},
    http::HttpSettings,
    load::load,
    naming::{AliasChoice, SymbolSettings},
    stdin::Kept,
};
use crate::meter::Meters;

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
    /// Prints the merged configuration, defaults included and secrets left out, and ends.
    #[arg(long)]
    pub print_config: bool,
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
    /// What its loops count.
    pub meters: Meters,
}

impl<A, C> App<A, C> {
    /// Lets others ask how the loops go, at `http.listen`.
    pub async fn serve(&self, settings: &HttpSettings) -> anyhow::Result<()> {
        http::serve(settings, self.meters.clone()).await
    }
}

/// Marks an error as wrong usage or configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Usage(pub anyhow::Error);

/// Ends a program with this exit code and without a word: everything was said.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub struct Exit(pub u8);

/// Runs a program: the whole of its `main`. Errors are printed here, once.
pub fn main<A, C, F>(run: impl FnOnce(App<A, C>) -> F) -> ExitCode
where
    A: Parser + AsRef<Args>,
    C: DeserializeOwned + Serialize + Debug,
    F: Future<Output = anyhow::Result<()>>,
{
    let args = A::parse();
    log_to_stderr(args.as_ref().log_format);
    // Two providers may be compiled in; the first TLS connection must not have to guess.
    drop(rustls::crypto::ring::default_provider().install_default());
    let ended = load::<C>(args.as_ref()).map_err(|error| anyhow!(Usage(error))).and_then(|config| {
        if args.as_ref().print_config {
            return print::print(&config);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let (stop, meters) = (CancellationToken::new(), Meters::default());
            let manager = Manager::from_environment()?;
            listen(stop.clone(), manager.clone())?;
            if let Some(manager) = manager {
                tokio::spawn(manager.tell(meters.clone()));
            }
            run(App { args, config, stop, meters }).await
        });
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Exit>() => {
            ExitCode::from(error.downcast_ref().map_or(1, |Exit(code)| *code))
        }
        Err(error) => {
            error!("{}", print::without_secrets(&format!("{error:#}")));
            ExitCode::from(if error.downcast_ref::<Usage>().is_some() { 2 } else { 1 })
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("SQEP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that cannot be written is no reason to end: bars go on while a disk is full.
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        LogFormat::Text if journal::listens() => log.event_format(journal::Lines::default()).init(),
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Milliseconds since 1970.
fn wall_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the app may ask for the time; the loops are told")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.ok().and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

/// Turns SIGTERM and SIGINT into a stop, and makes sure that it comes.
fn listen(stop: CancellationToken, manager: Option<Manager>) -> anyhow::Result<()> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        if let Some(manager) = manager {
            manager.stopping();
        }
        stop.cancel();
        tokio::time::sleep(STOP_MAX).await;
        warn!("still busy after {STOP_MAX:?}: ending; what was in hand stays pending");
        std::process::exit(0);
    });
    Ok(())
}
