//! Redis Streams as transport. This folder alone knows a Redis command or key.
//!
//! [`outlet`] publishes, [`inlet`] delivers, [`inspect`] and [`behind`] look; [`keys`] names, this file connects.

pub mod behind;
pub mod dead;
pub mod embedded;
pub mod groups;
pub mod inlet;
pub mod inspect;
pub mod keys;
mod lease;
mod look;
pub mod outlet;
pub mod redrive;
pub mod replay;
mod reply;
mod socket;
mod tls;
pub mod trim;

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    Value, aio::MultiplexedConnection,
};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize, Serializer};

pub use self::{inlet::RedisInlet, lease::unique, outlet::RedisOutlet};
use self::socket::Socket;
use crate::transport::TransportError;

/// Section `redis` of every program's configuration.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    /// `redis://[user[:password]@]host:port[/db]`, `rediss://` for TLS, `redis+unix:///path`.
    #[serde(serialize_with = "shown")]
    pub url: String,
    /// A file that holds the password; a systemd credential `redis.password` is found by itself. Read again for every
    /// connection, as are the files of TLS.
    pub password_file: Option<PathBuf>,
    /// The CA that signed the server's certificate (PEM); by default those of the system.
    pub tls_ca_file: Option<PathBuf>,
    /// Our certificate, and those between it and the CA (PEM), for a server that asks who we are …
    pub tls_cert_file: Option<PathBuf>,
    /// … and its private key (PEM, unencrypted).
    pub tls_key_file: Option<PathBuf>,
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
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
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

/// A URL as it may be printed: scheme and place, with `…` for what could be a secret.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    // The URL of a socket carries user and password behind a question mark, the others before an `@`.
    let place = if scheme.contains("unix") {
        let path = rest.split('?').next().unwrap_or_default();
        (!path.contains('@')).then(|| path.to_owned())
    } else {
        let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let place = place.split(['?', '#']).next().unwrap_or_default();
        let hidden = if user.is_empty() { "" } else { "…@" };
        (is_place(place) && !user.contains(['?', '#'])).then(|| format!("{hidden}{place}"))
    };
    format!("{scheme}://{}", place.as_deref().unwrap_or("…"))
}

/// `host[:port][/db]`, and nothing that only looks like it: a password in the place of a port is no number.
fn is_place(text: &str) -> bool {
    let (host, db) = text.split_once('/').unwrap_or((text, ""));
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (host, "0"),
    };
    let named = host.chars().all(|c| c.is_alphanumeric() || "-._[]:%".contains(c));
    named && port.parse::<u16>().is_ok() && db.chars().all(|c| c.is_ascii_digit())
}

fn shown<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_password(url))
}

