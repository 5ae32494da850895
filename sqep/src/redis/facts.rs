//! What a server is: its version and its clock. Reads only.

use redis::Value;

use super::{Connection, reply};
use crate::{EntryId, transport::TransportError};

/// What a server says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `redis 7.0.15`, or another server's name and version.
    pub name: String,
    /// The Redis version whose commands it speaks, as major and minor.
    pub speaks: (u32, u32),
    /// Its clock, as the id an entry of this moment would get.
    pub now: EntryId,
    /// Whom it takes us for; empty where we may not ask.
    pub user: String,
    /// Whether anybody may do anything without a password; `None` where we may not ask.
    pub open: Option<bool>,
}

impl Facts {
    /// Whether it has the stream commands of Redis 7.0, which all programs need.
    pub fn is_new_enough(&self) -> bool {
        self.speaks >= (7, 0)
    }
}

impl Connection {
    /// Asks a server what it is.
    pub async fn facts(&mut self) -> Result<Facts, TransportError> {
        let text: String = self.ask(redis::cmd("INFO").arg("server")).await?;
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let version = value("redis_version").unwrap_or_default();
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        let speaks = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let name = match value("valkey_version") {
            Some(own) => format!("valkey {own}"),
            None => format!("redis {version}"),
        };
        let (seconds, micros): (u64, u64) = self.ask(&redis::cmd("TIME")).await?;
        let now = EntryId::new(seconds * 1_000 + micros / 1_000, 0);
        // Of the ways to ask, the one that an operator needs no right over users for.
        let us: String = self.ask(redis::cmd("CLIENT").arg("INFO")).await.unwrap_or_default();
        let user = us.split_whitespace().find_map(|word| word.strip_prefix("user="));
        let user = user.unwrap_or_default().to_owned();
        let rights = self.try_ask(redis::cmd("ACL").arg("GETUSER").arg("default")).await.ok().flatten();
        let open = rights.and_then(|rights| match reply::member(&rights, "flags") {
            Some(Value::Array(flags)) => {
                let has = |name: &str| flags.iter().any(|flag| reply::text(flag) == name);
                Some(has("on") && has("nopass"))
            }
            _ => None,
        });
        Ok(Facts { name, speaks, now, user, open })
    }
}
