//! The frame every program stands in: arguments, layered configuration, logging, signals, exit codes.
//!
//! Knows how a program starts and ends; must not know what it does. Exit codes: 0 done, 1 failed at run time, 2 wrong
//! usage or configuration.

use std::{
    ffi::OsString,
    fmt::Debug,
    future::Future,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use clap::{Parser, ValueEnum};
use config::{Config, File, FileFormat};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::{
    Calendar, Sink, Source, Totals,
    codec::Encoding,
    deliver::{Account, Deliverer, resume},
    marks::{Asker, MarkError, Start},
    publish::Publisher,
    redis::{
        RedisInlet, RedisOutlet, RedisSettings, Server,
        keys::{Keys, StreamSettings},
        unique,
    },
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

/// Section `publish`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishSettings {
    /// How payloads are written: `arrow`, `json` or `csv`.
    pub encoding: Encoding,
    /// Records of one transaction at most.
    pub records_max: usize,
}

impl Default for PublishSettings {
    fn default() -> Self {
        PublishSettings { encoding: Encoding::Arrow, records_max: 45_000 }
    }
}

/// Section `reader`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReaderSettings {
    /// The group; by default the program's short name. A second archive names its own.
    pub group: Option<String>,
    /// Where the group begins at its very first start: `earliest` or `latest`. No default: it must be said.
    pub start: Option<Start>,
    /// Which partition of the stream.
    pub partition: u16,
    /// Seconds after which a silent reader's lease passes to another.
    pub lease_s_max: u64,
    /// Records a sink may refuse for good in a row before that counts as a wrong table.
    pub never_records_max: usize,
    /// Seconds of entries a crashed server may have lost for the reader to heal by itself.
    pub crash_s_max: u64,
}

impl Default for ReaderSettings {
    fn default() -> Self {
        ReaderSettings {
            group: None,
            start: None,
            partition: 0,
            lease_s_max: 30,
            never_records_max: 100,
            crash_s_max: 10,
        }
    }
}

/// Section `calendar`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalendarSettings {
    /// Another calendar file than the published one.
    pub file: Option<PathBuf>,
}

impl CalendarSettings {
    /// Reads the calendar.
    pub fn load(&self) -> anyhow::Result<Arc<Calendar>> {
        let Some(path) = &self.file else { return Ok(Arc::new(Calendar::published())) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the calendar {}", path.display()))?;
        Ok(Arc::new(text.parse().with_context(|| format!("calendar.file {}", path.display()))?))
    }
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

/// Merges file, environment and `--set`, the later above the earlier. An unknown key is an error that names its place.
pub fn load<C: DeserializeOwned>(args: &Args) -> anyhow::Result<C> {
    let mut builder = Config::builder();
    if let Some(path) = &args.config {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        proof_read::<C>(path, &text)?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let environment = std::env::vars_os().filter_map(|(name, value)| from_environment(&name, value));
    let set = args.set.iter().map(|text| {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            anyhow!("--set {text:?} is not section.key=value, like redis.url=redis://127.0.0.1:6379")
        })?;
        Ok((format!("--set {key}"), key.to_owned(), value.to_owned()))
    });
    for each in environment.chain(set) {
        let (place, key, value) = each?;
        let value = typed(&value);
        known::<C>(&place, &key, &value)?;
        builder = builder.set_override(&key, value).with_context(|| place.clone())?;
    }
    builder.build()?.try_deserialize().map_err(|error| anyhow!("configuration: {error}"))
}

/// `SQEP__SECTION__KEY` as place, `section.key` and value.
fn from_environment(name: &OsString, value: OsString) -> Option<anyhow::Result<(String, String, String)>> {
    let name = name.to_str()?;
    let key = name.strip_prefix("SQEP__")?.to_lowercase().replace("__", ".");
    let value = value.into_string().map_err(|_| anyhow!("environment variable {name} is not UTF-8"));
    Some(value.map(|value| (format!("environment variable {name}"), key, value)))
}

/// A value as its text says: a truth value, a number or a list in TOML's form, else text.
fn typed(text: &str) -> config::Value {
    let parsed =
        toml::from_str::<toml::Table>(&format!("v = {text}")).ok().and_then(|mut table| table.remove("v"));
    match parsed {
        Some(toml::Value::Boolean(value)) => value.into(),
        Some(toml::Value::Integer(value)) => value.into(),
        Some(toml::Value::Float(value)) => value.into(),
        Some(toml::Value::Array(values)) => {
            let text = |value: toml::Value| match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            values.into_iter().map(text).collect::<Vec<String>>().into()
        }
        Some(toml::Value::String(value)) => value.into(),
        _ => text.into(),
    }
}

/// Reads a file alone, for errors with a line.
fn proof_read<C: DeserializeOwned>(path: &Path, text: &str) -> anyhow::Result<()> {
    toml::from_str::<C>(text).map(drop).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        anyhow!("{}: line {line}: {}", path.display(), error.message())
    })
}

