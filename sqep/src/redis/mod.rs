//! Redis Streams as transport. This folder alone knows a Redis command or key.
//!
//! [`outlet`] publishes, [`inlet`] delivers, [`inspect`] and [`behind`] look; [`keys`] names, this file connects: by a
//! `socket` whose replies have a limit.

pub mod behind;
pub mod dead;
pub mod embedded;
pub mod facts;
pub mod groups;
mod health;
pub mod inlet;
pub mod inspect;
pub mod keys;
pub mod latest;
mod lease;
mod look;
pub mod outlet;
mod pins;
pub mod redrive;
pub mod replay;
mod reply;
pub mod rights;
mod room;
mod settings;
mod socket;
mod tls;
pub mod trim;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::anyhow;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisError, Value, aio::MultiplexedConnection,
};
use rustls::ClientConfig;

use self::socket::Socket;
pub use self::{
    health::Health,
    inlet::RedisInlet,
    lease::unique,
    outlet::RedisOutlet,
    settings::{RedisSettings, without_password},
};
use crate::{secret::Secret, transport::TransportError};

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
        if let Some(password) =
            Secret::find(self.password_file.as_deref(), "redis.password", "redis password")?
        {
            let settings = info.redis_settings().clone().set_password(password.reveal());
            info = info.clone().set_redis_settings(settings);
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
                MultiplexedConnection::new_with_config(info.redis_settings(), socket, self.config.clone())
                    .await?;
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
            self.dial(&info, tls).await.map_err(|error| without(secret, self.error(&error)))?;
        let mut connection = Connection { inner, burst, server: self.clone() };
        // A server that is still loading its data accepts connections and answers errors.
        connection.ask::<String>(&redis::cmd("PING")).await?;
        Ok(connection)
    }

    /// Sorts an error by what can be done about it, and says what.
    fn error(&self, error: &RedisError) -> TransportError {
        let name = &self.name;
        let code = error.code().unwrap_or_default().to_owned();
        let wrong = tls::advice(error).or(match (error.kind(), code.as_str()) {
            (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS") => Some(
                "refuses the user or password: set it in redis.url by environment, or redis.password_file",
            ),
            (_, "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => {
                Some("is part of a cluster: give the URL of a single server")
            }
            _ if denied(error) => Some(DENIED),
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
        command.query_async(&mut self.inner).await.map_err(|error| self.server.error(&error))
    }

    async fn ask_all<T: redis::FromRedisValue>(&mut self, pipeline: &Pipeline) -> Result<T, TransportError> {
        pipeline.query_async(&mut self.inner).await.map_err(|error| self.server.error(&error))
    }

    /// What a key holds, and `value` from now on where it holds nothing. Only there it is set: a full server refuses to set
    /// anything, and is to be relieved by whoever asks.
    async fn first(&mut self, key: &str, value: &str) -> Result<String, TransportError> {
        if let Some(held) = self.ask(redis::cmd("GET").arg(key)).await? {
            return Ok(held);
        }
        let mut set = redis::pipe();
        set.cmd("SET").arg(key).arg(value).arg("NX").ignore().cmd("GET").arg(key);
        self.ask_all(&set).await.map(|(held,): (String,)| held)
    }

    /// A reply that may be an error which is an answer too, such as "no such key".
    async fn try_ask(&mut self, command: &redis::Cmd) -> Result<Option<Value>, TransportError> {
        match command.query_async::<Value>(&mut self.inner).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == Some("ERR") && !error.is_io_error() => Ok(None),
            Err(error) => Err(self.server.error(&error)),
        }
    }

    async fn run<T: redis::FromRedisValue>(
        &mut self,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T, TransportError> {
        script.invoke_async(&mut self.inner).await.map_err(|error| self.server.error(&error))
    }
}
