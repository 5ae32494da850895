//! The promises of a sink: durable on Ok, twice is once, any cut is once, Later while it is down.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use chrono::NaiveDate;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqep::{Batch, Calendar, DayBar, EntryId, Exchange, Mark, Record, Row, Sink, Symbol, WriteError};

/// What a sink holds: version and record of each key.
pub type Held = BTreeMap<(Symbol, i64), (u64, DayBar)>;

/// A store that the suite may open, look into, take down and bring back.
pub trait Rig: Send {
    /// The sink.
    type Sink: Sink<Record = DayBar>;
    /// Opens the sink as after a start of its program.
    fn open(&mut self) -> impl Future<Output = anyhow::Result<Self::Sink>> + Send;
    /// Reads the current row of each key, by another way than the sink.
    fn held(&mut self) -> impl Future<Output = anyhow::Result<Held>> + Send;
    /// Takes the store down, as a full disk or a dead server would.
    fn take_down(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Brings it back.
    fn bring_back(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Runs all promises, each on a store of its own.
///
/// # Panics
/// When a promise is broken.
pub async fn sink<R: Rig, F: Future<Output = anyhow::Result<R>>>(rig: impl Fn() -> F) -> anyhow::Result<()> {
    durable_on_ok_and_twice_is_once(&mut rig().await?).await?;
    any_cut_is_once(&rig).await?;
    the_highest_version_wins_in_any_order(&mut rig().await?).await?;
    later_while_down_and_whole_afterwards(&mut rig().await?).await?;
    the_mark_survives_a_restart(&mut rig().await?).await
}

fn rows(seed: u64, count: u32) -> Vec<Row<DayBar>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let calendar = Calendar::published();
    let from = NaiveDate::from_ymd_opt(2023, 12, 1).unwrap_or_default();
    let days: Vec<NaiveDate> = calendar.sessions(from, calendar.last()).take(40).collect();
    let made = |at: u32| {
        let price = f64::from(rng.random_range(500..2_000)) / 100.0;
        let record = DayBar {
            symbol: Symbol::new(Exchange::SH, 600_000 + rng.random_range(0..30))
                .unwrap_or_else(|| unreachable!("below 1,000,000")),
            frame: days[rng.random_range(0..days.len())],
            open: price,
            high: price + 0.5,
            low: price - 0.5,
            close: price + 0.25,
            vol: f64::from(rng.random_range(1..1_000_000)),
            amount: rng.random::<bool>().then_some(1_000_000.25),
            adjust: rng.random::<bool>().then_some(1.5),
            st: rng.random::<bool>().then_some(true),
            buy_limit: None,
            sell_limit: None,
        };
        Row { record, version: EntryId::new(1_700_000_000_000 + u64::from(at / 7), 0).version(), source: 0 }
    };
    // As on a stream: a key once an entry.
    let mut rows: Vec<Row<DayBar>> = (0..count).map(made).collect();
    rows.sort_by_key(|row| row.version);
    let mut seen = std::collections::BTreeSet::new();
    rows.retain(|each| seen.insert((each.version, each.record.key())));
    rows
}

fn expected(rows: &[Row<DayBar>]) -> Held {
    let mut held = Held::new();
    for row in rows {
        let place = held.entry(row.record.key()).or_insert((row.version, row.record));
        if row.version >= place.0 {
            *place = (row.version, row.record);
        }
    }
    held
}

async fn write<S: Sink<Record = DayBar>>(sink: &mut S, rows: &[Row<DayBar>]) -> Result<(), WriteError> {
    let sources = [Arc::from("suite")];
    let first = rows.iter().map(|row| row.version).min().map_or(EntryId::ZERO, EntryId::of_version);
    let last = rows.iter().map(|row| row.version).max().map_or(EntryId::ZERO, EntryId::of_version);
    sink.write(&Batch { partition: 0, first, last, rows, sources: &sources }).await
}

async fn durable_on_ok_and_twice_is_once<R: Rig>(rig: &mut R) -> anyhow::Result<()> {
    let rows = rows(1, 500);
    let mut sink = rig.open().await?;
    write(&mut sink, &rows).await?;
    drop(sink);
    assert_eq!(
        rig.held().await?,
        expected(&rows),
        "what was written with Ok is there after the program has gone"
    );
    let mut sink = rig.open().await?;
    write(&mut sink, &rows).await?;
    write(&mut sink, &rows).await?;
    assert_eq!(rig.held().await?, expected(&rows), "the same batch again changes nothing");
    Ok(())
}

/// Whole, row by row and in between; and once more by another cut, as after a crash, when batches begin elsewhere.
async fn any_cut_is_once<R: Rig, F: Future<Output = anyhow::Result<R>>>(
    rig: &impl Fn() -> F,
) -> anyhow::Result<()> {
    let rows = rows(2, 300);
    for (cut, again) in [(rows.len(), 37), (1, rows.len()), (37, 125), (125, 1)] {
        let mut rig = rig().await?;
        let mut sink = rig.open().await?;
        for cut in [cut, again] {
            for part in rows.chunks(cut) {
                write(&mut sink, part).await?;
            }
            assert_eq!(rig.held().await?, expected(&rows), "cut into {cut}");
        }
    }
    Ok(())
}

async fn the_highest_version_wins_in_any_order<R: Rig>(rig: &mut R) -> anyhow::Result<()> {
    let rows = rows(3, 400);
    let mut sink = rig.open().await?;
    let parts: Vec<_> = rows.chunks(90).collect();
    for part in parts.iter().rev() {
        write(&mut sink, part).await?;
    }
    assert_eq!(rig.held().await?, expected(&rows), "an older row never beats its correction");
    Ok(())
}

async fn later_while_down_and_whole_afterwards<R: Rig>(rig: &mut R) -> anyhow::Result<()> {
    let rows = rows(4, 300);
    let (before, after) = rows.split_at(100);
    let mut sink = rig.open().await?;
    write(&mut sink, before).await?;
    rig.take_down().await?;
    match write(&mut sink, after).await {
        Err(WriteError::Later(_)) => {}
        other => panic!("a store that is down says Later, not {other:?}"),
    }
    rig.bring_back().await?;
    write(&mut sink, after).await?;
    assert_eq!(rig.held().await?, expected(&rows), "the same batch succeeds once the store is back");
    Ok(())
}

async fn the_mark_survives_a_restart<R: Rig>(rig: &mut R) -> anyhow::Result<()> {
    let mut sink = rig.open().await?;
    assert_eq!(sink.mark(0).await?, None, "an empty store has no mark");
    let mark = Mark {
        born: "stream".to_owned(),
        id: EntryId::new(1_700_000_000_000, 3),
        before: EntryId::new(1, 0),
    };
    sink.save(0, &mark).await?;
    drop(sink);
    let mut sink = rig.open().await?;
    assert_eq!(sink.mark(0).await?, Some(mark), "the mark is kept with the data");
    assert_eq!(sink.mark(1).await?, None, "each partition has its own");
    Ok(())
}
