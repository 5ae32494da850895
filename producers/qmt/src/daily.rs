//! The check at the end of a day: the minutes that went out against the day's own bar. Knows sums and requests; must not
//! know connections. Time is passed in.
//!
//! A subscription that dies in silence leaves no other trace: a minute without trade and a minute that was lost look alike.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sqep::{Symbol, shanghai};
use tracing::{info, warn};

use crate::{
    bar::LOT_SHARES,
    board::Board,
    day::close_of,
    protocol::{Bars, Period, Reply},
    units::VolUnit,
};

/// After the close, so that the day's bar is final.
const AFTER_CLOSE_S: i64 = 90;
/// Securities told by name.
const TOLD_MAX: usize = 10;

/// What was asked and found today.
#[derive(Debug, Default)]
pub struct Daily {
    day: Option<NaiveDate>,
    asked: BTreeSet<u64>,
    compared: usize,
    unknown: usize,
    differ: BTreeMap<Symbol, (f64, f64)>,
}

impl Daily {
    /// Whether it is time, and nothing was asked today.
    pub fn is_due(&self, now: NaiveDateTime) -> bool {
        self.day != Some(now.date()) && now >= close_of(now.date()) + TimeDelta::seconds(AFTER_CLOSE_S)
    }

    /// Requests for the day's bars of all securities.
    pub fn ask(
        &mut self,
        symbols: &BTreeSet<Symbol>,
        codes_max: usize,
        now: NaiveDateTime,
        mut number: impl FnMut() -> u64,
    ) -> Vec<Reply> {
        *self = Daily { day: Some(now.date()), ..Daily::default() };
        let symbols: Vec<Symbol> = symbols.iter().copied().collect();
        let day = now.date().format("%Y%m%d");
        let mut requests = Vec::new();
        for part in symbols.chunks(codes_max.max(1)) {
            let req = number();
            self.asked.insert(req);
            requests.push(Reply::Hist {
                req,
                codes: part.iter().map(ToString::to_string).collect(),
                period: Period::Day,
                start: format!("{day}000000"),
                end: format!("{day}235959"),
                download: true,
            });
        }
        requests
    }

    /// Compares a day's bar with the minutes on the board.
    pub fn compare(&mut self, bars: &Bars, unit: VolUnit, board: &Board) {
        let (Some(day), Ok(symbol)) = (self.day, bars.code.parse()) else { return };
        let today =
            bars.rows.iter().find(|row| shanghai::wall(row.time).is_some_and(|wall| wall.date() == day));
        let Some(volume) = today.and_then(|row| row.volume) else { return };
        match board.shares(symbol, day) {
            None => self.unknown += 1,
            Some(ours) => {
                self.compared += 1;
                let theirs = volume * unit.shares();
                if (ours - theirs).abs() > LOT_SHARES {
                    self.differ.insert(symbol, (ours, theirs));
                }
            }
        }
    }

    /// A request is answered. After the last: the securities whose minutes do not add up.
    pub fn done(&mut self, req: u64) -> Option<Vec<Symbol>> {
        if !self.asked.remove(&req) || !self.asked.is_empty() {
            return None;
        }
        let (compared, differ, unknown) = (self.compared, self.differ.len(), self.unknown);
        info!("end of day: {compared} securities compared, {differ} differ, {unknown} began before this run");
        for (symbol, (ours, theirs)) in self.differ.iter().take(TOLD_MAX) {
            warn!(
                "{symbol}: minutes add up to {ours} shares, the day has {theirs}: asking for its minutes again"
            );
        }
        Some(self.differ.keys().copied().collect())
    }

    /// Nobody will answer: it is asked again.
    pub fn give_up(&mut self) {
        if !self.asked.is_empty() {
            *self = Daily::default();
        }
    }
}
