//! The promises of a source: every row accounted for, any stored cursor is a place to go on, an empty chunk before a wait.

use std::{future::Future, time::Duration};

use sqep::{Chunk, Cursors, Source};
use tokio::time::timeout;

/// How long a source may take for a chunk, empty ones included.
const CHUNK_WAIT_MAX: Duration = Duration::from_secs(30);
/// Records of a chunk: 64 full entries.
const CHUNK_RECORDS_MAX: usize = 48_000;
/// Stored cursors that are gone on from; of a longer run they are picked evenly.
const RESUMES_MAX: usize = 25;
/// Times a wait is broken off.
const DROPS: usize = 10;
/// How long a wait lasts before it is broken off.
const GLANCE: Duration = Duration::from_millis(2);
/// What a vendor has delivered before a source is started.
const DELIVERIES: usize = 3;

/// What a source's program was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// `--once`: it ends when it has read what is there.
    Once,
    /// It waits for more, for ever.
    Live,
}

/// What a vendor delivers at a time, as the source has to account for it; known by another way than the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery<R> {
    /// Rows that become records, in order.
    pub records: Vec<R>,
    /// Rows the source itself refuses.
    pub refused: u64,
    /// Rows that are no bars.
    pub skipped: u64,
}

impl<R> Default for Delivery<R> {
    fn default() -> Self {
        Delivery { records: Vec::new(), refused: 0, skipped: 0 }
    }
}

impl<R> Delivery<R> {
    fn add(&mut self, more: Delivery<R>) {
        self.records.extend(more.records);
        self.refused += more.refused;
        self.skipped += more.skipped;
    }

    fn rows(&self) -> u64 {
        u64::try_from(self.records.len()).unwrap_or(u64::MAX) + self.refused + self.skipped
    }
}

/// A delivery of the source that a rig rigs.
pub type DeliveryOf<G> = Delivery<<<G as Rig>::Source as Source>::Record>;

/// A vendor that the suite may ask for more, and a program that reads it.
pub trait Rig: Send {
    /// The source.
    type Source: Source;
    /// The vendor delivers something new: some rows that become records, and if it can some that do not.
    fn deliver(&mut self) -> impl Future<Output = anyhow::Result<DeliveryOf<Self>>> + Send;
    /// The source as after a start of its program.
    fn start(&mut self, life: Life) -> impl Future<Output = anyhow::Result<Self::Source>> + Send;
}

/// Runs all promises, each on a vendor of its own.
///
/// # Panics
/// When a promise is broken.
pub async fn source<G: Rig, F: Future<Output = anyhow::Result<G>>>(
    rig: impl Fn() -> F,
) -> anyhow::Result<()> {
    every_row_comes_and_is_accounted_for(&mut rig().await?).await?;
    any_stored_cursor_is_a_place_to_go_on(&mut rig().await?).await?;
    what_was_not_stored_comes_again(&mut rig().await?).await?;
    a_wait_is_announced_and_may_be_broken_off(&mut rig().await?).await
}

/// What the publishing loop would have stored so far.
#[derive(Debug, Clone)]
struct Stored<R> {
    cursors: Cursors,
    all: Delivery<R>,
}

impl<R: sqep::Record> Stored<R> {
    fn new() -> Stored<R> {
        Stored { cursors: Cursors::default(), all: Delivery::default() }
    }

    /// Stores a chunk and its cursor, in one step as the loop does.
    fn take(&mut self, chunk: Chunk<R>) {
        look_over(&chunk);
        let totals = &mut self.cursors.totals;
        totals.read += chunk.read();
        totals.appended += u64::try_from(chunk.records.len()).unwrap_or(u64::MAX);
        for refusal in &chunk.refused {
            refusal.count(&mut totals.refused);
        }
        for (&reason, &count) in &chunk.skipped {
            *totals.skipped.entry(reason).or_default() += count;
        }
        assert!(totals.balances(), "read = appended + refused + skipped: {totals:?}");
        (self.all.refused, self.all.skipped) = (totals.refused(), totals.skipped());
        self.all.records.extend(chunk.records);
        for (name, value) in chunk.cursor {
            match value {
                Some(value) => drop(self.cursors.fields.insert(name, value)),
                None => drop(self.cursors.fields.remove(&name)),
            }
        }
        self.cursors.stamp.seq += 1;
    }
}

