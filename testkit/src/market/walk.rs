//! One security's life, day by day: ex-dates, special treatment, suspensions, limits, prices, volume and turnover, all
//! in whole ticks. Knows only what happened before; must not look at days to come, so that a longer market begins with
//! the same days.

use chrono::{Datelike, NaiveDate};
use sqep::{DayBar, RefDay, Symbol};

use super::{
    Security,
    board::Board,
    limits::{self, Situation},
    rng::{Rng, float, whole},
};

/// Factors are kept in steps of 0.0001, as the vendors give them.
const FACTOR_ONE: i64 = 10_000;
/// No price falls below this many ticks.
const FLOOR_TICKS: i64 = 120;

/// One security on one session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarketDay {
    /// The ex-rights reference price, yuan: what a vendor calls `pre_close`.
    pub pre_close: f64,
    /// What is known before the open; there on suspended days too.
    pub reference: RefDay,
    /// The bar; none on a suspended day.
    pub bar: Option<DayBar>,
}

/// Open, high, low and close in ticks.
#[derive(Debug, Clone, Copy)]
struct Prices {
    open: i64,
    high: i64,
    low: i64,
    close: i64,
}

/// What kind of day it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Normal,
    ClosesUp,
    ClosesDown,
    BoardUp,
    BoardDown,
}

/// A security on its way through the sessions.
#[derive(Debug)]
pub(super) struct Walk {
    symbol: Symbol,
    board: Board,
    rng: Rng,
    listed: NaiveDate,
    nth: u32,
    close: i64,
    anchor: i64,
    factor: i64,
    st_left: i64,
    halt_left: i64,
    volatility: f64,
    beta: f64,
    lots: f64,
    activity: f64,
    last: Mood,
}

impl Walk {
    pub(super) fn new(seed: u64, security: &Security) -> Walk {
        let board = security.board;
        let mut rng = Rng::of(&[seed, 1, u64::try_from(security.symbol.get()).unwrap_or(0)]);
        let close = first_close(board, &mut rng);
        let (volatility, beta) = temper(board, &mut rng);
        let long_listed = security.listed < security.since;
        let factor = match board {
            board if board == Board::Index || !long_listed => FACTOR_ONE,
            Board::Fund | Board::FundStar => FACTOR_ONE + rng.below(4_000),
            _ => FACTOR_ONE + rng.below(900_000),
        };
        let st_left = if long_listed && board.is_stock() && rng.once_in(30) { 1 + rng.below(300) } else { 0 };
        Walk {
            symbol: security.symbol,
            board,
            listed: security.listed,
            nth: if long_listed { 1_000 } else { 0 },
            close,
            anchor: close,
            factor,
            st_left,
            halt_left: 0,
            volatility,
            beta,
            lots: usual_lots(board, &mut rng),
            activity: 1.0,
            last: Mood::Normal,
            rng,
        }
    }

    /// The next session; `market` is how far the market as a whole moves.
    pub(super) fn step(&mut self, date: NaiveDate, market: f64) -> Option<MarketDay> {
        if date < self.listed {
            return None;
        }
        self.turn_st();
        let halted = self.turn_halt();
        let reference = if halted { self.close } else { self.go_ex(date) };
        self.nth = self.nth.saturating_add(u32::from(!halted));
        let band = limits::band(Situation {
            board: self.board,
            date,
            st: self.st_left > 0,
            listed: self.listed,
            nth: self.nth.max(1),
        });
        let limits = band.map(|band| limits::limits(reference, band));
        let known = self.known(date, limits);
        let bar = (!halted).then(|| self.trade(&known, reference, limits, market));
        Some(MarketDay { pre_close: self.yuan(reference), reference: known, bar })
    }

    fn yuan(&self, ticks: i64) -> f64 {
        float(ticks) / float(self.board.ticks_per_yuan())
    }

    fn known(&self, frame: NaiveDate, limits: Option<(i64, i64)>) -> RefDay {
        RefDay {
            symbol: self.symbol,
            frame,
            adjust: Some(float(self.factor) / float(FACTOR_ONE)),
            st: self.board.is_stock().then_some(self.st_left > 0),
            buy_limit: limits.map(|(_, up)| self.yuan(up)),
            sell_limit: limits.map(|(down, _)| self.yuan(down)),
        }
    }

