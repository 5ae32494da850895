//! Sets of securities as a cursor field carries them. Knows how to keep and write the whole market in a few kilobytes; must
//! not know what they are a set of.

use serde::{Deserialize, Serialize};
use sqep::Symbol;

/// A set of securities, kept as runs of neighbouring integers: the first and the last of each, in order, none touching the
/// next. Its text gives for each run the step from the end of the one before, and how many more there are: `2000001+1,5`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Symbols(Vec<(i32, i32)>);

impl Symbols {
    /// Whether the set holds `symbol`.
    pub fn has(&self, symbol: Symbol) -> bool {
        let at = symbol.get();
        self.0.get(self.run(at)).is_some_and(|&(first, _)| first <= at)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.0.iter().map(|&(first, last)| usize::try_from(last - first + 1).unwrap_or(0)).sum()
    }

    /// Those it holds, in order.
    pub fn iter(&self) -> impl Iterator<Item = Symbol> + '_ {
        self.0.iter().flat_map(|&(first, last)| first..=last).filter_map(|at| Symbol::from_i32(at).ok())
    }

    /// Adds one.
    pub fn insert(&mut self, symbol: Symbol) {
        if !self.has(symbol) {
            self.add(symbol.get(), symbol.get());
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, symbol: Symbol) {
        if !self.has(symbol) {
            return;
        }
        let at = symbol.get();
        let run = self.run(at);
        let (first, last) = self.0.remove(run);
        if last > at {
            self.0.insert(run, (at + 1, last));
        }
        if first < at {
            self.0.insert(run, (first, at - 1));
        }
    }

    /// The first run that ends at `at` or behind it.
    fn run(&self, at: i32) -> usize {
        self.0.partition_point(|&(_, last)| last < at)
    }

    /// Adds a run that holds nothing the set has, and joins it with its neighbours.
    fn add(&mut self, mut first: i32, mut last: i32) {
        let mut run = self.run(first);
        if let Some(&(next, end)) = self.0.get(run)
            && next == last + 1
        {
            last = end;
            self.0.remove(run);
        }
        if let Some(before) = run.checked_sub(1)
            && let Some(&(begin, end)) = self.0.get(before)
            && end + 1 == first
        {
            (first, run) = (begin, before);
            self.0.remove(before);
        }
        self.0.insert(run, (first, last));
    }
}

impl FromIterator<Symbol> for Symbols {
    fn from_iter<I: IntoIterator<Item = Symbol>>(symbols: I) -> Symbols {
        let mut set = Symbols::default();
        set.extend(symbols);
        set
    }
}

impl Extend<Symbol> for Symbols {
    fn extend<I: IntoIterator<Item = Symbol>>(&mut self, symbols: I) {
        for symbol in symbols {
            self.insert(symbol);
        }
    }
}

impl From<Symbols> for String {
    fn from(set: Symbols) -> String {
        let mut end = 0;
        let runs = set.0.iter().map(|&(first, last)| {
            let step = first - end;
            end = last;
            if last == first { step.to_string() } else { format!("{step}+{}", last - first) }
        });
        runs.collect::<Vec<String>>().join(",")
    }
}

impl TryFrom<String> for Symbols {
    type Error = String;

    fn try_from(text: String) -> Result<Symbols, String> {
        let (mut end, mut set) = (0i32, Symbols::default());
        for run in text.split(',').filter(|run| !run.is_empty()) {
            let wrong = || format!("{run:?} is no run of securities");
            let (step, more) = run.split_once('+').unwrap_or((run, "0"));
            let count = |text: &str| text.parse::<i32>().ok().filter(|&count| count >= 0);
            let (step, more) = (count(step).filter(|&step| step > 0), count(more));
            let first = end.checked_add(step.ok_or_else(wrong)?).ok_or_else(wrong)?;
            let last = first.checked_add(more.ok_or_else(wrong)?).ok_or_else(wrong)?;
            for at in [first, last] {
                Symbol::from_i32(at).map_err(|error| error.to_string())?;
            }
            set.add(first, last);
            end = last;
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(texts: &[&str]) -> Symbols {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_set_comes_back_from_its_text() {
        for texts in [&[][..], &["000001.SZ"], &["600000.SH", "000001.SZ", "000002.SZ", "920001.BJ"]] {
            let set = of(texts);
            let text = serde_json::to_string(&set).unwrap();
            assert_eq!(serde_json::from_str::<Symbols>(&text).unwrap(), set, "{text}");
            assert_eq!(set.len(), texts.len());
        }
        assert_eq!(String::from(of(&["000001.SZ", "000003.SZ", "000002.SZ", "000009.SZ"])), "2000001+2,6");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in
            ["\"x\"", "\"1\"", "\"2000001,2147483647\"", "\"2000001,-1\"", "\"2000001+x\"", "\"2000001,0\""]
        {
            assert!(serde_json::from_str::<Symbols>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_set_of_runs_is_a_set() {
        let (mut set, mut model, mut seed) = (Symbols::default(), BTreeSet::new(), 7u32);
        for _ in 0..2_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let code = i32::try_from(seed >> 16).unwrap() % 40;
            let symbol = Symbol::from_i32(2_000_001 + code).unwrap();
            assert_eq!(set.has(symbol), model.contains(&symbol));
            if seed >> 31 == 0 {
                set.insert(symbol);
                model.insert(symbol);
            } else {
                set.remove(symbol);
                model.remove(&symbol);
            }
            assert_eq!((set.len(), set.iter().collect()), (model.len(), model.clone()));
            assert_eq!(set, model.iter().copied().collect(), "one set has one form");
        }
    }
}
