//! One trade date of the whole market: asks for its tables, merges them, and says how complete they are.
//!
//! Knows which tables make a day and what to ask again; must not know when, nor what becomes of the rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use sqep::{Calendar, Chunk, DayBar, Kind, Reason, Record, RefDay, Symbol, record::Cell, symbol::Class};

use crate::{
    client::{ApiError, Table},
    complete::{self, Count},
    config::{FetchSettings, Join},
    gaps::DayGaps,
    judge::judge,
    known::{self, Known},
    parse::{Parsed, Scale, bars},
    plan::Dataset,
    state::{DayState, News},
    symbols::Symbols,
    tables::Tables,
    universe::Universe,
};

/// Everything a day is made from.
pub struct Ground<'a> {
    /// The service.
    pub tables: &'a Tables,
    /// Who is listed.
    pub universe: &'a Universe,
    /// What is wanted.
    pub settings: &'a FetchSettings,
    /// Sessions.
    pub calendar: &'a Calendar,
}

/// A day, as it is handed over.
#[derive(Debug)]
pub struct Answer<R> {
    /// Rows that are news, and the cursor field of the day.
    pub chunk: Chunk<R>,
    /// What the field says from then on.
    pub state: DayState,
    /// How complete the day is.
    pub gaps: DayGaps,
}

/// The tables of a day so far, and which of them are to be asked for again. What came once is not lost again.
#[derive(Default)]
struct Sheet {
    bars: Option<Table>,
    suspended: Option<BTreeSet<Symbol>>,
    known: Known,
    again: BTreeSet<Part>,
}

/// A part of a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Bars, and who is suspended.
    Bars,
    /// Factors.
    Factors,
    /// Special treatment.
    Treatment,
}

/// A day merged once.
struct Merged<R> {
    chunk: Chunk<R>,
    /// Securities whose rows were refused.
    refused: BTreeSet<Symbol>,
    count: Count,
    lacks: Vec<String>,
    nulls: BTreeMap<String, Symbols>,
}

impl<R> Merged<R> {
    fn is_whole(&self) -> bool {
        self.count.missing.is_empty() && self.lacks.is_empty() && self.nulls.is_empty()
    }
}

/// A record of the whole market of a day.
pub trait Daily: Record {
    /// Merges the tables of a day.
    fn merge(ground: &Ground<'_>, day: NaiveDate, input: &MergeInput<'_>) -> MergeOutput<Self>;
}

/// What [`Daily::merge`] is given.
pub struct MergeInput<'a> {
    bars: &'a Table,
    suspended: &'a BTreeSet<Symbol>,
    known: &'a Known,
}

/// What [`Daily::merge`] makes: rows, who was seen in the answer, and who counts as suspended.
pub struct MergeOutput<R> {
    chunk: Chunk<R>,
    seen: BTreeSet<Symbol>,
    suspended: BTreeSet<Symbol>,
    /// Whether there are any rows at all: an empty answer on a session is not there yet.
    there: bool,
}

impl Daily for DayBar {
    fn merge(ground: &Ground<'_>, day: NaiveDate, input: &MergeInput<'_>) -> MergeOutput<DayBar> {
        let Parsed { mut chunk, seen, suspended } =
            bars::<DayBar>(input.bars, Scale::DAY, &ground.universe.codes, Some(day));
        for bar in &mut chunk.records {
            *bar = joined(*bar, input.known);
        }
        judge(&mut chunk, Kind::BarDay, ground.calendar);
        let suspended = suspended.into_iter().chain(input.suspended.iter().copied()).collect();
        MergeOutput { chunk, seen, suspended, there: !input.bars.rows.is_empty() }
    }
}

/// A bar with what is known of its day.
fn joined(bar: DayBar, known: &Known) -> DayBar {
    let [buy_limit, sell_limit] = known.raw_limits(bar.symbol);
    let (adjust, st) = (known.adjust(bar.symbol), known.st(bar.symbol));
    DayBar { adjust, st, buy_limit, sell_limit, ..bar }.normalised()
}

