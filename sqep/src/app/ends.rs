//! A program's end of a stream, put together from its configuration: [`Outward`] for a producer, [`Inward`] for a
//! consumer. Knows sections and what they build; must not know how a bar moves.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Usage, lookout::watch, partitions::owned, wall_ms};
use crate::{
    Calendar, Sink, Source, Totals,
    codec::Encoding,
    deliver::{Account, Deliverer, resume},
    marks::{Asker, MarkError, Start},
    meter::{Loop, Meter, Meters},
    publish::Publisher,
    redis::{
        RedisInlet, RedisOutlet, RedisSettings, Server,
        behind::Lookout,
        groups,
        keys::{Keys, StreamSettings},
        replay, unique,
    },
};

/// A publisher whose transaction lasts longer counts as stuck.
const TRANSACTION_MAX: Duration = Duration::from_secs(300);

/// Section `publish`.
#[derive(Debug, Clone, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReaderSettings {
    /// The group; by default the program's short name. A second archive names its own.
    pub group: Option<String>,
    /// Where the group begins at its very first start: `earliest`, `latest`, `archive`, the id of an entry, or a time. No
    /// default: it must be said.
    pub start: Option<Start>,
    /// Folder of the archive that `start = "archive"` begins with.
    pub archive: Option<PathBuf>,
    /// Partitions of the stream this reader owns, such as `0-3` or `0,2`; empty: all.
    pub partitions: String,
    /// Seconds after which a silent reader's lease passes to another.
    pub lease_s_max: u64,
    /// Records a sink may refuse for good in a row before that counts as a wrong table.
    pub never_records_max: usize,
    /// Seconds one write of the sink may last; a reader that takes longer counts as stuck, and systemd starts it anew.
    pub write_timeout_s_max: u64,
    /// Seconds of entries a crashed server may have lost for the reader to heal by itself.
    pub crash_s_max: u64,
}

impl Default for ReaderSettings {
    fn default() -> Self {
        ReaderSettings {
            group: None,
            start: None,
            archive: None,
            partitions: String::new(),
            lease_s_max: 30,
            never_records_max: 100,
            write_timeout_s_max: 300,
            crash_s_max: 10,
        }
    }
}

/// Section `calendar`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
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
    /// Where its loop is counted.
    pub meters: &'a Meters,
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
        let outlet = RedisOutlet::new(Server::new(self.redis).map_err(Usage)?, self.stream.clone(), name);
        self.publish_by(outlet, source, name, once, stop, watch).await
    }

    /// Publishes a past to `group`, which waits for it since [`crate::redis::replay::Replayer::begin`].
    pub async fn replay<S: Source>(
        &self,
        source: &mut S,
        group: &str,
        once: bool,
        stop: &CancellationToken,
        watch: impl FnMut(&Totals),
    ) -> anyhow::Result<Totals> {
        let outlet =
            RedisOutlet::replaying(Server::new(self.redis).map_err(Usage)?, self.stream.clone(), group);
        self.publish_by(outlet, source, replay::SOURCE, once, stop, watch).await
    }

    async fn publish_by<S: Source>(
        &self,
        mut outlet: RedisOutlet,
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
            meter: self.meters.add(self.meter(name)),
        };
        publisher.run(source, &mut outlet, stop, watch).await
    }

    fn meter(&self, name: &str) -> Meter {
        let of = Loop::Publish { source: name.to_owned() };
        Meter::new(self.stream.kind, of, TRANSACTION_MAX, wall_ms)
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
    /// Where its loops are counted.
    pub meters: &'a Meters,
}

