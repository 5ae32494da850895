//! The way off the simulated stream, under a lease that passes when its holder is paused.

use std::{collections::BTreeMap, ops::Bound, time::Duration};

use rand::Rng;
use sqep::{
    DayBar, EntryId,
    transport::{Held, Inlet, Settlement, Standing, TransportError},
    wire::Entry,
};
use tokio::time::Instant;

use super::{
    Shared, World,
    server::{Group, Past, State},
    writer::gone,
};

/// How long a lease lasts without a sign of life.
const LEASE: Duration = Duration::from_secs(30);

/// Reads from a [`Shared`] world.
#[derive(Debug)]
pub struct FakeInlet {
    world: Shared,
    reader: u64,
    records_max: usize,
    token: u64,
    recovered: bool,
}

impl FakeInlet {
    /// One reader of the group; its sink goes by the same number and takes so many records at once.
    pub fn new(world: Shared, reader: u64, records_max: usize) -> FakeInlet {
        FakeInlet { world, reader, records_max, token: 0, recovered: false }
    }

    /// One step that needs the lease; it may fail before or after `act` took effect.
    async fn guarded<T>(&mut self, act: impl FnOnce(&mut World) -> T) -> Result<Held<T>, TransportError> {
        self.world.step().await;
        let mut world = self.world.lock();
        world.weather();
        if world.happens(|faults| faults.step) {
            return Err(gone("connection reset before the request"));
        }
        let now = Instant::now();
        match world.server.lease {
            Some((token, until)) if token == self.token && now < until => {}
            _ => return Ok(Held::Lost),
        }
        world.server.lease = Some((self.token, now + LEASE));
        let done = act(&mut world);
        if world.happens(|faults| faults.step) {
            return Err(gone("connection reset after the request: the reply is lost"));
        }
        Ok(Held::Yes(done))
    }

    /// How things stand, if the lease is free.
    fn try_open(&mut self) -> Result<Option<Standing>, TransportError> {
        let mut world = self.world.lock();
        world.weather();
        if world.happens(|faults| faults.step) {
            return Err(gone("connection refused"));
        }
        let now = Instant::now();
        if world.server.lease.is_some_and(|(token, until)| token != self.token && now < until) {
            let free = !world.store.is_locked_by(self.reader);
            world.promise(free, "a reader waits for the lease and keeps its holder from the store");
            return Ok(None);
        }
        world.store.forgive(self.reader);
        self.token = world.rng.random();
        world.server.lease = Some((self.token, now + LEASE));
        self.recovered = false;
        let state = &world.server.state;
        Ok(Some(Standing {
            born: state.born.clone(),
            settled: state.group.as_ref().map(|group| group.settled),
            last: state.last,
            trimmed: EntryId::ZERO,
            resume: None,
            replay: state.past.as_ref().map(Past::how_far),
        }))
    }

    fn asks_for_more(&self, world: &mut World) {
        let owes = world.store.owes(self.reader);
        world.promise(!owes, "the loop asked for more while a batch was refused and not yet written");
    }
}

/// Where entries come from: the past as long as there is one, then the stream.
fn lane(state: &mut State) -> Option<(&mut Group, &BTreeMap<EntryId, Entry>)> {
    match &mut state.past {
        Some(past) => Some((&mut past.group, &past.entries)),
        None => state.group.as_mut().map(|group| (group, &state.entries)),
    }
}

/// Records of an entry; none of one that nobody can read.
fn records(entry: &Entry) -> usize {
    entry.open::<DayBar>().map_or(0, |opened| opened.decoded.records.len())
}

fn no_group() -> TransportError {
    gone("NOGROUP the group is gone")
}

