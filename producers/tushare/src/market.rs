//! One trade date of the whole market: asks for its tables as often as it takes, tells what is new of it, and how complete
//! it is.
//!
//! Knows what was published and what is missing beside it; must not know when, nor what becomes of the rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use sqep::{Calendar, Chunk, Reason, Record, Symbol, symbol::Class};

pub use crate::merge::{Daily, MergeInput, MergeOutput};
use crate::{
    client::ApiError,
    complete::{self, Count},
    config::{FetchSettings, Join},
    gaps::{CONFIRMATION, DayGaps},
    known::Known,
    plan::Dataset,
    sheet::{Part, Sheet},
    state::{DayState, News},
    symbols::Symbols,
    tables::Tables,
    universe::{Codes, Universe},
};

/// What a row that is held back lost where every table is there.
const KNOWN_BEFORE: &str = "what was known before";
/// What bars leave null as long as the service does not have it; no other table tells it.
const TURNOVER: &str = "amount";

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
    /// Whether the answer was refused as a whole: the field of the day stays as it was.
    pub withheld: bool,
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
    /// Securities that had a row on the day before, as far as that is at hand.
    pub before: Symbols,
    /// How often, as long as something is missing.
    pub tries: u32,
    /// Whether what is missing will not come by itself any more.
    pub over: bool,
    /// Whether no answer kept counts.
    pub fresh: bool,
    /// Whether rows that know as much as those that were published are published once more: their values may differ.
    pub again: bool,
}

/// A day merged once, beside what was published of it.
struct Merged<R> {
    /// Rows that are news.
    chunk: Chunk<R>,
    /// What is published with them.
    after: DayState,
    /// Securities of the answer that have a row.
    came: BTreeSet<Symbol>,
    count: Count,
    lacks: Vec<String>,
    nulls: BTreeMap<String, Symbols>,
    /// Nobody lists who should have a row, and it was not answered twice the same.
    unsure: bool,
    /// The answer was refused as a whole.
    withheld: bool,
}

impl<R> Merged<R> {
    fn is_whole(&self) -> bool {
        !self.withheld
            && self.count.missing.is_empty()
            && self.lacks.is_empty()
            && self.nulls.is_empty()
            && !self.unsure
    }

    /// What may be better if it is asked for again.
    fn doubts(&self) -> BTreeSet<Part> {
        let null = |join: Join| self.nulls.contains_key(join.word());
        let lost = self.nulls.contains_key(KNOWN_BEFORE);
        let poor = self.nulls.contains_key(TURNOVER);
        let doubts = [
            (Part::Bars, self.withheld || self.unsure || lost || poor || !self.count.missing.is_empty()),
            (Part::Factors, null(Join::Adjust)),
            (Part::Limits, lost || null(Join::Limits)),
            (Part::Treatment, null(Join::St)),
        ];
        doubts.into_iter().filter_map(|(part, doubted)| doubted.then_some(part)).collect()
    }
}

/// Asks for a day as often as it takes, or as is worth it, and says what is new of it.
pub async fn fetch<R: Daily>(ground: &Ground<'_>, question: Question) -> Result<Answer<R>, ApiError> {
    let (dataset, day) = (question.dataset, question.day);
    let (mut sheet, mut asked) = (Sheet::default(), 0);
    let mut came_before = (question.state.tries > 0).then(|| question.state.present.iter().collect());
    let mut last: Option<Merged<R>> = None;
    let merged = loop {
        let ask = sheet.fill(ground, &question, question.fresh || asked > 0).await;
        match (ask, last.take()) {
            // What came before is good, and the day stays open.
            (Err(error), Some(merged)) if error.passes() => {
                tracing::warn!("{}/{day}: {error}: what came before that is taken", dataset.name());
                break merged;
            }
            (filled, _) => filled?,
        }
        let merged = merge::<R>(ground, &question, &sheet, came_before.as_ref());
        asked += 1;
        if merged.is_whole() || asked >= question.tries {
            break merged;
        }
        sheet.doubt(merged.doubts());
        came_before = Some(merged.came.clone());
        last = Some(merged);
    };
    Ok(answer(ground, &question, merged, asked))
}