/// What a chunk must be by itself.
fn look_over<R: sqep::Record>(chunk: &Chunk<R>) {
    assert!(chunk.records.len() <= CHUNK_RECORDS_MAX, "a chunk holds {} records", chunk.records.len());
    assert!(chunk.read() == 0 || !chunk.origin.is_empty(), "rows say where they come from: {chunk:?}");
    let lines = chunk.lines.len();
    assert!(lines == 0 || lines == chunk.records.len(), "{lines} lines of {} records", chunk.records.len());
    for refusal in &chunk.refused {
        assert!(
            refusal.reason().is_some() && refusal.rows > 0,
            "a refusal says why and of how many: {refusal:?}"
        );
    }
    assert!(chunk.read() == 0 || !chunk.cursor.is_empty(), "rows move the cursor: {chunk:?}");
}

/// The next chunk. `None`: nothing ever again.
async fn next<S: Source>(source: &mut S) -> anyhow::Result<Option<Chunk<S::Record>>> {
    let Ok(chunk) = timeout(CHUNK_WAIT_MAX, source.read()).await else {
        panic!(
            "no chunk within {CHUNK_WAIT_MAX:?}: rows are lost, or a wait was not announced by an empty chunk"
        );
    };
    chunk
}

/// Opens a source at what is stored and stores everything it has. Returns every state on the way, the first included.
async fn to_the_end<S: Source>(
    source: &mut S,
    mut stored: Stored<S::Record>,
) -> anyhow::Result<Vec<Stored<S::Record>>> {
    source.open(&stored.cursors).await?;
    let mut states = vec![stored.clone()];
    while let Some(chunk) = next(source).await? {
        if !chunk.is_empty() {
            stored.take(chunk);
            states.push(stored.clone());
        }
    }
    Ok(states)
}

async fn delivered<G: Rig>(rig: &mut G, times: usize) -> anyhow::Result<DeliveryOf<G>> {
    let mut all = Delivery::default();
    for _ in 0..times {
        all.add(rig.deliver().await?);
    }
    Ok(all)
}

async fn every_row_comes_and_is_accounted_for<G: Rig>(rig: &mut G) -> anyhow::Result<()> {
    let nothing = to_the_end(&mut rig.start(Life::Once).await?, Stored::new()).await;
    if let Ok(states) = nothing {
        // A source may also say in an error that there is nothing; it must not invent anything.
        assert_eq!(states.len(), 1, "a vendor that has delivered nothing gives nothing");
    }
    let all = delivered(rig, DELIVERIES).await?;
    assert!(all.records.len() >= DELIVERIES, "a delivery holds records");
    let states = to_the_end(&mut rig.start(Life::Once).await?, Stored::new()).await?;
    let last = &states[states.len() - 1];
    assert_eq!(last.all, all, "every row comes once, in order, and `None` only after the last");
    assert!(states.len() > 2, "several deliveries come as several chunks");
    let again = to_the_end(&mut rig.start(Life::Once).await?, last.clone()).await?;
    assert_eq!(again.len(), 1, "a second run hands over nothing new");
    Ok(())
}

async fn any_stored_cursor_is_a_place_to_go_on<G: Rig>(rig: &mut G) -> anyhow::Result<()> {
    let all = delivered(rig, DELIVERIES).await?;
    let mut same = rig.start(Life::Once).await?;
    let states = to_the_end(&mut same, Stored::new()).await?;
    let step = states.len().div_ceil(RESUMES_MAX);
    for at in states.iter().step_by(step) {
        for kind in ["a process started anew", "the same process opened again"] {
            let rest = if kind.starts_with('a') {
                to_the_end(&mut rig.start(Life::Once).await?, at.clone()).await?
            } else {
                to_the_end(&mut same, at.clone()).await?
            };
            let whole = rest.into_iter().next_back().map(|state| state.all);
            assert_eq!(
                whole.as_ref(),
                Some(&all),
                "{kind} at {:?} loses and repeats nothing",
                at.cursors.fields
            );
        }
    }
    Ok(())
}

