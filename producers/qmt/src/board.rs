//! Which bars are final. Knows rows of many securities in the order in which they came, and the time as it is told; must
//! not know connections, requests nor the stream.
//!
//! QMT sends the bar of the running minute again and again and never says that it is done. A bar is final when a row of
//! a later one comes, or when its end and a grace have passed and something was heard after its end: what is silent may
//! have stopped before the last push. A final bar goes out once. History is final, and what it says otherwise than before
//! goes out again, as a later version.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{Hash, Hasher},
};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use serde::{Deserialize, Serialize};
use sqep::{Kind, Reason, Refusal, Symbol, check::Finding, shanghai, symbol::Class};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    bar::Raw,
    config::{Auction, QmtSettings},
    day::{Folded, close_of, fold, is_after_hours, is_auction},
    protocol::{From, Row},
    units::{Judge, VolUnit},
};

/// How far in the future the end of a bar may lie: a clock that is wrong would close everything to come.
const AHEAD_MINUTES_MAX: i64 = 10;
/// The status that QMT gives the last bar when a day is over.
const CLOSED: f64 = 15.0;

/// What a board knows of all securities alike.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What the stream holds.
    pub kind: Kind,
    /// The bar of the opening auction.
    pub auction: Auction,
    /// After the end of a minute.
    pub grace: TimeDelta,
    /// After the close.
    pub close_grace: TimeDelta,
}

impl Rules {
    /// Those of a configuration.
    pub fn new(kind: Kind, settings: &QmtSettings) -> Rules {
        let seconds = |seconds| TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::from(u16::MAX)));
        Rules {
            kind,
            auction: settings.auction,
            grace: seconds(settings.grace_s),
            close_grace: seconds(settings.close_grace_s),
        }
    }

    fn minute(&self) -> bool {
        matches!(self.kind, Kind::BarMinute(_))
    }

    /// When the bar of this label ends.
    fn end(&self, wall: NaiveDateTime) -> NaiveDateTime {
        if self.minute() { wall } else { close_of(wall.date()) }
    }

    fn grace(&self, end: NaiveDateTime, status: Option<f64>) -> TimeDelta {
        let last = end == close_of(end.date()) && status != Some(CLOSED);
        if last { self.close_grace } else { self.grace }
    }

    fn is_label(&self, wall: NaiveDateTime) -> bool {
        match self.kind {
            Kind::BarMinute(grid) => wall.second() == 0 && grid.is_label(wall.hour() * 60 + wall.minute()),
            _ => true,
        }
    }
}

/// What came of rows.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Final bars, in the order in which they became so.
    pub bars: Vec<Raw>,
    /// Rows that are refused.
    pub refused: Vec<Refusal>,
    /// Rows that are no bars, or no longer.
    pub skipped: BTreeMap<Reason, u64>,
    /// Bars that were published with other values before.
    pub corrected: u64,
}

impl Outcome {
    fn skip(&mut self, reason: Reason) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    fn refuse(&mut self, symbol: Symbol, row: &Row, findings: Vec<Finding>) {
        let raw = serde_json::to_string(row).unwrap_or_default();
        self.refused.push(Refusal { row: 0, rows: 1, symbol: symbol.to_string(), findings, raw });
    }

    /// Whether nothing came of them yet.
    pub fn is_empty(&self) -> bool {
        self.bars.is_empty() && self.refused.is_empty() && self.skipped.is_empty()
    }

    /// Rows it stands for.
    pub fn rows(&self) -> usize {
        self.bars.len() + self.refused.len()
    }
}

/// The state of a security that outlives a process, where the source asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Label of the last final bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<NaiveDateTime>,
    /// The bar that is not final yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forming: Option<(Row, VolUnit)>,
    /// The opening auction that waits for 09:31.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auction: Option<(Row, VolUnit)>,
}

/// A row of the present bar.
#[derive(Debug, Clone, Copy)]
struct Forming {
    row: Row,
    unit: VolUnit,
    raw: Raw,
}

/// One security.
#[derive(Debug, Default)]
struct Line {
    mark: Option<NaiveDateTime>,
    forming: Option<Forming>,
    /// The last day that had a bar, and the bars of it that went out: label, hash, shares.
    day: NaiveDate,
    sent: BTreeMap<NaiveDateTime, (u64, f64)>,
    judge: Judge,
    auction: Option<Forming>,
    /// Up to here an earlier run published everything.
    floor: Option<NaiveDateTime>,
}

/// All securities.
#[derive(Debug)]
pub struct Board {
    rules: Rules,
    lines: HashMap<Symbol, Line>,
    forming: usize,
}

/// Why a row is no bar.
enum Stop {
    Skip(Reason),
    Refuse(Finding),
}

fn stop(reason: Reason, field: &str, value: String) -> Stop {
    Stop::Refuse(Finding { reason, field: field.to_owned(), value })
}