/// Where a server is and how to reach it.
#[derive(Clone)]
pub struct Server {
    info: ConnectionInfo,
    password_file: Option<PathBuf>,
    tls: Option<tls::Files>,
    name: String,
    config: AsyncConnectionConfig,
    connect_max: Duration,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Server {
    /// Reads the settings and proves the files they name; does not connect yet.
    pub fn new(settings: &RedisSettings) -> anyhow::Result<Server> {
        let name = without_password(&settings.url);
        // What the parser says could quote what it did not understand.
        let info = settings.url.as_str().into_connection_info().map_err(|_| {
            anyhow!(
                "redis.url {name:?} is not a Redis URL such as redis://127.0.0.1:6379; in a password, write %40 for @, \
                 %2F for /, %3A for :, %3F for ? and %23 for #, or use redis.password_file"
            )
        })?;
        let encrypted = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let tls = tls::Files::of(settings, encrypted)?;
        let reply = Duration::from_secs(settings.response_timeout_s_max.max(1)) + inlet::BLOCK_MAX;
        let server = Server {
            info,
            password_file: settings.password_file.clone(),
            tls: encrypted.then_some(tls),
            name,
            config: AsyncConnectionConfig::new().set_response_timeout(Some(reply)),
            connect_max: Duration::from_secs(settings.connect_timeout_s_max),
        };
        server.access()?;
        Ok(server)
    }

    /// Where to go, by what the files hold now.
    fn access(&self) -> anyhow::Result<(ConnectionInfo, Option<ClientConfig>)> {
        let mut info = self.info.clone();
        if let Some(password) = password(self.password_file.as_ref())? {
            info = info.clone().set_redis_settings(info.redis_settings().clone().set_password(password));
        }
        Ok((info, self.tls.as_ref().map(tls::Files::read).transpose()?))
    }

    async fn dial(
        &self,
        info: &ConnectionInfo,
        tls: Option<ClientConfig>,
    ) -> Result<(MultiplexedConnection, Arc<AtomicBool>), RedisError> {
        let opened = async {
            let socket = Socket::connect(info, tls).await?;
            let burst = socket.burst();
            let (connection, driver) =
                MultiplexedConnection::new_with_config(info.redis_settings(), socket, self.config.clone()).await?;
            tokio::spawn(driver);
            Ok((connection, burst))
        };
        let text = || format!("no connection within {:?}", self.connect_max);
        let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, text()).into());
        tokio::time::timeout(self.connect_max, opened).await.unwrap_or_else(late)
    }

    /// Where it is, without secrets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Result<Connection, TransportError> {
        // A file that cannot be read just now may be one that is being renewed.
        let (info, tls) = self.access().map_err(TransportError::Gone)?;
        let secret = info.redis_settings().password();
        let (inner, burst) =
            self.dial(&info, tls).await.map_err(|error| without(secret, self.error(error)))?;
        let mut connection = Connection { inner, burst, server: self.clone() };
        // A server that is still loading its data accepts connections and answers errors.
        connection.ask::<String>(&redis::cmd("PING")).await?;
        Ok(connection)
    }

    /// Sorts an error by what can be done about it, and says what.
    fn error(&self, error: RedisError) -> TransportError {
        let name = &self.name;
        let code = error.code().unwrap_or_default().to_owned();
        let wrong = tls::advice(&error).or(match (error.kind(), code.as_str()) {
            (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS") => Some(
                "refuses the user or password: set it in redis.url by environment, or redis.password_file",
            ),
            (_, "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => {
                Some("is part of a cluster: give the URL of a single server")
            }
            _ if denied(&error) => Some(DENIED),
            (_, "WRONGTYPE") => {
                Some("holds something else under a key of ours: choose another stream.prefix")
            }
            (ErrorKind::InvalidClientConfig, _) => Some("cannot be reached as configured: check redis.url"),
            _ => None,
        });
        if let Some(wrong) = wrong {
            return TransportError::Wrong(anyhow!("redis at {name} {wrong}: {error}"));
        }
        let advice = match code.as_str() {
            "LOADING" => "is still loading its data",
            "OOM" => "is out of memory: let readers catch up, trim, or raise maxmemory",
            "EXECABORT" => "refuses to write: is it out of memory?",
            "MISCONF" => "refuses to write because it cannot save to its disk: make room there",
            "READONLY" => "is a replica: waiting for a fail-over",
            "NOGROUP" => "has lost the group",
            _ => "does not answer as it should",
        };
        TransportError::Gone(anyhow!("redis at {name} {advice}: {error}"))
    }
}

/// What is said of a right that the server's user has not.
const DENIED: &str = "denies a command or key to this user: grant what deploy/redis/users.acl lists";

/// Whether a user lacks a right; within a script the server has no code for it.
fn denied(error: &RedisError) -> bool {
    let within = ["ACL failure in script", "The user executing the script can't"];
    error.code() == Some("NOPERM") || within.iter().any(|text| error.to_string().contains(text))
}

/// The password in the file that is named, or in the credential that systemd hands over.
fn password(file: Option<&PathBuf>) -> anyhow::Result<Option<String>> {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(|dir| PathBuf::from(dir).join("redis.password"))
        .filter(|path| path.exists());
    let Some(path) = file.cloned().or(credential) else { return Ok(None) };
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read the redis password from {}", path.display()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("{} holds no password", path.display());
    }
    Ok(Some(password.to_owned()))
}

