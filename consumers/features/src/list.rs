//! The list of features as data: what each is, in what unit, within what range and from which bar on. Knows words and
//! numbers; must not compute anything but the number of the set. The entries are in `table`.
//!
//! `schemas/feature_1d.toml` and `schemas/feature_1m.toml` say the same, and a test holds them together.

use crate::hash::Hash;

pub use crate::table::LIST;

/// How many there are.
pub const COUNT: usize = 45;

/// From the bar with this number on, counted from 0, a row is valid: of what EMA26 started from 1e-4 is left, of RSI24
/// 0.6 %.
pub const VALID_FROM: u32 = 120;

/// From the bar with this number on no feature is null for want of a past.
pub const WARM_UP_MAX: u32 = 60;

/// One feature. In formulas O H L C V are adjusted, o h l c raw, x' and \[−n\] earlier bars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feature {
    /// Name in every encoding.
    pub name: &'static str,
    /// How it is computed.
    pub formula: &'static str,
    /// How it is computed of minute bars, where that differs.
    pub minute_formula: Option<&'static str>,
    /// The numbers in it.
    pub parameters: &'static [(&'static str, f64)],
    /// Unit: `yuan` (adjusted), `%`, `1` for a ratio, `sessions`, `flag`.
    pub unit: &'static str,
    /// The least it can be.
    pub min: Option<f64>,
    /// The most it can be.
    pub max: Option<f64>,
    /// Bars at the start of a history that have none: null.
    pub warm_up: u32,
    /// What it agrees with.
    pub reference: &'static str,
}

/// Features of which bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Day bars, `feature:1d`.
    Day,
    /// One-minute bars, `feature:1m`.
    Minute,
}

impl Length {
    /// The bits of all rows of a history kept with the tests, as one number: whoever changes a formula changes it, and with
    /// it the number of the set.
    pub const fn proof(self) -> u64 {
        match self {
            Length::Day => 0xdc72_6ba3_4953_c8ca,
            Length::Minute => 0x9e70_cbe6_78ef_9d13,
        }
    }

    /// The number of the set, which travels in every row: rows of two numbers were computed differently.
    pub const fn set(self) -> u32 {
        match self {
            Length::Day => const { number(&LIST, Length::Day, Length::Day.proof()) },
            Length::Minute => const { number(&LIST, Length::Minute, Length::Minute.proof()) },
        }
    }
}

/// FNV-1a over everything that decides a value, and over the proof that it does.
const fn number(list: &[Feature; COUNT], length: Length, proof: u64) -> u32 {
    let mut hash = Hash::new().number(proof);
    let mut at = 0;
    while at < COUNT {
        let feature = &list[at];
        let formula = match (length, feature.minute_formula) {
            (Length::Minute, Some(formula)) => formula,
            _ => feature.formula,
        };
        hash = hash.text(feature.name).text(formula).text(feature.unit).bytes(&feature.warm_up.to_le_bytes());
        let mut parameter = 0;
        while parameter < feature.parameters.len() {
            let (name, value) = feature.parameters[parameter];
            hash = hash.text(name).number(value.to_bits());
            parameter += 1;
        }
        at += 1;
    }
    hash.fold()
}

/// The place of a feature, known to the compiler: a name that is not in the list does not build.
pub(crate) const fn place(name: &str) -> usize {
    let mut at = 0;
    while at < COUNT {
        if same(LIST[at].name.as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no feature of that name")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_set_changes_with_whatever_decides_a_value() {
        let mut lists = vec![LIST; 6];
        lists[1][0].name = "ret_one";
        lists[2][3].formula = "C / C[-21] - 1";
        lists[3][4].parameters = &[("n", 61.0)];
        lists[4][8].warm_up = 20;
        lists[5].swap(0, 1);
        let mut numbers: Vec<_> = lists.iter().map(|list| number(list, Length::Day, 1)).collect();
        numbers.push(number(&LIST, Length::Day, 2));
        numbers.push(number(&LIST, Length::Minute, 1));
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
    }

    #[test]
    fn what_a_feature_agrees_with_is_no_part_of_it() {
        let mut list = LIST;
        list[0].reference = "somebody else";
        assert_eq!(number(&list, Length::Day, 1), number(&LIST, Length::Day, 1));
    }
}
