//! How the loops wait: longer from try to try, and never past a stop. Must not know what is waited for.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Pauses between tries: doubling from a tenth of a second up to half a minute.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
    since: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    /// No pause is longer.
    pub(crate) const MAX: Duration = Duration::from_secs(30);

    pub(crate) fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        self.since.get_or_insert_with(Instant::now);
        let pause = Backoff::FIRST.saturating_mul(1 << self.tries.min(16)).min(Backoff::MAX);
        self.tries += 1;
        pause
    }

    /// Whether the trouble has lasted longer than `patience`.
    pub(crate) fn exceeds(&self, patience: Option<Duration>) -> bool {
        match (patience, self.since) {
            (Some(patience), Some(since)) => since.elapsed() > patience,
            _ => false,
        }
    }
}

/// Waits, unless stopped. `false`: stopped.
pub(crate) async fn pause(time: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = sleep(time) => true,
        () = stop.cancelled() => false,
    }
}

/// Waits for `future`, unless stopped.
pub(crate) async fn unless<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        value = future => Some(value),
        () = stop.cancelled() => None,
    }
}