/// The error without the password: a server that does not know a command repeats what it was asked.
fn without(secret: Option<&str>, error: TransportError) -> TransportError {
    let clean = |error: anyhow::Error| {
        let text = format!("{error:#}");
        let told = secret.filter(|secret| !secret.is_empty() && text.contains(*secret));
        told.map_or(error, |secret| anyhow!(text.replace(secret, "…")))
    };
    match error {
        TransportError::Gone(error) => TransportError::Gone(clean(error)),
        TransportError::Wrong(error) => TransportError::Wrong(clean(error)),
    }
}

/// A connection that names its server in every error.
#[derive(Clone)]
pub struct Connection {
    inner: MultiplexedConnection,
    burst: Arc<AtomicBool>,
    server: Server,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// Whether it ended because a reply was too large.
    pub(super) fn has_burst(&self) -> bool {
        self.burst.load(Ordering::Relaxed)
    }

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
    /// `appendfsync`; empty where this user may not ask.
    pub fsync: String,
    /// Whether snapshots are taken; `None` where this user may not ask.
    pub snapshots: Option<bool>,
}

impl Health {
    /// Whether more than so many percent of `maxmemory` are in use.
    pub fn over(&self, percent: u64) -> bool {
        self.bytes_max > 0 && self.used_bytes.saturating_mul(100) > self.bytes_max.saturating_mul(percent)
    }

    /// What a crash of the server or a loss of power costs, and whether that is worth a warning.
    pub fn durability(&self) -> (bool, &'static str) {
        match (self.append_only, self.fsync.as_str(), self.snapshots) {
            (true, "always", _) => {
                (false, "writes an append-only file, synced before every answer: nothing is lost")
            }
            (true, "everysec", _) => (
                false,
                "writes an append-only file, synced every second: a crash loses nothing, a loss of power a second or two",
            ),
            (true, "no", _) => (
                true,
                "writes an append-only file, synced when the system likes: a loss of power loses up to minutes",
            ),
            (true, ..) => (false, "writes an append-only file"),
            (false, _, Some(true)) => (true, "takes snapshots only: a crash loses minutes"),
            (false, _, Some(false)) => (true, "keeps nothing on disk: a restart loses the stream"),
            (false, _, None) => (
                true,
                "writes no append-only file: a crash loses minutes, or the stream if there are no snapshots",
            ),
        }
    }
}

impl Connection {
    /// Memory and durability.
    pub async fn health(&mut self) -> Result<Health, TransportError> {
        let health = self.usage().await?;
        // A right that a program does not need, since what else can be asked by it is nobody's business.
        let config = self.try_ask(redis::cmd("CONFIG").arg("GET").arg("save").arg("appendfsync")).await;
        let Ok(Some(config)) = config else { return Ok(health) };
        let value = |name: &str| reply::member(&config, name).map(reply::text);
        Ok(Health {
            fsync: value("appendfsync").unwrap_or_default(),
            snapshots: value("save").map(|rules| !rules.is_empty()),
            ..health
        })
    }

    /// Memory, and of durability what any user may ask.
    pub(super) async fn usage(&mut self) -> Result<Health, TransportError> {
        let text: String = self.ask(redis::cmd("INFO").arg("memory").arg("persistence")).await?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        let number = |name: &str| value(name).parse().unwrap_or(0);
        Ok(Health {
            used_bytes: number("used_memory"),
            bytes_max: number("maxmemory"),
            policy: value("maxmemory_policy"),
            append_only: value("aof_enabled") == "1",
            ..Health::default()
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
        match health.durability() {
            (false, what) => tracing::info!("redis at {name} {what}"),
            (true, what) => tracing::warn!("redis at {name} {what}"),
        }
        Ok(health)
    }
}
