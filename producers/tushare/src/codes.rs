//! One security over some days: index days and minute bars. Asks for its rows and says on which days there should be some
//! and are none.
//!
//! Knows which API has them; must not know when they are due nor what becomes of the rows.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use sqep::{Chunk, DayBar, Kind, MinuteBar, Symbol, symbol::Class};

use crate::{
    client::{ApiError, Table},
    judge::judge,
    known,
    market::Ground,
    parse::{Bar, Parsed, Scale, bars},
    plan::{Dataset, Range},
    tables::minutes_api,
};

/// A range of a code, as it is handed over.
#[derive(Debug)]
pub struct Answer<R> {
    /// The rows.
    pub chunk: Chunk<R>,
    /// Sessions on which there should be rows and are none.
    pub missing: BTreeSet<NaiveDate>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Which rows.
    pub dataset: Dataset,
    /// Of which security.
    pub symbol: Symbol,
    /// Over which days.
    pub range: Range,
    /// How often, as long as days are missing.
    pub tries: u32,
    /// Whether no answer kept counts.
    pub fresh: bool,
}

/// Day bars of an index. Its factor is 1.0, and it has neither limits nor treatment.
pub async fn index(ground: &Ground<'_>, question: Question) -> Result<Answer<DayBar>, ApiError> {
    let mut answer = fetch::<DayBar>(ground, Kind::BarDay, Scale::DAY, question).await?;
    for bar in &mut answer.chunk.records {
        bar.adjust = Some(1.0);
    }
    Ok(answer)
}

/// Minute bars of a stock, a fund or an index.
pub async fn minutes(
    ground: &Ground<'_>,
    kind: Kind,
    question: Question,
) -> Result<Answer<MinuteBar>, ApiError> {
    fetch::<MinuteBar>(ground, kind, Scale::MINUTE, question).await
}

/// Asks until no day is missing, or often enough.
async fn fetch<R: Bar>(
    ground: &Ground<'_>,
    kind: Kind,
    scale: Scale,
    question: Question,
) -> Result<Answer<R>, ApiError> {
    let (mut fresh, mut asked) = (question.fresh, 0);
    loop {
        let table = ask(ground, question, fresh).await?;
        let mut parsed = bars::<R>(&table, scale, &ground.universe.codes, None);
        judge(&mut parsed.chunk, kind, ground.calendar);
        let missing = missing(ground, question, &parsed).await?;
        (fresh, asked) = (true, asked + 1);
        if missing.is_empty() || asked >= question.tries {
            let chunk = within(parsed.chunk, question.range);
            return Ok(Answer { chunk, missing });
        }
    }
}

async fn ask(ground: &Ground<'_>, question: Question, fresh: bool) -> Result<Table, ApiError> {
    let Question { dataset, symbol, range: Range { from, to }, .. } = question;
    match dataset {
        Dataset::Minutes(grid) => {
            ground.tables.minutes(minutes_api(false), grid, symbol, from, to, fresh).await
        }
        Dataset::IndexMinutes(grid) => {
            ground.tables.minutes(minutes_api(true), grid, symbol, from, to, fresh).await
        }
        _ => ground.tables.index(symbol, from, to, fresh).await,
    }
}

/// Leaves out rows of days that were not asked for.
fn within<R: Bar>(mut chunk: Chunk<R>, range: Range) -> Chunk<R> {
    let before = chunk.records.len();
    chunk.records.retain(|bar| (range.from..=range.to).contains(&bar.day()));
    if chunk.records.len() < before {
        tracing::warn!("{}: rows of days that were not asked for are left out", chunk.origin);
    }
    chunk.lines.clear();
    chunk
}

/// Sessions without rows, but for those on which the security was not listed or was suspended.
async fn missing<R: Bar>(
    ground: &Ground<'_>,
    question: Question,
    parsed: &Parsed<R>,
) -> Result<BTreeSet<NaiveDate>, ApiError> {
    let Question { symbol, range: Range { from, to }, .. } = question;
    let present: BTreeSet<NaiveDate> = parsed.chunk.records.iter().map(Bar::day).collect();
    let current = ground.universe.codes.current(symbol);
    let stock = symbol.class() == Class::Stock;
    // Of funds and indices no list says since when there are any: since their first row.
    let since = if stock { Some(from) } else { present.first().copied() };
    let mut missing = BTreeSet::new();
    for day in ground.universe.sessions(ground.calendar, from, to) {
        let expected = since.is_some_and(|since| day >= since)
            && (!stock || ground.universe.is_empty() || ground.universe.is_listed(current, day));
        if !expected || present.contains(&day) {
            continue;
        }
        if stock {
            let table = ground.tables.of_day("suspend_d", day, false).await?;
            if known::suspended(&table, &ground.universe.codes).contains(&current) {
                continue;
            }
        }
        missing.insert(day);
    }
    Ok(missing)
}