/// Whether a key from environment or command line exists.
fn known<C: DeserializeOwned>(place: &str, key: &str, value: &config::Value) -> anyhow::Result<()> {
    let named = |error: config::ConfigError| anyhow!("{place}: {error}");
    let alone = Config::builder().set_override(key, value.clone()).map_err(named)?.build().map_err(named)?;
    alone.try_deserialize::<C>().map(drop).map_err(|error| anyhow!("{place}: {error}"))
}

/// The sections that a producer's configuration starts with.
#[derive(Debug, Clone, Copy)]
pub struct Outward<'a> {
    /// Server.
    pub redis: &'a RedisSettings,
    /// Stream.
    pub stream: &'a StreamSettings,
    /// Publishing.
    pub publish: &'a PublishSettings,
    /// Sessions.
    pub calendar: &'a CalendarSettings,
}

impl Outward<'_> {
    /// Publishes `source` under `name` until it ends or `stop`; returns what became of its rows.
    pub async fn publish<S: Source>(
        &self,
        source: &mut S,
        name: &str,
        once: bool,
        stop: &CancellationToken,
        watch: impl FnMut(&Totals),
    ) -> anyhow::Result<Totals> {
        let publisher = Publisher {
            kind: self.stream.kind,
            source: name.to_owned(),
            writer: unique(),
            encoding: self.publish.encoding,
            partitions: self.stream.partitions.max(1),
            records_max: self.publish.records_max.max(1),
            calendar: self.calendar.load().map_err(Usage)?,
            patience: patience(self.redis, once),
        };
        let mut outlet = RedisOutlet::new(Server::new(self.redis).map_err(Usage)?, self.stream.clone(), name);
        publisher.run(source, &mut outlet, stop, watch).await
    }

    /// Connects and judges the server; writes nothing.
    pub async fn check(&self) -> anyhow::Result<()> {
        check_server(self.redis).await?;
        self.calendar.load().map(drop).map_err(|error| Usage(error).into())
    }
}

/// The sections that a consumer's configuration starts with.
#[derive(Debug, Clone, Copy)]
pub struct Inward<'a> {
    /// Server.
    pub redis: &'a RedisSettings,
    /// Stream.
    pub stream: &'a StreamSettings,
    /// Reading.
    pub reader: &'a ReaderSettings,
    /// Sessions.
    pub calendar: &'a CalendarSettings,
}

impl Inward<'_> {
    /// Delivers to `sink`; `name` is the program's short name, the default of `reader.group`.
    pub async fn deliver<S: Sink>(
        &self,
        sink: &mut S,
        name: &str,
        once: bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<Account> {
        let (reader, group) = (self.reader, self.group(name));
        let keys = Keys::new(&self.stream.prefix, self.stream.kind, reader.partition);
        let deliverer = Deliverer {
            kind: self.stream.kind,
            partition: reader.partition,
            asker: Asker {
                group: group.to_owned(),
                stream: keys.stream().to_owned(),
                start: reader.start,
                crash: Duration::from_secs(reader.crash_s_max),
            },
            once,
            never_records_max: reader.never_records_max,
            calendar: self.calendar.load().map_err(Usage)?,
            patience: patience(self.redis, once),
        };
        let mut inlet = self.inlet(group, deliverer.patience)?;
        let ended = deliverer.run(sink, &mut inlet, stop).await;
        ended.map_err(|error| match error.downcast_ref() {
            Some(MarkError::NoStart { .. }) => Usage(error).into(),
            _ => error,
        })
    }

    /// Lets the group read everything the stream still holds again, where it stopped with a word on marks.
    pub async fn resume<S: Sink>(&self, sink: &mut S, name: &str) -> anyhow::Result<()> {
        let group = self.group(name);
        let mut inlet = self.inlet(group, patience(self.redis, true))?;
        resume(self.reader.partition, sink, &mut inlet).await?;
        info!(group, "reads everything the stream still holds again");
        Ok(())
    }

    fn group<'a>(&'a self, name: &'a str) -> &'a str {
        self.reader.group.as_deref().unwrap_or(name)
    }

    fn inlet(&self, group: &str, patience: Option<Duration>) -> anyhow::Result<RedisInlet> {
        let lease = Duration::from_secs(self.reader.lease_s_max.max(5));
        let server = Server::new(self.redis).map_err(Usage)?;
        Ok(RedisInlet::new(server, self.stream.clone(), self.reader.partition, group, lease, patience))
    }

    /// Connects and judges the server; writes nothing.
    pub async fn check(&self) -> anyhow::Result<()> {
        check_server(self.redis).await?;
        self.calendar.load().map(drop).map_err(|error| Usage(error).into())
    }
}

fn patience(redis: &RedisSettings, once: bool) -> Option<Duration> {
    once.then(|| Duration::from_secs(redis.once_patience_s_max))
}

async fn check_server(redis: &RedisSettings) -> anyhow::Result<()> {
    let server = Server::new(redis).map_err(Usage)?;
    let mut connection = server.connect().await?;
    connection.fit().await?;
    info!("redis at {} answers", server.name());
    Ok(())
}