/// Closes the day if nothing is missing or it was asked for often enough, and hands over.
fn answer<R: Daily>(ground: &Ground<'_>, question: &Question, merged: Merged<R>, asked: u32) -> Answer<R> {
    let tries = question.state.tries.saturating_add(asked);
    let enough = question.over && tries >= ground.settings.tries_max && !merged.unsure;
    let closed = question.state.closed || (!merged.withheld && (merged.is_whole() || enough));
    let Merged { mut chunk, after, mut count, mut lacks, nulls, unsure, withheld, .. } = merged;
    if closed {
        count.give_up();
    }
    if unsure {
        lacks.push(CONFIRMATION.to_owned());
    }
    let (name, day) = (question.dataset.name(), question.day);
    let gaps = DayGaps { lacks, nulls, tries, closed, ..DayGaps::new(name, day, &count) };
    let state = DayState { closed, tries, ..after };
    chunk.origin = format!("{name}/{day}").into();
    if !withheld {
        chunk.cursor.push((DayState::field(name, day), Some(state.text())));
    }
    Answer { chunk, state, gaps, withheld }
}

/// Merges what is there, takes out what is news, and looks at what is missing then.
fn merge<R: Daily>(
    ground: &Ground<'_>,
    question: &Question,
    sheet: &Sheet,
    came_before: Option<&BTreeSet<Symbol>>,
) -> Merged<R> {
    let (dataset, codes) = (question.dataset, &ground.universe.codes);
    let MergeOutput { chunk, seen, suspended, there, withheld } =
        R::merge(ground, question.day, &MergeInput::of(sheet));
    let current = |symbols: &mut dyn Iterator<Item = Symbol>| -> BTreeSet<Symbol> {
        symbols.map(|symbol| codes.current(symbol)).collect()
    };
    let came = current(&mut chunk.records.iter().map(Record::symbol));
    let mut seen = current(&mut seen.into_iter());
    let mut after = question.state.clone();
    let (chunk, held) = news(chunk, &mut after, codes, question.again);
    after.refused.extend(seen.iter().copied().filter(|&symbol| !after.present.has(symbol)));
    let published: BTreeSet<Symbol> = after.present.iter().collect();
    seen.extend(&published);
    let listed = listed(ground, question);
    let unsure = listed.is_none()
        && dataset != Dataset::Ref
        && !question.state.closed
        && !(question.over && !sheet.fewer && came_before == Some(&came));
    let listed = listed.unwrap_or_else(|| unlisted(question, &seen));
    let count = complete::count(&listed, &current(&mut suspended.into_iter()), &seen, &published);
    let (mut lacks, nulls) = holes(ground.settings, dataset, &sheet.known, &after, &held);
    if !there && published.is_empty() {
        lacks.insert(0, dataset.name().to_owned());
    }
    Merged { chunk, after, came, count, lacks, nulls, unsure, withheld }
}

/// Who is listed on the day, if there is a list.
fn listed(ground: &Ground<'_>, question: &Question) -> Option<BTreeSet<Symbol>> {
    match question.dataset {
        Dataset::Stocks | Dataset::Ref if !ground.universe.is_empty() => {
            Some(ground.universe.listed(question.day))
        }
        _ => None,
    }
}

/// Without a list, those are expected that came, whatever became of their rows, or had a row on the day before.
fn unlisted(question: &Question, seen: &BTreeSet<Symbol>) -> BTreeSet<Symbol> {
    let classes = classes(question.dataset, true);
    let all = seen.iter().copied().chain(question.before.iter());
    all.filter(|symbol| classes.contains(&symbol.class())).collect()
}