    fn turn_st(&mut self) {
        if self.st_left > 0 {
            self.st_left -= 1;
        } else if self.board.is_stock() && self.rng.once_in(5_000) {
            self.st_left = 120 + self.rng.below(400);
        }
    }

    fn turn_halt(&mut self) -> bool {
        if self.halt_left > 0 {
            self.halt_left -= 1;
            return true;
        }
        let halts = self.board.is_stock() && self.nth > 5 && self.rng.once_in(700);
        if halts {
            self.halt_left = self.rng.below(12);
        }
        halts
    }

    /// Takes dividends and bonus shares off yesterday's close and puts them on the factor: the reference of the day.
    fn go_ex(&mut self, date: NaiveDate) -> i64 {
        let season = if (5..=7).contains(&date.month()) { 90 } else { 700 };
        let pays = self.board != Board::Index && self.nth > 20 && self.rng.once_in(season);
        if !pays || self.close < 2 * FLOOR_TICKS {
            return self.close;
        }
        let before = self.close;
        let cash = (before * (5 + self.rng.below(30)) / 1_000).max(1);
        let bonus_tenths = if self.rng.once_in(3) { 1 + self.rng.below(10) } else { 0 };
        let reference = half_up((before - cash) * 10, 10 + bonus_tenths);
        self.factor = half_up(self.factor * before, reference);
        self.anchor = half_up(self.anchor * reference, before).max(FLOOR_TICKS);
        reference
    }

    fn trade(&mut self, known: &RefDay, reference: i64, limits: Option<(i64, i64)>, market: f64) -> DayBar {
        let mood = if limits.is_some() { self.mood() } else { Mood::Normal };
        let (down, up) = limits.unwrap_or((FLOOR_TICKS.min(reference), i64::MAX));
        let prices = match mood {
            Mood::Normal => self.normal_day(reference, down, up, market),
            Mood::ClosesUp => self.limit_day(reference, up, down, up),
            Mood::ClosesDown => self.limit_day(reference, down, down, up),
            Mood::BoardUp => Prices { open: up, high: up, low: up, close: up },
            Mood::BoardDown => Prices { open: down, high: down, low: down, close: down },
        };
        self.last = mood;
        self.close = prices.close;
        let vol = self.volume(reference, prices);
        let amount = self.turnover(prices, vol);
        DayBar {
            symbol: self.symbol,
            frame: known.frame,
            open: self.yuan(prices.open),
            high: self.yuan(prices.high),
            low: self.yuan(prices.low),
            close: self.yuan(prices.close),
            vol: float(vol),
            amount: Some(float(amount)),
            adjust: known.adjust,
            st: known.st,
            buy_limit: known.buy_limit,
            sell_limit: known.sell_limit,
        }
    }

    /// Days at the limit come in runs.
    fn mood(&mut self) -> Mood {
        let again = self.rng.once_in(4);
        match (self.last, self.rng.below(1_000)) {
            (Mood::ClosesUp | Mood::BoardUp, _) if again && self.board.is_stock() => Mood::ClosesUp,
            _ if !self.board.is_stock() => Mood::Normal,
            (_, 0..=1) => Mood::BoardUp,
            (_, 2) => Mood::BoardDown,
            (_, 3..=12) => Mood::ClosesUp,
            (_, 13..=17) => Mood::ClosesDown,
            _ => Mood::Normal,
        }
    }

    fn normal_day(&mut self, reference: i64, down: i64, up: i64, market: f64) -> Prices {
        let base = float(reference);
        let wild = if self.rng.once_in(12) { 2.2 } else { 1.0 };
        let debut = if self.board.is_stock() && self.nth == 1 { 0.3 + 0.9 * self.rng.unit() } else { 0.0 };
        let noise = self.volatility * wild;
        let change = self.beta * market + noise * self.rng.bell() + self.pull() + debut;
        let gap = 0.35 * change + 0.3 * noise * self.rng.bell();
        let place = |change: f64| whole(base * (1.0 + change.max(-0.6))).clamp(down, up);
        let (open, close) = (place(gap), place(change));
        let (above, below) = (self.rng.bell().abs(), self.rng.bell().abs());
        let high = open.max(close) + whole(0.4 * noise * base * above);
        let low = open.min(close) - whole(0.4 * noise * base * below);
        Prices { open, high: high.min(up), low: low.max(down), close }
    }

