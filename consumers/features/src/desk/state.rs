//! The state of a desk and what it rests on: snapshots, marks, and the archive where a snapshot is lost. Knows what has to be
//! there before the first input; must not compute or publish a row.

use std::time::Duration;

use anyhow::{Context, bail};
use sqep::{EntryId, Kind, Mark, Record, publish::partition_of};
use sqep_archive::Symbols;
use tokio::{task::yield_now, time::Instant};
use tracing::{info, warn};

use super::{Desk, Input, SAY, cursor};
use crate::{
    engine::Engine,
    save::Reader,
    security::{Security, fresh},
    store::{FORM, Header},
};

/// How long nothing came when a snapshot is in nobody's way.
const QUIET: Duration = Duration::from_secs(2);
/// Bytes of a security in a snapshot, as a rule.
const SECURITY_BYTES: usize = 6_000;
/// Securities that are made bytes of at once.
const PART_SECURITIES: usize = 64;
/// How many times later than due a snapshot is written where there is no pause.
const WITHOUT_PAUSE: u32 = 4;

/// A state can be built of nothing that is left, however long it is waited: somebody has to act.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Nowhere(String);

impl<E: Engine> Desk<E> {
    /// The mark of an input, after whatever it takes to have the state that belongs to it.
    pub(crate) async fn mark(&mut self, input: Input) -> anyhow::Result<Option<Mark>> {
        if !self.loaded {
            self.load().await?;
            self.loaded = true;
        }
        if input == Input::Bars {
            self.catch_up().await?;
        }
        if let Some(mark) = self.marks.get(&input) {
            return Ok(Some(mark.clone()));
        }
        if input == Input::Bars {
            return Ok(None);
        }
        // Facts are few and said again in every day's: without a snapshot all that the stream holds is heard.
        let stream = self.past.stream(Kind::RefDay).await?;
        let (born, id) = (stream.born, stream.trimmed);
        Ok((!born.is_empty()).then_some(Mark { born, id, before: id }))
    }

    async fn load(&mut self) -> anyhow::Result<()> {
        let path = self.store.path().display().to_string();
        match self.store.load(E::SET).with_context(|| format!("cannot read {path}"))? {
            Some(Ok((header, state))) => match self.restore(&header, &state) {
                Ok(()) => {
                    info!(securities = self.securities.len(), "goes on with {path}");
                    return Ok(());
                }
                Err(why) => warn!("{path} cannot be used: {why}; the state is built anew"),
            },
            Some(Err(why)) => warn!("{path} cannot be used: {why}; the state is built anew"),
            None => {}
        }
        self.securities.clear();
        self.marks.clear();
        self.published.clear();
        self.rebuild().await
    }

    fn restore(&mut self, header: &Header, state: &[u8]) -> anyhow::Result<()> {
        let mut reader = Reader::new(state);
        for _ in 0..header.securities {
            let security = Security::load(&mut reader, &self.calendar)?;
            self.securities.insert(security.symbol().get(), Box::new(security));
        }
        reader.end()?;
        for (input, mark) in [(Input::Bars, &header.bars), (Input::Facts, &header.facts)] {
            // A snapshot holds what is on the stream.
            self.published.extend(mark.as_ref().map(|mark| (input, mark.id)));
            self.marks.extend(mark.clone().map(|mark| (input, mark)));
        }
        self.upto = header.bars.as_ref().map_or(EntryId::ZERO, |mark| mark.id);
        self.given = header.given;
        Ok(())
    }

    /// Without a snapshot: as far as rows are on the stream of features, the state is built from the archive; what the
    /// archive does not hold yet is delivered again and only rebuilds.
    async fn rebuild(&mut self) -> anyhow::Result<()> {
        let stored = self.outbox.stored(&self.name(Input::Bars)).await?;
        let Some((born, done)) = stored.as_deref().and_then(cursor) else { return Ok(()) };
        if born == Mark::in_replay().born {
            let path = self.store.path().display();
            bail!(Nowhere(format!(
                "the snapshot {path} was lost while the past was being given: run `sqep group retire` for this group, then \
                 start again"
            )));
        }
        let stream = self.past.stream(E::BARS).await?;
        if born != stream.born {
            return Ok(());
        }
        let archived = self.past.archived(E::BARS, &stream)?.map_or(EntryId::ZERO, |mark| mark.id);
        let id = archived.min(done);
        if id < stream.trimmed {
            bail!(Nowhere(format!(
                "the snapshot {} is lost, {} was trimmed up to {}, and the archive holds it up to {archived} only: name an \
                 archive that has the rest in features.archive",
                self.store.path().display(),
                E::BARS,
                stream.trimmed
            )));
        }
        info!("building the state from the archive, up to {id}");
        self.build(id).await?;
        self.upto = id;
        self.marks.insert(Input::Bars, Mark { born: born.to_owned(), id, before: id });
        Ok(())
    }

