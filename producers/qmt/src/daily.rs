//! The check at the end of a day: the minutes that went out against the day's own bar. Knows sums and rounds; must not
//! know connections nor requests. Time is passed in.
//!
//! A subscription that dies in silence leaves no other trace: a minute without trade and a minute that was lost look alike.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use sqep::{Symbol, shanghai};
use tracing::{info, warn};

use crate::{bar::LOT_SHARES, board::Board, day::close_of, protocol::Bars, units::VolUnit};

/// After the close, so that the day's bar is final.
const AFTER_CLOSE_S: i64 = 90;
/// Before the minutes of a day that does not add up are asked for: at once, and later, since downloads may take effect late.
const PAUSES_S: [i64; 3] = [0, 60, 300];
/// Between rounds at the least, when all that does not add up is missing: nobody waits for its answers.
const PAUSE_S_MIN: i64 = 60;
/// Securities told by name.
const TOLD_MAX: usize = 10;

/// Securities by name, with what failed; the first few of many.
pub fn named(missing: &BTreeMap<Symbol, String>) -> String {
    let names = missing.iter().take(TOLD_MAX).map(|(symbol, why)| format!("{symbol} ({why})"));
    let more = missing.len().saturating_sub(TOLD_MAX);
    let more = (more > 0).then(|| format!("and {more} more"));
    names.chain(more).collect::<Vec<_>>().join(", ")
}

/// When the bars of a day are final.
pub fn is_over(now: NaiveDateTime) -> bool {
    now >= close_of(now.date()) + TimeDelta::seconds(AFTER_CLOSE_S)
}

/// What was found today.
#[derive(Debug, Default)]
pub struct Daily {
    day: Option<NaiveDate>,
    theirs: BTreeMap<Symbol, f64>,
    /// Rounds in which minutes were asked for again.
    rounds: usize,
    /// Before that there is no other round for what is missing.
    next: NaiveDateTime,
    over: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Ask for the day's bars of all securities.
    Days,
    /// Ask for the minutes of these, not before a time.
    Minutes(Vec<Symbol>, NaiveDateTime),
}

impl Daily {
    /// The next step; to be called when nothing that was asked for is missing.
    /// `missing`: securities whose history failed time and again, and why.
    pub fn step(
        &mut self,
        symbols: &BTreeSet<Symbol>,
        missing: &BTreeMap<Symbol, String>,
        board: &Board,
        now: NaiveDateTime,
    ) -> Step {
        if self.day != Some(now.date()) {
            *self = Daily { day: Some(now.date()), ..Daily::default() };
            return Step::Days;
        }
        if self.over {
            return Step::Nothing;
        }
        let differ = self.differ(board, now.date());
        let waits = !differ.is_empty() && differ.iter().all(|(symbol, ..)| missing.contains_key(symbol));
        if waits && now < self.next {
            return Step::Nothing;
        }
        self.tell(symbols, &differ);
        if self.rounds == 0 && !missing.is_empty() {
            warn!("end of day: QMT does not give {}", named(missing));
        }
        let Some(&pause) = PAUSES_S.get(self.rounds).filter(|_| !differ.is_empty()) else {
            self.over = true;
            return Step::Nothing;
        };
        self.rounds += 1;
        self.next = now + TimeDelta::seconds(pause.max(PAUSE_S_MIN));
        let symbols = differ.into_iter().map(|(symbol, ..)| symbol).collect();
        Step::Minutes(symbols, now + TimeDelta::seconds(pause))
    }

    /// Takes the bar of the day.
    pub fn take(&mut self, bars: &Bars, symbol: Symbol, unit: VolUnit) {
        let today = |time| shanghai::wall(time).is_some_and(|wall| Some(wall.date()) == self.day);
        let volume = bars.rows.good.iter().find(|row| today(row.time)).and_then(|row| row.volume);
        if let Some(volume) = volume {
            self.theirs.insert(symbol, volume * unit.shares());
        }
    }

    /// Begins anew: another process may have published since.
    pub fn give_up(&mut self) {
        *self = Daily::default();
    }

    fn differ(&self, board: &Board, day: NaiveDate) -> Vec<(Symbol, Option<f64>, f64)> {
        let differs = |(&symbol, &theirs): (&Symbol, &f64)| {
            let ours = board.shares(symbol, day);
            let same = ours.is_some_and(|ours| (ours - theirs).abs() <= LOT_SHARES);
            (!same).then_some((symbol, ours, theirs))
        };
        self.theirs.iter().filter_map(differs).collect()
    }

    fn tell(&self, symbols: &BTreeSet<Symbol>, differ: &[(Symbol, Option<f64>, f64)]) {
        let (compared, without) = (self.theirs.len(), symbols.len().saturating_sub(self.theirs.len()));
        info!(
            "end of day: {compared} securities compared, {} differ, {without} have no day bar (round {})",
            differ.len(),
            self.rounds
        );
        let what = if self.rounds < PAUSES_S.len() { "asking for its minutes again" } else { "given up" };
        for (symbol, ours, theirs) in differ.iter().take(TOLD_MAX) {
            let ours = ours.map_or_else(|| "unknown".to_owned(), |ours| ours.to_string());
            warn!("{symbol}: minutes add up to {ours} shares, the day has {theirs}: {what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use sqep::{Kind, kind::Grid};

    use super::*;
    use crate::{config::QmtSettings, rules::Rules};

    fn at(time: &str) -> NaiveDateTime {
        format!("2025-01-02T{time}").parse().unwrap()
    }

    #[test]
    fn between_rounds_for_what_is_missing_there_are_pauses() {
        let symbol: Symbol = "600000.SH".parse().unwrap();
        let rules = Rules::new(Kind::BarMinute(Grid::M1), &QmtSettings::default());
        let (symbols, board) = (BTreeSet::from([symbol]), Board::new(rules));
        let missing = BTreeMap::from([(symbol, "busy".to_owned())]);
        let mut daily = Daily::default();
        assert_eq!(daily.step(&symbols, &missing, &board, at("15:02:00")), Step::Days);
        daily.theirs.insert(symbol, 100_000.0);
        let seconds = (0..900).map(|second| at("15:02:01") + TimeDelta::seconds(second));
        let rounds: Vec<_> =
            seconds.filter(|&now| daily.step(&symbols, &missing, &board, now) != Step::Nothing).collect();
        assert_eq!(rounds, [at("15:02:01"), at("15:03:01"), at("15:04:01")]);
        assert!(daily.over, "it gives up");
        // What is not missing has answered, and is judged at once.
        let mut daily = Daily { day: daily.day, theirs: daily.theirs, ..Daily::default() };
        for _ in PAUSES_S {
            assert_ne!(daily.step(&symbols, &BTreeMap::new(), &board, at("15:20:00")), Step::Nothing);
        }
    }
}