async fn what_was_not_stored_comes_again<G: Rig>(rig: &mut G) -> anyhow::Result<()> {
    let all = delivered(rig, DELIVERIES).await?;
    let (mut source, mut stored) = (rig.start(Life::Once).await?, Stored::new());
    // Every second transaction comes through; its reply is lost, so that the source is opened again.
    for round in 0.. {
        source.open(&stored.cursors).await?;
        let mut chunk = next(&mut source).await?;
        while chunk.as_ref().is_some_and(Chunk::is_empty) {
            chunk = next(&mut source).await?;
        }
        let Some(chunk) = chunk else { break };
        if round % 2 == 1 {
            stored.take(chunk);
        }
    }
    assert_eq!(stored.all, all, "what was read and not stored is read again, once");
    Ok(())
}

async fn a_wait_is_announced_and_may_be_broken_off<G: Rig>(rig: &mut G) -> anyhow::Result<()> {
    let mut all = delivered(rig, 2).await?;
    let mut live = Living { source: rig.start(Life::Live).await?, stored: Stored::new(), idle: false };
    live.source.open(&live.stored.cursors).await?;
    live.until_idle_with(all.rows()).await?;
    live.glance().await?;
    assert_eq!(live.stored.all, all, "a wait that is broken off hands over nothing new");
    all.add(delivered(rig, 2).await?);
    live.glance().await?;
    live.until_idle_with(all.rows()).await?;
    assert_eq!(live.stored.all, all, "what came while it waited comes once");
    Ok(())
}

/// A source that waits for more.
struct Living<S: Source> {
    source: S,
    stored: Stored<S::Record>,
    /// It has said that nothing more is at hand: the next read may wait, and may be broken off.
    idle: bool,
}

impl<S: Source> Living<S> {
    fn take(&mut self, chunk: Option<Chunk<S::Record>>) {
        let Some(chunk) = chunk else { panic!("a live source says that nothing will ever come again") };
        self.idle = chunk.is_empty();
        if !self.idle {
            self.stored.take(chunk);
        }
    }

    /// Breaks off a few waits.
    async fn glance(&mut self) -> anyhow::Result<()> {
        for _ in 0..DROPS {
            if self.idle
                && let Ok(chunk) = timeout(GLANCE, self.source.read()).await
            {
                self.take(chunk?);
            }
        }
        Ok(())
    }

