//! Redis Streams as transport. This folder alone knows a Redis command or key.
//!
//! [`outlet`] publishes, [`inlet`] delivers, [`inspect`] looks; [`keys`] names, this file connects.

pub mod embedded;
pub mod inlet;
pub mod inspect;
pub mod keys;
mod lease;
pub mod outlet;
mod reply;

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context, anyhow, bail};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    Value, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use serde::Deserialize;

pub use self::{inlet::RedisInlet, lease::unique, outlet::RedisOutlet};
use crate::transport::TransportError;

/// Section `redis` of every program's configuration.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    /// `redis://[user[:password]@]host:port[/db]`, `rediss://` for TLS, `redis+unix:///path`.
    pub url: String,
    /// A file that holds the password; a systemd credential `redis.password` is found by itself.
    pub password_file: Option<PathBuf>,
    /// Seconds a reply may take, on top of a blocking read.
    pub response_timeout_s_max: u64,
    /// Seconds a connection may take.
    pub connect_timeout_s_max: u64,
    /// Seconds a run with `--once` goes on trying to reach the server; daemons try for ever.
    pub once_patience_s_max: u64,
}

impl Default for RedisSettings {
    fn default() -> Self {
        RedisSettings {
            url: "redis://127.0.0.1:6379".to_owned(),
            password_file: None,
            response_timeout_s_max: 15,
            connect_timeout_s_max: 3,
            once_patience_s_max: 30,
        }
    }
}

impl fmt::Debug for RedisSettings {
    /// Never shows a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings").field("url", &without_password(&self.url)).finish_non_exhaustive()
    }
}

/// A URL as it may be printed.
pub fn without_password(url: &str) -> String {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    // The URL of a socket carries user and password behind a question mark.
    if scheme.contains("unix") {
        return url.split_once('?').map_or(url, |(path, _)| path).to_owned();
    }
    match url.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}"),
        None => url.to_owned(),
    }
}

/// Where a server is and how to reach it.
#[derive(Clone)]
pub struct Server {
    client: Client,
    name: String,
    config: AsyncConnectionConfig,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Server {
    /// Reads the settings and the password; does not connect yet.
    pub fn new(settings: &RedisSettings) -> anyhow::Result<Server> {
        let name = without_password(&settings.url);
        let mut info = settings.url.as_str().into_connection_info().with_context(|| {
            format!("redis.url {name:?} is not a Redis URL such as redis://127.0.0.1:6379")
        })?;
        if let Some(password) = password(settings)? {
            info = info.clone().set_redis_settings(info.redis_settings().clone().set_password(password));
        }
        if matches!(info.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. }) {
            info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        }
        let client = Client::open(info).with_context(|| format!("redis.url {name:?}"))?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(
                Duration::from_secs(settings.response_timeout_s_max.max(1)) + inlet::BLOCK_MAX,
            ))
            .set_connection_timeout(Some(Duration::from_secs(settings.connect_timeout_s_max)));
        Ok(Server { client, name, config })
    }

    /// Where it is, without secrets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Result<Connection, TransportError> {
        let connected = self.client.get_multiplexed_async_connection_with_config(&self.config).await;
        let inner = connected.map_err(|error| self.error(error))?;
        let mut connection = Connection { inner, server: self.clone() };
        // A server that is still loading its data accepts connections and answers errors.
        connection.ask::<String>(&redis::cmd("PING")).await?;
        Ok(connection)
    }

    /// Sorts an error by what can be done about it, and says what.
    fn error(&self, error: RedisError) -> TransportError {
        let name = &self.name;
        let code = error.code().unwrap_or_default().to_owned();
        let wrong = match (error.kind(), code.as_str()) {
            (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS") => {
                "refuses the user or password: set it in redis.url by environment, or redis.password_file"
            }
            (_, "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => {
                "is part of a cluster: give the URL of a single server"
            }
            (_, "NOPERM") => "denies a command to this user: grant what deploy/ lists",
            (_, "WRONGTYPE") => "holds something else under a key of ours: choose another stream.prefix",
            (ErrorKind::InvalidClientConfig, _) => "cannot be reached as configured: check redis.url",
            _ => {
                let advice = match code.as_str() {
                    "LOADING" => "is still loading its data",
                    "OOM" => "is out of memory: let readers catch up, trim, or raise maxmemory",
                    "EXECABORT" => "refuses to write: is it out of memory?",
                    "MISCONF" => "refuses to write because it cannot save to its disk: make room there",
                    "READONLY" => "is a replica: waiting for a fail-over",
                    "NOGROUP" => "has lost the group",
                    _ => "does not answer as it should",
                };
                return TransportError::Gone(anyhow!(error).context(format!("redis at {name} {advice}")));
            }
        };
        TransportError::Wrong(anyhow!(error).context(format!("redis at {name} {wrong}")))
    }
}

