//! What a source works with, and what there is to do by now. Knows settings, sessions and the clock; must not know what was
//! begun nor what is handed over.

use std::{sync::Arc, time::Duration};

use chrono::{NaiveDateTime, TimeDelta};
use sqep::{Calendar, Kind, kind::Grid};

use crate::{
    config::FetchSettings,
    gaps::Gaps,
    handed::Handed,
    live,
    plan::{Planner, Range, Scope, Work},
    tables::Tables,
    universe::Universe,
};

/// What a source works with.
#[derive(Debug)]
pub struct Desk {
    /// The kind of the stream.
    pub kind: Kind,
    /// The service.
    pub tables: Tables,
    /// What is wanted.
    pub settings: FetchSettings,
    /// Sessions.
    pub calendar: Arc<Calendar>,
    /// Where it is told what is missing.
    pub gaps: Gaps,
    /// Rows of a call of minute bars at most.
    pub minute_rows_max: usize,
    /// Rows of a call of live minutes at most.
    pub live_rows_max: usize,
    /// A daemon looks at its clock at least this often.
    pub look_max: Duration,
}

impl Desk {
    /// What there is to do of a span, given what is done.
    pub fn plan(&self, universe: &Universe, span: Range, handed: &Handed) -> Vec<Work> {
        let sessions = universe.sessions(&self.calendar, span.from, span.to);
        let scope = Scope::new(self.kind, &self.settings, universe, span);
        let (days, ranges) = (&handed.days, &handed.ranges);
        let planner =
            Planner { scope: &scope, sessions: &sessions, rows_max: self.minute_rows_max, days, ranges };
        let now = self.tables.now();
        let due = |work: &Work| match *work {
            Work::Day { dataset, day } => dataset.due(&self.settings, day) <= now,
            Work::Range { .. } | Work::Live { .. } => true,
        };
        planner.works().into_iter().filter(due).filter_map(|work| self.clipped(work, now)).collect()
    }

    pub(crate) fn live_delay(&self) -> TimeDelta {
        TimeDelta::seconds(i64::try_from(self.settings.live_delay_s).unwrap_or(i64::MAX / 1_000))
    }

    /// The grid of live minutes, if they are wanted.
    pub(crate) fn live_grid(&self) -> Option<Grid> {
        match self.kind {
            Kind::BarMinute(grid) if self.settings.live => Some(grid),
            _ => None,
        }
    }

    /// The minute that has just ended, if nobody asked for it yet.
    pub(crate) fn live_work(&self, universe: &Universe, last: Option<NaiveDateTime>) -> Option<Work> {
        let (grid, now) = (self.live_grid()?, self.tables.now());
        let today = now.date();
        if universe.sessions(&self.calendar, today, today).is_empty() {
            return None;
        }
        let label = live::ended(grid, now, self.live_delay())?;
        last.is_none_or(|last| label > last).then_some(Work::Live { grid, label })
    }

    /// A range up to the last day whose rows can be there.
    fn clipped(&self, work: Work, now: NaiveDateTime) -> Option<Work> {
        let Work::Range { dataset, symbol, from, to } = work else { return Some(work) };
        let today = now.date();
        let last = if dataset.due(&self.settings, today) <= now { today } else { today.pred_opt()? };
        (from <= last).then(|| Work::Range { dataset, symbol, from, to: to.min(last) })
    }
}