impl Board {
    /// An empty board.
    pub fn new(rules: Rules) -> Board {
        Board { rules, lines: HashMap::new(), forming: 0 }
    }

    /// Takes up a security where it was left.
    pub fn restore(&mut self, symbol: Symbol, state: State) {
        let line = self.lines.entry(symbol).or_default();
        let bar = |kept: Option<(Row, VolUnit)>| {
            let (row, unit) = kept?;
            Some(Forming { row, unit, raw: raw_of(&row, symbol, unit).ok()? })
        };
        self.forming -= usize::from(line.forming.is_some());
        (line.mark, line.forming, line.auction) = (state.mark, bar(state.forming), bar(state.auction));
        self.forming += usize::from(line.forming.is_some());
    }

    /// Everything of a security up to a label was published by an earlier run.
    pub fn published(&mut self, symbol: Symbol, mark: NaiveDateTime) {
        let line = self.lines.entry(symbol).or_default();
        (line.mark, line.floor) = (Some(mark), Some(mark));
    }

    /// The state of a security.
    pub fn state(&self, symbol: Symbol) -> State {
        let Some(line) = self.lines.get(&symbol) else { return State::default() };
        let kept = |bar: Option<Forming>| bar.map(|bar| (bar.row, bar.unit));
        State { mark: line.mark, forming: kept(line.forming), auction: kept(line.auction) }
    }

    /// Label of the last final bar.
    pub fn mark(&self, symbol: Symbol) -> Option<NaiveDateTime> {
        self.lines.get(&symbol)?.mark
    }

    /// Shares of the bars of a day that went out; `None`: some went out before this run.
    pub fn shares(&self, symbol: Symbol, day: NaiveDate) -> Option<f64> {
        let Some(line) = self.lines.get(&symbol) else { return Some(0.0) };
        if line.floor.is_some_and(|floor| floor.date() >= day) {
            return None;
        }
        let sent = line.sent.values().map(|(_, shares)| shares);
        Some(if line.day == day { sent.sum() } else { 0.0 })
    }

    /// Takes a row. `now` is the time in Shanghai, if anybody knows it.
    pub fn take(
        &mut self,
        symbol: Symbol,
        row: Row,
        from: From,
        unit: VolUnit,
        now: Option<NaiveDateTime>,
        out: &mut Outcome,
    ) {
        let raw = match self.judged(&row, symbol, unit, now) {
            Ok(raw) => raw,
            Err(Stop::Skip(reason)) => return out.skip(reason),
            Err(Stop::Refuse(finding)) => return out.refuse(symbol, &row, vec![finding]),
        };
        let end = self.rules.end(raw.wall);
        let running = now.is_some_and(|now| end + self.rules.grace(end, row.open_interest) > now);
        let line = self.lines.entry(symbol).or_default();
        let before = line.forming.is_some();
        let forming = Forming { row, unit, raw };
        if from == From::Live || running {
            line.live(symbol, forming, &self.rules, out);
        } else {
            if line.forming.is_some_and(|forming| forming.raw.wall == raw.wall) {
                line.forming = None;
                out.skip(Reason::Superseded);
            }
            line.finish(symbol, forming, &self.rules, out);
        }
        self.forming = self.forming + usize::from(line.forming.is_some()) - usize::from(before);
    }

    fn judged(
        &self,
        row: &Row,
        symbol: Symbol,
        unit: VolUnit,
        now: Option<NaiveDateTime>,
    ) -> Result<Raw, Stop> {
        let raw = raw_of(row, symbol, unit)?;
        let idle = row.volume == Some(0.0);
        let padded = row.suspend_flag == Some(1) || raw.is_blank() || !self.rules.minute();
        if idle && padded {
            return Err(Stop::Skip(Reason::Suspended));
        }
        if self.rules.minute() && is_after_hours(raw.wall) {
            return Err(Stop::Skip(Reason::AfterHours));
        }
        let ahead = TimeDelta::minutes(AHEAD_MINUTES_MAX);
        if !self.rules.is_label(raw.wall)
            || now.is_some_and(|now| self.rules.minute() && raw.wall > now + ahead)
        {
            return Err(stop(Reason::FrameIllegal, "time", raw.wall.to_string()));
        }
        Ok(raw)
    }

    /// Bars whose time has come. `heard` is when anything was heard last.
    pub fn due(&mut self, now: NaiveDateTime, heard: NaiveDateTime, out: &mut Outcome) {
        if self.forming == 0 {
            return;
        }
        let mut over: Vec<Symbol> = Vec::new();
        for (&symbol, line) in &self.lines {
            let Some(forming) = line.forming else { continue };
            let end = self.rules.end(forming.raw.wall);
            if heard >= end && end + self.rules.grace(end, forming.row.open_interest) <= now {
                over.push(symbol);
            }
        }
        over.sort_unstable();
        self.close(&over, out);
    }