fn password(settings: &RedisSettings) -> anyhow::Result<Option<String>> {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(|dir| PathBuf::from(dir).join("redis.password"))
        .filter(|path| path.exists());
    let Some(path) = settings.password_file.clone().or(credential) else { return Ok(None) };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the redis password from {}", path.display()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("{} holds no password", path.display());
    }
    Ok(Some(password.to_owned()))
}

/// A connection that names its server in every error.
#[derive(Clone)]
pub struct Connection {
    inner: MultiplexedConnection,
    server: Server,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    async fn ask<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, TransportError> {
        command.query_async(&mut self.inner).await.map_err(|error| self.server.error(error))
    }

    async fn ask_all<T: redis::FromRedisValue>(&mut self, pipeline: &Pipeline) -> Result<T, TransportError> {
        pipeline.query_async(&mut self.inner).await.map_err(|error| self.server.error(error))
    }

    /// A reply that may be an error which is an answer too, such as "no such key".
    async fn try_ask(&mut self, command: &redis::Cmd) -> Result<Option<Value>, TransportError> {
        match command.query_async::<Value>(&mut self.inner).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == Some("ERR") && !error.is_io_error() => Ok(None),
            Err(error) => Err(self.server.error(error)),
        }
    }

    async fn run<T: redis::FromRedisValue>(
        &mut self,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T, TransportError> {
        script.invoke_async(&mut self.inner).await.map_err(|error| self.server.error(error))
    }
}

/// What the server says of its memory and durability.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Bytes in use.
    pub used_bytes: u64,
    /// `maxmemory`, 0 for no limit.
    pub bytes_max: u64,
    /// `maxmemory-policy`.
    pub policy: String,
    /// Whether an append-only file is written.
    pub append_only: bool,
    /// Whether snapshots are taken.
    pub snapshots: bool,
}

impl Connection {
    /// Memory and durability.
    pub async fn health(&mut self) -> Result<Health, TransportError> {
        let text: String = self.ask(redis::cmd("INFO").arg("memory").arg("persistence")).await?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        let number = |name: &str| value(name).parse().unwrap_or(0);
        let snapshots = self.try_ask(redis::cmd("CONFIG").arg("GET").arg("save")).await;
        Ok(Health {
            used_bytes: number("used_memory"),
            bytes_max: number("maxmemory"),
            policy: value("maxmemory_policy"),
            append_only: value("aof_enabled") == "1",
            snapshots: snapshots.ok().flatten().is_some_and(|value| !reply::config_value(&value).is_empty()),
        })
    }

    /// Refuses a server that would throw bars away, and says how durable it is.
    pub async fn fit(&mut self) -> Result<Health, TransportError> {
        let health = self.health().await?;
        let name = self.server.name().to_owned();
        if !matches!(health.policy.as_str(), "" | "noeviction") {
            let policy = &health.policy;
            return Err(TransportError::Wrong(anyhow!(
                "redis at {name} has maxmemory-policy {policy}, which throws bars away when memory is full; set it to \
                 noeviction"
            )));
        }
        if health.bytes_max == 0 {
            tracing::warn!("redis at {name} has no maxmemory: a backlog can take all memory of its machine");
        }
        match (health.append_only, health.snapshots) {
            (true, _) => tracing::info!("redis at {name} writes an append-only file"),
            (false, true) => tracing::warn!("redis at {name} takes snapshots only: a crash loses minutes"),
            (false, false) => {
                tracing::warn!("redis at {name} keeps nothing on disk: a restart loses the stream");
            }
        }
        Ok(health)
    }
}
