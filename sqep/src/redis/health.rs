//! What a server says of its memory and of what it keeps on disk, and whether it is fit to carry bars.
//!
//! Knows the server's words for it; must not know a stream.

use anyhow::anyhow;

use super::{Connection, reply};
use crate::transport::TransportError;

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