    async fn build(&mut self, upto: EntryId) -> anyhow::Result<()> {
        if upto == EntryId::ZERO {
            return Ok(());
        }
        let (mut walk, gap) = self.past.archived_walk(Symbols::ALL, upto.version()).await?;
        if let Some(gap) = gap {
            warn!(
                "the snapshot {path} is lost, and facts of days with it: {gap}. What needs them is null and its rows are not \
                 valid until as many bars with a factor came as a feature looks back on. Where an archive has those facts, \
                 name it in features.archive, remove {path} and start again",
                path = self.store.path().display()
            );
        }
        let (mut rows, mut bars, mut said, folders) = (Vec::new(), 0usize, Instant::now(), walk.left());
        while let Some(items) = walk.next()? {
            for item in &items {
                let Some((version, bar)) = item.newest() else { continue };
                let symbol = bar.symbol();
                if partition_of(symbol, self.past.partitions) != self.partition {
                    continue;
                }
                bars += 1;
                let security = self.securities.entry(symbol.get()).or_insert_with(|| fresh(symbol));
                security.take(bar, *version, &item.facts, &self.calendar, &mut rows);
                rows.clear();
            }
            self.pulse();
            yield_now().await;
            if said.elapsed() > SAY {
                said = Instant::now();
                info!(bars, "building the state: {} of {folders} folders done", folders - walk.left());
            }
        }
        info!(bars, securities = self.securities.len(), "the state is built");
        Ok(())
    }

    /// Keeps a mark, and at the end of a past puts out what was owed. With a snapshot where the stream is another now, and
    /// where no pause came in which one would have been in nobody's way.
    pub(crate) async fn save(&mut self, input: Input, mark: &Mark) -> anyhow::Result<()> {
        let before = self.marks.insert(input, mark.clone());
        let other = before.is_some_and(|before| before.born != mark.born);
        if input == Input::Bars {
            // Another stream, or the one that a past ends before: its entries come after this one.
            self.upto = if other { mark.id } else { self.upto.max(mark.id) };
        }
        if other {
            // Entries of another stream are no measure; that there is any cursor at all still is.
            self.published.insert(input, EntryId::new(0, 1));
        }
        // The last entries may have brought no bar at all.
        let waited = self.deferred && self.past.stream(E::BARS).await?.last <= self.upto;
        if other || waited {
            self.deferred = false;
            self.catch_up().await?;
        }
        if other || self.saved_before(self.habits.snapshot_every * WITHOUT_PAUSE) {
            self.snapshot().await
        } else {
            Ok(())
        }
    }

    /// Writes the snapshot that is due, if nothing came for a moment.
    pub(crate) async fn rest(&mut self) -> anyhow::Result<()> {
        let quiet = self.moved.is_some_and(|moved| moved.elapsed() >= QUIET);
        let news = self.moved > self.saved;
        if quiet && news && self.saved_before(self.habits.snapshot_every) {
            self.snapshot().await
        } else {
            Ok(())
        }
    }

    fn saved_before(&self, age: Duration) -> bool {
        self.saved.is_none_or(|saved| saved.elapsed() >= age)
    }

    /// Replaces the snapshot, unless something is begun that is not on the stream yet.
    pub(crate) async fn snapshot(&mut self) -> anyhow::Result<()> {
        if self.todo.is_some() || !self.loaded { Ok(()) } else { self.write_snapshot().await }
    }

    pub(super) async fn write_snapshot(&mut self) -> anyhow::Result<()> {
        let mut symbols: Vec<i32> = self.securities.keys().copied().collect();
        symbols.sort_unstable();
        let mark = |input| self.marks.get(&input).cloned();
        let header = Header {
            set: E::SET,
            form: FORM,
            bars: mark(Input::Bars),
            facts: mark(Input::Facts),
            given: self.given,
            securities: symbols.len(),
        };
        let state = symbols.chunks(PART_SECURITIES).map(|some| {
            let mut bytes = Vec::with_capacity(some.len() * SECURITY_BYTES);
            some.iter()
                .filter_map(|symbol| self.securities.get(symbol))
                .for_each(|known| known.save(&mut bytes));
            bytes
        });
        let path = self.store.path();
        let saved = self.store.save(&header, state).await;
        saved.with_context(|| format!("cannot write {}", path.display()))?;
        self.saved = Some(Instant::now());
        if self.refused > 0 {
            warn!(bars = self.refused, "bars beyond what the formulas take have no row");
            self.refused = 0;
        }
        Ok(())
    }

    /// While the past is given nothing but a snapshot remembers what was settled.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        if self.replaying() { self.snapshot().await } else { Ok(()) }
    }
}
