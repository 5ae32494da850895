//! The stream server in memory: what a fault may find, and what it leaves behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sqep::{Cursors, EntryId, Mark, letter::Letter, transport::Replay, wire::Entry};
use tokio::time::Instant;

/// How many earlier states a fail-over may fall back to.
const STATES_MAX: usize = 24;

/// A symbol whose records the sink can never take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poison(pub i32);

/// One group.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) delivered: EntryId,
    pub(super) pending: BTreeSet<EntryId>,
    pub(super) settled: EntryId,
}

/// The past that is being given to the group.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    pub(super) entries: BTreeMap<EntryId, Entry>,
    pub(super) last: EntryId,
    pub(super) group: Group,
    pub(super) cursors: Cursors,
    pub(super) done: bool,
    after: EntryId,
}

impl Past {
    pub(super) fn how_far(&self) -> Replay {
        Replay { after: self.after, done: self.done, begun: self.group.delivered > EntryId::ZERO }
    }
}

/// Everything a flush or a fail-over takes back.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) born: String,
    pub(super) entries: BTreeMap<EntryId, Entry>,
    pub(super) last: EntryId,
    pub(super) group: Option<Group>,
    pub(super) past: Option<Past>,
    pub(super) cursors: Cursors,
    pub(super) dead: Vec<Letter>,
}

/// The server: its state, earlier ones, a clock and a lease.
#[derive(Debug)]
pub struct Server {
    pub(super) state: State,
    pub(super) lease: Option<(u64, Instant)>,
    earlier: VecDeque<State>,
    clock_ms: u64,
    garbage: BTreeSet<EntryId>,
}

impl Server {
    pub(super) fn new(born: u64) -> Server {
        Server {
            state: State { born: born.to_string(), ..State::default() },
            lease: None,
            earlier: VecDeque::new(),
            clock_ms: 1_000,
            garbage: BTreeSet::new(),
        }
    }

    pub(super) fn tick(&mut self, millis: u64) {
        self.clock_ms += millis;
    }

    /// The id the next entry gets: by the clock, but never below the last.
    fn next_id(&self) -> EntryId {
        let by_clock = EntryId::new(self.clock_ms, 0);
        if by_clock > self.state.last { by_clock } else { self.state.last.next() }
    }

    pub(super) fn append(&mut self, fields: Vec<(Vec<u8>, Vec<u8>)>) -> EntryId {
        let id = self.next_id();
        self.state.last = id;
        self.state.entries.insert(id, Entry { id, fields });
        id
    }

    /// Appends an entry that does not decode.
    pub(super) fn garbage(&mut self) {
        let id = self.append(vec![(b"v".to_vec(), b"1".to_vec()), (b"p".to_vec(), b"\xff".to_vec())]);
        self.garbage.insert(id);
    }

    pub(super) fn flush(&mut self, born: u64) {
        self.state = State { born: born.to_string(), ..State::default() };
        self.earlier.clear();
        self.lease = None;
        self.garbage.clear();
    }

    pub(super) fn fail_over(&mut self, steps: usize) {
        let Some(at) = self.earlier.len().checked_sub(steps) else { return };
        // A fail-over takes longer than a millisecond: the ids of what is lost are not given out again.
        self.clock_ms = self.clock_ms.max(self.state.last.ms) + 1;
        // A letter that the server loses is lost with it; its entry was dealt with all the same.
        let unburied: BTreeSet<EntryId> = self.unreadable_without_letter().into_iter().collect();
        self.garbage.retain(|id| unburied.contains(id));
        self.state = self.earlier[at].clone();
        self.earlier.truncate(at + 1);
        self.lease = None;
        let entries = &self.state.entries;
        self.garbage.retain(|id| entries.contains_key(id));
    }

    pub(super) fn remember(&mut self) {
        if self.earlier.len() == STATES_MAX {
            self.earlier.pop_front();
        }
        self.earlier.push_back(self.state.clone());
    }

    /// Makes the group and lets it wait for its past, unless it does already.
    pub fn begin_past(&mut self) {
        if self.state.past.is_some() {
            return;
        }
        // The stream is read from its beginning, but its ids go on above those of whatever it held before.
        self.state.group = Some(Group::default());
        self.state.past = Some(Past::default());
    }

    /// Ends the group, which lacks a part of its past, unless somebody reads as it at the moment.
    pub fn retire(&mut self) {
        let leased = self.lease.is_some_and(|(_, until)| Instant::now() < until);
        if !leased && self.state.past.as_ref().is_some_and(|past| past.how_far().begun) {
            (self.state.past, self.state.group) = (None, None);
            // No fail-over takes back what an operator did: a mark does not say of which past it is, and that of the new one
            // would be taken for the old one's.
            self.earlier.clear();
        }
    }

    /// Whether the group waits for more of its past.
    pub fn awaits_past(&self) -> bool {
        self.state.past.as_ref().is_some_and(|past| !past.done)
    }

    pub(super) fn append_past(&mut self, fields: Vec<(Vec<u8>, Vec<u8>)>) {
        let by_clock = EntryId::new(self.clock_ms, 0);
        let Some(past) = &mut self.state.past else { return };
        let id = by_clock.max(past.last.next());
        past.last = id;
        past.entries.insert(id, Entry { id, fields });
    }

    /// Letters that are there now.
    pub fn dead(&self) -> &[Letter] {
        &self.state.dead
    }

    /// The cursor that is stored now.
    pub fn cursors(&self) -> &Cursors {
        &self.state.cursors
    }

    /// Entries nobody can read that are on the stream now and have no letter.
    pub fn unreadable_without_letter(&self) -> Vec<EntryId> {
        let buried: BTreeSet<&str> = self.state.dead.iter().map(|letter| letter.origin.as_str()).collect();
        self.garbage.iter().filter(|id| !buried.contains(id.to_string().as_str())).copied().collect()
    }

    /// Entries handed out and not settled.
    pub fn pending(&self) -> usize {
        self.state.group.as_ref().map_or(0, |group| group.pending.len())
    }

    /// Whether a sink with this mark says that it holds every entry.
    pub fn is_whole(&self, mark: &Mark) -> bool {
        let last = self.state.entries.keys().next_back().copied().unwrap_or_default();
        mark.born == self.state.born && (last..=self.state.last).contains(&mark.id)
    }
}