    /// Back towards where it started, once it has gone far.
    fn pull(&self) -> f64 {
        if self.close > 4 * self.anchor {
            -0.004
        } else if 3 * self.close < self.anchor || self.close < 3 * FLOOR_TICKS {
            0.004
        } else {
            0.0
        }
    }

    fn limit_day(&mut self, reference: i64, limit: i64, down: i64, up: i64) -> Prices {
        let way = float(limit - reference);
        let open = reference + whole(way * self.rng.unit());
        let back = if self.rng.once_in(3) { whole(0.3 * way * self.rng.unit()) } else { 0 };
        let far = (open - back).clamp(down, up);
        Prices { open, high: open.max(far).max(limit), low: open.min(far).min(limit), close: limit }
    }

    /// Whole lots mostly; odd lots sometimes, and always where a board trades them.
    fn volume(&mut self, reference: i64, prices: Prices) -> i64 {
        let moved = (float(prices.close - reference).abs() / float(reference) / self.volatility).min(6.0);
        let burst = if self.rng.once_in(40) { 2.5 } else { 1.0 };
        self.activity = 0.85 * self.activity + 0.15 * (0.4 + 1.2 * self.rng.unit()) * burst;
        let locked = if prices.high == prices.low { 0.05 } else { 1.0 };
        let lots = self.lots * self.activity * (0.6 + 0.4 * moved) * locked;
        let odd = self.board.trades_odd_lots() || (self.board.is_stock() && self.rng.once_in(6));
        let tail = self.rng.below(100);
        match self.board {
            // Ten lots at least, so that a price in thousandths makes whole yuan.
            Board::Fund | Board::FundStar => whole(lots / 10.0).max(1) * 1_000,
            _ if odd && prices.high > prices.low => whole(lots).max(1) * 100 + tail,
            _ => whole(lots).max(1) * 100,
        }
    }

    /// Whole yuan between low and high times volume; an index has the turnover of its members.
    fn turnover(&mut self, prices: Prices, vol: i64) -> i64 {
        if self.board == Board::Index {
            return whole(float(vol) * (9.0 + 5.0 * self.rng.unit()));
        }
        let unit = self.board.ticks_per_yuan();
        let weighed = prices.open + prices.close * 2 + prices.high + prices.low;
        let range = float(prices.high - prices.low);
        let wanted = float(weighed) / 5.0 + 0.08 * range * self.rng.bell();
        let margin = 0.12 * range;
        let paid = wanted.clamp(float(prices.low) + margin, float(prices.high) - margin);
        let least = (prices.low * vol + unit - 1).div_euclid(unit);
        let most = (prices.high * vol).div_euclid(unit);
        whole(paid * float(vol) / float(unit)).clamp(least.min(most), most)
    }
}

/// Division that rounds halves up.
fn half_up(value: i64, by: i64) -> i64 {
    (2 * value + by).div_euclid(2 * by)
}

fn first_close(board: Board, rng: &mut Rng) -> i64 {
    let doubled = |rng: &mut Rng, from: i64, doublings: u32| {
        whole(float(from << rng.below(doublings)) * (1.0 + rng.unit()))
    };
    match board {
        Board::Fund | Board::FundStar => doubled(rng, 600, 3),
        Board::Index => doubled(rng, 9_000_000, 3),
        _ if rng.once_in(100) => doubled(rng, 40_000, 3),
        _ => doubled(rng, 300, 5),
    }
}

/// Daily volatility, and how much a security follows the market.
fn temper(board: Board, rng: &mut Rng) -> (f64, f64) {
    match board {
        Board::Index => (0.003 + 0.003 * rng.unit(), 0.9 + 0.3 * rng.unit()),
        Board::Fund | Board::FundStar => (0.006 + 0.008 * rng.unit(), 0.8 + 0.4 * rng.unit()),
        _ => (0.012 + 0.022 * rng.unit(), 0.5 + 0.8 * rng.unit()),
    }
}

/// Lots of a usual day: a few are hardly traded, most by the ten thousand.
fn usual_lots(board: Board, rng: &mut Rng) -> f64 {
    let spread = 1.0 + rng.unit();
    match board {
        Board::Index => 1_500_000.0 * spread,
        Board::Beijing => float(200 << rng.below(6)) * spread,
        _ if rng.once_in(60) => float(10 << rng.below(5)) * spread,
        _ => float(1_600 << rng.below(9)) * spread,
    }
}