    /// Everything that is not final yet is.
    pub fn close_all(&mut self, out: &mut Outcome) {
        let mut all: Vec<Symbol> =
            self.lines.iter().filter(|(_, line)| line.forming.is_some()).map(|(&symbol, _)| symbol).collect();
        all.sort_unstable();
        self.close(&all, out);
    }

    fn close(&mut self, symbols: &[Symbol], out: &mut Outcome) {
        for symbol in symbols {
            let Some(line) = self.lines.get_mut(symbol) else { continue };
            let Some(forming) = line.forming.take() else { continue };
            self.forming -= 1;
            line.finish(*symbol, forming, &self.rules, out);
        }
    }

    /// What is not final is forgotten: its last pushes may be missing, and history will tell.
    pub fn forget(&mut self, out: &mut Outcome) {
        for line in self.lines.values_mut() {
            if line.forming.take().is_some() {
                out.skip(Reason::Superseded);
            }
        }
        self.forming = 0;
    }

    /// Securities with a bar that is not final yet.
    pub fn forming(&self) -> usize {
        self.forming
    }
}

impl Line {
    fn live(&mut self, symbol: Symbol, new: Forming, rules: &Rules, out: &mut Outcome) {
        let wall = new.raw.wall;
        if self.mark.is_some_and(|mark| wall <= mark) {
            let same = self.sent.get(&wall).is_some_and(|(hash, _)| *hash == hash_of(&new.raw));
            return out.skip(if same { Reason::Duplicate } else { Reason::Late });
        }
        let Some(old) = self.forming else { return self.forming = Some(new) };
        if wall == old.raw.wall && new.raw.vol >= old.raw.vol {
            self.forming = Some(new);
            out.skip(Reason::Superseded);
        } else if wall <= old.raw.wall {
            // A row that goes back in time, or a push that was overtaken by a later one.
            out.skip(Reason::Late);
        } else {
            self.forming = Some(new);
            self.finish(symbol, old, rules, out);
        }
    }

    /// A final bar: judged, compared with what went out, and out.
    fn finish(&mut self, symbol: Symbol, bar: Forming, rules: &Rules, out: &mut Outcome) {
        let (raw, day) = (bar.raw, bar.raw.wall.date());
        if self.floor.is_some_and(|floor| raw.wall <= floor) {
            return out.skip(Reason::Duplicate);
        }
        if day > self.day {
            self.day = day;
            self.sent.clear();
            self.judge = Judge::default();
        }
        // An auction that waits is asked for again after a restart.
        let waits = rules.auction == Auction::Fold && rules.minute() && is_auction(raw.wall);
        if !waits {
            self.mark = self.mark.max(Some(raw.wall));
        }
        let hash = hash_of(&raw);
        if day == self.day {
            match self.sent.insert(raw.wall, (hash, raw.vol)) {
                Some((before, _)) if before == hash => return out.skip(Reason::Duplicate),
                Some(_) => out.corrected += 1,
                None => {}
            }
        }
        if let Some(finding) = self.judge.see(symbol.class(), raw.turnover(), bar.unit) {
            return out.refuse(symbol, &bar.row, vec![finding]);
        }
        match fold(self.auction.take().map(|auction| auction.raw), raw) {
            Folded::Nothing => {}
            Folded::Into(bar) => {
                out.skip(Reason::Superseded);
                return out.bars.push(bar);
            }
            Folded::Before(auction) => out.bars.push(auction),
        }
        if waits {
            self.auction = Some(bar);
        } else {
            out.bars.push(raw);
        }
    }
}

/// The bar of a row, in shares.
fn raw_of(row: &Row, symbol: Symbol, unit: VolUnit) -> Result<Raw, Stop> {
    let wall =
        shanghai::wall(row.time).ok_or_else(|| stop(Reason::ValueIllegal, "time", row.time.to_string()))?;
    let number = |field: &str, value: Option<f64>| {
        value.ok_or_else(|| stop(Reason::PriceMissing, field, "null".to_owned()))
    };
    Ok(Raw {
        symbol,
        wall,
        open: number("open", row.open)?,
        high: number("high", row.high)?,
        low: number("low", row.low)?,
        close: number("close", row.close)?,
        vol: number("volume", row.volume)? * unit.shares(),
        amount: number("amount", row.amount)?,
    })
}

/// Tells bars of other values apart; noise beyond the protocol's precision makes no difference.
fn hash_of(raw: &Raw) -> u64 {
    let mut hasher = Xxh3::new();
    let decimals = if raw.symbol.class() == Class::Index { 4 } else { 3 };
    for price in [raw.open, raw.high, raw.low, raw.close] {
        sqep::bar::round(price, decimals).to_bits().hash(&mut hasher);
    }
    sqep::bar::round(raw.vol, 0).to_bits().hash(&mut hasher);
    sqep::bar::round(raw.amount, 2).to_bits().hash(&mut hasher);
    hasher.finish()
}
