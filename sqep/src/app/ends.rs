//! A program's end of a stream, put together from its configuration: [`Outward`] for a producer, [`Inward`] for a
//! consumer. Knows sections and what they build; must not know how a bar moves.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Usage;
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
        check(self.redis, self.calendar).await
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
        check(self.redis, self.calendar).await
    }
}

fn patience(redis: &RedisSettings, once: bool) -> Option<Duration> {
    once.then(|| Duration::from_secs(redis.once_patience_s_max))
}

async fn check(redis: &RedisSettings, calendar: &CalendarSettings) -> anyhow::Result<()> {
    calendar.load().map_err(Usage)?;
    let server = Server::new(redis).map_err(Usage)?;
    let mut connection = server.connect().await?;
    connection.fit().await?;
    info!("redis at {} answers", server.name());
    Ok(())
}
