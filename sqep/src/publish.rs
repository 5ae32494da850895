//! The loop from a source to a stream: read, check, encode, append in one guarded transaction.
//!
//! Knows when a transaction is due and what to do when it did not come through: open the source again at what is
//! stored. Must not know any vendor nor Redis.

mod gather;

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::gather::{Filled, Gathered};
use crate::{
    Calendar, Kind, Source, Totals,
    codec::Encoding,
    meter::Meter,
    patience::{Backoff, pause, unless},
    transport::{Outlet, Published, TransportError},
};

/// What a publisher needs to know.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// What the stream holds.
    pub kind: Kind,
    /// Name of the source, in every entry and letter.
    pub source: String,
    /// Tells this process from a twin of the same source.
    pub writer: String,
    /// How payloads are written.
    pub encoding: Encoding,
    /// Over how many streams symbols are spread.
    pub partitions: u16,
    /// Records gathered for one transaction at most: some 64 full entries.
    pub records_max: usize,
    /// Sessions of the exchanges.
    pub calendar: Arc<Calendar>,
    /// How long an unreachable server is waited for; `None`: for ever.
    pub patience: Option<Duration>,
    /// Is told what happens.
    pub meter: Arc<Meter>,
}

/// Why a session ended before its source did.
enum Broken {
    Transport(TransportError),
    Conflict,
    Source(anyhow::Error),
}

impl Broken {
    /// A source that reads from the server as well fails as the server does.
    fn of_source(error: anyhow::Error) -> Broken {
        error.downcast().map_or_else(Broken::Source, Broken::Transport)
    }
}

impl From<TransportError> for Broken {
    fn from(error: TransportError) -> Broken {
        Broken::Transport(error)
    }
}

impl Publisher {
    /// Runs until the source ends or `stop`; returns what this run did. `watch` sees the totals after each transaction.
    pub async fn run<S: Source, O: Outlet>(
        &self,
        source: &mut S,
        outlet: &mut O,
        stop: &CancellationToken,
        mut watch: impl FnMut(&Totals),
    ) -> anyhow::Result<Totals> {
        let (mut backoff, mut first, mut latest) = (Backoff::default(), None, Totals::default());
        for session in 0u64.. {
            // After a fail-over one process may write the same `seq` twice: each session signs otherwise.
            let writer = format!("{}/{session}", self.writer);
            let mut seen = |totals: &Totals, start: &Totals| {
                // Only a publish that came through shows that the trouble is over.
                if totals != start {
                    backoff.reset();
                }
                let start = first.get_or_insert_with(|| start.clone());
                // A flushed server starts its totals over.
                if totals.read < start.read {
                    *start = Totals::default();
                }
                latest = totals.since(start);
                watch(&latest);
            };
            let broken = match self.session(source, outlet, &writer, stop, &mut seen).await {
                Ok(()) => return Ok(latest),
                Err(broken) => broken,
            };
            match broken {
                Broken::Source(error) | Broken::Transport(TransportError::Wrong(error)) => return Err(error),
                Broken::Conflict => {
                    self.meter.retry("conflict", &anyhow!("the stored cursor was not ours"));
                    warn!(
                        source = self.source,
                        "the stored cursor is not ours: opening the source again there"
                    );
                }
                Broken::Transport(TransportError::Gone(error)) => {
                    if backoff.exceeds(self.patience) {
                        return Err(error.context("gave up: start redis or check redis.url, then run again"));
                    }
                    let wait = backoff.next();
                    self.meter.lost(&error);
                    warn!("{error:#}; trying again in {wait:?}");
                    if !pause(wait, stop).await {
                        return Ok(latest);
                    }
                }
            }
        }
        Ok(latest)
    }

    /// Opens both ends and publishes until the end. Start, reconnect and conflict all come through here.
    async fn session<S: Source, O: Outlet>(
        &self,
        source: &mut S,
        outlet: &mut O,
        writer: &str,
        stop: &CancellationToken,
        seen: &mut impl FnMut(&Totals, &Totals),
    ) -> Result<(), Broken> {
        let Some(cursors) = unless(stop, outlet.open()).await else { return Ok(()) };
        let cursors = cursors?;
        self.meter.opened();
        source.open(&cursors).await.map_err(Broken::of_source)?;
        let (mut stamp, mut totals) = (cursors.stamp, cursors.totals);
        let start = totals.clone();
        seen(&start, &start);
        let mut gathered = Gathered::new(self, writer);
        let (mut said, mut held_back) = (Instant::now(), None);
        let Some(ready) = unless(stop, gathered.prepare(source, &stamp, &totals)).await else {
            return Ok(());
        };
        let mut ready = ready.map_err(Broken::of_source)?;
        loop {
            let mut ahead = None;
            if let Some(transaction) = ready.transaction {
                if !self.wait_for_room(outlet, &mut held_back, stop).await? {
                    return Ok(());
                }
                self.meter.busy();
                // While the server takes this transaction the next one is read, unless that would be a wait.
                let next = async {
                    match ready.filled {
                        Filled::Full => {
                            Some(gathered.prepare(source, &transaction.stamp, &transaction.totals).await)
                        }
                        Filled::Drained | Filled::Ended => None,
                    }
                };
                let (published, next) = tokio::join!(outlet.publish(&stamp, &transaction), next);
                match published? {
                    Published::Conflict => return Err(Broken::Conflict),
                    Published::Done => self.meter.published(&transaction, &totals),
                }
                (stamp, totals) = (transaction.stamp, transaction.totals);
                seen(&totals, &start);
                ahead = next;
            }
            if said.elapsed() > Duration::from_secs(60) {
                said = Instant::now();
                account(&self.source, &totals);
            }
            if ready.filled == Filled::Ended || stop.is_cancelled() {
                return Ok(());
            }
            let next = match ahead {
                Some(next) => next,
                None => match unless(stop, gathered.prepare(source, &stamp, &totals)).await {
                    Some(next) => next,
                    None => return Ok(()),
                },
            };
            ready = next.map_err(Broken::of_source)?;
        }
    }

    /// `false`: stopped while waiting.
    async fn wait_for_room<O: Outlet>(
        &self,
        outlet: &mut O,
        said: &mut Option<Instant>,
        stop: &CancellationToken,
    ) -> Result<bool, TransportError> {
        let mut backoff = Backoff::default();
        while let Some(reason) = outlet.room().await? {
            self.meter.hold_back(Some(&reason));
            if said.is_none_or(|said| said.elapsed() > Duration::from_secs(60)) {
                warn!("holding back: {reason}");
                *said = Some(Instant::now());
            }
            if !pause(backoff.next().min(Duration::from_secs(1)), stop).await {
                return Ok(false);
            }
        }
        self.meter.hold_back(None);
        Ok(true)
    }
}

/// Prints where every row went.
fn account(source: &str, totals: &Totals) {
    let (refused, skipped) = (totals.refused(), totals.skipped());
    info!(
        source,
        read = totals.read,
        appended = totals.appended,
        refused,
        skipped,
        "read = appended + refused + skipped"
    );
}

/// The partition of a symbol: its integer modulo the number of partitions.
pub fn partition_of(symbol: crate::Symbol, partitions: u16) -> u16 {
    let partition = symbol.get().rem_euclid(i32::from(partitions.max(1)));
    u16::try_from(partition).unwrap_or(0)
}
