//! Whether a day is complete: who should have a row, who has one, and why the others have none.
//!
//! Knows sets of securities; must not know tables nor what a bar is. Securities are compared by their current numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sqep::Symbol;

/// Why a security that should have a row has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its row came and was refused; the dead letters say why.
    Refused,
    /// The service has no row yet.
    NotThereYet,
    /// The service has no row, and its lists do not say why; it was asked often enough.
    Unexplained,
}

impl Why {
    /// As it is printed.
    pub const fn word(self) -> &'static str {
        match self {
            Why::Refused => "refused",
            Why::NotThereYet => "not there yet",
            Why::Unexplained => "unexplained",
        }
    }
}

/// Who has a row and who has not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// Listed and not suspended.
    pub expected: usize,
    /// Have a row, expected or not.
    pub present: usize,
    /// Listed, and suspended for the whole day.
    pub suspended: usize,
    /// Expected and without a row.
    pub missing: BTreeMap<Symbol, Why>,
}

/// Counts a day. `seen` have a row in the answer, `published` those of them whose row is a bar.
pub fn count(
    listed: &BTreeSet<Symbol>,
    suspended: &BTreeSet<Symbol>,
    seen: &BTreeSet<Symbol>,
    published: &BTreeSet<Symbol>,
) -> Count {
    let idle = |symbol: &&Symbol| suspended.contains(symbol) && !seen.contains(symbol);
    let suspended_count = listed.iter().filter(idle).count();
    let missing = listed
        .iter()
        .filter(|symbol| !idle(symbol) && !published.contains(symbol))
        .map(|&symbol| (symbol, if seen.contains(&symbol) { Why::Refused } else { Why::NotThereYet }))
        .collect();
    Count {
        expected: listed.len() - suspended_count,
        present: published.len(),
        suspended: suspended_count,
        missing,
    }
}

impl Count {
    /// The service was asked often enough: what is not there is unexplained.
    pub fn give_up(&mut self) {
        for why in self.missing.values_mut().filter(|why| **why == Why::NotThereYet) {
            *why = Why::Unexplained;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(codes: &[u32]) -> BTreeSet<Symbol> {
        codes.iter().map(|&code| Symbol::new(sqep::Exchange::SZ, code).unwrap()).collect()
    }

    #[test]
    fn listed_without_suspended_is_expected_and_a_row_is_stronger_than_a_list() {
        let mut count =
            count(&set(&[1, 2, 3, 4, 5]), &set(&[2, 3, 9]), &set(&[1, 3, 4, 7]), &set(&[1, 3, 7]));
        assert_eq!((count.expected, count.present, count.suspended), (4, 3, 1));
        let missing: Vec<Why> = count.missing.values().copied().collect();
        assert_eq!(missing, [Why::Refused, Why::NotThereYet]);
        count.give_up();
        assert_eq!(count.missing.values().copied().collect::<Vec<Why>>(), [Why::Refused, Why::Unexplained]);
    }
}
