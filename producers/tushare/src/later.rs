//! When a piece of work may be asked for again. Knows work and times; must not know what was wrong with it.

use std::collections::{BTreeMap, HashMap};

use chrono::{NaiveDateTime, TimeDelta};

use crate::plan::{Dataset, Work};

/// Work that is not asked for yet.
#[derive(Debug, Default)]
pub(crate) struct Later {
    works: HashMap<String, Held>,
    shut: BTreeMap<Line, NaiveDateTime>,
}

/// A dataset as it is asked for: live minutes are another line than those of the past.
type Line = (Dataset, bool);

/// A piece of work that waits.
#[derive(Debug, Clone, Copy)]
struct Held {
    until: NaiveDateTime,
    /// How often it was held in a row.
    times: u32,
}

/// How long work waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    /// Seconds at first.
    pub(crate) first_s: u64,
    /// Seconds at most.
    pub(crate) s_max: u64,
}

impl Pause {
    /// The pause after so many others.
    fn after(self, times: u32) -> TimeDelta {
        let doubled = self.first_s.saturating_mul(2u64.saturating_pow(times));
        let seconds = i64::try_from(doubled.min(self.s_max.max(self.first_s)));
        TimeDelta::try_seconds(seconds.unwrap_or(i64::MAX)).unwrap_or(TimeDelta::MAX)
    }
}

impl Later {
    /// Holds work for a pause that doubles from time to time, but until `least` in any case.
    pub(crate) fn hold(&mut self, work: &Work, now: NaiveDateTime, pause: Pause, least: NaiveDateTime) {
        let times = self.works.get(&work.field()).map_or(0, |held| held.times);
        let then = now.checked_add_signed(pause.after(times)).unwrap_or(NaiveDateTime::MAX);
        let held = Held { until: then.max(least), times: times.saturating_add(1) };
        self.works.insert(work.field(), held);
    }

    /// Holds work until then; the pause after that is the same as before.
    pub(crate) fn until(&mut self, work: &Work, until: NaiveDateTime) {
        self.works.entry(work.field()).or_insert(Held { until, times: 0 }).until = until;
    }

    /// Nothing more is asked of this work.
    pub(crate) fn done(&mut self, work: &Work) {
        self.works.remove(&work.field());
    }

    /// Holds everything of its line until then. Returns whether that is new.
    pub(crate) fn shut(&mut self, work: &Work, until: NaiveDateTime) -> bool {
        self.shut.insert(line(work), until).is_none()
    }

    /// Something of its line came: if it was shut, it is open again.
    pub(crate) fn came(&mut self, work: &Work, now: NaiveDateTime) {
        if !self.is_shut(work, now) {
            self.shut.remove(&line(work));
        }
    }

    /// Whether its line is shut.
    pub(crate) fn is_shut(&self, work: &Work, now: NaiveDateTime) -> bool {
        self.shut.get(&line(work)).is_some_and(|&until| until > now)
    }

    /// Whether it waits.
    pub(crate) fn holds(&self, work: &Work, now: NaiveDateTime) -> bool {
        self.is_shut(work, now) || self.works.get(&work.field()).is_some_and(|held| held.until > now)
    }
}

fn line(work: &Work) -> Line {
    (work.dataset(), matches!(work, Work::Live { .. }))
}

#[cfg(test)]
mod tests {
    use sqep::kind::Grid;

    use super::*;

    const PAUSE: Pause = Pause { first_s: 600, s_max: 3_600 };

    fn at(text: &str) -> NaiveDateTime {
        format!("2026-03-03T{text}:00").parse().unwrap()
    }

    fn day(dataset: Dataset, of: u32) -> Work {
        Work::Day { dataset, day: chrono::NaiveDate::from_ymd_opt(2026, 3, of).unwrap() }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_when_it_is_done() {
        let (mut later, work) = (Later::default(), day(Dataset::Stocks, 3));
        let mut now = at("16:00");
        for wanted in [10, 20, 40, 60, 60] {
            later.hold(&work, now, PAUSE, now);
            let then = now + TimeDelta::minutes(wanted);
            assert!(
                later.holds(&work, then - TimeDelta::seconds(1)) && !later.holds(&work, then),
                "{wanted}"
            );
            now = then;
        }
        later.done(&work);
        later.hold(&work, now, PAUSE, now);
        assert!(!later.holds(&work, now + TimeDelta::minutes(10)));
        later.hold(&work, now, PAUSE, at("23:00"));
        assert!(later.holds(&work, at("22:59")) && !later.holds(&work, at("23:00")));
        assert!(!later.holds(&day(Dataset::Stocks, 4), now), "each day waits for itself");
        assert_eq!(PAUSE.after(u32::MAX), TimeDelta::seconds(3_600));
    }

    #[test]
    fn a_line_that_is_shut_holds_all_of_it_is_told_once_and_holds_no_other() {
        let mut later = Later::default();
        let [past, live] = [
            Work::Range {
                dataset: Dataset::Minutes(Grid::M1),
                symbol: "000001.SZ".parse().unwrap(),
                from: at("00:00").date(),
                to: at("00:00").date(),
            },
            Work::Live { grid: Grid::M1, label: at("09:31") },
        ];
        assert!(later.shut(&live, at("10:31")));
        assert!(!later.shut(&live, at("10:31")), "what was told is not told again");
        assert!(later.is_shut(&live, at("10:30")) && !later.is_shut(&live, at("10:31")));
        assert!(!later.holds(&past, at("10:30")));
        later.came(&live, at("10:00"));
        assert!(later.is_shut(&live, at("10:30")), "one that was under way opens nothing");
        later.came(&live, at("10:31"));
        assert!(later.shut(&live, at("11:31")));
    }
}
