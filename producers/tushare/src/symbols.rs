//! Sets of securities as a cursor field carries them. Knows how to write thousands of them in a few kilobytes; must not
//! know what they are a set of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sqep::Symbol;

/// A set of securities. Its text is the first integer and then the steps from each to the next: `2000001,1,1,5`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Symbols(pub BTreeSet<Symbol>);

impl Symbols {
    /// Whether the set holds `symbol`.
    pub fn has(&self, symbol: Symbol) -> bool {
        self.0.contains(&symbol)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Symbol> for Symbols {
    fn from_iter<I: IntoIterator<Item = Symbol>>(symbols: I) -> Symbols {
        Symbols(symbols.into_iter().collect())
    }
}

impl From<Symbols> for String {
    fn from(set: Symbols) -> String {
        let mut last = 0;
        let steps = set.0.iter().map(|symbol| {
            let step = symbol.get() - last;
            last = symbol.get();
            step.to_string()
        });
        steps.collect::<Vec<String>>().join(",")
    }
}

impl TryFrom<String> for Symbols {
    type Error = String;

    fn try_from(text: String) -> Result<Symbols, String> {
        let (mut last, mut set) = (0i32, BTreeSet::new());
        for step in text.split(',').filter(|step| !step.is_empty()) {
            let step: i32 = step.parse().map_err(|_| format!("{step:?} is no step between securities"))?;
            last = last.checked_add(step).ok_or_else(|| format!("{step} steps beyond all securities"))?;
            set.insert(Symbol::from_i32(last).map_err(|error| error.to_string())?);
        }
        Ok(Symbols(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_comes_back_from_its_text() {
        for texts in [vec![], vec!["000001.SZ"], vec!["600000.SH", "000001.SZ", "000002.SZ", "920001.BJ"]] {
            let set: Symbols = texts.iter().map(|text| text.parse().unwrap()).collect();
            let text = serde_json::to_string(&set).unwrap();
            assert_eq!(serde_json::from_str::<Symbols>(&text).unwrap(), set, "{text}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["\"x\"", "\"1\"", "\"2000001,2147483647\""] {
            assert!(serde_json::from_str::<Symbols>(text).is_err(), "{text}");
        }
    }
}
