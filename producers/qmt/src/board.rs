//! Which bars are final. Knows rows of many securities in the order in which they came, and the time as it is told; must
//! not know connections, requests nor the stream.
//!
//! QMT sends the bar of the running minute again and again and never says that it is done. A bar is final when a row of
//! a later one comes, or when everything was looked at after its end and a grace: what is silent may have stopped before
//! the last push. A final bar goes out once. History is final as far as it was over when it was asked for, and what it
//! says otherwise than before goes out again, as a later version.

use std::collections::HashMap;

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sqep::{Reason, Symbol, check::Finding, shanghai};

pub use crate::line::State;
use crate::{
    bar::Raw,
    day::is_after_hours,
    line::{Forming, Line},
    outcome::Outcome,
    protocol::{From, Odd, Row},
    rules::Rules,
    units::VolUnit,
};

/// How far in the future the end of a bar may lie: a clock that is wrong would close everything to come.
const AHEAD_MINUTES_MAX: i64 = 10;

/// How a row came.
#[derive(Debug, Clone, Copy)]
pub struct Came {
    /// Whether more of its bar may come.
    pub from: From,
    /// What its volume is counted in.
    pub unit: VolUnit,
    /// The time in Shanghai, if anybody knows it.
    pub now: Option<NaiveDateTime>,
    /// When history was asked for, if anybody knows it.
    pub asked: Option<NaiveDateTime>,
}

/// All securities.
#[derive(Debug)]
pub struct Board {
    rules: Rules,
    lines: HashMap<Symbol, Line>,
    forming: usize,
    /// No bar that forms has an earlier label.
    oldest: Option<NaiveDateTime>,
}

/// Why a row is no bar.
pub(crate) enum Stop {
    Skip(Reason),
    Refuse(Finding),
}

fn stop(reason: Reason, field: &str, value: String) -> Stop {
    Stop::Refuse(Finding { reason, field: field.to_owned(), value })
}

impl Board {
    /// An empty board.
    pub fn new(rules: Rules) -> Board {
        Board { rules, lines: HashMap::new(), forming: 0, oldest: None }
    }

    /// Whether something came of a security.
    pub fn knows(&self, symbol: Symbol) -> bool {
        self.lines.contains_key(&symbol)
    }

    /// Securities of which something came.
    pub fn securities(&self) -> usize {
        self.lines.len()
    }

    /// Takes up a security where it was left.
    pub fn restore(&mut self, symbol: Symbol, state: State) {
        let line = self.lines.entry(symbol).or_default();
        self.forming -= usize::from(line.forming.is_some());
        line.restore(&state, |kept| {
            let (row, unit) = kept?;
            Some(Forming { row, unit, raw: raw_of(&row, symbol, unit).ok()?, heard: true })
        });
        self.forming += usize::from(line.forming.is_some());
        self.oldest = older(self.oldest, line.forming);
    }

    /// Everything of a security up to a label was published by an earlier run; `print` is what that added up to. `today`:
    /// that day goes on.
    pub fn published(&mut self, symbol: Symbol, mark: NaiveDateTime, print: Option<u64>, today: bool) {
        self.lines.entry(symbol).or_default().published(mark, print, today);
    }

    /// The history of a security has come in full.
    pub fn caught_up(&mut self, symbol: Symbol, out: &mut Outcome) {
        if let Some(line) = self.lines.get_mut(&symbol) {
            line.caught_up(symbol, &self.rules, out);
        }
    }

    /// The state of a security.
    pub fn state(&self, symbol: Symbol) -> State {
        self.lines.get(&symbol).map(Line::state).unwrap_or_default()
    }

    /// Label of the last final bar.
    pub fn mark(&self, symbol: Symbol) -> Option<NaiveDateTime> {
        self.lines.get(&symbol)?.mark
    }

    /// Label of the last bar that history settled: all before it since the mark came, too.
    pub fn settled(&self, symbol: Symbol) -> Option<NaiveDateTime> {
        self.lines.get(&symbol)?.settled
    }

    /// Shares of the bars of a day that went out; `None`: what an earlier run published is not known yet.
    pub fn shares(&self, symbol: Symbol, day: NaiveDate) -> Option<f64> {
        self.lines.get(&symbol).map_or(Some(0.0), |line| line.shares(day))
    }

