//! The loop from a source to a stream: read, check, encode, append in one guarded transaction.
//!
//! Knows when a transaction is due and what to do when it did not come through: open the source again at what is
//! stored. Must not know any vendor nor Redis.

use std::{collections::BTreeMap, future::Future, mem, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Calendar, Chunk, Kind, Record, Refusal, Source, Stamp, Totals,
    check::Checker,
    codec::{
        Encoding,
        pack::{PAYLOAD_BYTES_MAX, Packer},
    },
    letter::Letter,
    transport::{Outgoing, Outlet, Published, Transaction, TransportError},
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
}

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

/// Why a session ended before its source did.
enum Broken {
    Transport(TransportError),
    Conflict,
    Source(anyhow::Error),
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
        source.open(&cursors).await.map_err(Broken::Source)?;
        let (mut stamp, mut totals) = (cursors.stamp, cursors.totals);
        let start = totals.clone();
        seen(&start, &start);
        let mut gathered = Gathered::new(self, writer);
        let mut said = Instant::now();
        let Some(ready) = unless(stop, gathered.prepare(source, &stamp, &totals)).await else {
            return Ok(());
        };
        let mut ready = ready.map_err(Broken::Source)?;
        loop {
            let mut ahead = None;
            if let Some(transaction) = ready.transaction {
                if !wait_for_room(outlet, stop).await? {
                    return Ok(());
                }
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
                    Published::Done => (stamp, totals) = (transaction.stamp, transaction.totals),
                }
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
            ready = next.map_err(Broken::Source)?;
        }
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

/// `false`: stopped while waiting.
async fn wait_for_room<O: Outlet>(outlet: &mut O, stop: &CancellationToken) -> Result<bool, TransportError> {
    let (mut backoff, mut said) = (Backoff::default(), None::<Instant>);
    while let Some(reason) = outlet.room().await? {
        if said.is_none_or(|said| said.elapsed() > Duration::from_secs(60)) {
            warn!("holding back: {reason}");
            said = Some(Instant::now());
        }
        if !pause(backoff.next().min(Duration::from_secs(1)), stop).await {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What stopped the gathering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// A transaction is full; there may be more at once.
    Full,
    /// Nothing more is at hand; asking again may wait.
    Drained,
    /// Nothing will ever come again.
    Ended,
}

/// A transaction to publish, if anything was gathered.
struct Ready {
    transaction: Option<Transaction>,
    filled: Filled,
}

/// Chunks on their way into one transaction.
struct Gathered<'a, R> {
    publisher: &'a Publisher,
    writer: &'a str,
    packers: Vec<Packer>,
    records: Vec<R>,
    letters: Vec<Letter>,
    counts: Totals,
    cursor: BTreeMap<String, Option<String>>,
}

impl<'a, R: Record> Gathered<'a, R> {
    fn new(publisher: &'a Publisher, writer: &'a str) -> Self {
        let packer = || Packer::new(publisher.encoding, PAYLOAD_BYTES_MAX);
        Gathered {
            publisher,
            writer,
            packers: (0..publisher.partitions).map(|_| packer()).collect(),
            records: Vec::new(),
            letters: Vec::new(),
            counts: Totals::default(),
            cursor: BTreeMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.cursor.is_empty() && self.counts.read == 0
    }

    /// Gathers and encodes the transaction after the one of `stamp` and `totals`.
    async fn prepare<S: Source<Record = R>>(
        &mut self,
        source: &mut S,
        stamp: &Stamp,
        totals: &Totals,
    ) -> anyhow::Result<Ready> {
        let filled = self.fill(source).await?;
        let next = Stamp { seq: stamp.seq + 1, writer: self.writer.to_owned() };
        let transaction = if self.is_empty() { None } else { Some(self.transaction(next, totals)?) };
        Ok(Ready { transaction, filled })
    }

    /// Takes chunks until a transaction is full or nothing more is at hand.
    async fn fill<S: Source<Record = R>>(&mut self, source: &mut S) -> anyhow::Result<Filled> {
        while self.records.len() < self.publisher.records_max && self.letters.len() < 64 {
            match source.read().await? {
                None => return Ok(Filled::Ended),
                Some(chunk) if chunk.is_empty() => return Ok(Filled::Drained),
                Some(chunk) => self.take(chunk),
            }
        }
        Ok(Filled::Full)
    }

    /// Judges a chunk's records and adds what passes.
    fn take(&mut self, mut chunk: Chunk<R>) {
        self.counts.read += chunk.read();
        for (mine, theirs) in
            [(&mut self.counts.skipped, &chunk.skipped), (&mut self.counts.warned, &chunk.warned)]
        {
            for (&reason, &count) in theirs {
                *mine.entry(reason).or_default() += count;
            }
        }
        let mut refused = mem::take(&mut chunk.refused);
        self.check(chunk.records, &chunk.lines, &mut refused);
        for refusal in &refused {
            refusal.count(&mut self.counts.refused);
        }
        self.letters.extend(Letter::of_source(&self.publisher.source, &chunk.origin, &refused));
        self.cursor.extend(chunk.cursor);
    }

    fn check(&mut self, records: Vec<R>, lines: &[u64], refused: &mut Vec<Refusal>) {
        let mut checker = Checker::new(&self.publisher.calendar);
        self.records.reserve(records.len());
        for (at, record) in records.into_iter().enumerate() {
            match checker.admit(&record, self.publisher.kind) {
                Ok(warnings) => {
                    for warning in warnings {
                        *self.counts.warned.entry(warning.reason).or_default() += 1;
                    }
                    self.records.push(record);
                }
                Err(findings) => {
                    let place = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
                    let row = lines.get(at).copied().unwrap_or(place);
                    refused.push(Refusal::of(row, &record, findings));
                }
            }
        }
    }

    /// Everything gathered, as the transaction `stamp` after `totals`; leaves nothing behind.
    fn transaction(&mut self, stamp: Stamp, totals: &Totals) -> anyhow::Result<Transaction> {
        let records = mem::take(&mut self.records);
        let entries = self.entries(&records)?;
        let mut counts = mem::take(&mut self.counts);
        counts.appended = u64::try_from(records.len())?;
        counts.entries = u64::try_from(entries.len())?;
        let mut totals = totals.clone();
        totals.add(&counts);
        let (mut changed, mut forget) = (Vec::new(), Vec::new());
        for (name, value) in mem::take(&mut self.cursor) {
            match value {
                Some(value) => changed.push((name, value)),
                None => forget.push(name),
            }
        }
        Ok(Transaction { entries, letters: mem::take(&mut self.letters), stamp, totals, changed, forget })
    }

    fn entries(&mut self, records: &[R]) -> anyhow::Result<Vec<Outgoing>> {
        let encoding = self.publisher.encoding;
        let mut entries = Vec::new();
        let mut pack = |partition: u16, packer: &mut Packer, records: &[R]| -> anyhow::Result<()> {
            for packed in packer.pack(records, None).context("cannot encode checked records")? {
                let (records, payload) = (packed.records, packed.payload);
                entries.push(Outgoing { partition, kind: R::TYPE, encoding, records, payload });
            }
            Ok(())
        };
        if let [packer] = self.packers.as_mut_slice() {
            pack(0, packer, records)?;
            return Ok(entries);
        }
        for (partition, packer) in (0..).zip(&mut self.packers) {
            let mine = |record: &&R| partition_of(record.symbol(), self.publisher.partitions) == partition;
            let part: Vec<R> = records.iter().filter(mine).copied().collect();
            pack(partition, packer, &part)?;
        }
        Ok(entries)
    }
}

/// The partition of a symbol: its integer modulo the number of partitions.
pub fn partition_of(symbol: crate::Symbol, partitions: u16) -> u16 {
    let partition = symbol.get().rem_euclid(i32::from(partitions.max(1)));
    u16::try_from(partition).unwrap_or(0)
}
