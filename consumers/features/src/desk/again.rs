//! Securities computed anew from their past, where a correction is older than the bars at hand. Knows what a correction
//! changes and whether the past is whole; must not know how rows go out.
//!
//! However many corrections a security has in a batch, its past is gone through once. What the past does not hold whole any
//! more is not computed from the rest of it: the rows stay as they were, and the log says what to do.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqep::{EntryId, Record, Symbol};
use sqep_archive::Symbols;
use tokio::{task::yield_now, time::Instant};
use tracing::{info, warn};

use super::{Desk, SAY, Todo};
use crate::{
    engine::Engine,
    past::{Gap, Item, Walk},
    security::{Extent, Security},
};

/// Securities whose past is walked at once.
pub(super) const WALK_SECURITIES_MAX: usize = 250;

/// What a correction of a security's past means.
#[derive(Debug, Default)]
pub(super) struct Older {
    /// Times of bars that came, with the lowest version that came now.
    pub(super) bars: BTreeMap<i64, u64>,
    /// Rows from here on change whatever the bars say.
    pub(super) from: Option<i64>,
    /// Rows of what came after these versions of bars and of facts were lost with their server.
    pub(super) since: Option<(u64, u64)>,
}

/// A walk on its way.
struct Again<E: Engine> {
    anew: HashMap<i32, Box<Security<E>>>,
    /// Securities whose rows change, and from when on.
    changed: HashMap<i32, i64>,
    /// Securities whose past is not whole.
    torn: HashSet<i32>,
    /// Rows of bars that have none any more.
    withdrawn: BTreeMap<(Symbol, i64), E::Feature>,
}

impl<E: Engine> Desk<E> {
    /// Computes securities anew from their past; their rows from the first change on go out.
    pub(super) async fn compute_again(
        &mut self,
        some: &[i32],
        todo: &mut Todo<E::Feature>,
    ) -> anyhow::Result<()> {
        let symbols: Symbols = some.iter().filter_map(|&symbol| Symbol::from_i32(symbol).ok()).collect();
        let mut again = Again {
            anew: HashMap::new(),
            changed: HashMap::new(),
            torn: HashSet::new(),
            withdrawn: BTreeMap::new(),
        };
        // Of a past that is given the newest is taken, due or not: what comes later says the same.
        let upto = if self.replaying() { EntryId::of_version(u64::MAX) } else { self.upto };
        let gap = match self.past.walk(symbols, upto).await {
            Ok(walk) => {
                again.torn = self.torn(&walk, some).await?;
                self.go_through(walk, some, &mut again, todo).await?;
                None
            }
            Err(error) => {
                again.torn.extend(some);
                Some(error.downcast::<Gap>()?)
            }
        };
        let behind = self.behind().await?;
        self.close(some, again, todo, (gap.as_ref(), behind));
        Ok(())
    }

    /// Securities whose past is not whole. What an archive holds shows only on the way, and no row may be out by then: it is
    /// walked once more.
    async fn torn(&self, walk: &Walk<E>, some: &[i32]) -> anyhow::Result<HashSet<i32>> {
        let mut found: HashMap<i32, Extent> = HashMap::new();
        let known = |symbol: &i32| self.securities.get(symbol).map(|known| known.extent());
        if !walk.is_archived() {
            let torn = |symbol: &&i32| known(symbol).is_some_and(|known| !walk.reaches(**symbol, known));
            return Ok(some.iter().filter(torn).copied().collect());
        }
        let mut count = self.past.count(walk)?;
        while let Some(items) = count.next()? {
            for bar in items.iter().filter_map(Item::newest).map(|(_, bar)| bar) {
                let symbol = bar.symbol().get();
                if known(&symbol).is_some_and(|known| bar.time() <= known.last) {
                    found.entry(symbol).or_default().add(bar.time());
                }
            }
            self.pulse();
            yield_now().await;
        }
        let torn = |symbol: &&i32| {
            let there = found.get(symbol).copied().unwrap_or_default();
            known(symbol).is_some_and(|known| !there.covers(known))
        };
        Ok(some.iter().filter(torn).copied().collect())
    }

    async fn go_through(
        &self,
        mut walk: Walk<E>,
        some: &[i32],
        again: &mut Again<E>,
        todo: &mut Todo<E::Feature>,
    ) -> anyhow::Result<()> {
        for symbol in &again.torn {
            let since = todo.older.get(symbol).and_then(|why| why.since);
            let lost = since.and_then(|since| walk.lost_from(*symbol, since));
            again.changed.extend(lost.map(|time| (*symbol, time)));
        }
        let (mut said, mut bars) = (Instant::now(), 0usize);
        while let Some(items) = walk.next()? {
            bars += items.len();
            for item in &items {
                self.take_again(item, &todo.older, again, &mut todo.rows);
            }
            self.put_full(todo).await?;
            self.pulse();
            yield_now().await;
            if said.elapsed() > SAY {
                said = Instant::now();
                let left = walk.left();
                info!(
                    securities = some.len(),
                    bars,
                    folders_left = left,
                    "computing again what was corrected"
                );
            }
        }
        Ok(())
    }