    /// Takes a row. A bar of history that was not over when it was asked for may have grown since.
    pub fn take(&mut self, symbol: Symbol, row: Row, came: Came, out: &mut Outcome) {
        let Came { from, unit, now, asked } = came;
        let raw = match self.judged(&row, symbol, unit, now) {
            Ok(raw) => raw,
            Err(Stop::Skip(reason)) => return out.skip(reason),
            Err(Stop::Refuse(finding)) => return self.refuse(symbol, &row, finding, out),
        };
        let end = self.rules.end(raw.wall);
        let running = asked.is_some_and(|asked| end + self.rules.grace(end, row.open_interest) > asked);
        let line = self.lines.entry(symbol).or_default();
        let before = line.forming.is_some();
        let forming = Forming { row, unit, raw, heard: from == From::Live };
        if from == From::Live || running {
            line.live(symbol, forming, &self.rules, out);
        } else {
            line.settled(symbol, forming, &self.rules, out);
        }
        self.forming = self.forming + usize::from(line.forming.is_some()) - usize::from(before);
        self.oldest = older(self.oldest, line.forming);
    }

    /// Refuses a row with a value that does not belong there.
    pub fn odd(&mut self, symbol: Symbol, odd: &Odd, out: &mut Outcome) {
        let finding =
            Finding { reason: Reason::ValueIllegal, field: odd.field.to_owned(), value: odd.value.clone() };
        self.refuse(symbol, &odd.row, finding, out);
    }

    /// One letter a bar and reason: what grows by pushes is not refused anew by each.
    fn refuse(&mut self, symbol: Symbol, row: &Row, finding: Finding, out: &mut Outcome) {
        if self.lines.entry(symbol).or_default().was_refused(row.time, finding.reason) {
            return out.skip(Reason::Duplicate);
        }
        out.refuse(symbol, row, vec![finding]);
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

    /// When the bar of a label is final at the latest.
    pub fn final_at(&self, wall: NaiveDateTime) -> NaiveDateTime {
        let end = self.rules.end(wall);
        end + self.rules.grace(end, None)
    }

    /// Bars whose time has come: `swept` is when a look at all securities began whose rows have come.
    pub fn due(&mut self, swept: NaiveDateTime, out: &mut Outcome) {
        let over: Vec<Symbol> = self.over(swept).into_iter().map(|(symbol, _)| symbol).collect();
        self.close(&over, out);
    }

    /// Bars that are not final though their end and grace lie before `since`, with their labels.
    pub fn over(&mut self, since: NaiveDateTime) -> Vec<(Symbol, NaiveDateTime)> {
        let mut over = Vec::new();
        let grace = self.rules.grace.min(self.rules.close_grace);
        if self.forming == 0 || self.oldest.is_some_and(|oldest| self.rules.end(oldest) + grace > since) {
            return over;
        }
        self.oldest = None;
        for (&symbol, line) in &self.lines {
            let Some(forming) = line.forming else { continue };
            self.oldest = older(self.oldest, line.forming);
            let end = self.rules.end(forming.raw.wall);
            if end + self.rules.grace(end, forming.row.open_interest) <= since {
                over.push((symbol, forming.raw.wall));
            }
        }
        over.sort_unstable();
        over
    }

    /// Bars of these securities are final, as they are known.
    pub fn close(&mut self, symbols: &[Symbol], out: &mut Outcome) {
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
            line.forget(out);
        }
        self.forming = 0;
    }

    /// The bar of a security that is not final is forgotten: it was not looked at, and history will tell.
    pub fn forget_one(&mut self, symbol: Symbol, out: &mut Outcome) {
        let forming = self.lines.get_mut(&symbol).and_then(|line| line.forming.take());
        if forming.is_some() {
            self.forming -= 1;
            out.skip(Reason::Superseded);
        }
    }

    /// Securities with a bar that is not final yet.
    pub fn forming(&self) -> usize {
        self.forming
    }
}

/// The earlier of a label and that of a bar which forms, where there is one.
fn older(oldest: Option<NaiveDateTime>, forming: Option<Forming>) -> Option<NaiveDateTime> {
    let label = forming.map(|forming| forming.raw.wall);
    oldest.into_iter().chain(label).min()
}

/// The bar of a row, in shares.
pub(crate) fn raw_of(row: &Row, symbol: Symbol, unit: VolUnit) -> Result<Raw, Stop> {
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
