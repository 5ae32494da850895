//! The loop from a stream to a sink: read, check, write, keep the mark, settle.
//!
//! Alone decides to acknowledge, retry and bury. Start, reconnect and crash recovery are one act: settle what is
//! pending, then read on. While a batch is being written the next one is read, and no more than that: batches are
//! written, marked and settled one after another. Must not know any store nor Redis.

mod hand;
mod insist;
mod take;

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use anyhow::anyhow;
use tokio::{task::yield_now, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{hand::InHand, insist::Insist};
pub use crate::connect::Account;
use crate::{
    Appetite, Calendar, EntryId, Kind, Mark, Record, Sink,
    letter::Letter,
    marks::{Asker, Plan},
    meter::{Meter, Settled},
    patience::{Backoff, pause, unless},
    transport::{Held, Inlet, Replay, Settlement, Standing, TransportError},
    wire::Entry,
};

/// How often the account is told.
const SAY: Duration = Duration::from_secs(60);

/// What a reader needs to know.
#[derive(Debug, Clone)]
pub struct Deliverer {
    /// What the stream holds.
    pub kind: Kind,
    /// Partition of the stream.
    pub partition: u16,
    /// Group, stream and where to begin.
    pub asker: Asker,
    /// End at the last entry seen at the start.
    pub once: bool,
    /// Records a sink may refuse for good in a row before that counts as a wrong table, not as bad records.
    pub never_records_max: usize,
    /// Sessions of the exchanges.
    pub calendar: Arc<Calendar>,
    /// How long an unreachable server is waited for; `None`: for ever.
    pub patience: Option<Duration>,
    /// Is told what happens.
    pub meter: Arc<Meter>,
}

/// How a session came to its end.
enum Ended {
    /// Everything that was to be done is settled.
    Settled,
    /// The past was read as far as it lies ready: what comes next is found by opening again.
    Turned,
}

/// Why a session ended before its end.
enum Broken {
    Transport(TransportError),
    LeaseLost,
    Fatal(anyhow::Error),
    Stopped,
}

impl From<TransportError> for Broken {
    fn from(error: TransportError) -> Broken {
        Broken::Transport(error)
    }
}

fn held<T>(held: Held<T>) -> Result<T, Broken> {
    match held {
        Held::Yes(value) => Ok(value),
        Held::Lost => Err(Broken::LeaseLost),
    }
}

impl Deliverer {
    /// Runs until stopped, or with `once` until the stream is settled; returns what this run did.
    pub async fn run<S: Sink, I: Inlet>(
        &self,
        sink: &mut S,
        inlet: &mut I,
        stop: &CancellationToken,
    ) -> anyhow::Result<Account> {
        let (mut backoff, mut account, mut target) = (Backoff::default(), Account::default(), None);
        let mut said = Instant::now();
        loop {
            let mut session = Session {
                loop_: self,
                sink: Insist { loop_: self, sink, stop },
                inlet,
                stop,
                account: &mut account,
                backoff: &mut backoff,
                recent: VecDeque::new(),
                before: EntryId::ZERO,
                said: &mut said,
            };
            let ended = session.run(&mut target).await;
            sink.release(self.partition).await;
            match ended {
                // The same reader opens again: its lease, unlike its sink, stays with it.
                Ok(Ended::Turned) => self.meter.idle(),
                Ok(Ended::Settled) | Err(Broken::Stopped) => break,
                Err(Broken::Fatal(error) | Broken::Transport(TransportError::Wrong(error))) => {
                    self.meter.closed();
                    inlet.close().await;
                    return Err(error);
                }
                Err(Broken::LeaseLost) => {
                    self.meter.retry("lease", &anyhow!("the lease was another's"));
                    self.meter.closed();
                    warn!(group = self.asker.group, "the lease is another's: what was in hand is read again");
                }
                Err(Broken::Transport(TransportError::Gone(error))) => {
                    if backoff.exceeds(self.patience) {
                        return Err(error.context("gave up: start redis or check redis.url, then run again"));
                    }
                    let wait = backoff.next();
                    self.meter.lost(&error);
                    warn!("{error:#}; trying again in {wait:?}");
                    if !pause(wait, stop).await {
                        break;
                    }
                }
            }
        }
        self.meter.closed();
        inlet.close().await;
        say(&self.asker.group, &account);
        Ok(account)
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Prints where every record went.
fn say(group: &str, account: &Account) {
    let buried: u64 = account.buried.values().sum();
    info!(group, fetched = account.fetched, written = account.written, buried, "fetched = written + buried");
}

struct Session<'a, S, I> {
    loop_: &'a Deliverer,
    sink: Insist<'a, S>,
    inlet: &'a mut I,
    stop: &'a CancellationToken,
    account: &'a mut Account,
    backoff: &'a mut Backoff,
    /// Marks of the last seconds, and the one before them.
    recent: VecDeque<(Instant, EntryId)>,
    before: EntryId,
    /// When the account was told last.
    said: &'a mut Instant,
}

impl<S: Sink, I: Inlet> Session<'_, S, I> {
    async fn run(&mut self, target: &mut Option<EntryId>) -> Result<Ended, Broken> {
        let standing = unless(self.stop, self.inlet.open()).await.ok_or(Broken::Stopped)??;
        self.loop_.meter.opened();
        let target = *target.get_or_insert(standing.last);
        let mut hand = InHand::default();
        match standing.replay {
            Some(replay) => self.begin_past(&standing, replay).await?,
            None => self.take_up(&standing).await?,
        }
        self.read_pending(&mut hand, &standing).await?;
        self.flush(&mut hand, &standing, false).await?;
        match standing.replay {
            Some(replay) => self.read_past(&mut hand, &standing, replay).await,
            None => self.read_new(&mut hand, &standing, target).await.map(|()| Ended::Settled),
        }
    }

    /// Before the past is read the sink is told so: without the replay it must not take itself for whole. One that knows
    /// nothing of a past that was handed out already lacks the part that was settled.
    async fn begin_past(&mut self, standing: &Standing, replay: Replay) -> Result<(), Broken> {
        let mark = self.sink.mark().await?;
        if mark.as_ref().is_some_and(Mark::is_in_replay) {
            return Ok(());
        }
        // It had settled all of it, and had not turned to the stream yet.
        let is_whole = |mark: Mark| replay.done && mark.born == standing.born && mark.id >= replay.after;
        if replay.begun && !mark.is_some_and(is_whole) {
            return Err(Broken::Fatal(self.loop_.asker.past_lost(self.loop_.kind).into()));
        }
        self.sink.keep(&Mark::in_replay()).await
    }

    /// Reads the past as far as it lies ready; when all of it does and is settled, turns to the stream itself.
    async fn read_past(
        &mut self,
        hand: &mut InHand<S::Record>,
        standing: &Standing,
        replay: Replay,
    ) -> Result<Ended, Broken> {
        while !self.step(hand, standing, replay.done, <[Entry]>::is_empty).await? {}
        if replay.done {
            let after = replay.after;
            self.sink.keep(&Mark { born: standing.born.clone(), id: after, before: after }).await?;
            held(self.inlet.turn().await?)?;
            info!(group = self.loop_.asker.group, %after, "the past is settled: going on with the stream");
        }
        Ok(Ended::Turned)
    }

    /// The mark as it stood longer ago than a crashed server may lose, now that it moves to `id`.
    fn before(&mut self, id: EntryId) -> EntryId {
        self.recent.push_back((Instant::now(), id));
        while let Some(&(since, id)) = self.recent.front()
            && since.elapsed() >= self.loop_.asker.crash
        {
            self.before = id;
            self.recent.pop_front();
        }
        self.before
    }

    /// Holds the sink's mark against the stream, and places the group where both agree.
    async fn take_up(&mut self, standing: &Standing) -> Result<(), Broken> {
        let mark = self.sink.mark().await?;
        self.before = mark.as_ref().map_or(EntryId::ZERO, |mark| mark.before);
        let plan = self.loop_.asker.plan(standing, mark.as_ref()).map_err(|e| Broken::Fatal(e.into()))?;
        let Plan::Place { floor, mark, because } = plan else { return Ok(()) };
        if !because.is_empty() {
            error!(group = self.loop_.asker.group, from = %mark.id, "{because}");
        }
        self.inlet.raise(floor).await?;
        self.sink.keep(&mark).await?;
        self.before = mark.before;
        held(self.inlet.place(mark.id).await?)
    }

    async fn read_pending(
        &mut self,
        hand: &mut InHand<S::Record>,
        standing: &Standing,
    ) -> Result<(), Broken> {
        let mut after = EntryId::ZERO;
        loop {
            self.loop_.meter.busy();
            let entries = held(self.inlet.pending(after).await?)?;
            let Some(last) = entries.last() else { return Ok(()) };
            after = last.id;
            self.loop_.take(hand, entries);
            if hand.is_full(self.sink.appetite()) {
                self.flush(hand, standing, false).await?;
            }
        }
    }

    async fn read_new(
        &mut self,
        hand: &mut InHand<S::Record>,
        standing: &Standing,
        target: EntryId,
    ) -> Result<(), Broken> {
        let once = self.loop_.once;
        let ends = |entries: &[Entry]| once && entries.last().is_none_or(|entry| entry.id >= target);
        while !self.step(hand, standing, once, ends).await? {}
        Ok(())
    }

    /// Takes what comes, and writes it when that is enough; tells whether it was the end.
    async fn step(
        &mut self,
        hand: &mut InHand<S::Record>,
        standing: &Standing,
        at_once: bool,
        ends: impl FnOnce(&[Entry]) -> bool,
    ) -> Result<bool, Broken> {
        // What was read ahead may be enough already.
        let mut ended = false;
        if !hand.is_full(self.sink.appetite()) {
            let wait = if at_once { Duration::ZERO } else { self.patience(hand) };
            self.loop_.meter.busy();
            let entries = unless(self.stop, self.inlet.next(wait)).await.ok_or(Broken::Stopped)??;
            let entries = held(entries)?;
            self.backoff.reset();
            ended = ends(&entries);
            self.loop_.take(hand, entries);
        }
        if ended || hand.is_full(self.sink.appetite()) || self.patience(hand).is_zero() {
            self.flush(hand, standing, !ended).await?;
        }
        if self.said.elapsed() > SAY {
            *self.said = Instant::now();
            say(&self.loop_.asker.group, self.account);
            if standing.replay.as_ref().is_some_and(|replay| !replay.done) {
                info!(
                    group = self.loop_.asker.group,
                    "reads its past, and not all of it was given yet (`sqep replay`)"
                );
            }
        }
        Ok(ended)
    }

    /// How long to wait for more: what is left of the sink's patience, or a blocking read's length with empty hands.
    fn patience(&self, hand: &InHand<S::Record>) -> Duration {
        const BLOCK: Duration = Duration::from_secs(2);
        let Appetite { wait_max, .. } = self.sink.appetite();
        hand.since.map_or(BLOCK, |since| wait_max.saturating_sub(since.elapsed()).min(BLOCK))
    }

    /// Writes what is in hand, keeps the mark, settles. Nothing else acknowledges. With `ahead` the next batch is in hand
    /// then, as far as it lay ready.
    async fn flush(
        &mut self,
        hand: &mut InHand<S::Record>,
        standing: &Standing,
        ahead: bool,
    ) -> Result<(), Broken> {
        let (Some(&first), Some(&last)) = (hand.ids.iter().min(), hand.ids.iter().max()) else {
            return Ok(());
        };
        let mut done = mem::take(hand);
        let (appetite, write) = (self.sink.appetite(), self.sink.write_all(&done, first, last));
        let (refused, ahead) = tokio::join!(write, async {
            if ahead { read_ahead(self.loop_, self.inlet, self.stop, appetite, hand).await } else { Ok(()) }
        });
        let (refused, ()) = (refused?, ahead?);
        self.loop_.meter.durable(first);
        let written = done.rows.len() - refused.len();
        done.bury_rows(&self.loop_.asker.group, refused);
        self.wait_for_burial(&done.letters).await?;
        // Ids of the past are not those of the stream: the mark comes at its end.
        if standing.replay.is_none() {
            let before = self.before(last);
            self.sink.keep(&Mark { born: standing.born.clone(), id: last, before }).await?;
        }
        let letters = mem::take(&mut done.letters);
        let account = Account {
            fetched: done.fetched,
            written: count(written),
            buried: mem::take(&mut done.buried),
            entries: count(done.ids.len()),
        };
        let settled = Settled { account: &account, bytes: done.bytes, letters: count(letters.len()) };
        self.loop_.meter.busy();
        held(self.inlet.settle(&Settlement { ids: mem::take(&mut done.ids), letters }).await?)?;
        self.loop_.meter.settled(&settled);
        self.backoff.reset();
        self.account.add(&account);
        Ok(())
    }

    async fn wait_for_burial(&mut self, letters: &[Letter]) -> Result<(), Broken> {
        let bytes: usize = letters.iter().map(Letter::bytes).sum();
        let mut backoff = Backoff::default();
        if bytes == 0 {
            return Ok(());
        }
        loop {
            let Some(reason) = self.inlet.burial_room(bytes).await? else { return Ok(()) };
            let wait = backoff.next();
            error!("{reason}; again in {wait:?}");
            self.loop_.meter.retry("burial", &anyhow!(reason));
            if !pause(wait, self.stop).await {
                return Err(Broken::Stopped);
            }
        }
    }
}

/// Takes what lies ready, to one batch, without waiting for more.
async fn read_ahead<R: Record>(
    loop_: &Deliverer,
    inlet: &mut impl Inlet,
    stop: &CancellationToken,
    appetite: Appetite,
    hand: &mut InHand<R>,
) -> Result<(), Broken> {
    while !hand.is_full(appetite) && !stop.is_cancelled() {
        let entries = held(inlet.next(Duration::ZERO).await?)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            loop_.take(hand, vec![entry]);
            // Opening is work without a wait in it: the sink, which shares the task, has its turn between two entries.
            yield_now().await;
        }
    }
    Ok(())
}

/// What `--resume` does where a reader stopped with a word on marks: everything the stream still
/// holds is read again, which is once by key.
pub async fn resume<S: Sink, I: Inlet>(partition: u16, sink: &mut S, inlet: &mut I) -> anyhow::Result<()> {
    let resumed = take_again(partition, sink, inlet).await;
    inlet.close().await;
    resumed
}

async fn take_again<S: Sink, I: Inlet>(partition: u16, sink: &mut S, inlet: &mut I) -> anyhow::Result<()> {
    let standing = inlet.open().await?;
    if standing.replay.is_some() {
        anyhow::bail!(
            "the group is being given its past: let that come to its end, or end the group with `sqep group retire`"
        );
    }
    let mark = sink.mark(partition).await?;
    let Plan::Place { floor, mark, .. } = Asker::resume(&standing, mark.as_ref()) else { return Ok(()) };
    inlet.raise(floor).await?;
    sink.save(partition, &mark).await?;
    match inlet.place(mark.id).await? {
        Held::Yes(()) => Ok(()),
        Held::Lost => anyhow::bail!("another reader took the lease meanwhile: try again"),
    }
}
