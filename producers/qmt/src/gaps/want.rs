//! What is wanted of one security's history, and how patiently. Knows failures and pauses; must not know requests nor
//! agents. Time is passed in.

use chrono::{NaiveDateTime, TimeDelta};

/// Pause before a request is made again; doubled each time.
pub(super) const PAUSE_FIRST_S: i64 = 5;
pub(super) const PAUSE_S_MAX: i64 = 300;
/// How often a security may fail before it is missing.
pub(super) const TRIES_MAX: u32 = 6;
/// A connection that ends sooner after a request says little about what was asked, and a few of them count as one loss.
pub(super) const BRIEF_S: i64 = 10;
pub(super) const BRIEF_MAX: u32 = 6;
/// Pause before one is asked for again at which agents end or fall silent.
pub(super) const PAUSE_LOST_S: i64 = 1_800;

/// From when on a security's bars are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) start: NaiveDateTime,
    /// How often it failed or came short.
    pub(super) tries: u32,
    /// How often the whole request was lost: each time it is made with half as many, so that whoever stops an agent ends up
    /// alone.
    pub(super) lost: u32,
    /// How often its agent was gone before the request was under way for long, since that counted last.
    pub(super) brief: u32,
    pub(super) empty: u32,
    pub(super) not_before: NaiveDateTime,
}

impl Want {
    pub(super) fn new(start: NaiveDateTime, not_before: NaiveDateTime) -> Want {
        Want { start, tries: 0, lost: 0, brief: 0, empty: 0, not_before }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.tries >= TRIES_MAX
    }

    /// After its agent was gone.
    pub(super) fn gone(self, brief: bool, now: NaiveDateTime) -> Want {
        if brief && self.brief < BRIEF_MAX {
            return Want { brief: self.brief + 1, not_before: now, ..self };
        }
        let want = Want { brief: 0, ..self.failed(true, now) };
        if want.is_missing() { want } else { Want { not_before: now, ..want } }
    }

    /// After it failed once more.
    pub(super) fn failed(self, lost: bool, now: NaiveDateTime) -> Want {
        let pause = PAUSE_FIRST_S.saturating_mul(1 << self.tries.min(10)).min(PAUSE_S_MAX);
        let want = Want { tries: self.tries.saturating_add(1), lost: self.lost + u32::from(lost), ..self };
        let pause = if want.lost >= TRIES_MAX { PAUSE_LOST_S } else { pause };
        Want { not_before: now + TimeDelta::seconds(pause), ..want }
    }
}
