//! A source whose rows come from a seed, with everything a file may hold: corrections, refused and skipped rows.

use std::{collections::BTreeMap, sync::Arc};

use chrono::NaiveDate;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqep::{
    Calendar, Chunk, Cursors, DayBar, Exchange, Past, Reason, Record, Refusal, Source, Symbol, anyhow,
    check::Finding, transport::end_of_replay,
};

use super::Poison;

/// One row of a [`Script`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    Bar(DayBar),
    Refused,
    Skipped,
}

/// What the source has to say, from first to last.
#[derive(Debug, Clone)]
pub struct Script {
    lines: Arc<Vec<Line>>,
    poison: Poison,
}

impl Script {
    /// Rows from a seed: few keys, so that corrections are frequent.
    pub fn new(seed: u64, rows: usize) -> Script {
        let mut rng = SmallRng::seed_from_u64(seed);
        let calendar = Calendar::published();
        let from = NaiveDate::from_ymd_opt(2024, 3, 1).unwrap_or_default();
        let days: Vec<NaiveDate> = calendar.sessions(from, calendar.last()).take(6).collect();
        let line = |_| match rng.random_range(0..20) {
            0 => Line::Refused,
            1 => Line::Skipped,
            _ => Line::Bar(bar(&mut rng, &days)),
        };
        Script { lines: Arc::new((0..rows).map(line).collect()), poison: Poison(2_000_007) }
    }

    /// The symbol the sink can never take.
    pub fn poison(&self) -> Poison {
        self.poison
    }

    /// What a sink must hold in the end: the last bar of each key.
    pub fn expected(&self) -> BTreeMap<(Symbol, i64), DayBar> {
        let bars = self.bars().filter(|bar| bar.symbol.get() != self.poison.0);
        bars.map(|bar| (bar.key(), bar)).collect()
    }

    /// How many bars, refused and skipped rows it has.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |kind: fn(&Line) -> bool| self.lines.iter().filter(|line| kind(line)).count();
        (
            count(|line| matches!(line, Line::Bar(_))),
            count(|line| matches!(line, Line::Refused)),
            count(|line| matches!(line, Line::Skipped)),
        )
    }

    fn bars(&self) -> impl Iterator<Item = DayBar> {
        self.lines.iter().filter_map(|line| match line {
            Line::Bar(bar) => Some(*bar),
            _ => None,
        })
    }
}

fn bar(rng: &mut SmallRng, days: &[NaiveDate]) -> DayBar {
    let price = f64::from(rng.random_range(500..2_000)) / 100.0;
    DayBar {
        symbol: Symbol::new(Exchange::SZ, rng.random_range(1..9))
            .unwrap_or_else(|| unreachable!("below 1,000,000")),
        frame: days[rng.random_range(0..days.len())],
        open: price,
        high: price + 0.5,
        low: price - 0.5,
        close: price + 0.25,
        vol: f64::from(rng.random_range(1..1_000_000)),
        amount: None,
        adjust: rng.random::<bool>().then_some(1.5),
        st: None,
        buy_limit: None,
        sell_limit: None,
    }
}

/// A source that reads a [`Script`], taking up wherever the stored cursor says.
#[derive(Debug)]
pub struct Feed {
    script: Script,
    at: usize,
    chunk: usize,
    idle: bool,
    past: bool,
    ended: bool,
}

/// The cursor field.
const FIELD: &str = "rows";

impl Feed {
    /// A source that hands over at most `chunk` rows at a time.
    pub fn new(script: Script, chunk: usize) -> Feed {
        Feed { script, at: 0, chunk: chunk.max(1), idle: false, past: false, ended: false }
    }

    /// The same rows as they come out of an archive: with the versions they had, below those of any entry.
    pub fn of_the_past(script: Script, chunk: usize) -> Feed {
        Feed { past: true, ..Feed::new(script, chunk) }
    }
}

impl Source for Feed {
    type Record = DayBar;

    async fn open(&mut self, cursors: &Cursors) -> anyhow::Result<()> {
        self.ended = false;
        self.at = cursors.fields.get(FIELD).map_or(Ok(0), |text| text.parse())?;
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Option<Chunk<DayBar>>> {
        let lines = &self.script.lines[self.at.min(self.script.lines.len())..];
        if lines.is_empty() && self.past && !self.ended {
            self.ended = true;
            let (name, value) = end_of_replay();
            return Ok(Some(Chunk { cursor: vec![(name, Some(value))], ..Chunk::empty("script") }));
        }
        if lines.is_empty() {
            return Ok(None);
        }
        self.idle = !self.idle && self.at % 7 == 3;
        if self.idle {
            return Ok(Some(Chunk::empty("script")));
        }
        let mut chunk = Chunk::empty("script");
        for (at, line) in lines.iter().take(self.chunk).enumerate() {
            let row = u64::try_from(self.at + at + 1)?;
            match line {
                Line::Bar(bar) => {
                    chunk.records.push(*bar);
                    chunk.lines.push(row);
                }
                Line::Refused => chunk.refused.push(refused(row)),
                Line::Skipped => *chunk.skipped.entry(Reason::Suspended).or_default() += 1,
            }
        }
        if self.past {
            let versions = chunk.lines.clone();
            chunk.past = Some(Past { source: "feed".into(), versions });
        }
        self.at += lines.len().min(self.chunk);
        chunk.cursor.push((FIELD.to_owned(), Some(self.at.to_string())));
        Ok(Some(chunk))
    }
}

fn refused(row: u64) -> Refusal {
    let finding = Finding { reason: Reason::PriceMissing, field: "open".to_owned(), value: String::new() };
    Refusal { row, rows: 1, symbol: String::new(), findings: vec![finding], raw: format!("line {row}") }
}
