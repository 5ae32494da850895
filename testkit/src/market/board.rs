//! Boards and their codes. Knows which code belongs where and since when a board trades; must not know prices.

use chrono::NaiveDate;
use sqep::{Exchange, Symbol};

/// Where a security trades, and by which rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Board {
    /// Shanghai main board: 600, 601, 603, 605.
    MainSh,
    /// Shenzhen main board: 000, 001, 002, 003.
    MainSz,
    /// `ChiNext`: 300, 301, 302.
    ChiNext,
    /// STAR market: 688.
    Star,
    /// Beijing: 920.
    Beijing,
    /// Funds with the ordinary 10 % band: 51x in Shanghai, 159 in Shenzhen.
    Fund,
    /// Funds of STAR shares with a 20 % band: 588.
    FundStar,
    /// Indices: 000 in Shanghai, 399 in Shenzhen.
    Index,
}

use Board::{Beijing, ChiNext, Fund, FundStar, Index, MainSh, MainSz, Star};

/// Fifty securities as the market has them; the first few show every board.
const MIX: [Board; 50] = [
    MainSz, Index, MainSh, ChiNext, Star, Fund, Beijing, MainSh, MainSz, ChiNext, MainSh, MainSz, MainSh,
    ChiNext, MainSz, Star, MainSh, MainSz, ChiNext, MainSh, MainSz, FundStar, MainSh, ChiNext, MainSz, Star,
    MainSh, MainSz, ChiNext, MainSh, MainSz, Index, MainSh, ChiNext, MainSz, Star, MainSh, Fund, ChiNext,
    MainSz, MainSh, Beijing, ChiNext, MainSz, Star, MainSh, MainSh, MainSz, ChiNext, MainSh,
];

impl Board {
    /// Whether it trades shares.
    pub fn is_stock(self) -> bool {
        !matches!(self, Fund | FundStar | Index)
    }

    /// Whether its orders may end in any number of shares above the smallest order.
    pub fn trades_odd_lots(self) -> bool {
        matches!(self, Star | Beijing)
    }

    /// Price steps a yuan (or index point).
    pub fn ticks_per_yuan(self) -> i64 {
        match self {
            Fund | FundStar => 1_000,
            Index => 10_000,
            _ => 100,
        }
    }

    /// The day from which it trades.
    pub fn opened(self) -> NaiveDate {
        let (year, month, day) = match self {
            MainSh | Index => (1990, 12, 19),
            MainSz => (1991, 7, 3),
            ChiNext => (2009, 10, 30),
            Star => (2019, 7, 22),
            Beijing => (2021, 11, 15),
            Fund => (2005, 2, 23),
            FundStar => (2020, 11, 16),
        };
        NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default()
    }

    fn code(self, nth: u32) -> (Exchange, u32) {
        let pick = |heads: &[u32]| {
            let count = u32::try_from(heads.len()).unwrap_or(1);
            let head =
                heads.iter().cycle().nth(usize::try_from(nth % count).unwrap_or(0)).copied().unwrap_or(0);
            (head * 1_000, nth / count)
        };
        match self {
            MainSh => {
                let (head, rest) = pick(&[600, 601, 603, 605]);
                (Exchange::SH, head + rest)
            }
            MainSz => {
                let (head, rest) = pick(&[0, 2, 1, 3]);
                (Exchange::SZ, head + rest + 1)
            }
            ChiNext => {
                let (head, rest) = pick(&[300, 301, 302]);
                (Exchange::SZ, head + rest + 1)
            }
            Star => (Exchange::SH, 688_001 + nth),
            Beijing => (Exchange::BJ, 920_001 + nth),
            Fund if nth.is_multiple_of(2) => (Exchange::SH, 510_010 + nth / 2 * 10),
            Fund => (Exchange::SZ, 159_001 + nth / 2),
            FundStar => (Exchange::SH, 588_000 + nth * 10),
            Index if nth.is_multiple_of(2) => (Exchange::SH, 1 + nth / 2),
            Index => (Exchange::SZ, 399_001 + nth / 2),
        }
    }
}

/// The first `count` securities: the same ones at the head of every larger market.
pub(super) fn securities(count: usize) -> Vec<(Symbol, Board)> {
    let mut used = std::collections::HashMap::new();
    let mut next = |board: Board| {
        let nth = used.entry(board).or_insert(0u32);
        let (exchange, code) = board.code(*nth);
        *nth += 1;
        Symbol::new(exchange, code).map(|symbol| (symbol, board))
    };
    MIX.iter().cycle().take(count).filter_map(|&board| next(board)).collect()
}

/// The board of a symbol of this market.
pub(super) fn board_of(symbol: Symbol) -> Board {
    match (symbol.exchange(), symbol.code() / 1000) {
        (Exchange::SH, 688 | 689) => Star,
        (Exchange::SH, 588 | 589) => FundStar,
        (Exchange::SH, 510..=519) | (Exchange::SZ, 159) => Fund,
        (Exchange::SH, 0) | (Exchange::SZ, 399) => Index,
        (Exchange::SH, _) => MainSh,
        (Exchange::SZ, 300..=302) => ChiNext,
        (Exchange::SZ, _) => MainSz,
        (Exchange::BJ, _) => Beijing,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sqep::symbol::Class;

    use super::*;

    #[test]
    fn the_largest_market_names_every_security_once_and_in_its_class() {
        let all = securities(crate::market::SYMBOLS_MAX);
        assert_eq!(all.len(), crate::market::SYMBOLS_MAX);
        let distinct: HashSet<Symbol> = all.iter().map(|&(symbol, _)| symbol).collect();
        assert_eq!(distinct.len(), all.len());
        for (symbol, board) in all {
            assert_eq!(board_of(symbol), board, "{symbol}");
            let class = match board {
                Fund | FundStar => Class::Fund,
                Index => Class::Index,
                _ => Class::Stock,
            };
            assert_eq!(symbol.class(), class, "{symbol}");
        }
    }

    #[test]
    fn a_small_market_shows_every_exchange_and_the_collision_of_000001() {
        let names: Vec<String> = securities(10).iter().map(|(symbol, _)| symbol.to_string()).collect();
        assert_eq!(names[..4], ["000001.SZ", "000001.SH", "600000.SH", "300001.SZ"]);
        for suffix in [".SH", ".SZ", ".BJ"] {
            assert!(names.iter().any(|name| name.ends_with(suffix)));
        }
    }
}
