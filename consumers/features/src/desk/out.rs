//! Rows on their way out of a desk: what is begun is finished, what a server lost is put there again. Knows in which order
//! rows and cursors move; must not know how rows are made.

use std::collections::{BTreeMap, HashSet};

use anyhow::Context;
use sqep::{EntryId, Record};
use tracing::{info, warn};

use super::{Desk, Input, PIECE_ROWS_MAX, Todo, again::WALK_SECURITIES_MAX, cursor};
use crate::engine::Engine;

impl<E: Engine> Desk<E> {
    /// Puts everything that is begun on the stream.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        let lost = self.lost().await?;
        if self.todo.is_none() && lost.is_none() {
            return Ok(());
        }
        let mut todo = self.todo.take().unwrap_or_default();
        if let Some(since) = lost {
            self.restore_lost(since, &mut todo);
        }
        let finished = self.work_off(&mut todo).await;
        if finished.is_err() {
            self.todo = Some(todo);
        }
        finished
    }

    /// Puts rows on the stream as soon as they fill a transaction.
    pub(super) async fn spill(&mut self) -> anyhow::Result<()> {
        let Some(mut todo) = self.todo.take() else { return Ok(()) };
        let spilt = self.put_full(&mut todo).await;
        self.todo = Some(todo);
        spilt
    }

    /// What was owed is computed as soon as bars are where their rows are on the stream.
    pub(super) async fn catch_up(&mut self) -> anyhow::Result<()> {
        if self.replaying() || self.behind().await? {
            return Ok(());
        }
        let mut owed = Vec::new();
        for (&symbol, known) in &mut self.securities {
            match known.owed() {
                // What comes is computed with what was heard.
                Some(_) if known.extent().bars == 0 => known.settle(),
                Some(time) if !self.unpaid.contains(&symbol) => owed.push((symbol, time)),
                _ => {}
            }
        }
        if !owed.is_empty() {
            info!(
                securities = owed.len(),
                "computing what came late in a past that was given, lost or built again"
            );
            let mut todo = Todo { publish: true, ..Todo::default() };
            for (symbol, time) in owed {
                todo.older.entry(symbol).or_default().from = Some(time);
            }
            self.todo = Some(todo);
            self.finish().await?;
        }
        self.refresh_latest().await
    }

    /// A crash may have come between a row and its copy: each security's newest row is kept once more.
    async fn refresh_latest(&mut self) -> anyhow::Result<()> {
        let Some(latest) = self.habits.latest.as_ref().filter(|_| self.latest_due) else { return Ok(()) };
        let rows = self.securities.values().filter_map(|known| known.rows(&self.calendar).pop());
        let rows: Vec<E::Feature> = rows.collect();
        for piece in rows.chunks(PIECE_ROWS_MAX) {
            latest.replace(piece).await?;
        }
        self.latest_due = false;
        Ok(())
    }

    /// After which versions rows are missing from the stream that were there: its server was killed and lost its last
    /// seconds, or was emptied.
    async fn lost(&self) -> anyhow::Result<Option<(u64, u64)>> {
        let mut since = [u64::MAX; 2];
        for (at, input) in [Input::Bars, Input::Facts].into_iter().enumerate() {
            let Some(&published) = self.published.get(&input) else { continue };
            let stored = self.outbox.stored(&self.name(input)).await?;
            match stored.as_deref().and_then(cursor) {
                Some((_, stored)) if stored >= published => {}
                Some((_, stored)) if !self.replaying() => since[at] = stored.version(),
                Some(_) => since[at] = 0,
                None => since[at] = self.oldest_kept(),
            }
        }
        Ok((since != [u64::MAX; 2]).then_some((since[0], since[1])))
    }

    /// The version before everything a stream of features that was emptied may have held.
    fn oldest_kept(&self) -> u64 {
        let keeps = self.habits.keeps.and_then(|keeps| u64::try_from(keeps.as_millis()).ok());
        let newest = self.published.values().max().map_or(0, |id| id.ms);
        keeps.map_or(0, |keeps| EntryId::new(newest.saturating_sub(keeps), 0).version())
    }

    /// Notes that rows are to be put on the stream once more.
    fn restore_lost(&mut self, since: (u64, u64), todo: &mut Todo<E::Feature>) {
        warn!("the stream of {} has lost rows it had: they are computed again", E::FEATURES);
        for &symbol in self.securities.keys() {
            todo.older.entry(symbol).or_default().since = Some(since);
        }
        todo.rows.clear();
        todo.publish = true;
        for (&input, &id) in &self.published {
            if todo.done.iter().all(|(of, _)| *of != input) {
                todo.done.push((input, id));
            }
        }
    }

    pub(super) fn name(&self, input: Input) -> String {
        format!("{}:{}", input.word(), self.partition)
    }

    async fn work_off(&mut self, todo: &mut Todo<E::Feature>) -> anyhow::Result<()> {
        self.put_full(todo).await?;
        while let Some(symbol) = todo.late.pop_first() {
            if let Some(known) = self.securities.get_mut(&symbol) {
                known.refresh(&self.calendar, &mut todo.rows);
            }
            self.put_full(todo).await?;
        }
        while !todo.older.is_empty() {
            let some: Vec<i32> = todo.older.keys().copied().take(WALK_SECURITIES_MAX).collect();
            self.compute_again(&some, todo).await?;
            todo.older.retain(|symbol, _| !some.contains(symbol));
        }
        self.put_full(todo).await?;
        if todo.publish {
            let cursors = todo.done.iter().map(|&(input, id)| {
                let born = self.marks.get(&input).map_or("", |mark| mark.born.as_str());
                (self.name(input), format!("{born} {id}"))
            });
            self.put(&todo.rows, cursors.collect()).await?;
        }
        for &(input, id) in &todo.done {
            let known = self.published.entry(input).or_default();
            *known = (*known).max(id);
        }
        Ok(())
    }

    /// Puts rows on the stream while there are more than fit into the last transaction.
    pub(super) async fn put_full(&self, todo: &mut Todo<E::Feature>) -> anyhow::Result<()> {
        if !todo.publish {
            todo.rows.clear();
        }
        while todo.rows.len() > PIECE_ROWS_MAX {
            self.put(&todo.rows[..PIECE_ROWS_MAX], Vec::new()).await?;
            todo.rows.drain(..PIECE_ROWS_MAX);
            self.pulse();
        }
        Ok(())
    }

    async fn put(&self, rows: &[E::Feature], cursors: Vec<(String, String)>) -> anyhow::Result<()> {
        let rows = newest(rows);
        if rows.is_empty() && cursors.is_empty() {
            return Ok(());
        }
        let told = self.outbox.put(rows.clone(), cursors).await?;
        told.await.context("the rows did not get on the stream")?;
        self.keep_latest(rows).await
    }

    /// Keeps the newest rows; where one is withdrawn, the one before it, or none if that is not at hand.
    async fn keep_latest(&self, rows: Vec<E::Feature>) -> anyhow::Result<()> {
        let Some(latest) = &self.habits.latest else { return Ok(()) };
        let (withdrawn, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(E::is_withdrawn);
        if !rows.is_empty() {
            latest.keep(&rows).await?;
        }
        let (mut before, mut gone) = (BTreeMap::new(), BTreeMap::new());
        for row in withdrawn {
            let symbol = row.symbol().get();
            match self.securities.get(&symbol).and_then(|known| known.rows(&self.calendar).pop()) {
                Some(newest) => drop(before.insert(symbol, newest)),
                None => drop(gone.insert((symbol, row.time()), row)),
            }
        }
        if !before.is_empty() {
            latest.replace(&before.into_values().collect::<Vec<_>>()).await?;
        }
        if !gone.is_empty() {
            latest.forget(&gone.into_values().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }
}

/// Of each key the last row, in their order: rows of one transaction may share a version.
fn newest<R: Record>(rows: &[R]) -> Vec<R> {
    let mut keys = HashSet::with_capacity(rows.len());
    let mut newest: Vec<R> = rows.iter().rev().filter(|row| keys.insert(row.key())).copied().collect();
    newest.reverse();
    newest
}