    /// Reads until so many rows are stored and the source says that nothing more is at hand.
    async fn until_idle_with(&mut self, rows: u64) -> anyhow::Result<()> {
        while self.stored.all.rows() < rows || !self.idle {
            let chunk = next(&mut self.source).await?;
            self.take(chunk);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sqep::{Calendar, DayBar, Reason};

    use super::*;
    use crate::market::{Market, Plan};

    /// What a source may do wrong.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fault {
        None,
        StoresTooLittle,
        StoresTooMuch,
        IgnoresTheCursor,
        LosesWhatIsDropped,
        WaitsUnannounced,
        EndsEarly,
        CountsNoSkips,
    }

    /// A vendor on a shelf: deliveries of three bars and a row of a suspended security.
    struct Shelf {
        fault: Fault,
        bars: Vec<DayBar>,
        delivered: Arc<Mutex<Vec<Vec<DayBar>>>>,
    }

    struct Reader {
        fault: Fault,
        life: Life,
        delivered: Arc<Mutex<Vec<Vec<DayBar>>>>,
        at: usize,
        idle: bool,
    }

    impl Shelf {
        fn new(fault: Fault) -> Shelf {
            let plan = Plan { seed: 5, symbols: 1, days: 60, to: "2026-06-30".parse().unwrap() };
            let market = Market::new(&plan, &Calendar::published()).unwrap();
            let bars = market.days(market.securities()[0].symbol).collect();
            Shelf { fault, bars, delivered: Arc::default() }
        }
    }

    impl Rig for Shelf {
        type Source = Reader;

        async fn deliver(&mut self) -> anyhow::Result<Delivery<DayBar>> {
            let records: Vec<DayBar> = self.bars.drain(..3).collect();
            self.delivered.lock().unwrap().push(records.clone());
            Ok(Delivery { records, refused: 0, skipped: 1 })
        }

        async fn start(&mut self, life: Life) -> anyhow::Result<Reader> {
            Ok(Reader { fault: self.fault, life, delivered: Arc::clone(&self.delivered), at: 0, idle: false })
        }
    }

    impl Reader {
        fn chunk(&mut self, records: Vec<DayBar>) -> Chunk<DayBar> {
            self.at += 1;
            self.idle = false;
            let stored = match self.fault {
                Fault::StoresTooLittle => self.at - 1,
                Fault::StoresTooMuch => self.at + 1,
                _ => self.at,
            };
            let mut chunk = Chunk { records, ..Chunk::empty("shelf") };
            if self.fault != Fault::CountsNoSkips {
                chunk.skipped.insert(Reason::Suspended, 1);
            }
            chunk.cursor = vec![("at".to_owned(), Some(stored.to_string()))];
            chunk
        }
    }

    impl Source for Reader {
        type Record = DayBar;

        async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
            if self.fault != Fault::IgnoresTheCursor {
                self.at = cursors.fields.get("at").map_or(Ok(0), |text| text.parse())?;
            }
            self.idle = false;
            Ok(())
        }

        async fn read(&mut self) -> anyhow::Result<Option<Chunk<DayBar>>> {
            loop {
                let (found, left) = {
                    let shelf = self.delivered.lock().unwrap();
                    (shelf.get(self.at).cloned(), shelf.len().saturating_sub(self.at))
                };
                let early = self.fault == Fault::EndsEarly && left == 1;
                match found.filter(|_| !early) {
                    Some(_) if self.fault == Fault::LosesWhatIsDropped && self.idle => {
                        self.at += 1;
                        tokio::time::sleep(2 * GLANCE).await;
                        self.at -= 1;
                        self.idle = false;
                    }
                    Some(records) => return Ok(Some(self.chunk(records))),
                    None if self.life == Life::Once => return Ok(None),
                    None if !self.idle && self.fault != Fault::WaitsUnannounced => {
                        self.idle = true;
                        return Ok(Some(Chunk::empty("shelf")));
                    }
                    None => tokio::time::sleep(GLANCE).await,
                }
            }
        }
    }

    async fn verdict(fault: Fault) -> Result<(), String> {
        let judged = tokio::spawn(source(move || async move { Ok(Shelf::new(fault)) })).await;
        let panic = match judged {
            Ok(result) => return result.map_err(|error| error.to_string()),
            Err(error) => error.into_panic(),
        };
        Err(panic.downcast::<String>().map_or_else(|_| "a panic".to_owned(), |text| *text))
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_keeps_its_promises_passes() {
        assert_eq!(verdict(Fault::None).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn every_broken_promise_is_noticed() {
        for (fault, promise) in [
            (Fault::StoresTooLittle, "a second run hands over nothing new"),
            (Fault::StoresTooMuch, "loses and repeats nothing"),
            (Fault::IgnoresTheCursor, "a second run hands over nothing new"),
            (Fault::LosesWhatIsDropped, "no chunk within"),
            (Fault::WaitsUnannounced, "no chunk within"),
            (Fault::EndsEarly, "every row comes once"),
            (Fault::CountsNoSkips, "every row comes once"),
        ] {
            let told = verdict(fault).await.unwrap_err();
            assert!(told.contains(promise), "{fault:?}: {told}");
        }
    }
}
