//! Price limits by board and date, as the exchanges' rules state them. Knows bands and rounding in whole ticks; must
//! not know how a price moves.

use chrono::NaiveDate;

use super::board::Board;

/// How far a price may move from its ex-rights reference, in per cent up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// Per cent upwards.
    pub up: i64,
    /// Per cent downwards.
    pub down: i64,
}

/// What the rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Where it trades.
    pub board: Board,
    /// The day.
    pub date: NaiveDate,
    /// Under special treatment that day.
    pub st: bool,
    /// Its first day of trading.
    pub listed: NaiveDate,
    /// Which of its trading days this is, from 1.
    pub nth: u32,
}

fn day(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default()
}

#[expect(clippy::unnecessary_wraps, reason = "read beside days without limits")]
const fn even(percent: i64) -> Option<Band> {
    Some(Band { up: percent, down: percent })
}

/// The first day of an approval-based listing: +44 % and −36 % of the issue price.
const FIRST_DAY: Option<Band> = Some(Band { up: 44, down: 36 });

/// The band of a day; none on days without limits.
pub fn band(at: Situation) -> Option<Band> {
    match at.board {
        Board::Index => None,
        Board::Beijing => {
            if at.nth == 1 {
                None
            } else {
                even(30)
            }
        }
        Board::Star => {
            if at.nth <= 5 {
                None
            } else {
                even(20)
            }
        }
        Board::Fund => even(10),
        Board::FundStar => even(20),
        Board::ChiNext => chinext(at),
        Board::MainSh => main_board(at, day(2013, 12, 13)),
        Board::MainSz => main_board(at, day(2014, 6, 13)),
    }
}

/// 10 %, and 20 % for normal and ST shares alike since the registration reform of 2020-08-24.
fn chinext(at: Situation) -> Option<Band> {
    let reform = day(2020, 8, 24);
    match (at.listed >= reform, at.nth) {
        (true, 1..=5) => None,
        (false, 1) => {
            if at.listed >= day(2014, 6, 13) {
                FIRST_DAY
            } else {
                None
            }
        }
        _ if at.date >= reform => even(20),
        _ => even(if at.st { 5 } else { 10 }),
    }
}

/// 10 % since 1996-12-16; ST shares 5 % until 2026-07-05 and 10 % since.
fn main_board(at: Situation, first_day_since: NaiveDate) -> Option<Band> {
    match (at.listed >= day(2023, 4, 10), at.nth) {
        (true, 1..=5) => None,
        (false, 1) => {
            if at.listed >= first_day_since {
                FIRST_DAY
            } else {
                None
            }
        }
        _ if at.date < day(1996, 12, 16) => None,
        _ => even(if at.st && at.date < day(2026, 7, 6) { 5 } else { 10 }),
    }
}

/// Lower and upper limit in ticks around a reference in ticks: rounded half up, at least one tick away.
pub fn limits(reference: i64, band: Band) -> (i64, i64) {
    let half_up = |percent: i64| (reference * percent + 50).div_euclid(100);
    let down = half_up(100 - band.down).min(reference - 1).max(1);
    let up = half_up(100 + band.up).max(reference + 1);
    (down, up)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(board: Board, date: NaiveDate) -> Situation {
        Situation { board, date, st: false, listed: day(2000, 1, 4), nth: 1_000 }
    }

    #[test]
    fn the_bands_follow_the_exchanges_rules() {
        let st = |situation: Situation| Situation { st: true, ..situation };
        let new = |board, date, nth| Situation { board, date, st: false, listed: date, nth };
        let main = at(Board::MainSh, day(2024, 3, 1));
        let cases = [
            (main, even(10)),
            (st(main), even(5)),
            (st(at(Board::MainSz, day(2026, 7, 3))), even(5)),
            (st(at(Board::MainSz, day(2026, 7, 6))), even(10)),
            (at(Board::MainSh, day(1996, 12, 13)), None),
            (at(Board::MainSh, day(1996, 12, 16)), even(10)),
            (at(Board::ChiNext, day(2020, 8, 21)), even(10)),
            (st(at(Board::ChiNext, day(2020, 8, 21))), even(5)),
            (at(Board::ChiNext, day(2020, 8, 24)), even(20)),
            (st(at(Board::ChiNext, day(2020, 8, 24))), even(20)),
            (at(Board::Star, day(2024, 3, 1)), even(20)),
            (st(at(Board::Star, day(2024, 3, 1))), even(20)),
            (at(Board::Beijing, day(2024, 3, 1)), even(30)),
            (at(Board::Fund, day(2024, 3, 1)), even(10)),
            (at(Board::FundStar, day(2024, 3, 1)), even(20)),
            (at(Board::Index, day(2024, 3, 1)), None),
            (new(Board::Beijing, day(2024, 3, 1), 1), None),
            (new(Board::Beijing, day(2024, 3, 1), 2), even(30)),
            (new(Board::Star, day(2024, 3, 1), 5), None),
            (new(Board::Star, day(2024, 3, 1), 6), even(20)),
            (new(Board::ChiNext, day(2020, 8, 24), 5), None),
            (new(Board::ChiNext, day(2020, 8, 21), 1), FIRST_DAY),
            (new(Board::MainSh, day(2023, 4, 7), 1), FIRST_DAY),
            (new(Board::MainSh, day(2023, 4, 7), 2), even(10)),
            (new(Board::MainSh, day(2023, 4, 10), 5), None),
            (new(Board::MainSh, day(2023, 4, 10), 6), even(10)),
            (new(Board::MainSh, day(2013, 12, 12), 1), None),
            (new(Board::MainSz, day(2014, 6, 12), 1), None),
            (new(Board::MainSz, day(2014, 6, 13), 1), FIRST_DAY),
        ];
        for (situation, expected) in cases {
            assert_eq!(band(situation), expected, "{situation:?}");
        }
        let straddles = Situation { listed: day(2020, 8, 21), ..new(Board::ChiNext, day(2020, 8, 24), 2) };
        assert_eq!(band(straddles), even(20), "listed under the old rules: no free days after the reform");
    }

    #[test]
    fn limits_round_half_up_to_the_tick_and_never_meet_the_reference() {
        let ten = Band { up: 10, down: 10 };
        assert_eq!(limits(1135, ten), (1022, 1249), "000001.SZ of 2025-03-31: 12.49 and 10.22 around 11.35");
        assert_eq!(limits(1005, ten), (905, 1106), "904.5 and 1105.5 both go up");
        assert_eq!(limits(3, ten), (2, 4), "at least one tick");
        assert_eq!(limits(1, ten), (1, 2), "never zero");
    }
}
