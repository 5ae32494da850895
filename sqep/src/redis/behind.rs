//! How far one group is behind on one partition, and who reads for it. Looks only: for a program that watches itself.

use redis::Value;

use super::{Connection, Server, keys::Keys, look::first_after, reply, room::backlogs};
use crate::{EntryId, meter::Behind, transport::TransportError};

/// Looks at one group.
#[derive(Debug)]
pub struct Lookout {
    server: Server,
    connection: Option<Connection>,
    keys: Keys,
    group: String,
}

/// What is seen of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// How far it is behind; `None`: there is no such group yet.
    pub behind: Option<Behind>,
    /// Who reads for it: `host/pid/start/token`.
    pub holder: Option<String>,
}

impl Lookout {
    /// For `group` on the stream of `keys`. Connects when it first looks, and again after a failure.
    pub fn new(server: Server, keys: Keys, group: &str) -> Lookout {
        Lookout { server, connection: None, keys, group: group.to_owned() }
    }

    /// Looks once.
    pub async fn look(&mut self) -> Result<Seen, TransportError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.server.connect().await?,
        };
        let holder = connection.ask(redis::cmd("GET").arg(self.keys.lease(&self.group))).await?;
        let behind = self.behind(&mut connection).await?;
        self.connection = Some(connection);
        Ok(Seen { behind, holder })
    }

    async fn behind(&self, connection: &mut Connection) -> Result<Option<Behind>, TransportError> {
        let groups = backlogs(connection, &self.keys).await?.groups;
        let Some(group) = groups.into_iter().find(|group| group.name == self.group) else { return Ok(None) };
        let oldest = if group.pending > 0 {
            self.oldest_pending(connection).await?
        } else if group.unsettled > 0 {
            first_after(connection, &self.keys, group.delivered).await?
        } else {
            None
        };
        Ok(Some(Behind { entries: group.unsettled, oldest }))
    }

    async fn oldest_pending(&self, connection: &mut Connection) -> Result<Option<EntryId>, TransportError> {
        let mut pending = redis::cmd("XPENDING");
        let summary = connection.ask(pending.arg(self.keys.stream()).arg(&self.group)).await?;
        Ok(match summary {
            Value::Array(items) => items.get(1).filter(|id| **id != Value::Nil).map(reply::id),
            _ => None,
        })
    }
}