impl Daily for RefDay {
    fn merge(ground: &Ground<'_>, day: NaiveDate, input: &MergeInput<'_>) -> MergeOutput<RefDay> {
        let listed = ground.universe.listed(day);
        let codes = &ground.universe.codes;
        let named: BTreeSet<Symbol> = input.known.symbols().collect();
        let ours = |symbol: &Symbol| match symbol.class() {
            Class::Stock => listed.is_empty() || listed.contains(&codes.current(*symbol)),
            Class::Fund => ground.settings.funds,
            _ => false,
        };
        let mut chunk = Chunk::empty("ref");
        chunk.records = named.into_iter().filter(ours).map(|symbol| input.known.of(symbol, day)).collect();
        let seen = chunk.records.iter().map(Record::symbol).collect();
        let there = !chunk.records.is_empty();
        MergeOutput { chunk, seen, suspended: BTreeSet::new(), there }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Question {
    /// Which rows.
    pub dataset: Dataset,
    /// Of which day.
    pub day: NaiveDate,
    /// What was published of it.
    pub state: DayState,
    /// How often, as long as something is missing.
    pub tries: u32,
    /// Whether what is missing will not come by itself any more.
    pub over: bool,
    /// Whether no answer kept counts.
    pub fresh: bool,
}

/// Asks for a day as often as it takes, or as is worth it, and says what is new of it.
pub async fn fetch<R: Daily>(ground: &Ground<'_>, question: Question) -> Result<Answer<R>, ApiError> {
    let Question { dataset, day, mut state, tries, over, fresh } = question;
    let mut sheet = Sheet::default();
    let (mut merged, mut asked) = (attempt::<R>(ground, dataset, day, &mut sheet, fresh).await?, 1);
    while !merged.is_whole() && asked < tries {
        sheet.doubt(&merged);
        merged = attempt(ground, dataset, day, &mut sheet, true).await?;
        asked += 1;
    }
    let enough = over && state.tries.saturating_add(asked) >= ground.settings.tries_max;
    let closed = merged.is_whole() || enough || state.closed;
    if closed {
        merged.count.give_up();
    }
    let gaps = DayGaps {
        lacks: merged.lacks.clone(),
        nulls: merged.nulls.clone(),
        tries: state.tries.saturating_add(asked),
        closed,
        ..DayGaps::new(dataset.name(), day, &merged.count)
    };
    let mut chunk = news(merged.chunk, &merged.refused, &mut state, &ground.universe.codes);
    state.missing = merged.count.missing.keys().copied().collect();
    state.tries = gaps.tries;
    if closed {
        state.close();
    }
    chunk.origin = format!("{}/{day}", dataset.name()).into();
    chunk.cursor.push((DayState::field(dataset.name(), day), Some(state.text())));
    Ok(Answer { chunk, state, gaps })
}

impl Sheet {
    /// Marks what may be better if it is asked for again.
    fn doubt<R>(&mut self, merged: &Merged<R>) {
        let doubts = [
            (Part::Bars, !merged.count.missing.is_empty()),
            (Part::Factors, merged.nulls.contains_key("adjust")),
            (Part::Treatment, merged.nulls.contains_key("st")),
        ];
        self.again = doubts.into_iter().filter_map(|(part, doubted)| doubted.then_some(part)).collect();
        // An empty answer is none.
        self.bars = self.bars.take().filter(|table| !table.rows.is_empty());
    }

    /// Whether a part is to be asked for.
    fn wants(&self, part: Part) -> bool {
        let there = match part {
            Part::Bars => self.bars.is_some(),
            Part::Factors => self.known.factors.is_some(),
            Part::Treatment => self.known.treatment.is_some(),
        };
        !there || self.again.contains(&part)
    }

    /// Takes bars that came again, unless there are fewer of them.
    fn put_bars(&mut self, bars: Option<Table>, suspended: Option<BTreeSet<Symbol>>) {
        let before = self.bars.as_ref().map_or(0, |table| table.rows.len());
        if let Some(bars) = bars.filter(|table| table.rows.len() >= before) {
            self.bars = Some(bars);
        }
        self.suspended = suspended.or(self.suspended.take());
    }
}

/// Asks for what the sheet lacks, and merges.
async fn attempt<R: Daily>(
    ground: &Ground<'_>,
    dataset: Dataset,
    day: NaiveDate,
    sheet: &mut Sheet,
    fresh: bool,
) -> Result<Merged<R>, ApiError> {
    fill(ground, dataset, day, sheet, fresh).await?;
    let (empty, nobody) = (Table::default(), BTreeSet::new());
    let input = MergeInput {
        bars: sheet.bars.as_ref().unwrap_or(&empty),
        suspended: sheet.suspended.as_ref().unwrap_or(&nobody),
        known: &sheet.known,
    };
    let MergeOutput { chunk, seen, suspended, there } = R::merge(ground, day, &input);
    let current = |symbols: &mut dyn Iterator<Item = Symbol>| -> BTreeSet<Symbol> {
        symbols.map(|symbol| ground.universe.codes.current(symbol)).collect()
    };
    let published = current(&mut chunk.records.iter().map(Record::symbol));
    let refused =
        seen.iter().copied().filter(|&symbol| !published.contains(&ground.universe.codes.current(symbol)));
    let refused: BTreeSet<Symbol> = refused.collect();
    let listed = match dataset {
        Dataset::Stocks | Dataset::Ref if !ground.universe.is_empty() => ground.universe.listed(day),
        // Without a list, those that are there are expected.
        _ => published.clone(),
    };
    let suspended = current(&mut suspended.into_iter());
    let count = complete::count(&listed, &suspended, &current(&mut seen.into_iter()), &published);
    let mut lacks = lacks(ground.settings, dataset, &sheet.known);
    if !there {
        lacks.insert(0, dataset.name().to_owned());
    }
    let nulls = nulls(ground.settings, dataset, &sheet.known, &chunk.records);
    Ok(Merged { chunk, refused, count, lacks, nulls })
}

/// Asks for the tables of a day that are not there, all at once.
async fn fill(
    ground: &Ground<'_>,
    dataset: Dataset,
    day: NaiveDate,
    sheet: &mut Sheet,
    fresh: bool,
) -> Result<(), ApiError> {
    let (tables, codes, settings) = (ground.tables, &ground.universe.codes, ground.settings);
    let ask = |api: Option<&'static str>| async move {
        match api {
            Some(api) => tables.of_day(api, day, fresh).await.map(Some),
            None => Ok(None),
        }
    };
    let (stocks, funds) = match dataset {
        Dataset::Funds => (false, true),
        dataset => (true, dataset == Dataset::Ref && settings.funds),
    };
    let bars = match dataset {
        Dataset::Stocks => Some("daily"),
        Dataset::Funds => Some("fund_daily"),
        _ => None,
    };
    let bars = bars.filter(|_| sheet.wants(Part::Bars));
    let halts = bars.filter(|_| stocks).map(|_| "suspend_d");
    let factors = settings.joins(Join::Adjust) && sheet.wants(Part::Factors);
    let limits = settings.joins(Join::Limits) && sheet.known.limits.is_none();
    let treatment = settings.joins(Join::St) && stocks && sheet.wants(Part::Treatment);
    let treatment = async { if treatment { tables.treatment(codes, day, fresh).await } else { Ok(None) } };
    let (bars, halts, of_stocks, of_funds, limits, treatment) = tokio::try_join!(
        ask(bars),
        ask(halts),
        ask((factors && stocks).then_some("adj_factor")),
        ask((factors && funds).then_some("fund_adj")),
        ask(limits.then_some("stk_limit")),
        treatment
    )?;
    sheet.put_bars(bars, halts.map(|table| known::suspended(&table, codes)));
    for factors in [of_stocks, of_funds].into_iter().flatten() {
        if let Some(factors) = known::factors(&factors, codes) {
            sheet.known.factors.get_or_insert_default().extend(factors);
        }
    }
    let known = &mut sheet.known;
    known.limits = known.limits.take().or_else(|| known::limits(&limits?, codes));
    known.treatment = treatment.or(known.treatment.take());
    Ok(())
}

/// Tables that are wanted and not there.
fn lacks(settings: &FetchSettings, dataset: Dataset, known: &Known) -> Vec<String> {
    let stocks = dataset != Dataset::Funds;
    [
        (Join::Adjust, known.factors.is_none()),
        (Join::St, known.treatment.is_none() && stocks),
        (Join::Limits, known.limits.is_none()),
    ]
    .into_iter()
    .filter(|&(join, lacking)| settings.joins(join) && lacking)
    .map(|(join, _)| join.word().to_owned())
    .collect()
}

/// Stocks that a table which is there leaves out, though it should have all: factors and treatment. Limits are left out
/// rightly on days without any.
fn nulls<R: Record>(
    settings: &FetchSettings,
    dataset: Dataset,
    known: &Known,
    rows: &[R],
) -> BTreeMap<String, Symbols> {
    let mut nulls = BTreeMap::new();
    if dataset == Dataset::Funds {
        return nulls;
    }
    for (join, field, there) in
        [(Join::Adjust, "adjust", known.factors.is_some()), (Join::St, "st", known.treatment.is_some())]
    {
        let Some(at) = R::FIELDS.iter().position(|each| each.name == field) else { continue };
        if !settings.joins(join) || !there {
            continue;
        }
        let without = |row: &&R| row.symbol().class() == Class::Stock && row.get(at) == Cell::Null;
        let of: Symbols = rows.iter().filter(without).map(Record::symbol).collect();
        if !of.is_empty() {
            nulls.insert(field.to_owned(), of);
        }
    }
    nulls
}

/// Leaves the rows that are news beside what was published before. The others came again.
fn news<R: Record>(
    mut chunk: Chunk<R>,
    refused: &BTreeSet<Symbol>,
    state: &mut DayState,
    codes: &crate::universe::Codes,
) -> Chunk<R> {
    if state.tries > 0 {
        let (mut again, mut less) = (0, 0);
        for row in std::mem::take(&mut chunk.records) {
            match state.news(codes.current(row.symbol()), &row) {
                News::First | News::More => chunk.records.push(row),
                News::Same => again += 1,
                News::Less => less += 1,
            }
        }
        if less > 0 {
            let origin = &chunk.origin;
            tracing::warn!("{origin}: {less} rows know less than those that were published and are left out");
        }
        again += less;
        chunk.lines.clear();
        let told =
            |symbol: &str| symbol.parse().map_or(true, |symbol| state.refused.has(codes.current(symbol)));
        let (old, new): (Vec<_>, Vec<_>) =
            chunk.refused.into_iter().partition(|refusal| told(&refusal.symbol));
        chunk.refused = new;
        again += old.iter().map(|refusal| refusal.rows).sum::<u64>();
        if again > 0 {
            *chunk.skipped.entry(Reason::Duplicate).or_default() += again;
        }
        // What the answer says besides was said before.
        chunk.skipped.retain(|reason, _| *reason == Reason::Duplicate);
        chunk.warned.clear();
    }
    state.take(&chunk.records, |symbol| codes.current(symbol));
    state.refused = refused.iter().map(|&symbol| codes.current(symbol)).collect();
    chunk
}
