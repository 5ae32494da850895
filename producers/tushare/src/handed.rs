//! What was handed over so far, as cursor fields tell it: days, ranges of codes, live minutes. Knows fields; must not
//! know what is left to do nor how it is asked for.

use std::{collections::BTreeMap, sync::Arc};

use sqep::Cursors;

use crate::{
    live::{self, Last},
    plan::Work,
    range::Ranges,
    state::{self, DayState},
    symbols::Symbols,
};

/// What was handed over, not only what is stored.
#[derive(Debug, Clone, Default)]
pub struct Handed {
    /// Days of the market, by their fields.
    pub days: BTreeMap<String, DayState>,
    /// Days of codes, by their fields.
    pub ranges: BTreeMap<String, Ranges>,
    /// The last live minutes.
    pub(crate) live: Arc<Last>,
}

impl Handed {
    /// Reads what is stored. A field that does not read counts as nothing.
    pub fn read(cursors: &Cursors) -> Handed {
        let mut handed = Handed::default();
        for (name, text) in &cursors.fields {
            if name.starts_with(live::PREFIX) {
                handed.live = Arc::new(Last::read(text));
            } else if let Some(ranges) = Ranges::read(text) {
                handed.ranges.insert(name.clone(), ranges);
            } else if let Some(state) = DayState::read(text) {
                handed.days.insert(name.clone(), state);
            } else {
                tracing::warn!(field = name, "a cursor field does not read; its day counts as new");
            }
        }
        handed
    }

    /// What was handed over of a day.
    pub(crate) fn state(&self, work: &Work) -> DayState {
        self.days.get(&work.field()).cloned().unwrap_or_default()
    }

    /// What was handed over of a code.
    pub(crate) fn ranges(&self, work: &Work) -> Ranges {
        self.ranges.get(&work.field()).cloned().unwrap_or_default()
    }

    /// Securities that had a row on the day before.
    pub(crate) fn before(&self, work: &Work) -> Symbols {
        match *work {
            Work::Day { dataset, day } => state::before(&self.days, dataset.name(), day),
            Work::Range { .. } | Work::Live { .. } => Symbols::default(),
        }
    }
}