    fn take_again(
        &self,
        item: &Item<E::Bar>,
        older: &BTreeMap<i32, Older>,
        again: &mut Again<E>,
        rows: &mut Vec<E::Feature>,
    ) {
        let Some((version, bar)) = item.newest() else { return };
        let (symbol, time) = (bar.symbol().get(), bar.time());
        let (Some(known), Some(why)) = (self.securities.get(&symbol), older.get(&symbol)) else { return };
        // A past that reaches beyond what was delivered is not due yet, and one that begins later is not the whole.
        if time > known.extent().last || again.torn.contains(&symbol) {
            return;
        }
        if !again.anew.contains_key(&symbol) && time > known.extent().first {
            again.torn.insert(symbol);
            return;
        }
        let differs = why.differs(item, time);
        let from = [why.from, known.owed()].into_iter().flatten().min();
        if from.is_some_and(|from| time >= from) || differs || why.is_lost(item) {
            again.changed.entry(symbol).or_insert(time);
        }
        let security = again.anew.entry(symbol).or_insert_with(|| Box::new(known.without_bars()));
        let before = rows.len();
        security.take(bar, *version, &item.facts, &self.calendar, rows);
        if !again.changed.contains_key(&symbol) {
            rows.truncate(before);
            return;
        }
        let none = E::withdrawn(bar, *version);
        let had_a_row = item.versions.iter().rev().skip(1).any(|(_, before)| E::trades(before));
        // An archive that was compacted does not tell what a bar was before.
        if had_a_row || differs && self.past.archive.is_some() {
            again.withdrawn.insert(none.key(), none);
        }
        for row in &rows[before..] {
            again.withdrawn.remove(&row.key());
        }
    }

    /// Takes over what was computed. Of a past that is not whole, nothing: rows that a server lost with it stay owed until
    /// what it lost has come again.
    fn close(
        &mut self,
        some: &[i32],
        mut again: Again<E>,
        todo: &mut Todo<E::Feature>,
        (gap, behind): (Option<&Gap>, bool),
    ) {
        again.withdrawn.retain(|(symbol, _), _| !again.torn.contains(&symbol.get()));
        todo.rows.extend(again.withdrawn.into_values());
        let (mut securities, mut corrections, mut first) = (0usize, 0usize, None);
        for symbol in some {
            let Some(known) = self.securities.get_mut(symbol) else { continue };
            let extent = known.extent();
            let anew = again.anew.remove(symbol).filter(|_| !again.torn.contains(symbol));
            let whole = |anew: Extent| anew.last >= extent.last && anew.bars >= extent.bars;
            if let Some(mut anew) = anew.filter(|anew| whole(anew.extent())) {
                // What is still to be delivered was not computed with it.
                known.owed().filter(|_| behind).into_iter().for_each(|owed| anew.owe(owed));
                *known = anew;
                continue;
            }
            let Some(why) = todo.older.get(symbol).filter(|_| extent.bars > 0) else { continue };
            self.unpaid.insert(*symbol);
            if why.since.is_some() {
                again.changed.get(symbol).into_iter().for_each(|&time| known.owe(time));
                todo.rows.extend(known.rows(&self.calendar));
            }
            if why.from.is_some() || !why.bars.is_empty() {
                (securities, corrections) = (securities + 1, corrections + why.bars.len().max(1));
                first.get_or_insert(known.symbol());
            }
        }
        if let Some(first) = first {
            let why =
                gap.map_or_else(|| "the whole past of it is nowhere any more".to_owned(), Gap::to_string);
            warn!(
                securities,
                corrections,
                %first,
                "corrections older than the bars at hand change nothing: {why}. Rows stay as they were; once \
                 features.archive names an archive that has the whole past, retire this group, remove its snapshot and \
                 give it the past anew (sqep group retire, sqep replay)"
            );
        }
    }
}

impl Older {
    /// Whether rows from this bar on were lost.
    fn is_lost<B>(&self, item: &Item<B>) -> bool {
        let Some((bars, facts)) = self.since else { return false };
        item.facts_version > facts || item.versions.iter().any(|(version, _)| *version > bars)
    }

    /// Whether a bar that came says otherwise than what was known before it.
    fn differs<B: Record>(&self, item: &Item<B>, time: i64) -> bool {
        let Some(&came) = self.bars.get(&time) else { return false };
        let before = item.versions.iter().rev().find(|(version, _)| *version < came);
        let now = item.newest();
        before.map(|(_, bar)| bar) != now.map(|(_, bar)| bar)
    }
}