/// The classes of securities of a dataset.
fn classes(dataset: Dataset, funds: bool) -> &'static [Class] {
    match dataset {
        Dataset::Funds => &[Class::Fund],
        Dataset::Ref if funds => &[Class::Stock, Class::Fund],
        _ => &[Class::Stock],
    }
}

/// What the rows on the stream leave null, or what keeps those that are `held` from being published: tables that are not
/// there, and securities that a table which is there leaves out, though it should have all. Before the open funds are
/// known by their limits alone, and nobody says which of them should have a factor.
fn holes(
    settings: &FetchSettings,
    dataset: Dataset,
    known: &Known,
    after: &DayState,
    held: &Symbols,
) -> (Vec<String>, BTreeMap<String, Symbols>) {
    let (mut lacks, mut nulls) = (Vec::new(), BTreeMap::new());
    for (join, field) in [(Join::Adjust, "adjust"), (Join::St, "st"), (Join::Limits, "buy_limit")] {
        let null = after.nulls.get(field);
        for &class in classes(dataset, settings.funds) {
            if !settings.joins(join) || (join == Join::St && class != Class::Stock) {
                continue;
            }
            let of = || {
                let all = null.into_iter().chain([held]).flat_map(Symbols::iter);
                all.filter(|symbol| symbol.class() == class)
            };
            if known.tells(join, class) {
                let out: Symbols = of().filter(|&symbol| known.leaves_out(join, symbol)).collect();
                if !out.is_empty() && (dataset, class) != (Dataset::Ref, Class::Fund) {
                    nulls.entry(join.word().to_owned()).or_insert_with(Symbols::default).extend(out.iter());
                }
            } else if of().next().is_some() || !after.present.iter().any(|symbol| symbol.class() == class) {
                lacks.push(join.word().to_owned());
            }
        }
    }
    lacks.dedup();
    if !held.is_empty() && lacks.is_empty() && nulls.is_empty() {
        nulls.insert(KNOWN_BEFORE.to_owned(), held.clone());
    }
    nulls.extend(after.nulls.get_key_value(TURNOVER).map(|(field, of)| (field.clone(), of.clone())));
    (lacks, nulls)
}

/// Leaves the rows that are news beside what was published before, and takes note of them. The others came again; they are
/// published `again` if that is asked for, unless they know less. Returns too who is held back though there is something
/// to tell: the row lost what was known before.
fn news<R: Record>(
    mut chunk: Chunk<R>,
    state: &mut DayState,
    codes: &Codes,
    again: bool,
) -> (Chunk<R>, Symbols) {
    let mut held = Symbols::default();
    if state.tries > 0 {
        let (mut same, mut less) = (0, 0);
        for row in std::mem::take(&mut chunk.records) {
            let symbol = codes.current(row.symbol());
            match state.news(symbol, &row) {
                News::First | News::More => chunk.records.push(row),
                News::Same if again => chunk.records.push(row),
                News::Same => same += 1,
                News::Other => held.insert(symbol),
                News::Less => less += 1,
            }
        }
        less += u64::try_from(held.len()).unwrap_or(u64::MAX);
        if less > 0 {
            let origin = &chunk.origin;
            tracing::warn!("{origin}: {less} rows know less than those that were published and are left out");
        }
        chunk.lines.clear();
        let told =
            |symbol: &str| symbol.parse().map_or(true, |symbol| state.refused.has(codes.current(symbol)));
        let (old, new): (Vec<_>, Vec<_>) =
            chunk.refused.into_iter().partition(|refusal| told(&refusal.symbol));
        chunk.refused = new;
        let left = same + less + old.iter().map(|refusal| refusal.rows).sum::<u64>();
        if left > 0 {
            *chunk.skipped.entry(Reason::Duplicate).or_default() += left;
        }
        // What the answer says besides was said before.
        chunk.skipped.retain(|reason, _| *reason == Reason::Duplicate);
        chunk.warned.clear();
    }
    state.take(&chunk.records, |symbol| codes.current(symbol));
    (chunk, held)
}
