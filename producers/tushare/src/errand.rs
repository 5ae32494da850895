//! What a source is to do, and how patient it is with what is missing. Knows the errand and a time; must not know what
//! was done nor the service.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime};

use crate::{
    plan::{Range, Work},
    weigh::Terms,
};

/// What has not come of a day by noon of the next does not come by itself any more.
const NOON: NaiveTime = match NaiveTime::from_hms_opt(12, 0, 0) {
    Some(noon) => noon,
    None => NaiveTime::MIN,
};

/// What a source is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// The days of a span that are not done, and then no more.
    Span(Range),
    /// Days once more, and then no more.
    Again {
        /// On which something is missing.
        holes: Vec<Work>,
        /// Of which the record was lost.
        lost: BTreeSet<Work>,
    },
    /// These days once more, whether done or not, and then no more: of these days every row once more: its values may
    /// be others by now.
    Anew(Vec<Work>),
    /// What is due, for ever.
    Daemon,
}

impl Errand {
    /// Whether no answer counts that was kept. What was asked for before is asked for anew, unless only its record was
    /// lost.
    pub(crate) fn is_fresh(&self, work: &Work, tries: u32) -> bool {
        match self {
            Errand::Again { .. } => !self.is_lost(work),
            Errand::Anew(_) => true,
            Errand::Span(_) | Errand::Daemon => tries > 0,
        }
    }

    /// Whether only the record of some work was lost: its rows are on the stream.
    pub(crate) fn is_lost(&self, work: &Work) -> bool {
        matches!(self, Errand::Again { lost, .. } if lost.contains(work))
    }

    /// The work, where it is not found out by the days that are done.
    pub fn works(&self) -> Option<Vec<Work>> {
        match self {
            Errand::Again { holes, lost } => Some(holes.iter().chain(lost).copied().collect()),
            Errand::Anew(works) => Some(works.clone()),
            Errand::Span(_) | Errand::Daemon => None,
        }
    }

    /// The last day whose rows do not come by themselves any more. A daemon can wait until the next noon.
    pub(crate) fn over(&self, now: NaiveDateTime) -> NaiveDate {
        let days = if *self == Errand::Daemon && now.time() < NOON { 2 } else { 1 };
        now.date() - Days::new(days)
    }

    /// When a day is over for a daemon.
    pub(crate) fn over_at(day: NaiveDate) -> NaiveDateTime {
        (day + Days::new(1)).and_time(NOON)
    }

    /// How often to ask before it is handed over, as long as days that are over are missing: a run that ends takes all
    /// its tries at such a day.
    pub(crate) fn tries(&self, work: &Work, tried: u32, today: NaiveDate, tries_max: u32) -> u32 {
        match (work, self) {
            (Work::Day { day, .. }, Errand::Span(_) | Errand::Anew(_)) if *day < today => {
                tries_max.saturating_sub(tried).max(1)
            }
            (Work::Range { .. }, Errand::Span(_) | Errand::Anew(_) | Errand::Daemon) => tries_max,
            _ => 1,
        }
    }

    /// By what is weighed what was asked for at this time.
    pub(crate) fn terms(&self, asked: NaiveDateTime, lookback_days: u64) -> Terms {
        Terms { over: self.over(asked), recent: asked.date() - Days::new(lookback_days) }
    }
}
