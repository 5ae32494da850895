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
    desk::{Desk, Input},
    engine::Engine,
};

/// How often a loop that waits for the stream of features is said to be alive.
const ALIVE: Duration = Duration::from_secs(5);

/// A desk that bars and facts share.
pub(crate) type Shared<E> = Arc<Mutex<Desk<E>>>;

/// How much is taken at once, and who is told that a wait is no standstill.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) records_max: usize,
    pub(crate) wait_max: Duration,
    pub(crate) meters: Meters,
}

/// Takes bars.
pub(crate) struct Bars<E: Engine> {
    pub(crate) desk: Shared<E>,
    pub(crate) manner: Manner,
}

/// Takes facts of days.
pub(crate) struct Refs<E: Engine> {
    pub(crate) desk: Shared<E>,
    pub(crate) manner: Manner,
}

fn later(error: anyhow::Error) -> WriteError {
    WriteError::Later(error)
}

impl Manner {
    fn appetite(&self) -> Appetite {
        Appetite { records_max: self.records_max, wait_max: self.wait_max }
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
        self.manner.appetite()
    }

    async fn write(&mut self, batch: &Batch<'_, E::Bar>) -> Result<(), WriteError> {
        let mut desk = self.desk.lock().await;
        self.manner.patiently(desk.bars(batch.rows, batch.last)).await.map_err(later)?;
        desk.settle().map_err(later)
    }

    async fn save(&mut self, _: u16, mark: &Mark) -> Result<(), WriteError> {
        self.desk.lock().await.save(Input::Bars, mark).map_err(later)
    }

    async fn mark(&mut self, _: u16) -> Result<Option<Mark>, WriteError> {
        self.desk.lock().await.mark(Input::Bars).await.map_err(later)
    }

    async fn release(&mut self, _: u16) {
        if let Err(error) = self.desk.lock().await.snapshot() {
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
        self.desk.lock().await.save(Input::Facts, mark).map_err(later)
    }

    async fn mark(&mut self, _: u16) -> Result<Option<Mark>, WriteError> {
        self.desk.lock().await.mark(Input::Facts).await.map_err(later)
    }
}
