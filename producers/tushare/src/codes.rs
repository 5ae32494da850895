//! One security over some days: index days and minute bars. Asks for its rows and says which days are not whole.
//!
//! Knows which API has them, under which number, and which minutes make a day; must not know what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use sqep::{Chunk, DayBar, Kind, MinuteBar, Symbol, kind::Grid, symbol::Class};

use crate::{
    client::{ApiError, Table},
    code_gaps::Part,
    halts::Halts,
    judge::judge,
    market::Ground,
    parse::{Bar, CLOSE, Parsed, Scale, bars},
    plan::{Dataset, Range},
    universe::Codes,
    weigh::{self, Days, Lack, Terms},
};

/// A range of a code, as it is handed over.
#[derive(Debug)]
pub struct Answer<R> {
    /// The rows.
    pub chunk: Chunk<R>,
    /// How whole its days are.
    pub days: Days,
    /// Whether an answer was refused as a whole: no day of it is done.
    pub withheld: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
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
    /// The first row that was ever seen of it.
    pub first_row: Option<NaiveDate>,
    /// The last day whose rows do not come by themselves any more.
    pub over: NaiveDate,
    /// Who was suspended.
    pub halts: &'a Halts,
}

/// Day bars of an index. Its factor is 1.0, and it has neither limits nor treatment.
pub async fn index(ground: &Ground<'_>, question: Question<'_>) -> Result<Answer<DayBar>, ApiError> {
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
    question: Question<'_>,
) -> Result<Answer<MinuteBar>, ApiError> {
    fetch::<MinuteBar>(ground, kind, Scale::MINUTE, question).await
}

/// Asks until no day that is over is missing, or often enough.
async fn fetch<R: Bar>(
    ground: &Ground<'_>,
    kind: Kind,
    scale: Scale,
    question: Question<'_>,
) -> Result<Answer<R>, ApiError> {
    let (mut fresh, mut asked) = (question.fresh, 0);
    loop {
        let (mut chunk, mut withheld) = (Chunk::empty(""), false);
        for table in ask(ground, question, fresh).await? {
            let mut parsed = bars::<R>(&table, scale, &ground.universe.codes, None);
            withheld |= judge(&mut parsed.chunk, kind, ground.calendar);
            append(&mut chunk, parsed);
        }
        let days = days(ground, question, &chunk).await?;
        (fresh, asked) = (true, asked + 1);
        let terms = Terms { over: question.over, recent: NaiveDate::MAX };
        if asked >= question.tries || weigh::weigh(&days, question.first_row, terms).missing.is_empty() {
            return Ok(Answer { chunk: within(chunk, question.range), days, withheld });
        }
    }
}

fn append<R>(chunk: &mut Chunk<R>, Parsed { chunk: more, .. }: Parsed<R>) {
    chunk.origin = more.origin;
    chunk.records.extend(more.records);
    chunk.refused.extend(more.refused);
    for (reason, count) in more.skipped {
        *chunk.skipped.entry(reason).or_default() += count;
    }
    for (reason, count) in more.warned {
        *chunk.warned.entry(reason).or_default() += count;
    }
}

/// Asks under every number the security bore on these days. Where its former number has nothing, its present one may.
async fn ask(ground: &Ground<'_>, question: Question<'_>, fresh: bool) -> Result<Vec<Table>, ApiError> {
    let codes = &ground.universe.codes;
    let current = codes.current(question.symbol);
    let mut tables = Vec::new();
    for (number, range) in numbers(codes, current, question.range) {
        let of = async |number| ground.tables.of_code(question.dataset, number, range, fresh).await;
        let table = of(number).await?;
        let table = if table.rows.is_empty() && number != current { of(current).await? } else { table };
        tables.push(table);
    }
    Ok(tables)
}

/// The numbers of a security over some days, by day.
pub(crate) fn numbers(codes: &Codes, current: Symbol, range: Range) -> Vec<(Symbol, Range)> {
    let Some((former, since)) = codes.former(current).filter(|&(_, since)| range.from < since) else {
        return vec![(current, range)];
    };
    let mut numbers = vec![(former, Range { to: range.to.min(since.pred_opt().unwrap_or(since)), ..range })];
    if range.to >= since {
        numbers.push((current, Range { from: since, ..range }));
    }
    numbers
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

/// Which days are whole, and which are not though the security was listed and not suspended.
async fn days<R: Bar>(
    ground: &Ground<'_>,
    question: Question<'_>,
    chunk: &Chunk<R>,
) -> Result<Days, ApiError> {
    let Question { dataset, symbol, range: Range { from, to }, .. } = question;
    let (there, wanted) = (labels(&chunk.records), labels_of_day(dataset));
    let current = ground.universe.codes.current(symbol);
    let stock = symbol.class() == Class::Stock;
    let listed = stock && !ground.universe.is_empty();
    let first_row = there.keys().copied().find(|day| question.range.holds(*day));
    let mut days = Days { first_row, listed, ..Days::default() };
    let (nothing, mut run) = (BTreeSet::new(), false);
    for day in ground.universe.sessions(ground.calendar, from, to) {
        let there = there.get(&day).unwrap_or(&nothing);
        let missing = || wanted.difference(there).copied();
        let expected = !listed || ground.universe.is_listed(current, day);
        let whole = missing().next().is_none();
        match days.whole.last_mut().filter(|_| run) {
            Some(last) if whole => last.to = day,
            _ if whole => days.whole.push(Range { from: day, to: day }),
            _ => {}
        }
        run = whole;
        if !expected || whole {
            continue;
        }
        let part = Part { rows: wanted.len() - missing().count(), of: wanted.len() };
        let mut lack = Lack { part, halted: false };
        if stock {
            let halts = question.halts.of(ground, day).await?;
            if there.is_empty() && halts.whole.contains(&current) {
                days.suspended.insert(day);
                continue;
            }
            lack.halted = halts.explains(current, missing());
        }
        days.lacks.insert(day, lack);
    }
    Ok(days)
}

/// When the bars of each day end.
fn labels<R: Bar>(bars: &[R]) -> BTreeMap<NaiveDate, BTreeSet<u32>> {
    let mut labels: BTreeMap<NaiveDate, BTreeSet<u32>> = BTreeMap::new();
    for bar in bars {
        labels.entry(bar.day()).or_default().insert(bar.label());
    }
    labels
}

/// When the bars end without which a day is not whole. The opening auction may have a row of its own, or not.
fn labels_of_day(dataset: Dataset) -> BTreeSet<u32> {
    match dataset {
        Dataset::Minutes(grid) | Dataset::IndexMinutes(grid) => {
            (Grid::AUCTION + 1..=CLOSE).filter(|&label| grid.is_label(label)).collect()
        }
        _ => [CLOSE].into(),
    }
}
