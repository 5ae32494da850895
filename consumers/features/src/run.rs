//! The program at work: the delivering loops of bars and facts, and the publishing loop of their features, side by side.
//! Knows which loop ends when; must not know what moves through them.

use std::{convert::Infallible, marker::PhantomData, sync::Arc, time::Duration};

use sqep::{
    app::{Inward, Outward, ReaderSettings, Usage},
    marks::Start,
    meter::Meters,
    redis::{Server, keys::StreamSettings, latest::Latest},
};
use tokio::{sync::Mutex, time::interval};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    desk::{Desk, Habits},
    engine::Engine,
    outbox::{Outbox, Outgoing, outbox},
    past::Past,
    sink::{Bars, Manner, Refs, Shared},
    store::Store,
};

/// Name of the source and, unless `reader.group` says another, of the group.
pub const NAME: &str = "features";

/// How often is looked whether a snapshot is due.
const LOOK: Duration = Duration::from_secs(1);

/// One run.
pub struct Run<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where the loops are counted.
    pub meters: &'a Meters,
    /// Works up to what is there now, then ends.
    pub once: bool,
    /// Reads everything the stream still holds again.
    pub resume: bool,
    /// Fires when the program is to end.
    pub stop: &'a CancellationToken,
}

impl Run<'_> {
    /// Computes features until stopped, or with `once` of all there is.
    pub async fn go<E: Engine>(&self) -> anyhow::Result<()> {
        let (outbox, outgoing) = outbox::<E::Feature>();
        let desks = self.desks::<E>(&outbox)?;
        drop(outbox);
        let (stop, publishing) = (self.stop.child_token(), CancellationToken::new());
        let out = self.config.out();
        let publish = async {
            // Gone with its end: whoever waits for rows to get on the stream is told so.
            let mut outgoing = outgoing;
            let published = self.publish(&mut outgoing, &out, &publishing).await;
            drop(outgoing);
            stop.cancel();
            published
        };
        let deliver = async {
            let keep = keep_snapshots(desks.iter().map(|(_, desk)| Arc::clone(desk)).collect());
            let delivered = tokio::select! {
                delivered = Box::pin(self.deliver::<E>(&desks, &stop)) => delivered,
                never = keep => match never {},
            };
            drop(desks);
            if delivered.is_err() {
                publishing.cancel();
            }
            delivered
        };
        let (published, delivered) = tokio::join!(publish, deliver);
        published.and(delivered)
    }

    async fn publish<R: sqep::Record>(
        &self,
        outgoing: &mut Outgoing<R>,
        out: &StreamSettings,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let Config { redis, publish, calendar, .. } = self.config;
        let outward = Outward { redis, stream: out, publish, calendar, meters: self.meters };
        // Whoever delivers ends first, and its last rows are to get through.
        outward.publish(outgoing, NAME, self.once, stop, |_| ()).await.map(drop)
    }

    /// A desk for each partition.
    fn desks<E: Engine>(&self, outbox: &Outbox<E::Feature>) -> anyhow::Result<Vec<(u16, Shared<E>)>> {
        let Config { redis, stream, features, calendar, .. } = self.config;
        let (server, calendar) = (Server::new(redis).map_err(Usage)?, calendar.load().map_err(Usage)?);
        let partitions = stream.partitions.max(1);
        let latest = features.latest.then(|| {
            let expires = Duration::from_secs(features.latest_expire_hours.saturating_mul(3_600));
            Arc::new(Latest::new(server.clone(), &stream.prefix, E::FEATURES, partitions, expires))
        });
        let habits = Habits {
            snapshot_every: self.config.snapshot_every(),
            keeps: self.config.output_keeps(),
            latest,
            meters: self.meters.clone(),
        };
        let desk = |partition: u16| {
            let past = Past {
                server: server.clone(),
                prefix: stream.prefix.clone(),
                partition,
                partitions,
                archive: self.config.archive(),
                calendar: Arc::clone(&calendar),
                engine: PhantomData,
            };
            let store = Store::new(&features.state, E::FEATURES, partition);
            let desk = Desk::new(past, store, outbox.clone(), habits.clone());
            (partition, Arc::new(Mutex::new(desk)))
        };
        let reader = &self.config.reader;
        let bars = self.inward(stream, reader);
        Ok(bars.partitions()?.into_iter().map(desk).collect())
    }

    fn inward<'b>(&'b self, stream: &'b StreamSettings, reader: &'b ReaderSettings) -> Inward<'b> {
        let Config { redis, calendar, .. } = self.config;
        Inward { redis, stream, reader, calendar, meters: self.meters }
    }

    async fn deliver<E: Engine>(
        &self,
        desks: &[(u16, Shared<E>)],
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let of = |partition: u16| -> Shared<E> {
            let found = desks.iter().find(|(of, _)| *of == partition).or(desks.first());
            found.map_or_else(|| unreachable!("a reader owns a partition"), |(_, desk)| Arc::clone(desk))
        };
        let manner = Manner {
            records_max: self.config.features.records_max,
            past_records_max: self.config.features.past_records_max,
            wait_max: Duration::from_millis(self.config.features.wait_ms_max),
            meters: self.meters.clone(),
        };
        let bars = |partition| Ok(Bars::new(of(partition), manner.clone()));
        let refs = |partition| Ok(Refs { desk: of(partition), manner: manner.clone() });
        let (ref_stream, ref_reader) = (self.config.refs(), self.ref_reader());
        let bars_in = self.inward(&self.config.stream, &self.config.reader);
        let refs_in = self.inward(&ref_stream, &ref_reader);
        if self.resume {
            bars_in.resume(NAME, bars).await?;
        }
        if !E::JOINED {
            let done = Box::pin(sqep_archive::replay::deliver(&bars_in, NAME, self.once, stop, bars)).await;
            return done.map(drop);
        }
        // Facts first: a bar that meets the facts of its day need not be computed twice.
        refs_in.deliver(NAME, true, stop, refs).await?;
        let stop = stop.child_token();
        let ending = async {
            let done = Box::pin(sqep_archive::replay::deliver(&bars_in, NAME, self.once, &stop, bars)).await;
            stop.cancel();
            done
        };
        let hearing = async {
            if self.once {
                return Ok(());
            }
            let done = refs_in.deliver(NAME, false, &stop, refs).await;
            stop.cancel();
            done.map(drop)
        };
        let (bars, refs) = tokio::join!(ending, hearing);
        bars.map(drop).and(refs)
    }

    /// Facts are heard from the oldest entry on: only the newest are kept.
    fn ref_reader(&self) -> ReaderSettings {
        let reader = self.config.reader.clone();
        ReaderSettings { start: Some(Start::Earliest), archive: None, ..reader }
    }

    /// Validates connections and folders; writes nothing.
    pub async fn check(&self) -> anyhow::Result<()> {
        self.inward(&self.config.stream, &self.config.reader).check(NAME).await
    }
}

/// Has snapshots written where nothing else is to be done.
async fn keep_snapshots<E: Engine>(desks: Vec<Shared<E>>) -> Infallible {
    let mut ticks = interval(LOOK);
    loop {
        ticks.tick().await;
        for desk in &desks {
            if let Err(error) = desk.lock().await.rest().await {
                tracing::warn!("{error:#}; it is tried again");
            }
        }
    }
}
