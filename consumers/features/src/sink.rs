//! What the delivering loop hands batches to: bars, and the facts of days. Knows which desk they go to; must not know what
//! happens there.
//!
//! A record that comes twice does no harm: the state ignores what it knows, and a row that is published again has the same
//! key, the same bits and a later version.

use std::{sync::Arc, time::Duration};

use sqep::{
    Appetite, Batch, Mark, RefDay, Sink, WriteError,
    meter::{Loop, Meters},
};
use tokio::{sync::Mutex, time::interval};

use crate::{
    desk::{Desk, Input, Nowhere},
    engine::Engine,
};

/// How often a loop that waits for the stream of features is said to be alive.
const ALIVE: Duration = Duration::from_secs(5);

/// How long a batch of a past may wait to fill.
const PAST_WAIT_MAX: Duration = Duration::from_secs(5);

/// A desk that bars and facts share.
pub(crate) type Shared<E> = Arc<Mutex<Desk<E>>>;

/// How much is taken at once, and who is told that a wait is no standstill.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) records_max: usize,
    /// While the past is given: each batch of it ends with a snapshot.
    pub(crate) past_records_max: usize,
    pub(crate) wait_max: Duration,
    pub(crate) meters: Meters,
}

/// Takes bars.
pub(crate) struct Bars<E: Engine> {
    desk: Shared<E>,
    manner: Manner,
    /// Whether the past is being given.
    past: bool,
}

impl<E: Engine> Bars<E> {
    pub(crate) fn new(desk: Shared<E>, manner: Manner) -> Bars<E> {
        Bars { desk, manner, past: false }
    }
}

/// Takes facts of days.
pub(crate) struct Refs<E: Engine> {
    pub(crate) desk: Shared<E>,
    pub(crate) manner: Manner,
}

fn later(error: anyhow::Error) -> WriteError {
    WriteError::Later(error)
}

/// A state that nothing is left of ends the program with that word; anything else passes.
fn of_a_start(error: anyhow::Error) -> WriteError {
    if error.is::<Nowhere>() { WriteError::Never(error) } else { WriteError::Later(error) }
}

impl Manner {
    fn appetite(&self) -> Appetite {
        Appetite { records_max: self.records_max, wait_max: self.wait_max }
    }

    /// A snapshot a batch is no burden where batches are large.
    fn appetite_for_a_past(&self) -> Appetite {
        Appetite { records_max: self.past_records_max, wait_max: PAST_WAIT_MAX }
    }

    /// Waits for work; while the stream of features has no room, that is no standstill of who delivers.
    async fn patiently<T>(&self, work: impl Future<Output = T>) -> T {
        let mut ticks = interval(ALIVE);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => self.alive(),
            }
        }
    }

    fn alive(&self) {
        let meters = self.meters.all();
        let is_publisher = |of: &Loop| matches!(of, Loop::Publish { .. });
        let waits = meters.iter().filter(|meter| is_publisher(meter.of())).any(|meter| {
            let reading = meter.read();
            reading.held_back.is_some() || !reading.connected
        });
        if waits {
            meters.iter().filter(|meter| !is_publisher(meter.of())).for_each(|meter| meter.busy());
        }
    }
}

impl<E: Engine> Sink for Bars<E> {
    type Record = E::Bar;

    fn appetite(&self) -> Appetite {
        if self.past { self.manner.appetite_for_a_past() } else { self.manner.appetite() }
    }

    async fn write(&mut self, batch: &Batch<'_, E::Bar>) -> Result<(), WriteError> {
        let mut desk = self.desk.lock().await;
        self.manner.patiently(desk.bars(batch.rows, batch.last)).await.map_err(later)?;
        desk.settle().await.map_err(later)
    }

    async fn save(&mut self, _: u16, mark: &Mark) -> Result<(), WriteError> {
        self.past = mark.is_in_replay();
        let mut desk = self.desk.lock().await;
        self.manner.patiently(desk.save(Input::Bars, mark)).await.map_err(later)
    }

    async fn mark(&mut self, _: u16) -> Result<Option<Mark>, WriteError> {
        let mut desk = self.desk.lock().await;
        let mark = self.manner.patiently(desk.mark(Input::Bars)).await.map_err(of_a_start)?;
        self.past = mark.as_ref().is_some_and(Mark::is_in_replay);
        Ok(mark)
    }

    async fn release(&mut self, _: u16) {
        if let Err(error) = self.desk.lock().await.snapshot().await {
            tracing::warn!("{error:#}; what came since the last snapshot is read again at the next start");
        }
    }
}

impl<E: Engine> Sink for Refs<E> {
    type Record = RefDay;

    fn appetite(&self) -> Appetite {
        self.manner.appetite()
    }

    async fn write(&mut self, batch: &Batch<'_, RefDay>) -> Result<(), WriteError> {
        let mut desk = self.desk.lock().await;
        self.manner.patiently(desk.facts(batch.rows, batch.last)).await.map_err(later)
    }

    async fn save(&mut self, _: u16, mark: &Mark) -> Result<(), WriteError> {
        self.desk.lock().await.save(Input::Facts, mark).await.map_err(later)
    }

    async fn mark(&mut self, _: u16) -> Result<Option<Mark>, WriteError> {
        self.desk.lock().await.mark(Input::Facts).await.map_err(of_a_start)
    }
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;

    use sqep::{Calendar, redis::Server};

    use super::*;
    use crate::{DayFeatures, desk::Habits, outbox::outbox, past::Past, store::Store};

    #[tokio::test]
    async fn a_past_that_is_given_is_taken_in_large_batches_for_each_ends_with_a_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let past: Past<DayFeatures> = Past {
            server: Server::new(&sqep::redis::RedisSettings::default()).unwrap(),
            prefix: "sqep".to_owned(),
            partition: 0,
            partitions: 1,
            archive: None,
            calendar: Arc::new(Calendar::published()),
            engine: PhantomData,
        };
        let store = Store::new(folder.path(), sqep::Kind::FeatureDay, 0);
        let (snapshot_every, meters) = (Duration::from_secs(60), Meters::default());
        let habits = Habits { snapshot_every, keeps: None, latest: None, meters: meters.clone() };
        let desk = Arc::new(Mutex::new(Desk::new(past, store, outbox().0, habits)));
        let (records_max, past_records_max) = (700, 200_000);
        let manner = Manner { records_max, past_records_max, wait_max: Duration::ZERO, meters };
        let mut bars = Bars::new(desk, manner);
        assert_eq!(bars.appetite().records_max, records_max);
        bars.save(0, &Mark::in_replay()).await.unwrap();
        assert_eq!(bars.appetite().records_max, past_records_max);
    }
}
