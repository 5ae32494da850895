//! A market made of nothing but a seed: day bars, minute bars and late corrections with the habits of A-shares.
//!
//! Everything that real feeds do and a test needs is in it: three exchanges, funds and indices; price limits by board
//! and date, days that close at the limit, one-price boards, listings without limits; suspensions (no bar), ex-dates
//! (the raw price falls, the factor rises), spells of special treatment; the opening auction, the silent minutes before
//! the closing auction; minutes that add up to their day exactly.
//!
//! The same seed gives the same bars on every machine and for ever. A market with more symbols contains the smaller
//! one, and one with more days that starts on the same day begins with the same bars. Pure: neither files nor clock.
//!
//! ```
//! use sqep::Calendar;
//! use sqep_testkit::market::{Market, Plan};
//!
//! let plan = Plan { seed: 7, symbols: 10, days: 20, to: "2026-06-30".parse().unwrap() };
//! let market = Market::new(&plan, &Calendar::published()).unwrap();
//! let bank = "000001.SZ".parse().unwrap();
//! assert!(market.days(bank).all(|bar| bar.low <= bar.close && bar.close <= bar.high));
//! ```

mod board;
mod corrections;
mod limits;
mod minutes;
pub(crate) mod rng;
mod walk;

use chrono::NaiveDate;
use sqep::{Calendar, DayBar, MinuteBar, Symbol};

pub use board::Board;
pub use limits::{Band, Situation, band, limits};
pub use minutes::minutes_of;
pub use walk::MarketDay;

use rng::Rng;
use walk::Walk;

/// The most securities a market has: more would run out of realistic codes.
pub const SYMBOLS_MAX: usize = 10_000;

/// One security in this many is listed while the market runs.
const LISTS_LATE_ONE_IN: u32 = 16;
/// A late listing happens within this many sessions of the start, so that a market of more days has bars of all.
const LISTS_LATE_SESSIONS_MAX: u32 = 60;

/// What determines a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Everything random comes from it.
    pub seed: u64,
    /// How many securities, at most [`SYMBOLS_MAX`].
    pub symbols: usize,
    /// How many sessions.
    pub days: usize,
    /// The last of them, or the day after which there is none.
    pub to: NaiveDate,
}

/// A plan that makes no market.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No securities, or more than there are codes for.
    #[error("{0} symbols: a market has 1 to {SYMBOLS_MAX}")]
    Symbols(usize),
    /// The calendar does not reach.
    #[error("{wanted} sessions up to {to}: the calendar ({first} to {last}) has {there}")]
    Days {
        /// Sessions asked for.
        wanted: usize,
        /// The last of them.
        to: NaiveDate,
        /// First day of the calendar.
        first: NaiveDate,
        /// Last day of the calendar.
        last: NaiveDate,
        /// Sessions it has up to that day.
        there: usize,
    },
}

/// A security of the market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// Its number.
    pub symbol: Symbol,
    /// Where it trades.
    pub board: Board,
    /// Its first day of trading; the market's first session is not one unless it is listed on it.
    pub listed: NaiveDate,
    /// The first session of the market.
    since: NaiveDate,
}

/// A market.
#[derive(Debug, Clone)]
pub struct Market {
    seed: u64,
    sessions: Vec<NaiveDate>,
    moves: Vec<f64>,
    securities: Vec<Security>,
}

impl Market {
    /// The market of this plan, on the sessions of this calendar.
    pub fn new(plan: &Plan, calendar: &Calendar) -> Result<Market, PlanError> {
        if plan.symbols == 0 || plan.symbols > SYMBOLS_MAX {
            return Err(PlanError::Symbols(plan.symbols));
        }
        let mut sessions: Vec<NaiveDate> = calendar.sessions(calendar.first(), plan.to).collect();
        if plan.days == 0 || sessions.len() < plan.days || plan.to > calendar.last() {
            let there = if plan.to > calendar.last() { 0 } else { sessions.len() };
            let (first, last) = (calendar.first(), calendar.last());
            return Err(PlanError::Days { wanted: plan.days, to: plan.to, first, last, there });
        }
        sessions.drain(..sessions.len() - plan.days);
        let mut rng = Rng::of(&[plan.seed, 0]);
        let moves = sessions.iter().map(|_| 0.009 * rng.bell()).collect();
        let securities = list(plan, &sessions);
        Ok(Market { seed: plan.seed, sessions, moves, securities })
    }

    /// Its sessions, oldest first.
    pub fn sessions(&self) -> &[NaiveDate] {
        &self.sessions
    }

    /// Its securities, in the order in which a growing market lists them.
    pub fn securities(&self) -> &[Security] {
        &self.securities
    }

    /// Every session of a security since its listing, suspended ones too; none for a symbol of another market.
    pub fn history(&self, symbol: Symbol) -> impl Iterator<Item = MarketDay> + '_ {
        let security = self.securities.iter().find(|security| security.symbol == symbol);
        let mut walk = security.map(|security| Walk::new(self.seed, security));
        self.steps().filter_map(move |(date, moved)| walk.as_mut().and_then(|walk| walk.step(date, moved)))
    }

    /// The day bars of a security, oldest first.
    pub fn days(&self, symbol: Symbol) -> impl Iterator<Item = DayBar> + '_ {
        self.history(symbol).filter_map(|day| day.bar)
    }

    /// The minute bars of a security, oldest first: 241 a day, which add up to its day bar.
    pub fn minutes(&self, symbol: Symbol) -> impl Iterator<Item = MinuteBar> + '_ {
        self.days(symbol).flat_map(|bar| minutes_of(self.seed, &bar))
    }

    /// Every session with what all securities did on it, in the order of [`Market::securities`].
    pub fn by_session(&self) -> impl Iterator<Item = (NaiveDate, Vec<MarketDay>)> + '_ {
        let mut walks: Vec<Walk> =
            self.securities.iter().map(|security| Walk::new(self.seed, security)).collect();
        self.steps().map(move |(date, moved)| {
            (date, walks.iter_mut().filter_map(|walk| walk.step(date, moved)).collect())
        })
    }

    /// Day bars that are published again later with another close, volume and turnover: `count` of them spread over all
    /// securities, fewer if there are not as many bars. Each passes the same checks as the bar it replaces.
    pub fn corrections(&self, count: usize) -> Vec<DayBar> {
        corrections::pick(self, count)
    }

    fn steps(&self) -> impl Iterator<Item = (NaiveDate, f64)> + '_ {
        self.sessions.iter().copied().zip(self.moves.iter().copied())
    }
}

/// Names the securities and says when each was listed.
fn list(plan: &Plan, sessions: &[NaiveDate]) -> Vec<Security> {
    let since = sessions.first().copied().unwrap_or_default();
    let listed = |symbol: Symbol, board: Board| {
        let mut rng = Rng::of(&[plan.seed, 2, u64::try_from(symbol.get()).unwrap_or(0)]);
        let at = usize::try_from(1 + rng.below(LISTS_LATE_SESSIONS_MAX)).unwrap_or(0);
        if rng.once_in(LISTS_LATE_ONE_IN) && board.is_stock() {
            sessions.get(at).copied().unwrap_or(NaiveDate::MAX).max(board.opened())
        } else {
            board.opened()
        }
    };
    board::securities(plan.symbols)
        .into_iter()
        .map(|(symbol, board)| Security { symbol, board, listed: listed(symbol, board), since })
        .collect()
}