impl Inlet for FakeInlet {
    async fn open(&mut self) -> Result<Standing, TransportError> {
        loop {
            self.world.step().await;
            if let Some(standing) = self.try_open()? {
                return Ok(standing);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn raise(&mut self, floor: EntryId) -> Result<(), TransportError> {
        self.world.step().await;
        let last = &mut self.world.lock().server.state.last;
        *last = floor.max(*last);
        Ok(())
    }

    async fn place(&mut self, at: EntryId) -> Result<Held<()>, TransportError> {
        let place = |world: &mut World| {
            world.server.state.group = Some(Group { delivered: at, settled: at, ..Group::default() });
        };
        self.guarded(place).await
    }

    async fn pending(&mut self, after: EntryId) -> Result<Held<Vec<Entry>>, TransportError> {
        let found = self.guarded(|world| {
            let count = world.rng.random_range(1..6);
            let (group, entries) = lane(&mut world.server.state)?;
            let ids = group.pending.range((Bound::Excluded(after), Bound::Unbounded)).take(count);
            Some(
                ids.map(|id| entries.get(id).cloned().unwrap_or(Entry { id: *id, fields: Vec::new() }))
                    .collect(),
            )
        });
        let found: Held<Option<Vec<Entry>>> = found.await?;
        self.asks_for_more(&mut self.world.lock());
        match found {
            Held::Lost => Ok(Held::Lost),
            Held::Yes(None) => Err(no_group()),
            Held::Yes(Some(entries)) => {
                self.recovered |= entries.is_empty();
                Ok(Held::Yes(entries))
            }
        }
    }

    async fn next(&mut self, wait: Duration) -> Result<Held<Vec<Entry>>, TransportError> {
        if !wait.is_zero() {
            tokio::time::sleep(Duration::from_millis(10).min(wait)).await;
        }
        let (recovered, reader, records_max) = (self.recovered, self.reader, self.records_max);
        let found = self.guarded(|world| {
            let ahead = world.store.ahead(reader).copied().unwrap_or_default();
            world.promise(
                ahead < records_max,
                "the loop read on and on while a batch was refused and not yet written",
            );
            world.promise(recovered, "the loop asked for new entries before it had read all pending ones");
            let count = world.rng.random_range(1..6);
            let (group, entries) = lane(&mut world.server.state)?;
            let after = (Bound::Excluded(group.delivered), Bound::Unbounded);
            let entries: Vec<Entry> =
                entries.range(after).take(count).map(|(_, entry)| entry.clone()).collect();
            group.pending.extend(entries.iter().map(|entry| entry.id));
            group.delivered = entries.last().map_or(group.delivered, |entry| entry.id);
            if let Some(ahead) = world.store.ahead(reader) {
                *ahead += entries.iter().map(records).sum::<usize>();
            }
            Some(entries)
        });
        match found.await? {
            Held::Lost => Ok(Held::Lost),
            Held::Yes(None) => Err(no_group()),
            Held::Yes(Some(entries)) => Ok(Held::Yes(entries)),
        }
    }

    async fn settle(&mut self, settlement: &Settlement) -> Result<Held<()>, TransportError> {
        let reader = self.reader;
        let settle = |world: &mut World| {
            let owes = world.store.owes(reader);
            world.promise(!owes, "the loop settled while a batch was refused and not yet written");
            let state = &mut world.server.state;
            let (group, _) = lane(state)?;
            group.pending.retain(|id| !settlement.ids.contains(id));
            group.settled = settlement.ids.iter().max().copied().unwrap_or(group.settled);
            state.dead.extend(settlement.letters.iter().cloned());
            Some(())
        };
        match self.guarded(settle).await? {
            Held::Lost => Ok(Held::Lost),
            Held::Yes(None) => Err(no_group()),
            Held::Yes(Some(())) => Ok(Held::Yes(())),
        }
    }

    async fn burial_room(&mut self, _bytes: usize) -> Result<Option<String>, TransportError> {
        let mut world = self.world.lock();
        Ok(world.happens(|faults| faults.step).then(|| "the dead letters are full at the moment".to_owned()))
    }

    async fn turn(&mut self) -> Result<Held<()>, TransportError> {
        let done = self.guarded(|world| {
            let past = world.server.state.past.take();
            let settled = past.is_none_or(|past| past.done && past.group.pending.is_empty());
            world.promise(settled, "the loop turned to the stream before the past was done and settled");
        });
        done.await
    }

    async fn close(&mut self) {
        let mut world = self.world.lock();
        if world.server.lease.is_some_and(|(token, _)| token == self.token) {
            world.server.lease = None;
        }
    }
}
