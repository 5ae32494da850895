//! What a loop has done and what it is at, as numbers that anybody may look at at any moment.
//!
//! Knows counts, and how long the loop's present step has lasted; must not know how they are shown. A loop tells its
//! meter and never asks it: nothing a meter says changes what a loop does.

mod text;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub use self::text::render;
use crate::{EntryId, Kind, Reason, Totals, connect::Account, transport::Transaction};

/// Milliseconds since 1970 by this machine's clock. Given in: the core asks no clock.
pub type Clock = fn() -> u64;

/// Upper bounds of the latency histogram, in milliseconds; above the last one everything counts as infinite.
pub const LATENCY_MS: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000];

/// Whose numbers they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loop {
    /// A publisher, by its source.
    Publish {
        /// Name of the source.
        source: String,
    },
    /// A reader, by its group and partition.
    Deliver {
        /// Name of the group.
        group: String,
        /// Partition of the stream.
        partition: u16,
    },
}

/// The numbers of one loop.
#[derive(Debug)]
pub struct Meter {
    kind: Kind,
    of: Loop,
    /// How long one step may last before the loop counts as stuck.
    step_max: Duration,
    clock: Clock,
    now: Mutex<Reading>,
}

/// What a meter shows at one moment.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Rows taken from the source, or off the stream and settled.
    pub rows_in: u64,
    /// Records on the stream, or durable in the sink.
    pub rows_out: u64,
    /// Entries appended or settled.
    pub entries: u64,
    /// Bytes of these entries.
    pub bytes: u64,
    /// Rows in the dead letters, by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// Rows that are no bars, by reason.
    pub skipped: BTreeMap<Reason, u64>,
    /// Letters written.
    pub letters: u64,
    /// Tries that came to nothing and are made again, by what failed.
    pub retries: BTreeMap<&'static str, u64>,
    /// From an entry's id to its rows being durable, the oldest entry of each batch.
    pub latency: Histogram,
    /// Whether the server answered last.
    pub connected: bool,
    /// Whether the lease is ours.
    pub lease: bool,
    /// How far the group is behind, if that is known.
    pub behind: Option<Behind>,
    /// What the publisher waits for before it appends.
    pub held_back: Option<String>,
    /// Who holds the lease instead.
    pub holder: Option<String>,
    /// When something came through last, in milliseconds since 1970.
    pub progress_ms: Option<u64>,
    /// The last error and when, in milliseconds since 1970.
    pub error: Option<(u64, String)>,
    /// Since when the present step has lasted; `None` while the loop rightly waits.
    busy: Option<Instant>,
}

/// How far a group is behind its stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Entries not settled.
    pub entries: u64,
    /// The oldest of them.
    pub oldest: Option<EntryId>,
}

/// Counts by upper bound, and their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each bucket and no lower one; the last one has no bound.
    pub counts: [u64; LATENCY_MS.len() + 1],
    /// Sum in milliseconds.
    pub sum_ms: u64,
}

impl Histogram {
    fn observe(&mut self, ms: u64) {
        let bucket = LATENCY_MS.iter().position(|&bound| ms <= bound).unwrap_or(LATENCY_MS.len());
        self.counts[bucket] += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }
}

/// What one settled batch adds.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// What became of its records.
    pub account: &'a Account,
    /// Bytes of its entries.
    pub bytes: u64,
    /// Letters.
    pub letters: u64,
}

impl Default for Meter {
    /// A meter nobody looks at, without a clock.
    fn default() -> Meter {
        Meter::new(Kind::BarDay, Loop::Publish { source: String::new() }, Duration::MAX, || 0)
    }
}

impl Meter {
    /// A meter at zero. A step longer than `step_max` counts as stuck.
    pub fn new(kind: Kind, of: Loop, step_max: Duration, clock: Clock) -> Meter {
        Meter { kind, of, step_max, clock, now: Mutex::default() }
    }

    /// What it shows now.
    pub fn read(&self) -> Reading {
        self.now().clone()
    }

    /// Whose it is.
    pub fn of(&self) -> &Loop {
        &self.of
    }

    /// Milliseconds since 1970, by the clock it was given.
    pub fn clock_ms(&self) -> u64 {
        (self.clock)()
    }

    fn now(&self) -> MutexGuard<'_, Reading> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step begins that must end by itself: a write, a transaction, a read with an end.
    pub fn busy(&self) {
        self.now().busy = Some(Instant::now());
    }

    /// The loop waits for something that may take as long as it likes: a source, a lease, a pause.
    pub fn idle(&self) {
        self.now().busy = None;
    }

    /// The server answers, and what is read there is ours to read.
    pub fn opened(&self) {
        let mut now = self.now();
        (now.connected, now.lease, now.holder) = (true, true, None);
    }

    /// The way to the server is closed.
    pub fn closed(&self) {
        let mut now = self.now();
        (now.connected, now.lease, now.held_back, now.busy) = (false, false, None, None);
    }

    /// The server answers, and `holder` has the lease unless it has become ours.
    pub fn standby(&self, holder: &str) {
        let mut now = self.now();
        // Who looks from outside may be late: meanwhile the lease has become ours.
        if !now.lease {
            (now.connected, now.holder) = (true, Some(holder.to_owned()));
        }
    }