impl Inward<'_> {
    /// Delivers each partition the reader owns to a sink of its own, made by `make`; returns what this run did. `name`
    /// is the program's short name, the default of `reader.group`. Where one partition fails, the others stop too.
    pub async fn deliver<S: Sink + 'static>(
        &self,
        name: &str,
        once: bool,
        stop: &CancellationToken,
        mut make: impl FnMut(u16) -> anyhow::Result<S>,
    ) -> anyhow::Result<Account> {
        let (stop, mut readers, mut lookouts) = (stop.child_token(), JoinSet::new(), JoinSet::new());
        for partition in self.partitions()? {
            let deliverer = self.deliverer(name, partition, once)?;
            let mut inlet = self.inlet(name, partition, deliverer.patience)?;
            if !once {
                let lookout = self.lookout(name, partition)?;
                lookouts.spawn(watch(lookout, Arc::clone(&deliverer.meter)));
            }
            let (mut sink, stop) = (make(partition)?, stop.clone());
            readers.spawn(async move { deliverer.run(&mut sink, &mut inlet, &stop).await });
        }
        let (mut account, mut failed) = (Account::default(), None);
        while let Some(ended) = readers.join_next().await {
            match ended.context("a reader was cut off").and_then(|ended| ended) {
                Ok(part) => account.add(&part),
                Err(error) => {
                    stop.cancel();
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            None => Ok(account),
            Some(error) if matches!(error.downcast_ref(), Some(MarkError::NoStart { .. })) => {
                Err(Usage(error).into())
            }
            Some(error) => Err(error),
        }
    }

    fn lookout(&self, name: &str, partition: u16) -> anyhow::Result<Lookout> {
        let keys = Keys::new(&self.stream.prefix, self.stream.kind, partition);
        Ok(Lookout::new(Server::new(self.redis).map_err(Usage)?, keys, self.group(name)))
    }

    /// Lets the group read everything the stream still holds again, where it stopped with a word on marks.
    pub async fn resume<S: Sink>(
        &self,
        name: &str,
        mut make: impl FnMut(u16) -> anyhow::Result<S>,
    ) -> anyhow::Result<()> {
        for partition in self.partitions()? {
            let mut inlet = self.inlet(name, partition, patience(self.redis, true))?;
            resume(partition, &mut make(partition)?, &mut inlet).await?;
            info!(group = self.group(name), partition, "reads everything the stream still holds again");
        }
        Ok(())
    }

    /// The partitions this reader owns.
    pub fn partitions(&self) -> anyhow::Result<Vec<u16>> {
        owned(&self.reader.partitions, self.stream.partitions.max(1)).map_err(|error| Usage(error).into())
    }

    /// The group this reader reads for; `name` is the program's short name.
    pub fn group<'a>(&'a self, name: &'a str) -> &'a str {
        self.reader.group.as_deref().unwrap_or(name)
    }

    fn deliverer(&self, name: &str, partition: u16, once: bool) -> anyhow::Result<Deliverer> {
        let keys = Keys::new(&self.stream.prefix, self.stream.kind, partition);
        Ok(Deliverer {
            kind: self.stream.kind,
            partition,
            asker: Asker {
                group: self.group(name).to_owned(),
                stream: keys.stream().to_owned(),
                start: self.reader.start,
                crash: Duration::from_secs(self.reader.crash_s_max),
            },
            once,
            never_records_max: self.reader.never_records_max,
            calendar: self.calendar.load().map_err(Usage)?,
            patience: patience(self.redis, once),
            meter: self.meters.add(self.meter(name, partition)),
        })
    }

    fn meter(&self, name: &str, partition: u16) -> Meter {
        let of = Loop::Deliver { group: self.group(name).to_owned(), partition };
        let step_max = Duration::from_secs(self.reader.write_timeout_s_max.max(1));
        Meter::new(self.stream.kind, of, step_max, wall_ms)
    }

    fn inlet(&self, name: &str, partition: u16, patience: Option<Duration>) -> anyhow::Result<RedisInlet> {
        let lease = Duration::from_secs(self.reader.lease_s_max.max(5));
        let (server, group) = (Server::new(self.redis).map_err(Usage)?, self.group(name));
        Ok(RedisInlet::new(server, self.stream.clone(), partition, group, lease, patience))
    }

    /// Connects and judges the server, and whether the reader could start; writes nothing.
    pub async fn check(&self, name: &str) -> anyhow::Result<()> {
        let (partitions, group) = (self.partitions()?, self.group(name));
        check(self.redis, self.calendar).await?;
        if self.reader.start.is_some() {
            return Ok(());
        }
        let mut connection = Server::new(self.redis).map_err(Usage)?.connect().await?;
        for partition in partitions {
            let keys = Keys::new(&self.stream.prefix, self.stream.kind, partition);
            let groups = groups::list(&mut connection, &keys, &[]).await?;
            if !groups.iter().any(|found| found.pin.group == group) {
                let (group, stream) = (group.to_owned(), keys.stream().to_owned());
                return Err(Usage(MarkError::NoStart { group, stream }.into()).into());
            }
        }
        Ok(())
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
