//! Late corrections: rows a vendor publishes again. Knows how a bar may change and still be sound; must not know when
//! it is published.

use sqep::{DayBar, Symbol};

use super::{
    Market,
    board::{Board, board_of},
    rng::{Rng, float, whole},
};

pub(super) fn pick(market: &Market, count: usize) -> Vec<DayBar> {
    let symbols = market.securities().len();
    let quota = |at: usize| count / symbols + usize::from(at < count % symbols);
    let of = |(at, symbol): (usize, Symbol)| of_symbol(market, symbol, quota(at));
    market.securities().iter().map(|security| security.symbol).enumerate().flat_map(of).collect()
}

/// Draws `quota` distinct rows of a security, in order (selection sampling: every row has the same chance).
fn of_symbol(market: &Market, symbol: Symbol, quota: usize) -> Vec<DayBar> {
    if quota == 0 {
        return Vec::new();
    }
    let bars: Vec<DayBar> = market.days(symbol).collect();
    let mut rng = Rng::of(&[market.seed, 3, u64::try_from(symbol.get()).unwrap_or(0)]);
    let mut wanted = quota.min(bars.len());
    let mut picked = Vec::with_capacity(wanted);
    for (at, bar) in bars.iter().enumerate() {
        let left = u32::try_from(bars.len() - at).unwrap_or(u32::MAX);
        if usize::try_from(rng.below(left)).is_ok_and(|draw| draw < wanted) {
            wanted -= 1;
            picked.push(corrected(bar, &mut rng));
        }
    }
    picked
}

/// Another close within the range, and a block of shares that was missing.
fn corrected(bar: &DayBar, rng: &mut Rng) -> DayBar {
    let board = board_of(bar.symbol);
    let unit = float(board.ticks_per_yuan());
    let block = if board == Board::Fund || board == Board::FundStar { 1_000 } else { 100 };
    let extra = float(block * (1 + rng.below(20)));
    let spread = u32::try_from(whole((bar.high - bar.low) * unit)).unwrap_or(0).saturating_add(1);
    let close = float(whole(bar.low * unit) + rng.below(spread)) / unit;
    let paid = bar.amount.map(|amount| amount * (bar.vol + extra) / bar.vol);
    let inside = |amount: f64| {
        let least = float(whole(bar.low * unit)) * (bar.vol + extra) / unit;
        let most = float(whole(bar.high * unit)) * (bar.vol + extra) / unit;
        if board == Board::Index {
            float(whole(amount))
        } else {
            float(whole(amount)).clamp(least.ceil(), most.floor())
        }
    };
    DayBar { close, vol: bar.vol + extra, amount: paid.map(inside), ..*bar }
}