    /// The server does not answer: `error`, and the loop tries again.
    pub fn lost(&self, error: &anyhow::Error) {
        self.retry("server", error);
        self.closed();
    }

    /// A publisher waits before it appends, or goes on.
    pub fn hold_back(&self, reason: Option<&str>) {
        self.now().held_back = reason.map(str::to_owned);
    }

    /// `what` failed and is tried again after a pause.
    pub fn retry(&self, what: &'static str, error: &anyhow::Error) {
        let ms = self.clock_ms();
        let mut now = self.now();
        *now.retries.entry(what).or_default() += 1;
        now.error = Some((ms, format!("{error:#}")));
        now.busy = None;
    }

    /// A transaction came through; `before` are the totals without it.
    pub fn published(&self, transaction: &Transaction, before: &Totals) {
        let added = transaction.totals.since(before);
        let bytes: usize = transaction.entries.iter().map(|entry| entry.payload.len()).sum();
        let ms = self.clock_ms();
        let mut now = self.now();
        now.rows_in += added.read;
        now.rows_out += added.appended;
        now.entries += added.entries;
        now.bytes += count(bytes);
        now.letters += count(transaction.letters.len());
        add(&mut now.refused, &added.refused);
        add(&mut now.skipped, &added.skipped);
        (now.progress_ms, now.busy) = (Some(ms), None);
    }

    /// A batch whose oldest entry is `first` is durable.
    pub fn durable(&self, first: EntryId) {
        let ms = self.clock_ms();
        self.now().latency.observe(ms.saturating_sub(first.ms));
    }

    /// A batch is settled.
    pub fn settled(&self, batch: &Settled<'_>) {
        let ms = self.clock_ms();
        let mut now = self.now();
        now.rows_in += batch.account.fetched;
        now.rows_out += batch.account.written;
        now.entries += batch.account.entries;
        now.bytes += batch.bytes;
        now.letters += batch.letters;
        add(&mut now.refused, &batch.account.buried);
        now.progress_ms = Some(ms);
    }

    /// How far the group is behind; `None`: nobody can tell at the moment.
    pub fn behind(&self, behind: Option<Behind>) {
        self.now().behind = behind;
    }

    /// Whether the loop moves: it rightly waits, or its step has not lasted too long. Else how long it has lasted.
    pub fn moves(&self) -> Result<(), Duration> {
        let lasted = self.now().busy.map_or(Duration::ZERO, |since| since.elapsed());
        if lasted > self.step_max { Err(lasted) } else { Ok(()) }
    }

    /// Whether the loop is connected and may work; else why not.
    pub fn ready(&self) -> Result<(), String> {
        let now = self.now();
        match (&now.holder, &now.error) {
            _ if now.connected && now.lease => Ok(()),
            (Some(holder), _) => Err(format!("standing by: {holder} holds the lease")),
            (None, Some((_, error))) => Err(format!("not connected: {error}")),
            (None, None) => Err("not connected yet".to_owned()),
        }
    }

    /// Milliseconds since the oldest entry that is not settled, 0 if all are.
    pub fn lag_ms(&self) -> Option<u64> {
        let oldest = self.now().behind?.oldest;
        Some(oldest.map_or(0, |oldest| self.clock_ms().saturating_sub(oldest.ms)))
    }
}

fn add(sum: &mut BTreeMap<Reason, u64>, more: &BTreeMap<Reason, u64>) {
    for (&reason, &count) in more {
        *sum.entry(reason).or_default() += count;
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// The meters of all loops of a program.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    all: Arc<Mutex<Vec<Arc<Meter>>>>,
    /// Whether the source gives less than it should, where a program can tell.
    degraded: Arc<Mutex<Option<bool>>>,
}

impl Meters {
    /// Adds a loop's meter, in place of an earlier one of the same loop.
    pub fn add(&self, meter: Meter) -> Arc<Meter> {
        let meter = Arc::new(meter);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| (other.kind, &other.of) != (meter.kind, &meter.of));
        all.push(Arc::clone(&meter));
        meter
    }

    /// A source gives less than it should: its other side is away, cut off or silent; or it does no longer.
    pub fn degrade(&self, degraded: bool) {
        *self.degraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(degraded);
    }

    /// Whether a source gives less than it should; `None`: this program cannot tell.
    pub fn degraded(&self) -> Option<bool> {
        *self.degraded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Meter>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every loop moves; else what one of them is stuck at.
    pub fn move_on(&self) -> Result<(), String> {
        for meter in self.all() {
            let stuck = |lasted| format!("{meter}: one step has lasted {lasted:.0?}, longer than it may");
            meter.moves().map_err(stuck)?;
        }
        Ok(())
    }

    /// Whether every loop is at work; else what one of them waits for.
    pub fn ready(&self) -> Result<(), String> {
        let all = self.all();
        if all.is_empty() {
            return Err("starting".to_owned());
        }
        all.iter().try_for_each(|meter| meter.ready().map_err(|why| format!("{meter}: {why}")))
    }

    /// Whether every loop's server answers.
    pub fn connected(&self) -> bool {
        let all = self.all();
        !all.is_empty() && all.iter().all(|meter| meter.now().connected)
    }
}
