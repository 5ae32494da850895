//! The unit of volume, declared and proved: turnover over volume times price says whether it was lots or shares.
//! Knows one row at a time; must not know where it came from.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqep::{
    Reason,
    check::Finding,
    symbol::Class,
    unit::{Alarm, Quanta, Turnover},
};

use crate::bar::LOT_SHARES;

/// Volume comes in whole lots, turnover in whole yuan.
pub const QUANTA: Quanta = Quanta { vol: LOT_SHARES, amount: 1.0 };
/// Bonds a lot of bonds.
const BOND_LOT: f64 = 10.0;

/// What volume is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", rename_all = "snake_case")]
pub enum VolUnit {
    /// 手: 100 shares, or 100 units of a fund.
    Lots,
    /// 股: shares.
    Shares,
}

impl VolUnit {
    /// Shares of one.
    pub const fn shares(self) -> f64 {
        match self {
            VolUnit::Lots => LOT_SHARES,
            VolUnit::Shares => 1.0,
        }
    }

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            VolUnit::Lots => "lots",
            VolUnit::Shares => "shares",
        }
    }
}

impl fmt::Display for VolUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl TryFrom<String> for VolUnit {
    type Error = String;

    fn try_from(text: String) -> Result<VolUnit, String> {
        match text.as_str() {
            "lots" | "lot" => Ok(VolUnit::Lots),
            "shares" | "share" => Ok(VolUnit::Shares),
            _ => Err(format!("{text:?} is not lots or shares")),
        }
    }
}

/// What the volume of a row seems to be counted in, if turnover and prices tell.
fn seems(row: Turnover, declared: VolUnit) -> Option<&'static str> {
    let counted = row.vol / declared.shares();
    let known = [(LOT_SHARES, "lots (手)"), (1.0, "shares (股)"), (BOND_LOT, "lots of ten bonds")];
    let near = Quanta { vol: 0.0, amount: 1.0 };
    let fits = |(shares, _): &(f64, &str)| {
        let row = Turnover { vol: counted * shares, ..row };
        row.plausible(near) || row.plausible(QUANTA) && row.vol > 100.0 * LOT_SHARES
    };
    known.into_iter().find(fits).map(|(_, name)| name)
}

/// What a row outside the band is refused as.
pub fn finding(row: Turnover, declared: VolUnit) -> Finding {
    let Turnover { high, low, vol, amount } = row;
    let told = match seems(row, declared) {
        Some(unit) => format!("volume looks like {unit}, {declared} are declared"),
        None => "prices or turnover are not those of this volume".to_owned(),
    };
    Finding {
        reason: Reason::Unit,
        field: "vol".to_owned(),
        value: format!("vol {vol} amount {amount} low {low} high {high}: {told}"),
    }
}

/// Judges the rows of one security and day as they come.
///
/// A row outside the band is refused. When more than half of a day's rows are, those inside are refused too: a unit that
/// fits now and then is not proved.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    alarm: Alarm,
}

impl Judge {
    /// Takes a row; the finding refuses it.
    pub fn see(&mut self, class: Class, row: Turnover, declared: VolUnit) -> Option<Finding> {
        if !Alarm::applies(class) {
            return None;
        }
        if !self.alarm.add(row, QUANTA) {
            return Some(finding(row, declared));
        }
        let (failed, checked) = (self.alarm.failed(), self.alarm.checked());
        (failed * 2 > checked).then(|| Finding {
            reason: Reason::UnitsOrAdjusted,
            field: "amount".to_owned(),
            value: format!(
                "{failed} of {checked} rows of this day lie outside low to high: {}",
                self.alarm.guess()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(vol: f64, amount: f64) -> Turnover {
        Turnover { high: 10.1, low: 9.9, vol, amount }
    }

    #[test]
    fn lots_shares_and_lots_of_bonds_are_told_apart() {
        // 1,234,500 shares at 10 yuan, as each vendor would count them and as the declared unit reads that.
        let amount = 12_345_000.0;
        for (counted, declared, told) in [
            (1_234_500.0, VolUnit::Lots, "looks like shares (股), lots are declared"),
            (12_345.0, VolUnit::Shares, "looks like lots (手), shares are declared"),
            (123_450.0, VolUnit::Lots, "looks like lots of ten bonds, lots are declared"),
            (77_777.0, VolUnit::Lots, "not those of this volume"),
        ] {
            let mut judge = Judge::default();
            let finding =
                judge.see(Class::Stock, row(counted * declared.shares(), amount), declared).unwrap();
            assert_eq!(finding.reason, Reason::Unit);
            assert!(finding.value.contains(told), "{finding:?}");
        }
        assert_eq!(Judge::default().see(Class::Stock, row(1_234_500.0, amount), VolUnit::Lots), None);
    }

    #[test]
    fn a_lot_more_or_less_and_an_index_are_no_disagreement() {
        let mut judge = Judge::default();
        assert_eq!(
            judge.see(Class::Stock, row(0.0, 420.0), VolUnit::Lots),
            None,
            "42 shares round to no lot"
        );
        assert_eq!(judge.see(Class::Stock, row(100.0, 1_420.0), VolUnit::Lots), None);
        assert_eq!(
            judge.see(Class::Index, row(1.0, 1e9), VolUnit::Lots),
            None,
            "an index has no price a share"
        );
    }

    #[test]
    fn a_row_that_fits_by_chance_among_wrong_ones_is_refused_too() {
        let mut judge = Judge::default();
        assert!(judge.see(Class::Stock, row(1e6, 1e5), VolUnit::Lots).is_some());
        assert!(judge.see(Class::Stock, row(1e6, 1e5), VolUnit::Lots).is_some());
        let fits = judge.see(Class::Stock, row(1e6, 1e7), VolUnit::Lots).unwrap();
        assert_eq!(fits.reason, Reason::UnitsOrAdjusted);
    }
}
